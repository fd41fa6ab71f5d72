"""Fields that follow from others: wind speed and relative vorticity.

Wind speed is √(u² + v²). Relative vorticity is

    ζ = (∂v/∂λ − ∂(u cos φ)/∂φ) / (a cos φ)        a = 6371 km

by centred differences of second order, also where points are unevenly spaced. A circle of longitudes closes; at the
edges of a region differences are one-sided. Beyond the first and the last row of a global grid lies the pole, where
u cos φ = 0. At a pole itself ζ is the circulation around the next row divided by the area of the cap that it encloses
(in a region, of the columns it has).
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fourcast.grid import Array, Grid, closes_circle
from fourcast.variables import BY_NAME, Channel, parse_channel

Float32 = NDArray[np.float32]
EARTH_RADIUS = 6.371e6
"""In metres."""
WINDS = {"ws": ("u", "v"), "vo": ("u", "v"), "ws10m": ("u10m", "v10m"), "ws100m": ("u100m", "v100m")}
"""Derived variable → the components of the wind it is made of."""


def derivable(channels: tuple[str, ...]) -> tuple[str, ...]:
    """Names of all derived channels that ``channels`` suffice for and do not hold themselves."""
    levels = [None, *sorted({level for name in channels if (level := parse_channel(name).level) is not None})]
    rows = [BY_NAME[name] for name in WINDS]
    names = [Channel(row, level).name for row in rows for level in levels if row.levels == (level is not None)]
    return tuple(name for name in names if name not in channels and set(inputs(name)) <= set(channels))


def inputs(name: str) -> tuple[str, str]:
    """The channels that a derived one is made of: ``ws850`` → u850, v850."""
    channel = parse_channel(name)
    u, v = WINDS[channel.variable.name]
    return f"{u}{channel.level or ''}", f"{v}{channel.level or ''}"


def derive(name: str, fields: Mapping[str, Float32], grid: Grid) -> Float32:
    """A derived channel from its inputs, [..., H, W] by channel on ``grid``, in the units of fourcast.variables."""
    u, v = (fields[channel] for channel in inputs(name))
    assert u.shape[-2:] == v.shape[-2:] == grid.shape, (u.shape, v.shape, grid.shape)
    return vorticity(u, v, grid) if parse_channel(name).variable.name == "vo" else np.hypot(u, v)


def vorticity(u: Float32, v: Float32, grid: Grid) -> Float32:
    """Relative vorticity in s-1 of a wind in m s-1, [..., H, W] with H, W ≥ 2; computed in float64."""
    assert min(grid.shape) > 1, grid
    cosine = np.cos(np.deg2rad(grid.latitude))[:, None]
    u_cosine = u.astype(np.float64) * cosine
    poles = np.abs(grid.latitude) > 90 - 1e-6
    curl = _eastward_slope(v.astype(np.float64), grid.longitude) - _northward_slope(u_cosine, grid)
    found = curl / (EARTH_RADIUS * np.where(poles[:, None], 1.0, cosine))
    for row in np.flatnonzero(poles).tolist():
        found[..., row, :] = _at_pole(u_cosine, grid, row)
    return found.astype(np.float32)


def _eastward_slope(values: Array, longitude: Array) -> Array:
    """∂/∂λ per radian; columns that lie across the meridian of Greenwich are neighbours like others."""
    if closes_circle(longitude):
        around = np.concatenate([values[..., -1:], values, values[..., :1]], axis=-1)
        places = np.concatenate([longitude[-1:] - 360, longitude, longitude[:1] + 360])
        return np.gradient(around, np.deg2rad(places), axis=-1)[..., 1:-1]
    west = int(np.argmax(np.diff(longitude, append=longitude[0] + 360))) + 1
    places = np.unwrap(np.roll(longitude, -west), period=360)
    slope = np.gradient(np.roll(values, -west, axis=-1), np.deg2rad(places), axis=-1)
    return np.roll(slope, west, axis=-1)


def _northward_slope(u_cosine: Array, grid: Grid) -> Array:
    """∂/∂φ per radian of what vanishes at the poles."""
    latitude = grid.latitude
    north, south = (int(grid.is_global and abs(edge) < 90 - 1e-6) for edge in (latitude[0], latitude[-1]))
    padding = [(0, 0)] * (u_cosine.ndim - 2) + [(north, south), (0, 0)]
    places = np.concatenate([[90.0] * north, latitude, [-90.0] * south])
    slope = np.gradient(np.pad(u_cosine, padding), np.deg2rad(places), axis=-2)
    return slope[..., north : north + len(latitude), :]


def _at_pole(u_cosine: Array, grid: Grid, row: int) -> Array:
    """Circulation 2πa·(mean of u cos φ) of the next row, over the area 2πa²·(1 − |sin φ|) of its cap."""
    beside = 1 if row == 0 else row - 1
    sine = np.sin(np.deg2rad(grid.latitude[beside]))
    turn = 1 if row == 0 else -1
    return turn * u_cosine[..., beside, :].mean(axis=-1, keepdims=True) / (EARTH_RADIUS * (1 - abs(sine)))
