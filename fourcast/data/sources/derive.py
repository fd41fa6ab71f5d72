"""Channels that follow exactly from others: relative humidity from q and t, six-hour precipitation from hourly."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fourcast.data.humidity import FORMULA, relative_humidity
from fourcast.data.sources.recognise import HOURLY_PRECIPITATION

Float32 = NDArray[np.float32]
SIX_HOURS = (-5, -4, -3, -2, -1, 0)


@dataclass(frozen=True)
class Recipe:
    """How a channel comes from what files hold.

    inputs: the channels that it takes. hours: relative to its time, when it takes them. compute: [T, hours, inputs,
    H, W] → [T, H, W]. formula: for people; "" where a file holds the channel itself.
    """

    inputs: tuple[str, ...]
    hours: tuple[int, ...]
    compute: Callable[[Float32], Float32]
    formula: str


def find_recipes(held: Iterable[str]) -> dict[str, Recipe]:
    """The channels that can be computed from those in ``held``, and how; none that is held itself."""
    known, found = set(held), {}
    if HOURLY_PRECIPITATION.name in known:
        found["tp06"] = Recipe((HOURLY_PRECIPITATION.name,), SIX_HOURS, _sum, "sum of six hourly accumulations")
    for name in known:
        level = name[1:]
        if name[0] == "q" and level.isdigit() and f"t{level}" in known:
            compute = partial(_humidity, pressure=float(level))
            found[f"r{level}"] = Recipe((name, f"t{level}"), (0,), compute, FORMULA)
    return {name: recipe for name, recipe in found.items() if name not in known}


def as_held(channel: str) -> Recipe:
    """The recipe of a channel that files hold themselves."""
    return Recipe((channel,), (0,), _take, "")


def _take(inputs: Float32) -> Float32:
    return inputs[:, 0, 0]


def _sum(hourly: Float32) -> Float32:
    return hourly.sum(axis=(1, 2), dtype=np.float64).astype(np.float32)


def _humidity(inputs: Float32, pressure: float) -> Float32:
    return relative_humidity(inputs[:, 0, 0], inputs[:, 0, 1], pressure)
