"""Plausible random weather for ingestion tests, a function of time alone: any file of it agrees with any other."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fourcast.data.ingest import ingest
from fourcast.data.store import Store, open_store
from fourcast.data_config import IngestConfig

LATITUDE = np.arange(75.0, -76.0, -30.0)
LONGITUDE = np.arange(0.0, 360.0, 30.0)
STEP = np.timedelta64(6, "h")


def hours(start: str, count: int) -> np.ndarray:
    """``count`` times from ``start`` on, six hours apart."""
    return np.datetime64(start, "h") + STEP * np.arange(count)


def weather(times: np.ndarray) -> xr.Dataset:
    """t850 and msl at ``times``, with a season, as today's Climate Data Store would name them."""
    noise = np.stack([np.random.default_rng(int(t)).uniform(-1, 1, (2, 6, 12)) for t in times.astype(np.int64)])
    season = np.cos(2 * np.pi * times.astype(np.int64) / 8766)[:, None, None]
    t = (280 + 5 * season * np.sin(np.deg2rad(LATITUDE))[:, None] + 20 * noise[:, 0]).astype("f4")[:, None]
    msl = (101100 + 1800 * noise[:, 1]).astype("f4")
    plane = ("latitude", "longitude")
    return xr.Dataset(
        {"t": (("time", "level", *plane), t, {"units": "K"}), "msl": (("time", *plane), msl, {"units": "Pa"})},
        {
            "time": times.astype("datetime64[ns]"),
            "level": ("level", [850], {"units": "hPa"}),
            "latitude": LATITUDE,
            "longitude": LONGITUDE,
        },
    )


def write(path: Path, times: np.ndarray) -> Path:
    """A netCDF file of the weather at ``times``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weather(times).to_netcdf(path)
    return path


def config(source: Path, output: Path, **settings: Any) -> IngestConfig:
    """An ingestion in this process, in parts of four shards of four times."""
    given = {"shard_times": 4, "part_times": 16, "workers": 1}
    return IngestConfig(source=[str(source)], output=str(output), **(given | settings))


def store(source: Path, output: Path, **settings: Any) -> Store:
    """The store that ``ingest`` makes."""
    return open_store(ingest(config(source, output, **settings)))


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a store by its relative path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
