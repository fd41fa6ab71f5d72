"""Models with forecasts to work out by hand: next state = matrix · channels + shift, + noise where they see any."""

from dataclasses import replace

import numpy as np
import torch
from tiny import CARD, GRID, model_config
from torch import Tensor, nn

from fourcast.forecast.batching import Batch, Batching
from fourcast.forecast.forecaster import Forecaster

INIT = np.datetime64("2026-08-05T00", "h")
SHAPE = (2, *GRID.shape)
FAST = Batching(exact=False, size=8, threads=1)
EXACT = Batching(exact=True, size=4, threads=2)


class Affine(nn.Module):
    """[B, C (+ 1), H, W] → [B, C, H, W] in one step; an extra channel is noise, of which a tenth is added."""

    def __init__(self, matrix: np.ndarray, shift: float) -> None:
        super().__init__()
        self.matrix, self.shift = torch.tensor(matrix, dtype=torch.float32), shift

    def forward(self, x: Tensor) -> Tensor:
        size = len(self.matrix)
        stepped = torch.einsum("ij,bjhw->bihw", self.matrix, x[:, :size]) + self.shift
        return stepped + 0.1 * x[:, size:].sum(1, keepdim=True)


def affine(matrix: np.ndarray, shift: float = 0.0, noise_channels: int = 0) -> Forecaster:
    """A forecaster of the tiny planet's two channels and grid, in steps of 6 h."""
    return Forecaster(
        model=Affine(matrix, shift),
        card=replace(CARD, model=model_config(noise_channels=noise_channels)),
        channels=tuple(CARD.channels or ()),
        center=np.zeros((2, 1, 1), np.float32),
        scale=np.ones((2, 1, 1), np.float32),
        device=torch.device("cpu"),
    )


def batch(*numbers: int, seed: int = 0, models: int = 1) -> Batch:
    """Members of one model among ``models`` that take turns."""
    return Batch(INIT, numbers, tuple(number // models for number in numbers), seed)


def analysis(time: np.datetime64) -> np.ndarray:
    """[C, H, W]: the same random field at any time, plus the number of steps since the initial time."""
    steps = (time - INIT) / np.timedelta64(6, "h")
    field = np.random.default_rng(0).normal(size=SHAPE) + steps
    return field.astype(np.float32)
