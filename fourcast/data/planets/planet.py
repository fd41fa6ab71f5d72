"""What a simulated planet is: a grid, static fields, and a stream of six-hourly states in physical units."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourcast.errors import InputError
from fourcast.grid import Grid

Float32 = NDArray[np.float32]
Times = NDArray[np.datetime64]

STEP_HOURS = 6
BLOCK_STATES = 40
GRAVITY = 9.80665
GAS_CONSTANT = 287.05


@dataclass(frozen=True, eq=False)
class States:
    """Consecutive states: times [T]; fields by variable, [T, level, H, W] or, at the surface, [T, H, W]."""

    times: Times
    fields: Mapping[str, Float32]


@dataclass(frozen=True, eq=False)
class Planet:
    """A planet ready to be written.

    levels: pressures in hPa for each variable that the states hold, empty at the surface. static: fields [H, W].
    comments: what a reader must know of a variable. states: consecutive blocks, to be read once.
    """

    source: str
    grid: Grid
    levels: Mapping[str, tuple[int, ...]]
    static: Mapping[str, Float32]
    comments: Mapping[str, str]
    states: Iterator[States]


def steps_in(days: float, key: str) -> int:
    """Six-hour steps in ``days``; InputError where they are no whole number or negative."""
    steps = days * 24 / STEP_HOURS
    if steps < 0 or steps != round(steps):
        raise InputError(f"{key} must be a multiple of 0.25 (states lie {STEP_HOURS} hours apart), found {days}")
    return round(steps)


def block_times(first: np.datetime64, count: int) -> Iterator[Times]:
    """The times of ``count`` states from ``first`` on, in blocks of up to ten days."""
    times = first + np.arange(count) * np.timedelta64(STEP_HOURS, "h")
    for begin in range(0, count, BLOCK_STATES):
        yield times[begin : begin + BLOCK_STATES]
