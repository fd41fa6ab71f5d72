"""Fields of a zarr v3 array, read straight into the caller's memory.

A shard holds many fields of one channel each, compressed one by one, and an index of where they lie. Here the index is
read once and every field with one read of the file, which blosc decodes to where it belongs without holding Python's
lock, on several threads. Arrays laid out otherwise are read by zarr, with which the direct way is compared when an
array is opened. Format: zarr core specification v3 and its ``sharding_indexed`` codec, version 1.0.
"""

import itertools
import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import NamedTuple, Protocol

import google_crc32c
import numpy as np
import zarr
from numcodecs import blosc  # type: ignore[import-untyped]
from numpy.typing import NDArray

from fourcast.errors import InputError

log = logging.getLogger(__name__)

Float32 = NDArray[np.float32]
ABSENT = 2**64 - 1
"""Offset and size in the index of a chunk that holds the fill value alone and is not stored."""
LITTLE_ENDIAN = {"name": "bytes", "configuration": {"endian": "little"}}
THREADED_BYTES = 2**22
"""Smaller reads are done before other threads would have started."""


class FieldReader(Protocol):
    """Reads fields of an array [T, C, H, W]."""

    def read(self, times: Sequence[int], channels: Sequence[int], out: Float32, threads: int | None = None) -> None:
        """Fill ``out`` [len(times), len(channels), H, W], C-contiguous; threads: by default one for each processor."""


def open_fields(folder: Path, array: zarr.Array) -> FieldReader:
    """A reader of ``array``, which lies in ``folder``: direct where its layout allows and zarr reads the same."""
    plain, layout = PlainReader(array), shard_layout(folder)
    if layout is None:
        return plain
    direct = ShardReader(layout)
    if not _agree(direct, plain, array.shape):
        log.warning("%s: read through zarr, which is slow: reading its shards directly gives other values", folder)
        return plain
    return direct


def _agree(first: FieldReader, second: FieldReader, shape: tuple[int, ...]) -> bool:
    """Whether both read the same bits, at the first field of the first time and the last field of the last."""
    corners = [(0, 0), (shape[0] - 1, shape[1] - 1)] if shape[0] else []
    found, expected = (np.empty((2, *shape[2:]), np.float32) for _ in range(2))
    for time, channel in corners:
        for reader, fields in ((first, found), (second, expected)):
            reader.read([time], [channel], fields[:1, None])
        if not np.array_equal(found[0].view(np.uint32), expected[0].view(np.uint32)):
            return False
    return True


@dataclass(frozen=True)
class PlainReader:
    """Reads through zarr, whatever the layout."""

    array: zarr.Array

    def read(self, times: Sequence[int], channels: Sequence[int], out: Float32, threads: int | None = None) -> None:
        """See FieldReader; zarr has threads of its own."""
        done = 0
        for start, stop in _runs(times, self.array.shards[0] if self.array.shards else 1):
            block = out[done : done + stop - start]
            # Plain slices: zarr's orthogonal indexing costs ten times as much.
            if list(channels) == list(range(self.array.shape[1])):
                block[:] = self.array[start:stop]
            else:
                for i, channel in enumerate(channels):
                    block[:, i] = self.array[start:stop, channel]
            done += stop - start


def _runs(times: Sequence[int], most: int) -> list[tuple[int, int]]:
    """``times`` as runs (start, stop) of consecutive ones that do not cross multiples of ``most``."""
    edges = [i for i in range(1, len(times)) if times[i] != times[i - 1] + 1 or times[i] % most == 0]
    return [(times[a], times[b - 1] + 1) for a, b in itertools.pairwise([0, *edges, len(times)]) if b > a]


@dataclass(frozen=True)
class Layout:
    """Where fields lie: shards of ``shard_times`` times and all channels, chunks of ``chunk_times`` and one channel."""

    folder: Path
    shape: tuple[int, int, int, int]
    shard_times: int
    chunk_times: int
    compressed: bool
    fill: float

    @property
    def chunk_shape(self) -> tuple[int, int, int]:
        """Times, rows and columns of a chunk."""
        return self.chunk_times, *self.shape[2:]

    @property
    def index_bytes(self) -> int:
        """Size of a shard's index: two integers of eight bytes for every chunk, then a checksum of four."""
        return 16 * (self.shard_times // self.chunk_times) * self.shape[1] + 4


def shard_layout(folder: Path) -> Layout | None:
    """The layout of the zarr v3 array in ``folder``, or None where it is not one that ShardReader knows."""
    metadata = json.loads((folder / "zarr.json").read_text(encoding="utf-8"))
    if [codec["name"] for codec in metadata["codecs"]] != ["sharding_indexed"] or len(metadata["shape"]) != 4:
        return None
    shape, shard = metadata["shape"], metadata["chunk_grid"]["configuration"]["chunk_shape"]
    inner = metadata["codecs"][0]["configuration"]
    compressors = [codec["name"] for codec in inner["codecs"][1:]]
    known = (
        metadata["data_type"] == "float32"
        and metadata["chunk_key_encoding"] == {"name": "default", "configuration": {"separator": "/"}}
        and not metadata.get("storage_transformers")
        and inner["codecs"][0] == LITTLE_ENDIAN
        and compressors in ([], ["blosc"])
        and inner["index_codecs"] == [LITTLE_ENDIAN, {"name": "crc32c"}]
        and inner["index_location"] == "end"
        and shard[1:] == shape[1:]
        and inner["chunk_shape"][1:] == [1, *shape[2:]]
    )
    if not known:
        return None
    fill = float(metadata["fill_value"])
    return Layout(folder, tuple(shape), shard[0], inner["chunk_shape"][0], bool(compressors), fill)


class Job(NamedTuple):
    """A chunk to read from an open file, and where its fields go: (time within the chunk, fields [H, W])."""

    file: FileIO
    offset: int
    size: int
    targets: list[tuple[int, Float32]]


@dataclass(frozen=True)
class ShardReader:
    """Reads shards without zarr; keeps their indices, but no file open. Threads and processes may share it."""

    layout: Layout
    indices: dict[int, tuple[tuple[int, int, int], NDArray[np.uint64]]] = field(default_factory=dict)

    def read(self, times: Sequence[int], channels: Sequence[int], out: Float32, threads: int | None = None) -> None:
        """See FieldReader. Raises InputError, which names the file, where a shard is missing or damaged."""
        assert out.flags.c_contiguous
        assert out.dtype == np.float32
        assert out.shape[:2] == (len(times), len(channels))
        threads = min(threads or processors(), 1 + out.nbytes // THREADED_BYTES)
        with ExitStack() as stack:
            files = {n: stack.enter_context(self._open(n)) for n in {t // self.layout.shard_times for t in times}}
            jobs = self._jobs(times, channels, out, files)
            if threads == 1:
                self._run(jobs)
                return
            with ThreadPoolExecutor(threads) as pool:
                for _ in pool.map(self._run, [jobs[i::threads] for i in range(threads)]):
                    pass

    def _open(self, shard: int) -> FileIO:
        path = self.layout.folder / f"c/{shard}/0/0/0"
        try:
            return FileIO(path)
        except FileNotFoundError as error:
            raise InputError(f"{path} is missing: the store has lost data; ingest it again") from error

    def _index(self, shard: int, file: FileIO) -> NDArray[np.uint64]:
        """Offset and size of each chunk [times / chunk_times, C, 2]; read anew where the file is not what it was."""
        status = os.fstat(file.fileno())
        identity = (status.st_ino, status.st_size, status.st_mtime_ns)
        known = self.indices.get(shard)
        if known is not None and known[0] == identity:
            return known[1]
        stored = np.empty(self.layout.index_bytes, np.uint8)
        if status.st_size < len(stored):
            raise _damaged(file, "it ends within its index")
        _read_exactly(file, stored, status.st_size - len(stored))
        if google_crc32c.value(stored[:-4].tobytes()) != int(stored[-4:].view("<u4")[0]):
            raise _damaged(file, "its index does not match its checksum")
        index = stored[:-4].view("<u8").reshape(-1, self.layout.shape[1], 2)
        self.indices[shard] = identity, index
        return index

    def _jobs(self, times: Sequence[int], channels: Sequence[int], out: Float32, files: dict[int, FileIO]) -> list[Job]:
        """One job for every stored chunk that is wanted; fields that are not stored are filled at once."""
        wanted: dict[int, list[tuple[int, int]]] = {}
        for i, time in enumerate(times):
            wanted.setdefault(time // self.layout.chunk_times, []).append((i, time % self.layout.chunk_times))
        jobs = []
        for row, members in wanted.items():
            shard, place = divmod(row, self.layout.shard_times // self.layout.chunk_times)
            index = self._index(shard, files[shard])
            for j, channel in enumerate(channels):
                targets = [(time, out[i, j]) for i, time in members]
                offset, size = (int(number) for number in index[place, channel])
                if size != ABSENT:
                    jobs.append(Job(files[shard], offset, size, targets))
                    continue
                for _, target in targets:
                    target[:] = self.layout.fill
        return jobs

    def _run(self, jobs: list[Job]) -> None:
        """Read and decode ``jobs`` one after the other, with the same two buffers for all of them."""
        stored = np.empty(max((job.size for job in jobs), default=0) if self.layout.compressed else 0, np.uint8)
        chunk = np.empty(self.layout.chunk_shape, np.float32)
        for job in jobs:
            if self.layout.chunk_times == len(job.targets) == 1:
                self._decode(job, stored[: job.size], job.targets[0][1])
                continue
            self._decode(job, stored[: job.size], chunk)
            for time, target in job.targets:
                target[:] = chunk[time]

    def _decode(self, job: Job, stored: NDArray[np.uint8], chunk: Float32) -> None:
        """Fill ``chunk``, with ``stored`` as room for its compressed form, whose header says both sizes."""
        if not self.layout.compressed:
            if job.size != chunk.nbytes:
                raise _damaged(job.file, f"a chunk of {job.size} bytes, expected {chunk.nbytes}")
            _read_exactly(job.file, chunk.reshape(-1).view(np.uint8), job.offset)
            return
        _read_exactly(job.file, stored, job.offset)
        if job.size < 16 or stored[4:8].view("<u4")[0] != chunk.nbytes or stored[12:16].view("<u4")[0] != job.size:
            raise _damaged(job.file, f"no blosc chunk of {chunk.nbytes} bytes at {job.offset}")
        try:
            blosc.decompress(stored, chunk)
        except (RuntimeError, ValueError) as error:
            raise _damaged(job.file, f"{error}, at {job.offset}") from error


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read_exactly(file: FileIO, buffer: NDArray[np.uint8], offset: int) -> None:
    """Fill ``buffer`` from ``offset`` on, without moving the file's position, which threads share."""
    view, done = memoryview(buffer.data), 0
    while done < len(view):
        count = os.preadv(file.fileno(), [view[done:]], offset + done)
        if count == 0:
            raise _damaged(file, f"it ends at {offset + done}, within a chunk")
        done += count


def _damaged(file: FileIO, found: str) -> InputError:
    return InputError(f"{file.name} is damaged: {found}; ingest the store again")
