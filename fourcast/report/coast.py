"""Coastlines from a land–sea mask."""

import numpy as np
from numpy.typing import NDArray

from fourcast.drawing import centred
from fourcast.grid import Grid

Field = NDArray[np.float32]
TENTHS = 10
"""Parts of a degree that lines are rounded to."""


def coastlines(land_HW: Field, grid: Grid) -> list[list[int]]:
    """The contour where land covers half of a cell, as lines [longitude, latitude, longitude, …] in tenths of degrees.

    Round the globe longitudes go from -180 to 180.
    """
    from contourpy import contour_generator

    longitude, latitude, shown = centred(land_HW, grid)
    lines = contour_generator(longitude, latitude, np.asarray(shown, np.float64)).lines(0.5)
    rounded = [np.rint(np.asarray(line) * TENTHS).astype(int) for line in lines]
    return [_without_repeats(line).ravel().tolist() for line in rounded]


def _without_repeats(line_NP: NDArray[np.int_]) -> NDArray[np.int_]:
    keep = np.ones(len(line_NP), bool)
    keep[1:] = (np.diff(line_NP, axis=0) != 0).any(axis=1)
    return line_NP[keep]
