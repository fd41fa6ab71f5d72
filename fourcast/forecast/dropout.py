"""Dropout at forecast time: what a model was trained with, drawn anew by every member at every step.

A member's masks come from streams of its own, so that they depend neither on its batch, nor on the slot or thread
that it is computed in.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fourcast.errors import InputError
from fourcast.noise import stream

DROPOUT_KIND = 3
"""What tells the streams of masks from those of other draws, in keys (seed, hours, member, step, kind, layer)."""


class Draw:
    """What one call of a model draws: whose streams each of its samples takes, and how many layers have drawn."""

    def __init__(self, keys: Sequence[tuple[int, ...]]) -> None:
        self.keys = tuple(keys)
        self.layer = 0

    def keep(self, shape: torch.Size, rate: float) -> Tensor:
        """1 where a value of [B, ...] is kept and 0 where it is dropped, for the next layer in the model's order."""
        assert shape[0] == len(self.keys), (shape, self.keys)
        drawn = {key: self._uniform(key, tuple(shape[1:])) >= rate for key in dict.fromkeys(self.keys)}
        self.layer += 1
        return torch.from_numpy(np.stack([drawn[key] for key in self.keys]))

    def _uniform(self, key: tuple[int, ...], shape: tuple[int, ...]) -> NDArray[np.float32]:
        return stream(*key, DROPOUT_KIND, self.layer).random(shape, dtype=np.float32)


_DRAW: ContextVar[Draw | None] = ContextVar("draw", default=None)
"""Of the call under way in this thread."""


class KeyedDropout(nn.Module):
    """Dropout of ``rate`` within ``drawing``, and nothing outside it: x · keep / (1 - rate)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """[B, ...] → [B, ...]; B is the number of keys that are drawn from."""
        draw = _DRAW.get()
        if draw is None:
            return x
        return x * draw.keep(x.shape, self.rate).to(x.device, x.dtype) / (1 - self.rate)


@contextmanager
def drawing(keys: Sequence[tuple[int, ...]]) -> Iterator[None]:
    """Within it, this thread's calls of a model draw dropout from streams of ``keys``, (seed, hours, member, step)."""
    token = _DRAW.set(Draw(keys))
    try:
        yield
    finally:
        _DRAW.reset(token)


def make_keyed(model: nn.Module) -> None:
    """Give a trained model keyed dropout in place of its own, once and for all.

    InputError where it has none: without dropout in training, dropping values is no perturbation but damage.
    """
    parents = list(model.modules())
    for parent in parents:
        for name, child in parent.named_children():
            if isinstance(child, nn.Dropout) and child.p > 0:
                setattr(parent, name, KeyedDropout(child.p))
    if not any(isinstance(module, KeyedDropout) for module in model.modules()):
        raise InputError(
            "ensemble.dropout=true needs a model that was trained with dropout, and this one has none; train with "
            "model.drop_rate=0.1, or choose another perturbation"
        )
