"""Writing a store: empty at first, then whole shards as files of their own, in the end what a reader goes by.

Until ``publish`` the group says that it is not complete, and no reader opens it. A store that is extended stays
complete and readable as it was: new shards lie beyond its end, the last shard is replaced by one that begins with the
same fields, and ``publish`` swaps everything else.
"""

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec
from zarr.storage import LocalStore, MemoryStore

from fourcast.data.climatology import Climatology
from fourcast.data.statistics import Statistics
from fourcast.data.store import EPOCH_UNITS, FORMAT, Float32, Times, array_in
from fourcast.files import whole_file
from fourcast.grid import Grid
from fourcast.variables import BY_NAME, parse_channel

CHUNK_BYTES = 2**18
"""Where a field is smaller than this, several times share a chunk: reading costs a fixed time for every chunk."""
INGEST = "ingest"
"""The folder inside a store where its ingestion keeps its plan, its records and what it has in the works."""


def create_store(path: Path, channels: tuple[str, ...], grid: Grid, shard_times: int, times: int = 0) -> zarr.Group:
    """Make an unfinished store in the directory ``path``, with room for ``times`` analyses."""
    attributes = {"fourcast_store": FORMAT, "complete": False}
    group = zarr.create_group(path, overwrite=True, zarr_format=3, attributes=attributes)
    group.create_group(INGEST)
    _create_fields(group, (times, len(channels), *grid.shape), shard_times)
    names = group.create_array("channel", shape=(len(channels),), dtype=str, dimension_names=["channel"])
    names[:] = np.array(channels, dtype=object)
    names.attrs["units"] = [parse_channel(name).variable.units for name in channels]
    _put(group, "latitude", grid.latitude, ["latitude"], {"units": "degrees_north", "standard_name": "latitude"})
    _put(group, "longitude", grid.longitude, ["longitude"], {"units": "degrees_east", "standard_name": "longitude"})
    return group


def put_static(group: zarr.Group, static: Mapping[str, Float32]) -> None:
    """Write static fields [H, W]."""
    for name, values in static.items():
        row = BY_NAME[name]
        attributes = {"units": row.units, "standard_name": row.standard_name}
        _put(group, name, values, ["latitude", "longitude"], attributes)


def encode_shard(fields_TCHW: Float32, shard_times: int) -> bytes:
    """The shard of these fields as it lies on disk; at most ``shard_times`` times. The same fields, the same bytes."""
    content: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(content), zarr_format=3)
    _create_fields(group, fields_TCHW.shape, shard_times)[:] = fields_TCHW
    return bytes(content["fields/c/0/0/0/0"].to_bytes())


def write_shard(path: Path, index: int, fields_TCHW: Float32, shard_times: int) -> str:
    """Write shard ``index`` of the store at ``path``, whole or not at all, and return the SHA-256 of its bytes."""
    content = encode_shard(fields_TCHW, shard_times)
    with whole_file(shard_file(path, index)) as temporary:
        temporary.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def shard_file(path: Path, index: int) -> Path:
    """The file of shard ``index``."""
    return path / "fields" / "c" / str(index) / "0" / "0" / "0"


def append(group: zarr.Group, times: Times, fields: Float32) -> None:
    """Append fields [T, C, H, W] in physical units; whole shards, except at the very end."""
    array, path = array_in(group, "fields"), _folder(group)
    size, start = (array.shards or array.chunks)[0], array.shape[0]
    assert start % size == 0, "append comes after whole shards only"
    for first in range(0, len(times), size):
        write_shard(path, (start + first) // size, fields[first : first + size], size)
    known = np.asarray(array_in(group, "time")[:]) if "time" in group else np.zeros(0, dtype=np.int64)
    array.resize((start + len(times), *array.shape[1:]))
    _put_times(group, np.concatenate([known, _hours(times)]))


def finish(
    group: zarr.Group,
    statistics: Statistics,
    climatology: Climatology,
    static: Mapping[str, Float32],
    attributes: Mapping[str, Any],
) -> None:
    """Complete a store that was filled by ``append``."""
    put_static(group, static)
    times = np.asarray(array_in(group, "time")[:]).astype("datetime64[h]")
    hours, coefficients = climatology.hours, climatology.coefficients
    single = (Climatology(hours, coefficients[:, :, c : c + 1]) for c in range(coefficients.shape[2]))
    publish(_folder(group), times, statistics, single, attributes)


def publish(
    path: Path,
    times: Times,
    statistics: Statistics,
    climatology: Iterable[Climatology],
    attributes: Mapping[str, Any],
) -> None:
    """Make the store at ``path`` complete with these ``times``; ``climatology`` is that of one channel after the other.

    The arrays are written beside the store and take their places by renaming, between two changes of ``complete``;
    who opens it then has to wait for an instant. Killed at any moment and called again, it ends the same.
    """
    staged, replaced = path / INGEST / "publish", path / INGEST / "replaced"
    for abandoned in (*path.glob("zarr.*.partial"), *(path / "fields").glob("zarr.*.partial")):
        abandoned.unlink(missing_ok=True)  # zarr's, of a process killed while it wrote one of the two below in place
    _stage(staged, times, statistics, climatology)
    group = zarr.open_group(path, mode="r+", zarr_format=3)
    before = dict(group.attrs)
    group.attrs.put({**before, "complete": False, "publishing": True})
    shutil.rmtree(replaced, ignore_errors=True)
    replaced.mkdir()
    for array in sorted(folder for folder in staged.iterdir() if folder.is_dir()):
        if (path / array.name).exists():
            (path / array.name).rename(replaced / array.name)
        array.rename(path / array.name)
    fields = array_in(group, "fields")
    fields.resize((len(times), *fields.shape[1:]))
    generation = int(str(before.get("generation", 0))) + 1
    state = {"fourcast_store": FORMAT, "times": len(times), "generation": generation, "complete": True}
    group.attrs.put({**attributes, **state})
    for folder in (replaced, staged):  # another share of the ingestion may be removing them, too
        shutil.rmtree(folder, ignore_errors=True)


def _stage(folder: Path, times: Times, statistics: Statistics, climatology: Iterable[Climatology]) -> None:
    """Write everything that ``publish`` will put in its place as a group of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    group = zarr.create_group(folder, zarr_format=3)
    _put_times(group, _hours(times))
    for name in ("mean", "std", "tendency_std", "minimum", "maximum"):
        _put(group, name, getattr(statistics, name), ["channel"], {})
    for c, one in enumerate(climatology):
        if c == 0:
            _put(group, "climatology_hour", one.hours, ["hour"], {"units": "h"})
            array = _create_climatology(group, one.coefficients.shape, len(statistics.mean))
        array[:, :, c] = one.coefficients[:, :, 0]


def _create_climatology(group: zarr.Group, shape: tuple[int, ...], channels: int) -> zarr.Array:
    hours, terms, _, height, width = shape
    return group.create_array(
        "climatology",
        shape=(hours, terms, channels, height, width),
        dtype="float32",
        chunks=(1, 1, 1, height, width),
        dimension_names=["hour", "term", "channel", "latitude", "longitude"],
    )


def _create_fields(group: zarr.Group, shape: tuple[int, ...], shard_times: int) -> zarr.Array:
    _, channels, height, width = shape
    return group.create_array(
        "fields",
        shape=shape,
        dtype="float32",
        chunks=(_chunk_times(shard_times, height * width), 1, height, width),
        shards=(shard_times, channels, height, width),
        compressors=BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
        dimension_names=["time", "channel", "latitude", "longitude"],
        fill_value=np.nan,
        # A shard without a single value is a file all the same: what is missing on disk was never written.
        config={"write_empty_chunks": True},
    )


def _chunk_times(shard_times: int, points: int) -> int:
    """Times in a chunk: one where a field is large, else the most that divide a shard and stay within CHUNK_BYTES."""
    limit = max(CHUNK_BYTES // (4 * points), 1)
    return max(times for times in range(1, shard_times + 1) if shard_times % times == 0 and times <= limit)


def _hours(times: Times) -> NDArray[np.int64]:
    return times.astype("datetime64[h]").astype(np.int64)


def _put_times(group: zarr.Group, hours: NDArray[np.int64]) -> None:
    attributes = {"units": EPOCH_UNITS, "calendar": "standard", "standard_name": "time"}
    _put(group, "time", hours, ["time"], attributes)


def _put(group: zarr.Group, name: str, values: NDArray[Any], dims: list[str], attributes: dict[str, str]) -> None:
    array = group.create_array(name, shape=values.shape, dtype=values.dtype, dimension_names=dims, overwrite=True)
    array[:] = values
    array.attrs.update(attributes)


def _folder(group: zarr.Group) -> Path:
    assert isinstance(group.store, LocalStore)
    return Path(group.store.root)
