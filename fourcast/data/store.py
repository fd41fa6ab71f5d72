"""The training store: one zarr v3 group of analyses with everything a training needs beside them.

    fields[time, channel, latitude, longitude]   float32; a chunk is one field of one channel (on small grids several
                                                 times of it), a shard several times of all channels
    time, channel, latitude, longitude           coordinates; times strictly increase and may have gaps
    mean, std, tendency_std [channel]            statistics in physical units
    climatology[hour, term, channel, …]          harmonic climatology (see climatology.py), climatology_hour[hour]
    z_sfc, lsm [latitude, longitude]             static fields, where the source had them

The group attribute ``complete`` is written last, and the directory takes its name last of all.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from fourcast.data.climatology import Climatology
from fourcast.data.statistics import Statistics
from fourcast.errors import InputError
from fourcast.grid import Grid
from fourcast.variables import BY_NAME, VARIABLES, parse_channel

Float32 = NDArray[np.float32]
Times = NDArray[np.datetime64]
FORMAT = 1
CHUNK_BYTES = 2**18
"""Where a field is smaller than this, several times share a chunk: reading costs a fixed time for every chunk."""
EPOCH_UNITS = "hours since 1970-01-01 00:00:00"


@dataclass(frozen=True, eq=False)
class Store:
    """An opened store; ``read`` touches the disk, everything else is in memory."""

    path: Path
    channels: tuple[str, ...]
    times: Times
    grid: Grid
    statistics: Statistics
    static: Mapping[str, Float32]
    attributes: Mapping[str, Any]
    group: zarr.Group

    @property
    def step_hours(self) -> int:
        """Hours between consecutive analyses where none is missing."""
        return int(self.attributes["step_hours"])

    @property
    def synthetic(self) -> bool:
        """Whether the data come from a simulated planet."""
        return bool(self.attributes["synthetic"])

    def read(self, positions: slice | list[int], channels: tuple[str, ...] | None = None) -> Float32:
        """Fields [T, C, H, W] at ``positions`` along time, for ``channels`` in their order (default: all)."""
        array = _array(self.group, "fields")
        chosen = self.channel_positions(self.channels if channels is None else channels)
        spans = _spans(positions, len(self.times), array.shards[0] if array.shards else 1)
        fields = np.empty((sum(stop - start for start, stop in spans), len(chosen), *self.grid.shape), np.float32)
        done = 0
        for start, stop in spans:
            block = fields[done : done + stop - start]
            # Plain slices: zarr's orthogonal indexing costs ten times as much.
            if chosen == list(range(len(self.channels))):
                block[:] = array[start:stop]
            else:
                for i, channel in enumerate(chosen):
                    block[:, i] = array[start:stop, channel]
            done += stop - start
        return fields

    def channel_positions(self, channels: tuple[str, ...]) -> list[int]:
        """Where ``channels`` lie in the store; InputError names those it lacks."""
        missing = [name for name in channels if name not in self.channels]
        if missing:
            raise InputError(
                f"{self.path} has no channel {', '.join(missing)}; it holds {', '.join(self.channels)}. "
                "Ingest them too or ask for others"
            )
        return [self.channels.index(name) for name in channels]

    def time_positions(self, times: Times) -> list[int]:
        """Where ``times`` lie along the time axis; InputError names those it lacks."""
        wanted = times.astype("datetime64[h]")
        found = np.searchsorted(self.times, wanted).clip(max=len(self.times) - 1)
        missing = wanted[self.times[found] != wanted]
        if len(missing):
            raise InputError(
                f"{self.path} has no analysis at {', '.join(map(str, missing[:5]))}"
                f"{' …' if len(missing) > 5 else ''}; it holds {len(self.times)} times from {self.times[0]} "
                f"to {self.times[-1]}"
            )
        return [int(p) for p in found]

    def climatology(self, channels: tuple[str, ...] | None = None) -> Climatology:
        """The climatology of ``channels`` in their order (default: all)."""
        chosen = self.channel_positions(self.channels if channels is None else channels)
        array = _array(self.group, "climatology")
        coefficients = np.stack([np.asarray(array[:, :, channel]) for channel in chosen], axis=2)
        return Climatology(
            np.asarray(_array(self.group, "climatology_hour")[:]), np.asarray(coefficients, dtype=np.float32)
        )


def open_store(path: str | Path) -> Store:
    """Open a finished store for reading.

    Raises InputError where there is none, where it is unfinished, or where it is some other zarr.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"there is no store at {path}; make one with: fourcast ingest output={path}")
    try:
        group = zarr.open_group(path, mode="r", zarr_format=3)
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise InputError(f"{path} is not a zarr v3 store ({error}); make one with fourcast ingest") from error
    attributes = dict(group.attrs)
    if attributes.get("fourcast_store") != FORMAT:
        raise InputError(f"{path} is a zarr but no fourcast training store of format {FORMAT}; run fourcast ingest")
    if not attributes.get("complete"):
        raise InputError(f"{path} is unfinished: its ingestion was interrupted; run fourcast ingest again")
    return Store(
        path=path,
        channels=tuple(str(name) for name in _array(group, "channel")[:]),  # type: ignore[union-attr]
        times=np.asarray(_array(group, "time")[:]).astype("datetime64[h]"),
        grid=Grid(_values(group, "latitude"), _values(group, "longitude")),
        statistics=Statistics(_values(group, "mean"), _values(group, "std"), _values(group, "tendency_std")),
        static={v.name: _values(group, v.name).astype(np.float32) for v in VARIABLES if v.static and v.name in group},
        attributes=attributes,
        group=group,
    )


def create_store(path: Path, channels: tuple[str, ...], grid: Grid, shard_times: int) -> zarr.Group:
    """Make an empty, unfinished store in the directory ``path``; fill it with append and end with finish."""
    group = zarr.create_group(path, overwrite=True, zarr_format=3, attributes={"fourcast_store": FORMAT})
    height, width = grid.shape
    group.create_array(
        "fields",
        shape=(0, len(channels), height, width),
        dtype="float32",
        chunks=(_chunk_times(shard_times, grid), 1, height, width),
        shards=(shard_times, len(channels), height, width),
        compressors=BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
        dimension_names=["time", "channel", "latitude", "longitude"],
        fill_value=np.nan,
    )
    time = group.create_array("time", shape=(0,), dtype="int64", dimension_names=["time"], chunks=(65536,))
    time.attrs.update({"units": EPOCH_UNITS, "calendar": "standard", "standard_name": "time"})
    names = group.create_array("channel", shape=(len(channels),), dtype=str, dimension_names=["channel"])
    names[:] = np.array(channels, dtype=object)
    names.attrs["units"] = [parse_channel(name).variable.units for name in channels]
    _put(group, "latitude", grid.latitude, ["latitude"], {"units": "degrees_north", "standard_name": "latitude"})
    _put(group, "longitude", grid.longitude, ["longitude"], {"units": "degrees_east", "standard_name": "longitude"})
    return group


def append(group: zarr.Group, times: Times, fields: Float32) -> None:
    """Append fields [T, C, H, W] in physical units; whole shards, except at the very end."""
    hours = times.astype("datetime64[h]").astype(np.int64)
    _array(group, "fields").append(fields, axis=0)
    _array(group, "time").append(hours, axis=0)


def finish(
    group: zarr.Group,
    statistics: Statistics,
    climatology: Climatology,
    static: Mapping[str, Float32],
    attributes: Mapping[str, Any],
) -> None:
    """Write what is known only at the end, and last of all that the store is complete."""
    for name in ("mean", "std", "tendency_std"):
        _put(group, name, getattr(statistics, name), ["channel"], {})
    plane = ["latitude", "longitude"]
    _put(group, "climatology_hour", climatology.hours, ["hour"], {"units": "h"})
    coefficients = climatology.coefficients
    array = group.create_array(
        "climatology",
        shape=coefficients.shape,
        dtype="float32",
        chunks=(1, 1, 1, *coefficients.shape[-2:]),
        dimension_names=["hour", "term", "channel", *plane],
    )
    array[:] = coefficients
    for name, values in static.items():
        row = BY_NAME[name]
        _put(group, name, values, plane, {"units": row.units, "standard_name": row.standard_name})
    group.attrs.update({**attributes, "complete": True})


def _spans(positions: slice | list[int], times: int, most: int) -> list[tuple[int, int]]:
    """``positions`` as runs (start, stop) that end at multiples of ``most``, the shard's length."""
    if not isinstance(positions, slice):
        return [(p, p + 1) for p in positions]
    start, stop, step = positions.indices(times)
    assert step == 1, positions
    edges = [start, *range((start // most + 1) * most, stop, most), stop]
    return [(a, b) for a, b in itertools.pairwise(edges) if b > a]


def _chunk_times(shard_times: int, grid: Grid) -> int:
    """Times in a chunk: one where a field is large, else the most that divide a shard and stay within CHUNK_BYTES."""
    height, width = grid.shape
    limit = max(CHUNK_BYTES // (4 * height * width), 1)
    return max(times for times in range(1, shard_times + 1) if shard_times % times == 0 and times <= limit)


def _put(group: zarr.Group, name: str, values: NDArray[Any], dims: list[str], attributes: dict[str, str]) -> None:
    array = group.create_array(name, shape=values.shape, dtype=values.dtype, dimension_names=dims)
    array[:] = values
    array.attrs.update(attributes)


def _array(group: zarr.Group, name: str) -> zarr.Array:
    array = group[name]
    assert isinstance(array, zarr.Array)
    return array


def _values(group: zarr.Group, name: str) -> NDArray[np.float64]:
    return np.asarray(_array(group, name)[:], dtype=np.float64)
