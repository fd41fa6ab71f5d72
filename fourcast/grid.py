"""Latitude–longitude grids: orientation, the cells around the points, and the 721 → 720 rule.

A point stands for a cell. The edges below are the one definition of it: losses, scores, statistics and regridding
all weigh by them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourcast.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Grid:
    """A global or regional grid in the house's orientation.

    latitude: [H] degrees north, strictly decreasing. longitude: [W] degrees east in [0, 360), strictly
    increasing. Regular and Gaussian latitudes are both welcome.
    """

    latitude: Array
    longitude: Array

    def __post_init__(self) -> None:
        lat, lon = self.latitude, self.longitude
        if lat.ndim != 1 or np.any(np.diff(lat) >= 0) or np.any(np.abs(lat) > 90.0):
            raise InputError(f"latitudes must decrease strictly within 90 to -90 degrees, found {_summary(lat)}")
        if lon.ndim != 1 or np.any(np.diff(lon) <= 0) or lon[0] < 0.0 or lon[-1] >= 360.0:
            raise InputError(f"longitudes must increase strictly within [0, 360) degrees, found {_summary(lon)}")

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return len(self.latitude), len(self.longitude)

    @property
    def is_global(self) -> bool:
        """Whether the longitudes close the circle and the latitudes reach within one row of both poles."""
        lat, lon = self.latitude, self.longitude
        if len(lon) < 2 or len(lat) < 2:
            return False
        row = np.max(-np.diff(lat)) + 1e-3
        return bool(closes_circle(lon) and 90.0 - lat[0] <= row and lat[-1] + 90.0 <= row)

    def same_as(self, other: "Grid", tolerance: float = 1e-3) -> bool:
        """Whether both grids have the same points to ``tolerance`` degrees."""
        return (
            self.shape == other.shape
            and bool(np.all(np.abs(self.latitude - other.latitude) <= tolerance))
            and bool(np.all(np.abs(self.longitude - other.longitude) <= tolerance))
        )

    def __str__(self) -> str:
        h, w = self.shape
        return f"{h}×{w} (latitude {_summary(self.latitude)}, longitude {_summary(self.longitude)})"


def _summary(values: Array) -> str:
    if values.size == 0:
        return "none"
    return f"{values.flat[0]:g} … {values.flat[-1]:g}"


def south_pole_rows(latitude: Array) -> int:
    """How many last rows to drop so that patches divide the grid: 1 where an odd grid ends at the south pole.

    ERA5's 721 rows include both poles; FourCastNet keeps the first 720 (Pathak et al. 2022, arXiv 2202.11214).
    """
    return int(len(latitude) % 2 == 1 and abs(latitude[-1] + 90.0) < 1e-6)


def closes_circle(longitude: Array) -> bool:
    """Whether the step from the last longitude on to the first is one more like the others."""
    return bool(len(longitude) > 1 and abs(longitude[0] + 360.0 - longitude[-1] - np.max(np.diff(longitude))) < 1e-3)


def latitude_edges(latitude: Array) -> Array:
    """Edges of the rows' cells in degrees, strictly decreasing: [H] → [H + 1], H ≥ 2.

    A cell reaches half-way to its neighbours. The outermost ones end at the pole where no further row fits in
    between, as on regular grids with and without pole points and on Gaussian grids; otherwise half a step outwards,
    as in a region. On FourCastNet's 720 rows, 90° to -89.75°, the last cell therefore ends at -89.875°: dropping the
    row at the south pole dropped its cell, a millionth of the sphere, and leaves all others as they were.
    """
    if len(latitude) < 2:
        raise InputError(f"cells need at least 2 rows to show how far they reach, found {len(latitude)}")
    north, south = latitude[0] - latitude[1], latitude[-2] - latitude[-1]
    first = 90.0 if _no_row_fits(90.0 - latitude[0], north) else latitude[0] + north / 2
    last = -90.0 if _no_row_fits(latitude[-1] + 90.0, south) else latitude[-1] - south / 2
    return np.concatenate([[first], (latitude[:-1] + latitude[1:]) / 2, [last]])


def longitude_edges(longitude: Array) -> Array:
    """Edges of the columns' cells in degrees, strictly increasing: [W] → [W + 1], W ≥ 2.

    Half-way between neighbours; over a full circle the last edge is the first plus 360. Raises InputError where the
    columns are not evenly spaced, as in a region across the meridian of Greenwich.
    """
    steps = np.diff(longitude)
    if len(steps) == 0 or np.ptp(steps) > 1e-3:
        raise InputError(
            f"cells need at least 2 evenly spaced longitudes, found {_summary(longitude)} in steps of {_summary(steps)}"
        )
    closed = closes_circle(longitude)
    last = (longitude[-1] + longitude[0] + 360.0) / 2 if closed else longitude[-1] + steps[-1] / 2
    first = last - 360.0 if closed else longitude[0] - steps[0] / 2
    return np.concatenate([[first], (longitude[:-1] + longitude[1:]) / 2, [last]])


def area_weights(latitude: Array) -> Array:
    """Cell-area weights of latitude rows, mean 1: [H] → [H].

    The weight is the difference of the sines of the cell's edges, as in WeatherBench 2 (Rasp et al. 2024). Unlike
    cos(latitude) it does not vanish at a pole. A single row has weight 1.
    """
    if len(latitude) == 1:
        return np.ones(1)
    sines = np.sin(np.deg2rad(latitude_edges(np.asarray(latitude, dtype=np.float64))))
    weights = sines[:-1] - sines[1:]
    return weights / weights.mean()


def wave_copies(width: int) -> Array:
    """How many of ``width`` complex zonal waves each of the W // 2 + 1 real ones stands for: [K] of ones and twos.

    Waves k and W − k are conjugates of one another, and the same wave for k = 0 and for the shortest of an even W.
    """
    wave = np.arange(width // 2 + 1)
    return np.where((wave == 0) | (2 * wave == width), 1.0, 2.0)


def _no_row_fits(distance: float, step: float) -> bool:
    """Whether a pole at ``distance`` is nearer than a next row would be; rounded coordinates leave that in doubt."""
    return distance < 0.9 * step
