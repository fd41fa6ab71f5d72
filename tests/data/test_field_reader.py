"""The reader: what zarr wrote comes out bit for bit by every way, and damage is named."""

import itertools
import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

from fourcast.data import reader
from fourcast.data.reader import PlainReader, ShardReader, open_fields, shard_layout
from fourcast.errors import InputError

SHAPE = (11, 3, 7, 10)
FIELDS = np.random.default_rng(5).standard_normal(SHAPE).astype(np.float32)
FIELDS[4, 1, 2, 3] = np.nan
LZ4 = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle")


def write(path: Path, fields: np.ndarray = FIELDS, **layout: object) -> zarr.Array:
    given: dict[str, object] = {"chunks": (1, 1, 7, 10), "shards": (4, 3, 7, 10), "compressors": LZ4}
    given |= {"shape": fields.shape, "dtype": fields.dtype, "fill_value": np.nan}
    array = zarr.create_array(path, **(given | layout))  # type: ignore[arg-type]
    array[:] = fields
    return array


def read(fields: reader.FieldReader, times: list[int], channels: list[int], threads: int | None = None) -> np.ndarray:
    # A recognisable value: what is not written shows.
    out = np.full((len(times), len(channels), *SHAPE[2:]), -7777, np.float32)
    fields.read(times, channels, out, threads)
    return out


@pytest.mark.parametrize("chunk_times", [1, 2, 4])
@pytest.mark.parametrize(
    "compressor", [None, LZ4, BloscCodec(cname="zstd", shuffle="bitshuffle")], ids=["plain", "lz4", "blosc-zstd"]
)
def test_shards_are_read_directly_and_bit_for_bit(tmp_path: Path, chunk_times: int, compressor: object) -> None:
    array = write(tmp_path / "a", chunks=(chunk_times, 1, 7, 10), compressors=compressor)
    direct = open_fields(tmp_path / "a", array)
    assert isinstance(direct, ShardReader)
    every = [*range(11)]
    # All; across a shard's edge; the last, partly filled shard; out of order; twice the same.
    for times, channels in itertools.product((every, [3, 4], [10], [9, 0, 5, 5, 1], []), ([0, 1, 2], [2, 0], [1], [])):
        found = read(direct, times, channels)
        np.testing.assert_array_equal(found, FIELDS[times][:, channels])
        np.testing.assert_array_equal(found, read(PlainReader(array), times, channels))


@pytest.mark.parametrize(
    "layout",
    [
        {"shards": None},
        {"chunks": (1, 3, 7, 10)},
        {"chunks": (1, 1, 7, 5)},
        {"shards": (4, 1, 7, 10)},
        {"compressors": ZstdCodec()},
        {"compressors": [LZ4, ZstdCodec()]},
        {"chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}}},
        {"fields": FIELDS.astype(np.float64)},
    ],
    ids=str,
)
def test_every_other_layout_goes_through_zarr(tmp_path: Path, layout: dict[str, object]) -> None:
    array = write(tmp_path / "a", **layout)  # type: ignore[arg-type]
    fields = open_fields(tmp_path / "a", array)
    assert isinstance(fields, PlainReader)
    for times in ([*range(11)], [9, 0, 5, 5, 1], [3, 4]):
        np.testing.assert_array_equal(read(fields, times, [2, 0]), FIELDS[times][:, [2, 0]])
        np.testing.assert_array_equal(read(fields, times, [0, 1, 2]), FIELDS[times])


def test_fields_that_were_not_stored_hold_the_fill_value(tmp_path: Path) -> None:
    fields = FIELDS.copy()
    fields[2, 1] = np.nan
    direct = open_fields(tmp_path / "a", write(tmp_path / "a", fields))
    assert isinstance(direct, ShardReader)
    np.testing.assert_array_equal(read(direct, [1, 2], [0, 1]), fields[1:3, :2])


def test_many_threads_read_what_one_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "THREADED_BYTES", 1)
    direct = open_fields(tmp_path / "a", write(tmp_path / "a", chunks=(2, 1, 7, 10)))
    for threads in (1, 2, 5, 64):
        np.testing.assert_array_equal(read(direct, [8, 3, 2], [1, 2], threads), FIELDS[[8, 3, 2]][:, [1, 2]])


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_reader_travels_and_keeps_no_file_open(tmp_path: Path) -> None:
    direct = open_fields(tmp_path / "a", write(tmp_path / "a"))
    before = open_files()
    read(direct, [0, 5, 10], [0])
    assert open_files() == before
    np.testing.assert_array_equal(read(pickle.loads(pickle.dumps(direct)), [5], [0, 1, 2]), FIELDS[5:6])


def test_a_shard_written_anew_is_noticed(tmp_path: Path) -> None:
    """Appending fills the last shard: its chunks move, and the index that was read before is no longer true."""
    array = write(tmp_path / "a", FIELDS[:9])
    direct = open_fields(tmp_path / "a", array)
    np.testing.assert_array_equal(read(direct, [8], [0, 1, 2]), FIELDS[8:9])
    array.append(FIELDS[9:], axis=0)
    array[8:] = FIELDS[8:] * 2 + np.arange(10, dtype=np.float32)
    np.testing.assert_array_equal(read(direct, [8, 10], [2]), np.asarray(array[8:11:2, 2:]))


def test_values_that_differ_from_zarr_s_are_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    array = write(tmp_path / "a")

    def wrong(
        self: ShardReader, times: list[int], channels: list[int], out: np.ndarray, threads: object = None
    ) -> None:
        PlainReader(array).read(times, channels, out)
        out[-1, -1, -1, -1] += 1

    monkeypatch.setattr(ShardReader, "read", wrong)
    with caplog.at_level(logging.WARNING):
        fields = open_fields(tmp_path / "a", array)
    assert isinstance(fields, PlainReader)
    assert "read through zarr, which is slow" in caplog.text


def truncate(shard: Path) -> None:
    """The index survives, at the end of a file whose middle is gone."""
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])


def flip_index(shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    content[-50] ^= 1
    shard.write_bytes(content)


def cut_to_a_stump(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:40])


def blank_chunks(shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    content[: len(content) - 4 * 3 * 16 - 4] = bytes(len(content) - 4 * 3 * 16 - 4)
    shard.write_bytes(content)


def remove(shard: Path) -> None:
    shard.unlink()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (truncate, "is damaged"),
        (flip_index, "its index does not match its checksum"),
        (cut_to_a_stump, "it ends within its index"),
        (blank_chunks, "no blosc chunk of 280 bytes at"),
        (remove, "is missing: the store has lost data"),
    ],
)
def test_a_damaged_shard_is_named(tmp_path: Path, harm: Callable[[Path], None], message: str) -> None:
    direct = open_fields(tmp_path / "a", write(tmp_path / "a"))
    harm(tmp_path / "a/c/1/0/0/0")
    np.testing.assert_array_equal(read(direct, [3], [0, 1, 2]), FIELDS[3:4])
    with pytest.raises(InputError, match=rf"c/1/0/0/0 {message}|c/1/0/0/0 is damaged: {message}"):
        read(direct, [3, 4, 5], [0, 1, 2])


def test_garbled_blosc_chunks_are_named(tmp_path: Path) -> None:
    """The chunk's header is whole and its content is not: blosc notices, or the values would be wrong."""
    smooth = np.broadcast_to(np.arange(7 * 1000, dtype=np.float32).reshape(7, 1000), (4, 1, 7, 1000))
    write(tmp_path / "a", smooth, chunks=(1, 1, 7, 1000), shards=(4, 1, 7, 1000))
    shard, layout = tmp_path / "a/c/0/0/0/0", shard_layout(tmp_path / "a")
    content = bytearray(shard.read_bytes())
    content[16:40] = b"\xff" * 24
    shard.write_bytes(content)
    assert layout is not None
    with pytest.raises(InputError, match=r"c/0/0/0/0 is damaged: .*, at 0; ingest the store again"):
        ShardReader(layout).read([0], [0], np.empty((1, 1, 7, 1000), np.float32))
