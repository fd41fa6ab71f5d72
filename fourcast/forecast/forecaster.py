"""A trained model with all that it takes to forecast in physical units."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fourcast.checkpoint import Card, load_card, load_model
from fourcast.errors import InputError
from fourcast.forecast.graph import Captured
from fourcast.forecast.precipitation import load_precipitation, require_statistics
from fourcast.models.precipitation import PRECIPITATION

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Forecaster:
    """A trained model with all that it takes to step physical states; center, scale: [C, 1, 1].

    precipitation: a model that gives log-precipitation from a normalised state, where there is one. graphs: on a GPU,
    the calls that were captured so far, by model and number of members.
    """

    model: nn.Module
    card: Card
    channels: tuple[str, ...]
    center: Float32
    scale: Float32
    device: torch.device
    precision: str = "fp32"
    precipitation: nn.Module | None = None
    graphs: dict[tuple[str, int], Captured] = field(default_factory=dict, init=False, repr=False)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The channels that it gives: those of a state and, with a precipitation model, tp06 behind them."""
        return self.channels if self.precipitation is None else (*self.channels, PRECIPITATION)

    def normalise(self, fields: Float32) -> Float32:
        """Physical units → standard deviations from the mean, [..., C, H, W]."""
        return (fields - self.center) / self.scale

    def denormalise(self, fields: Float32) -> Float32:
        """Standard deviations from the mean → physical units, [..., C, H, W]."""
        return fields * self.scale + self.center


def load_forecaster(
    path: str | Path, device: torch.device, precision: str = "fp32", beside: str | Path | None = None
) -> Forecaster:
    """Load a checkpoint for forecasting, and the precipitation model of checkpoint ``beside``, if one is named.

    InputError where it lacks names, statistics, or forecasts no state, and where the two models do not fit.
    """
    card = load_card(path)
    if card.kind != "forecast":
        raise InputError(f"{path} is a {card.kind} model: it diagnoses a field and cannot be rolled forward")
    require_statistics(path, card)
    return Forecaster(
        model=load_model(path, device),
        card=card,
        channels=tuple(card.channels or ()),
        center=np.array(card.mean, dtype=np.float32)[:, None, None],
        scale=np.array(card.std, dtype=np.float32)[:, None, None],
        device=device,
        precision=precision,
        precipitation=None if beside is None else load_precipitation(beside, device, (path, card)),
    )
