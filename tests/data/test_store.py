"""The store: what goes in comes out, in the order asked for, and nothing unfinished opens."""

import hashlib
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from fourcast.data.climatology import Climatology
from fourcast.data.statistics import Statistics
from fourcast.data.store import open_store
from fourcast.data.writer import append, create_store, encode_shard, finish
from fourcast.errors import InputError
from fourcast.grid import Grid

CHANNELS = ("t2m", "t850", "z500")
GRID = Grid(np.array([60.0, 0.0, -60.0]), np.array([0.0, 90.0, 180.0, 270.0]))
TIMES = np.array(["2020-01-01T00", "2020-01-01T06", "2020-01-01T18", "2020-01-02T00", "2020-01-02T06"], "M8[h]")
FIELDS = np.random.default_rng(2).standard_normal((5, 3, 3, 4)).astype(np.float32)


@pytest.fixture
def group(tmp_path: Path) -> zarr.Group:
    """A store of five times in shards of two, not finished."""
    group = create_store(tmp_path / "store", CHANNELS, GRID, shard_times=2)
    for start in (0, 2, 4):
        append(group, TIMES[start : start + 2], FIELDS[start : start + 2])
    return group


@pytest.fixture
def group_path(group: zarr.Group, tmp_path: Path) -> Path:
    """The finished store's folder."""
    climatology = Climatology(np.array([0, 6, 18]), np.arange(108, dtype=np.float32).reshape(3, 1, 3, 3, 4))
    numbers = Statistics(np.array([1.0, 2, 3]), np.array([4.0, 5, 6]), np.array([7.0, 8, 9]), np.zeros(3), np.ones(3))
    static = {"lsm": np.eye(3, 4, dtype=np.float32)}
    finish(group, numbers, climatology, static, {"step_hours": 6, "synthetic": False})
    return tmp_path / "store"


def test_round_trip(group_path: Path) -> None:
    store = open_store(group_path)
    assert store.channels == CHANNELS
    assert store.step_hours == 6
    assert not store.synthetic
    np.testing.assert_array_equal(store.times, TIMES)
    np.testing.assert_array_equal(store.read(slice(None)), FIELDS)
    np.testing.assert_array_equal(store.static["lsm"], np.eye(3, 4))
    assert store.grid.same_as(GRID)
    np.testing.assert_array_equal(store.statistics.tendency_std, [7, 8, 9])


def test_channels_and_times_in_the_order_asked_for(group_path: Path) -> None:
    store = open_store(group_path)
    np.testing.assert_array_equal(store.read([4, 0, 0], ("z500", "t2m")), FIELDS[[4, 0, 0]][:, [2, 0]])
    np.testing.assert_array_equal(store.read(slice(1, 4), ("z500",)), FIELDS[1:4, 2:])
    coefficients = np.arange(108, dtype=np.float32).reshape(3, 1, 3, 3, 4)
    np.testing.assert_array_equal(store.climatology(("z500", "t2m")).coefficients, coefficients[:, :, [2, 0]])
    assert store.time_positions(TIMES[[3, 1]]) == [3, 1]


def test_absent_channels_and_times_are_named(group_path: Path) -> None:
    store = open_store(group_path)
    with pytest.raises(InputError, match="no channel u10m; it holds t2m, t850, z500"):
        store.read(slice(None), ("t2m", "u10m"))
    with pytest.raises(InputError, match="no analysis at 2020-01-01T12"):
        store.time_positions(np.array(["2020-01-01T12"], dtype="datetime64[h]"))
    with pytest.raises(InputError, match="no analysis at 2021"):
        store.time_positions(np.array(["2021-01-01T12"], dtype="datetime64[h]"))


def test_unfinished_and_foreign_stores_do_not_open(group: zarr.Group, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unfinished"):
        open_store(tmp_path / "store")
    with pytest.raises(InputError, match="there is no store at"):
        open_store(tmp_path / "elsewhere")
    zarr.create_group(tmp_path / "other.zarr", zarr_format=3)
    with pytest.raises(InputError, match="no fourcast training store"):
        open_store(tmp_path / "other.zarr")
    (tmp_path / "file").write_text("no zarr")
    with pytest.raises(InputError, match="not a zarr v3 store"):
        open_store(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="not a zarr v3 store"):
        open_store(tmp_path / "folder")


def test_chunks_hold_one_field_of_a_large_grid_and_several_of_a_small_one(group_path: Path, tmp_path: Path) -> None:
    large = Grid(np.linspace(90, -89.5, 360), np.arange(720) / 2)
    fields = create_store(tmp_path / "large", CHANNELS, large, shard_times=8)["fields"]
    assert isinstance(fields, zarr.Array)
    assert fields.chunks == (1, 1, 360, 720)
    array = zarr.open_group(group_path, mode="r")["fields"]
    assert isinstance(array, zarr.Array)
    assert array.chunks == (2, 1, 3, 4)
    assert array.shards == (2, 3, 3, 4)
    assert len(list((group_path / "fields" / "c").iterdir())) == 3


def test_xarray_opens_it(group_path: Path) -> None:
    with xr.open_zarr(group_path, consolidated=False, chunks=None) as data:
        assert data.fields.dims == ("time", "channel", "latitude", "longitude")
        np.testing.assert_array_equal(data.time.values, TIMES.astype("M8[ns]"))
        np.testing.assert_array_equal(data.fields.sel(channel="t850"), FIELDS[:, 1])


def test_a_store_of_the_first_format_opens(group_path: Path) -> None:
    """Before format 2 there were no minimum and maximum and no folder of the ingestion."""
    for name in ("minimum", "maximum", "ingest"):
        shutil.rmtree(group_path / name)
    zarr.open_group(group_path, mode="r+").attrs["fourcast_store"] = 1
    store = open_store(group_path)
    np.testing.assert_array_equal(store.read(slice(None)), FIELDS)
    assert np.isnan(store.statistics.minimum).all()


def test_an_opening_waits_for_a_publication_to_end(group_path: Path) -> None:
    group = zarr.open_group(group_path, mode="r+")
    finished = dict(group.attrs)
    group.attrs.put({**finished, "complete": False, "publishing": True})
    threading.Timer(0.3, group.attrs.put, [finished]).start()
    np.testing.assert_array_equal(open_store(group_path).times, TIMES)


def test_a_store_that_lacks_an_array_is_damaged(group_path: Path) -> None:
    shutil.rmtree(group_path / "mean")
    (group_path / "time").rename(group_path / "elsewhere")
    with pytest.raises(InputError, match="is damaged"):
        open_store(group_path)


def test_the_same_fields_are_the_same_bytes() -> None:
    fields = np.random.default_rng(0).standard_normal((3, 5, 64, 128)).astype(np.float32)
    assert len({hashlib.sha256(encode_shard(fields, 4)).hexdigest() for _ in range(10)}) == 1
