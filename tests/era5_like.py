"""Small analyses that look like the atmosphere: for sources of every form, good and bad."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

LATITUDE = np.arange(90.0, -91.0, -22.5)
LONGITUDE = np.arange(0.0, 360.0, 22.5)
LEVELS = (500, 850)
TYPICAL: dict[str, tuple[str, float | Sequence[float], float | Sequence[float]]] = {
    "t": ("K", (258.0, 280.0), (11.0, 12.0)),
    "u": ("m s**-1", (7.0, 1.0), (11.0, 8.0)),
    "z": ("m**2 s**-2", (55300.0, 14200.0), (2600.0, 1100.0)),
    "q": ("kg kg**-1", (1.2e-3, 6e-3), (6e-4, 3e-3)),
    "r": ("%", (50.0, 65.0), (20.0, 15.0)),
    "t2m": ("K", 286.0, 16.0),
    "msl": ("Pa", 101100.0, 1100.0),
    "u10": ("m s**-1", 0.0, 5.0),
    "tp": ("m", 1.2e-4, 5e-5),
}
"""Variable → units, mean and standard deviation, for those aloft at each of ``LEVELS``."""


def times(count: int, start: str = "2020-01-01", hours: int = 6) -> np.ndarray:
    """``count`` times every ``hours``."""
    return np.datetime64(start, "ns") + np.arange(count) * np.timedelta64(hours, "h")


def analyses(names: Sequence[str] = ("t", "msl"), when: np.ndarray | None = None, seed: int = 0) -> xr.Dataset:
    """Variables on a global grid in the older form of the Climate Data Store, float32: a wave and noise.

    The wave moves, and its area mean is zero and its standard deviation one before it is scaled.
    """
    when = times(8) if when is None else when
    rng = np.random.default_rng(seed)
    phase = 2 * np.pi * rng.uniform(size=len(when))[:, None, None]
    wave = np.sqrt(3.0) * np.cos(np.deg2rad(LATITUDE))[:, None] * np.sin(np.deg2rad(LONGITUDE) + phase)
    arrays = {}
    for name in names:
        units, mean, spread = TYPICAL[name]
        noise = wave + 0.1 * rng.uniform(-1, 1, wave.shape)
        if isinstance(mean, Sequence):
            shape = (len(LEVELS), 1, 1)
            fields = np.reshape(mean, shape) + np.reshape(spread, shape) * noise[:, None]
            dimensions = ("time", "level", "latitude", "longitude")
        else:
            fields, dimensions = mean + spread * noise, ("time", "latitude", "longitude")
        arrays[name] = (dimensions, fields.astype("f4"), {"units": units})
    data = xr.Dataset(arrays, {"time": when, "latitude": LATITUDE, "longitude": LONGITUDE})
    return data.assign_coords(level=("level", list(LEVELS), {"units": "hPa"})) if "level" in data.dims else data


LONG_NAMES = {
    "t": "temperature", "u": "u_component_of_wind", "z": "geopotential", "q": "specific_humidity",
    "r": "relative_humidity", "t2m": "2m_temperature", "msl": "mean_sea_level_pressure",
    "u10": "10m_u_component_of_wind", "tp": "total_precipitation",
}  # fmt: skip


def as_arco(data: xr.Dataset) -> xr.Dataset:
    """The same with the long names of ARCO-ERA5 and WeatherBench 2, and levels as integers without units."""
    renamed = data.rename({name: LONG_NAMES[str(name)] for name in data.data_vars})
    return renamed.assign_coords(level=np.array(LEVELS, dtype="i8")) if "level" in data.dims else renamed
