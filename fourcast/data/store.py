"""The training store: one zarr v3 group of analyses with everything a training needs beside them.

    fields[time, channel, latitude, longitude]   float32; a chunk is one field of one channel (on small grids several
                                                 times of it), a shard several times of all channels
    time, channel, latitude, longitude           coordinates; times strictly increase and may have gaps
    mean, std, tendency_std, minimum, maximum    [channel] statistics in physical units
    climatology[hour, term, channel, …]          harmonic climatology (see climatology.py), climatology_hour[hour]
    z_sfc, lsm [latitude, longitude]             static fields, where the source had them
    ingest/                                      plan, records and manifest of the ingestion (see manifest.py)

The group attribute ``complete`` is written last; ``generation`` counts how often the store was published.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from fourcast.data.climatology import Climatology
from fourcast.data.reader import FieldReader, open_fields
from fourcast.data.statistics import Statistics
from fourcast.errors import InputError
from fourcast.grid import Grid
from fourcast.variables import VARIABLES

Float32 = NDArray[np.float32]
Times = NDArray[np.datetime64]
FORMAT = 2
READABLE = (1, FORMAT)
"""Format 1 had no minimum and maximum, and no folder of its ingestion."""
PATIENCE = 40
"""How often an opening looks again, 50 ms apart, at a store that is just being published."""
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
    reader: FieldReader

    @property
    def step_hours(self) -> int:
        """Hours between consecutive analyses where none is missing."""
        return int(self.attributes["step_hours"])

    @property
    def synthetic(self) -> bool:
        """Whether the data come from a simulated planet."""
        return bool(self.attributes["synthetic"])

    @property
    def digest(self) -> str:
        """SHA-256 of what the store says of itself, sources and statistics included, in hexadecimal."""
        described = hashlib.sha256(json.dumps(dict(self.attributes), sort_keys=True).encode())
        for statistic in fields(self.statistics):
            described.update(np.asarray(getattr(self.statistics, statistic.name), np.float64).tobytes())
        return described.hexdigest()

    def read(self, positions: slice | list[int], channels: tuple[str, ...] | None = None) -> Float32:
        """Fields [T, C, H, W] at ``positions`` along time, for ``channels`` in their order (default: all)."""
        chosen = self.channel_positions(self.channels if channels is None else channels)
        times = list(range(*positions.indices(len(self.times)))) if isinstance(positions, slice) else positions
        out = np.empty((len(times), len(chosen), *self.grid.shape), np.float32)
        self.reader.read(times, chosen, out)
        return out

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
        array = array_in(self.group, "climatology")
        coefficients = np.stack([np.asarray(array[:, :, channel]) for channel in chosen], axis=2)
        return Climatology(
            np.asarray(array_in(self.group, "climatology_hour")[:]), np.asarray(coefficients, dtype=np.float32)
        )


def open_store(path: str | Path) -> Store:
    """Open a finished store for reading.

    Raises InputError where there is none, where it is unfinished, or where it is some other zarr. A store that is
    being extended opens as it was before or as it is after, never as a mixture.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"there is no store at {path}; make one with: fourcast ingest output={path}")
    for _ in range(PATIENCE):
        group = _open_group(path)
        attributes = dict(group.attrs)
        if attributes.get("complete"):
            try:
                store = _load(path, group, attributes)
            except (FileNotFoundError, KeyError):
                store = None
            if dict(_open_group(path).attrs) == attributes:
                if store is None:
                    raise InputError(f"{path} is damaged: arrays are missing; run fourcast ingest with overwrite=true")
                return store
        elif not attributes.get("publishing"):
            break
        time.sleep(0.05)
    raise InputError(
        f"{path} is unfinished: its ingestion was interrupted or still runs; fourcast inspect {path} shows how far it "
        "is, and fourcast ingest goes on with it"
    )


def _open_group(path: Path) -> zarr.Group:
    try:
        group = zarr.open_group(path, mode="r", zarr_format=3)
    except (FileNotFoundError, NotADirectoryError, KeyError, ValueError) as error:
        raise InputError(f"{path} is not a zarr v3 store ({error}); make one with fourcast ingest") from error
    if group.attrs.get("fourcast_store") not in READABLE:
        raise InputError(f"{path} is a zarr but no fourcast training store of format {FORMAT}; run fourcast ingest")
    return group


def _load(path: Path, group: zarr.Group, attributes: dict[str, Any]) -> Store:
    return Store(
        path=path,
        channels=tuple(str(name) for name in array_in(group, "channel")[:]),  # type: ignore[union-attr]
        times=np.asarray(array_in(group, "time")[:]).astype("datetime64[h]"),
        grid=Grid(_values(group, "latitude"), _values(group, "longitude")),
        statistics=Statistics(*(_statistic(group, field.name) for field in fields(Statistics))),
        static={v.name: _values(group, v.name).astype(np.float32) for v in VARIABLES if v.static and v.name in group},
        attributes=attributes,
        group=group,
        reader=open_fields(path / "fields", array_in(group, "fields")),
    )


def _statistic(group: zarr.Group, name: str) -> NDArray[np.float64]:
    """A statistic of every channel; NaN where the store is of a format that had none."""
    return _values(group, name) if name in group else np.full(array_in(group, "channel").shape, np.nan)


def array_in(group: zarr.Group, name: str) -> zarr.Array:
    """The array of a group by name."""
    array = group[name]
    assert isinstance(array, zarr.Array)
    return array


def _values(group: zarr.Group, name: str) -> NDArray[np.float64]:
    return np.asarray(array_in(group, name)[:], dtype=np.float64)
