"""Ingestion in parts: whoever does them, in whatever order, however often interrupted, the store is the same."""

import errno
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from weather import config, content, hours, store, weather, write

from fourcast.cli import main
from fourcast.data import parts, workers
from fourcast.data.ingest import ingest
from fourcast.data.plan import Plan
from fourcast.data.store import open_store
from fourcast.data.tasks import Outcome
from fourcast.data.writer import shard_file
from fourcast.data_config import IngestConfig
from fourcast.errors import InputError
from fourcast.files import read_json

TIMES = hours("2020-01-01", 90)


@pytest.fixture(autouse=True)
def _fixed_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The only thing that differs between two ingestions is when they were begun."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1600000000")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "source.nc", TIMES)


def test_workers_and_shares_give_the_same_bytes(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = content(store(source, tmp_path / "one").path)
    assert content(store(source, tmp_path / "two", workers=2).path) == expected
    for share in ("2/3", "1/3"):
        ingest(config(source, tmp_path / "shares", part=share))
        with pytest.raises(InputError, match="is unfinished"):
            open_store(tmp_path / "shares")
    assert "this share is done; 2 of 6 parts are left" in capsys.readouterr().out
    assert content(store(source, tmp_path / "shares", part="3/3").path) == expected


def test_shares_that_begin_at_once_make_one_store(source: Path, tmp_path: Path) -> None:
    expected = content(store(source, tmp_path / "one").path)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fourcast.data.ingest"])
    shares = [config(source, tmp_path / "shares", part=f"{k}/3") for k in (1, 2, 3)]
    processes = [context.Process(target=ingest, args=(share,)) for share in shares]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert content(tmp_path / "shares") == expected


def test_a_share_whose_parts_are_not_the_last_finds_the_others_done_a_moment_later(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has looked, and seen parts missing; before it looks again, another share has made them, but no summaries."""
    expected = content(store(source, tmp_path / "one").path)

    def work_of_both(given: IngestConfig, plan: Plan, chosen: Sequence[int]) -> Iterator[Outcome]:
        yield from workers.work(given, plan, chosen)
        list(workers.do_parts(given, [part for part in range(plan.parts) if part not in chosen]))

    monkeypatch.setattr("fourcast.data.ingest.work", work_of_both)
    assert content(store(source, tmp_path / "shares", part="1/3").path) == expected


def test_the_length_of_parts_and_the_memory_change_nothing_that_is_read(source: Path, tmp_path: Path) -> None:
    def arrays(**settings: Any) -> dict[str, bytes]:
        path = store(source, tmp_path / str(len(list(tmp_path.iterdir()))), **settings).path
        return {name: data for name, data in content(path).items() if not name.startswith("ingest/")}

    assert arrays() == arrays(part_times=None) == arrays(part_times=4, memory_gb=1.0)


def test_the_manifest_says_what_every_part_holds(source: Path, tmp_path: Path) -> None:
    data = weather(TIMES)
    data.msl[17, 2, 3] = np.nan
    data.isel(time=np.r_[0:40, 43:90]).assign_coords(expver=("time", ["0001"] * 50 + ["0005"] * 37)).to_netcdf(source)
    made = store(source, tmp_path / "store", allow=["msl:missing", "preliminary"])
    manifest = read_json(made.path / "ingest/manifest.json")
    assert manifest["missing_times"] == [["2020-01-11T00", "2020-01-11T12", 3]]
    assert manifest["versions"] == [
        ["2020-01-01T00", "2020-01-14T00", "0001"], ["2020-01-14T06", "2020-01-23T06", "0005"]
    ]  # fmt: skip
    assert made.attributes["expver_times"] == {"0001": 50, "0005": 37}
    first, second = manifest["parts"][:2]
    assert (first["state"], first["values"], first["missing"]) == ("done", 16 * 2 * 6 * 12, {})
    assert second["missing"] == {"msl": 1}
    assert "msl has 1 missing values" in second["allowed"][0]
    assert first["times"][:2] == ["2020-01-01T00", "2020-01-04T18"]
    status = source.stat()
    assert first["sources"] == [{"path": str(source), "bytes": status.st_size, "changed": status.st_mtime}]
    assert list(first["shards"]) == ["0", "1", "2", "3"]


def test_a_refused_part_leaves_the_others_and_is_alone_redone(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    for i in range(3):
        write(folder / f"{i}.nc", TIMES[30 * i : 30 * (i + 1)])
    broken = weather(TIMES[30:60])
    broken.t[10] -= 273.15
    broken.to_netcdf(folder / "1.nc")
    output = tmp_path / "store"
    words = r"part 3 of 6 \(2020-01-09T00 to 2020-01-12T18\): t850 .*looks like °C.* other parts"
    with pytest.raises(InputError, match=words):
        ingest(config(folder, output))
    with pytest.raises(InputError, match="is unfinished"):
        open_store(output)
    before = {path.name: path.stat().st_mtime_ns for path in (output / "ingest/parts").iterdir()}
    assert sorted(before) == [f"part_{i:05d}.json" for i in (0, 1, 3, 4, 5)]
    write(folder / "1.nc", TIMES[30:60])
    made = store(folder, output)
    np.testing.assert_array_equal(made.read(slice(None), ("t850",)), weather(TIMES).t)
    redone = {n for n, stamp in before.items() if (output / "ingest/parts" / n).stat().st_mtime_ns != stamp}
    assert redone == {"part_00001.json", "part_00003.json"}


def test_a_shard_that_was_lost_on_the_way_is_written_again(source: Path, tmp_path: Path) -> None:
    expected = content(store(source, tmp_path / "one").path)
    ingest(config(source, tmp_path / "two", part="1/2"))
    shard_file(tmp_path / "two", 6).unlink()
    assert content(store(source, tmp_path / "two").path) == expected


def test_a_full_disk_names_the_part_and_is_gone_on_from(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output, write_shard = tmp_path / "store", parts.write_shard

    def full(path: Path, index: int, *rest: Any) -> str:
        if index == 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_shard(path, index, *rest)

    command = [
        "fourcast", "ingest", f"source={source}", f"output={output}", "shard_times=4", "part_times=16", "workers=1"
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", command)
    with monkeypatch.context() as patch:
        patch.setattr(parts, "write_shard", full)
        with pytest.raises(SystemExit) as stopped:
            main()
    assert stopped.value.code == 1
    said = capsys.readouterr().err
    assert "part 3 of 6 (2020-01-09T00 to 2020-01-12T18): [Errno 28] No space left on device" in said
    with pytest.raises(InputError, match="is unfinished"):
        open_store(output)
    monkeypatch.setattr(sys, "argv", command)
    main()
    assert content(output) == content(store(source, tmp_path / "undisturbed").path)


def test_an_unfinished_store_of_another_configuration_is_not_mixed_with(source: Path, tmp_path: Path) -> None:
    ingest(config(source, tmp_path / "store", part="1/2"))
    with pytest.raises(InputError, match="step_hours was 6 and is 12; pass overwrite=true"):
        ingest(config(source, tmp_path / "store", step_hours=12))
    assert len(store(source, tmp_path / "store", step_hours=12, overwrite=True).times) == 45


def test_memory_that_does_not_suffice_is_refused_before_anything_is_written(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"shards of 4 times need 0\.\d GB of memory and memory_gb is 0\.1; raise it"):
        ingest(config(source, tmp_path / "store", memory_gb=0.1))
    assert not (tmp_path / "store").exists()


def test_another_grid(source: Path, tmp_path: Path) -> None:
    """A cell of 2×4 holds nine of 6×12: three rows, which weigh as their edges' sines differ, by three columns."""
    data = weather(TIMES)
    data["lsm"] = (("latitude", "longitude"), np.eye(6, 12, dtype="f4"), {"units": "1"})
    data.to_netcdf(source)
    made = store(source, tmp_path / "store", grid="2x4")
    assert made.grid.shape == (2, 4)
    weights = np.diff(np.sin(np.deg2rad([-90, -60, -30, 0])))
    south, east = data.msl.values[:, 5:2:-1, 2:5].astype(np.float64), 1
    np.testing.assert_allclose(
        made.read(slice(None), ("msl",))[:, 0, 1, east], np.einsum("thw,h->t", south, weights) / 3, rtol=1e-6
    )
    np.testing.assert_allclose(made.static["lsm"][0, 0], (weights[0] + weights[1]) / 3, rtol=1e-6)
    np.testing.assert_allclose(made.statistics.mean[0], made.read(slice(None), ("msl",)).mean(dtype="f8"), rtol=1e-7)


@pytest.mark.slow
def test_dask(source: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    expected = content(store(source, tmp_path / "one").path)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        made = store(source, tmp_path / "dask", dask=cluster.scheduler_address)
    assert content(made.path) == expected


def test_xarray_opens_the_store_without_a_warning(
    source: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    path = store(source, tmp_path / "store").path
    recwarn.clear()
    with xr.open_zarr(path, consolidated=False, chunks=None) as data:
        np.testing.assert_array_equal(data.fields.sel(channel="msl"), weather(TIMES).msl)
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"part": "0/3"}, "part must be a share such as 2/8, from 1/8 to 8/8, found '0/3'"),
        ({"part": "4/3"}, "found '4/3'"),
        ({"part": "3"}, "found '3'"),
        ({"part": "1/2", "overwrite": True}, "would delete what other shares did"),
        ({"part_times": 6}, "part_times must be a multiple of shard_times=4, found 6"),
        ({"memory_gb": 0.0}, "memory_gb must be above 0"),
        ({"regrid": "nearest"}, "regrid must be one of conservative, bilinear"),
    ],
)
def test_settings_that_cannot_be_meant(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config(tmp_path, tmp_path, **settings)


def test_a_grid_that_is_asked_for_keeps_its_poles(source: Path, tmp_path: Path) -> None:
    made = store(source, tmp_path / "store", grid="3x4")
    assert made.grid.latitude.tolist() == [90.0, 0.0, -90.0]
