"""Files for benchmarks/verification.py: a forecast, analyses and a climatology in WeatherBench 2's layout.

    python verification_case.py FOLDER NAME

The zarr stores hold latitudes from south to north and float32 in the chunks in which such stores are usually published:
all members and levels of one case, one analysis, one day of the year.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zarr
from common import Weather
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from fourcast.grid import Grid
from fourcast.variables import Channel, parse_channels
from fourcast.verify_config import REGIONS

Float32 = NDArray[np.float32]
START = np.datetime64("2020-01-01T00", "h")
STEP_HOURS = 12
HOURS, DAYS = 4, 366
GROWTH = 0.1
"""Of the members' errors, in a field's standard deviations and for every lead time."""


@dataclass(frozen=True)
class Case:
    """Forecasts of a grid [H, W], so many members, initial times and lead times, half a day apart each."""

    shape: tuple[int, int]
    members: int
    channels: tuple[str, ...]
    inits: int
    leads: int

    @property
    def grid(self) -> Grid:
        """With the poles where the rows are odd in number, else between them; south to north in the files."""
        rows, columns = self.shape
        half = 0 if rows % 2 else 90 / rows
        return Grid(np.linspace(90 - half, half - 90, rows), 360 / columns * np.arange(columns))

    @property
    def lead_hours(self) -> list[int]:
        """In hours."""
        return [STEP_HOURS * (i + 1) for i in range(self.leads)]

    @property
    def values(self) -> int:
        """How many the forecast holds."""
        return int(np.prod(self.shape)) * self.members * len(self.channels) * self.inits * self.leads

    def __str__(self) -> str:
        rows, columns = self.shape
        return (
            f"{rows}×{columns}, {self.members} members, {len(self.channels)} channels, {self.inits} initial times, "
            f"{self.leads} lead times: {4e-6 * self.values:.0f} MB of forecasts"
        )


SURFACE_AND_LEVELS = ("t2m", "msl", "u10m", "v10m", "z500", "z850", "t500", "t850")
CASES = {
    "tiny": Case((19, 36), 4, ("t2m", "z500"), inits=3, leads=2),
    "small": Case((32, 64), 16, SURFACE_AND_LEVELS, inits=40, leads=6),
    "small_doubled": Case((32, 64), 16, SURFACE_AND_LEVELS, inits=80, leads=6),
    "large": Case((181, 360), 20, ("t2m", "z500"), inits=4, leads=4),
    "large_doubled": Case((181, 360), 20, ("t2m", "z500"), inits=8, leads=4),
}
EVENT = ("t2m", 285.0)


def write_case(folder: Path, case: Case) -> Path:
    """Write the three stores and task.json, which names them, into ``folder``; return the latter's path."""
    weather = Weather(case.channels, case.grid)
    channels = parse_channels(list(case.channels))
    truths = case.inits + case.leads
    _write_analyses(folder / "analyses.zarr", case, channels, weather, truths)
    _write_forecast(folder / "forecast.zarr", case, channels, weather)
    _write_climatology(folder / "climatology.zarr", case, channels, weather)
    names = {
        name: (channel.variable.long_name, channel.level) for name, channel in zip(case.channels, channels, strict=True)
    }
    task = {name: str(folder / f"{name}.zarr") for name in ("forecast", "analyses", "climatology")} | {
        "channels": names,
        "event": (names[EVENT[0]][0], EVENT[1]),
        "regions": REGIONS,
        "chunk": max(1, 2**24 // (case.values // case.inits)),
    }
    path = folder / "task.json"
    path.write_text(json.dumps(task), encoding="utf-8")
    return path


def _write_analyses(path: Path, case: Case, channels: tuple[Channel, ...], weather: Weather, truths: int) -> None:
    times = START + STEP_HOURS * np.arange(truths)
    store = _Store(path, case, channels, {"time": times})
    for i in range(truths):
        store.write((i,), weather.at(i))


def _write_forecast(path: Path, case: Case, channels: tuple[Channel, ...], weather: Weather) -> None:
    """Members that are the truth and smooth waves of their own, which grow with lead time, and noise."""
    outer = {
        "time": START + STEP_HOURS * np.arange(case.inits),
        "number": np.arange(case.members),
        "prediction_timedelta": np.array(case.lead_hours).astype("timedelta64[h]"),
    }
    store = _Store(path, case, channels, outer, whole="number")
    rng = np.random.default_rng(1)
    scale_C11 = weather.at(0).std(axis=(1, 2), keepdims=True)
    for i in range(case.inits):
        for lead in range(case.leads):
            truth = weather.at(i + lead + 1)
            members = np.stack([truth + _error(rng, weather, scale_C11, lead + 1) for _ in range(case.members)])
            store.write((i, slice(None), lead), members)


def _error(rng: np.random.Generator, weather: Weather, scale_C11: Float32, growth: int) -> Float32:
    columns = weather.patterns[0].shape[1]
    waves = np.stack([np.roll(pattern, rng.integers(columns), axis=1)[::-1] for pattern in weather.patterns])
    noise = rng.standard_normal(waves.shape, dtype=np.float32)
    return np.asarray(np.float32(GROWTH * growth) * scale_C11 * (waves + np.float32(0.1) * noise), np.float32)


def _write_climatology(path: Path, case: Case, channels: tuple[Channel, ...], weather: Weather) -> None:
    """The field of one time, and a season."""
    store = _Store(path, case, channels, {"hour": 6 * np.arange(HOURS), "dayofyear": 1 + np.arange(DAYS)}, whole="hour")
    mean_CHW = weather.at(0)
    season_C11 = 0.3 * mean_CHW.std(axis=(1, 2), keepdims=True)
    for day in range(DAYS):
        field = mean_CHW + season_C11 * np.float32(np.cos(2 * np.pi * day / DAYS))
        store.write((slice(None), day), np.broadcast_to(field, (HOURS, *field.shape)))


class _Store:
    """A zarr store with a variable for each of the channels' variables, on all their levels."""

    def __init__(
        self,
        path: Path,
        case: Case,
        channels: tuple[Channel, ...],
        outer: dict[str, NDArray],
        whole: str | None = None,
    ) -> None:
        self.group = zarr.create_group(path, zarr_format=3)
        self.places: dict[str, list[int]] = {}
        for place, channel in enumerate(channels):
            self.places.setdefault(channel.variable.long_name, []).append(place)
        grid, levels = case.grid, sorted({channel.level for channel in channels if channel.level is not None})
        self._coordinates(
            outer | {"level": np.array(levels), "latitude": grid.latitude[::-1], "longitude": grid.longitude}
        )
        for name, places in self.places.items():
            variable = channels[places[0]].variable
            inner = {"level": len(places)} if variable.levels else {}
            inner |= {"latitude": case.shape[0], "longitude": case.shape[1]}
            self.group.create_array(
                name,
                shape=(*map(len, outer.values()), *inner.values()),
                chunks=(*(len(axis) if key == whole else 1 for key, axis in outer.items()), *inner.values()),
                dtype="float32",
                compressors=BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
                dimension_names=[*outer, *inner],
                attributes={"units": variable.units},
            )

    def _coordinates(self, coordinates: dict[str, NDArray]) -> None:
        for name, values in coordinates.items():
            attributes: dict[str, str] = {}
            if values.dtype.kind == "M":
                attributes = {"units": "hours since 1970-01-01", "calendar": "proleptic_gregorian"}
            if values.dtype.kind == "m":
                attributes = {"units": "hours", "dtype": "timedelta64[ns]"}
            if values.dtype.kind in "mM":
                values = values.astype(np.int64)
            array = self.group.create_array(
                name, shape=values.shape, dtype=values.dtype, dimension_names=[name], attributes=attributes
            )
            array[:] = values

    def write(self, where: tuple[int | slice, ...], fields: Float32) -> None:
        """Fields [..., C, H, W], north to south."""
        for name, places in self.places.items():
            array = self.group[name]
            assert isinstance(array, zarr.Array)
            level = array.ndim - len(where) == 3
            array[where] = fields[..., places if level else places[0], ::-1, :]


def main(folder: str, name: str) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_case(Path(folder), CASES[name])


if __name__ == "__main__":
    main(*sys.argv[1:])
