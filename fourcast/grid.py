"""Latitude–longitude grids: orientation, cell-area weights, and the 721 → 720 rule."""

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
        row = np.max(-np.diff(lat))
        closes = abs(lon[0] + 360.0 - lon[-1] - np.max(np.diff(lon))) < 1e-3
        return bool(closes and 90.0 - lat[0] <= row and lat[-1] + 90.0 <= row + 1e-3)

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


def area_weights(latitude: Array) -> Array:
    """Cell-area weights of latitude rows, mean 1: [H] → [H].

    A row's cell reaches half-way to its neighbours, the outermost cells to the poles where the grid is global
    and half a row outwards otherwise; its weight is the difference of the sines of its edges (as in
    WeatherBench 2, Rasp et al. 2024). Unlike cos(latitude) it does not vanish at a pole.
    """
    lat = np.asarray(latitude, dtype=np.float64)
    if len(lat) == 1:
        return np.ones(1)
    between = (lat[:-1] + lat[1:]) / 2
    step_north, step_south = lat[0] - lat[1], lat[-2] - lat[-1]
    north = 90.0 if 90.0 - lat[0] < step_north else lat[0] + step_north / 2
    south = -90.0 if lat[-1] + 90.0 < step_south else lat[-1] - step_south / 2
    edges = np.sin(np.deg2rad(np.concatenate([[north], between, [south]])))
    weights = edges[:-1] - edges[1:]
    return weights / weights.mean()
