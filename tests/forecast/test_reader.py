"""Opening a run: what it looks like in every layout, what it reads, and what it says when something is missing."""

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from fourcast.errors import InputError
from fourcast.forecast import open_ensemble
from fourcast.forecast.combine import combine_members
from fourcast.forecast.netcdf import FileWriter, Header, columns_of, init_name, member_path
from fourcast.forecast.reader import channel, open_product
from fourcast.forecast.weatherbench import write_zarr

CHANNELS = ("t2m", "z500", "r850", "t850", "t500")
LATITUDE, LONGITUDE = np.linspace(60.0, -80.0, 5), np.arange(8) * 22.5
INITS = np.array(["2026-08-10T00", "2026-08-11T00", "2026-08-12T00"], dtype="datetime64[h]")
MEMBERS = (0, 3)
LEADS = (6, 12, 24)
LAYOUTS = ("member", "ensemble", "zarr")


def value(i_init: int, member: int, i_lead: int, c: int) -> float:
    """The constant every field is filled with."""
    return i_init * 1000 + member * 100 + i_lead * 10 + c


def write_member(run: Path, i_init: int, member: int, leads: tuple[int, ...] = LEADS) -> Path:
    header = Header(CHANNELS, LATITUDE, LONGITUDE, INITS[i_init], leads, {"seed": 1}, member)
    path = member_path(run, INITS[i_init], member)
    with FileWriter(path, header, columns_of(CHANNELS)) as writer:
        for i_lead in range(len(leads)):
            values = [value(i_init, member, i_lead, c) for c in range(len(CHANNELS))]
            writer.write(i_lead, np.ones((5, 5, 8), np.float32) * np.array(values, np.float32)[:, None, None])
    return path


def lay_out(run: Path, layout: str) -> Path:
    """The run of members' files in another layout, and in that one alone."""
    if layout == "ensemble":
        for init_time in INITS:
            combine_members(run, init_time, MEMBERS)
    if layout == "zarr":
        write_zarr(run)
    for path in run.glob("*/member_*.nc") if layout != "member" else ():
        path.unlink()
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three initial times of two members in every layout, as fourcast forecast leaves them; read only."""
    run = tmp_path_factory.mktemp("runs") / "origin"
    for i_init in range(len(INITS)):
        for member in MEMBERS:
            write_member(run, i_init, member)
    manifest = {"init_times": [init_name(t) for t in INITS], "members": list(MEMBERS), "lead_hours": LEADS}
    (run / "forecast.json").write_text(json.dumps(manifest))
    return {layout: lay_out(copy_run(run, run.with_name(layout)), layout) for layout in LAYOUTS}


def copy_run(run: Path, path: Path) -> Path:
    return shutil.copytree(run, path, dirs_exist_ok=True)


@pytest.fixture
def run(runs: dict[str, Path], tmp_path: Path) -> Path:
    """A run of members' files to do with as one likes."""
    return copy_run(runs["member"], tmp_path / "RUN")


@pytest.fixture(params=LAYOUTS)
def laid_out(runs: dict[str, Path], request: pytest.FixtureRequest) -> Path:
    """A run in each layout; read only."""
    return runs[request.param]


@pytest.mark.parametrize("with_manifest", [True, False])
def test_a_run_opens_as_one_dataset(laid_out: Path, tmp_path: Path, with_manifest: bool) -> None:
    run = copy_run(laid_out, tmp_path / "RUN")
    if not with_manifest:
        (run / "forecast.json").unlink()
    (run / "scores").mkdir()
    dataset = open_ensemble(run)
    assert dict(dataset["t"].sizes) == {
        "init_time": 3, "number": 2, "lead_time": 3, "level": 2, "latitude": 5, "longitude": 8
    }  # fmt: skip
    assert dataset["t2m"].dims == ("init_time", "number", "lead_time", "latitude", "longitude")
    assert list(dataset.data_vars) == ["t2m", "z", "r", "t"]
    np.testing.assert_array_equal(dataset["init_time"].values, INITS)
    np.testing.assert_array_equal(dataset["number"].values, MEMBERS)
    np.testing.assert_array_equal(dataset["lead_time"].values, np.array(LEADS, dtype="timedelta64[h]"))
    assert dataset["valid_time"].dims == ("init_time", "lead_time")
    assert dataset["valid_time"].values[1, 2] == np.datetime64("2026-08-12T00")
    assert dataset.attrs["channels"] == CHANNELS
    assert (dataset["t"].attrs["units"], dataset["r"].attrs["units"]) == ("K", "%")
    assert not {"member", "init_time"} & set(dataset.attrs)


def test_values_come_from_the_right_file_and_place(laid_out: Path) -> None:
    dataset = open_ensemble(laid_out)
    for c, name in enumerate(CHANNELS):
        found = channel(dataset, name).values
        expected = [[[value(i, m, s, c) for s in range(3)] for m in MEMBERS] for i in range(3)]
        np.testing.assert_array_equal(found, np.broadcast_to(np.array(expected)[..., None, None], found.shape))
    assert np.isnan(dataset["z"].sel(level=850)).all()


@pytest.mark.parametrize("layout", LAYOUTS[1:])
def test_all_layouts_give_the_same_dataset(runs: dict[str, Path], layout: str) -> None:
    of_members = open_ensemble(runs["member"])
    other = open_ensemble(runs[layout])
    other.attrs["history"] = of_members.attrs["history"]
    xr.testing.assert_identical(other, of_members)
    assert {name: array.dtype for name, array in other.variables.items()} == {
        name: array.dtype for name, array in of_members.variables.items()
    }


@pytest.mark.parametrize(
    "at",
    [
        {"init_time": 1},
        {"init_time": -1, "number": 0, "lead_time": slice(1, None)},
        {"init_time": [2, 0], "number": [1, 0], "lead_time": [2, 0, 0]},
        {"init_time": slice(None, None, -2), "latitude": [4, 1], "longitude": slice(6, 1, -2)},
        {"number": slice(0, 0)},
    ],
    ids=str,
)
def test_indexing_lazily_equals_indexing_in_memory(laid_out: Path, at: dict) -> None:
    lazy = channel(open_ensemble(laid_out), "t850")
    np.testing.assert_array_equal(lazy.isel(at).values, lazy.compute().isel(at).values)


def test_only_the_files_asked_for_are_read(run: Path) -> None:
    dataset = open_ensemble(run)
    field = channel(dataset, "t850").isel(init_time=1, number=1, lead_time=2)
    for path in run.glob("*/member_*.nc"):
        if path != member_path(run, INITS[1], 3):
            path.unlink()
    np.testing.assert_array_equal(field.values, np.full((5, 8), value(1, 3, 2, 3)))
    with pytest.raises(FileNotFoundError):
        channel(dataset, "t850").isel(init_time=0, number=0).load()


def test_one_initial_time_by_name_or_by_folder(laid_out: Path) -> None:
    for dataset in (open_ensemble(laid_out, init_time="2026-08-11T00"), open_ensemble(laid_out / "2026-08-11T00")):
        np.testing.assert_array_equal(dataset["init_time"].values, INITS[1:2])
        assert float(channel(dataset, "t2m").isel(init_time=0, number=1, lead_time=1).mean()) == value(1, 3, 1, 0)


def test_other_files_of_an_initial_time_are_no_members(run: Path) -> None:
    for name in ("mean.nc", "spread.nc", "quantile_0.10.nc", "member_004.nc.host-1.partial"):
        (run / init_name(INITS[0]) / name).write_bytes(b"")
    with_manifest = open_ensemble(run)
    (run / "forecast.json").unlink()
    xr.testing.assert_identical(open_ensemble(run), with_manifest)


def write_product(run: Path, i_init: int) -> None:
    header = Header(("t2m", "t850"), LATITUDE, LONGITUDE, INITS[i_init], LEADS, {"product": "mean"}, None)
    path = run / init_name(INITS[i_init]) / "mean.nc"
    with FileWriter(path, header, columns_of(header.channels)) as writer:
        for i_lead in range(len(LEADS)):
            writer.write(i_lead, np.full((2, 5, 8), 10 * i_init + i_lead, np.float32))


def test_a_product_opens_for_all_initial_times(laid_out: Path, tmp_path: Path) -> None:
    run = copy_run(laid_out, tmp_path / "RUN")
    for i_init in range(len(INITS)):
        write_product(run, i_init)
    mean = open_product(run, "mean")
    assert mean["t"].dims == ("init_time", "lead_time", "level", "latitude", "longitude")
    assert "number" not in mean.variables
    np.testing.assert_array_equal(channel(mean, "t850")[:, :, 0, 0], [[0, 1, 2], [10, 11, 12], [20, 21, 22]])
    np.testing.assert_array_equal(channel(open_product(run / "2026-08-11T00", "mean"), "t2m")[0, :, 4, 7], [10, 11, 12])
    with pytest.raises(InputError, match=r"lacks spread\.nc; make it"):
        open_product(run, "spread")


def test_a_run_of_products_alone_says_so(runs: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "RUN"
    run.mkdir()
    manifest = json.loads((runs["member"] / "forecast.json").read_text())
    (run / "forecast.json").write_text(json.dumps(manifest | {"layout": []}))
    write_product(run, 0)
    with pytest.raises(InputError, match=r"products of its members alone; make members with files\.layout=member"):
        open_ensemble(run)
    assert open_product(run, "mean", init_time="2026-08-10T00").sizes["lead_time"] == 3


def test_a_missing_member_is_named(run: Path) -> None:
    member_path(run, INITS[2], 3).unlink()
    with pytest.raises(InputError, match=r"lacks 1 of 6 forecasts: 2026-08-12T00/member_003\.nc"):
        open_ensemble(run)
    with pytest.raises(InputError, match=r"lacks 1 of 6 forecasts: 2026-08-12T00/member_003\.nc"):
        write_zarr(run)
    assert open_ensemble(run, init_time="2026-08-11").sizes["number"] == 2
    (run / "forecast.json").unlink()
    with pytest.raises(InputError, match=r"2026-08-12T00/member_003\.nc"):
        open_ensemble(run)


def test_a_missing_combined_file_is_named(runs: dict[str, Path], tmp_path: Path) -> None:
    run = copy_run(runs["ensemble"], tmp_path / "RUN")
    (run / "2026-08-12T00" / "ensemble.nc").unlink()
    with pytest.raises(InputError, match=r"lacks 1 of 3 forecasts: 2026-08-12T00/ensemble\.nc"):
        open_ensemble(run)


def test_a_run_half_of_whose_members_are_gone_is_read_from_its_combined_files(run: Path) -> None:
    for init_time in INITS:
        combine_members(run, init_time, MEMBERS)
    member_path(run, INITS[0], 0).unlink()
    np.testing.assert_array_equal(channel(open_ensemble(run), "z500").isel(init_time=0, number=0, lead_time=0), 1.0)


def test_an_unknown_channel_initial_time_or_folder_is_named(laid_out: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no channel z850; it holds t2m, z500, r850, t850, t500"):
        channel(open_ensemble(laid_out), "z850")
    with pytest.raises(InputError, match="no initial time 2026-01-01T00; it holds 2026-08-10T00, "):
        open_ensemble(laid_out, init_time="2026-01-01T00")
    for nowhere in (tmp_path / "nowhere", tmp_path / "2026-08-10T00"):
        with pytest.raises(InputError, match="holds no forecast"):
            open_ensemble(nowhere)


def test_a_file_of_another_forecast_is_refused_when_read(run: Path) -> None:
    write_member(run, 1, 3, leads=(6, 12))
    dataset = open_ensemble(run)
    with pytest.raises(InputError, match=r"2026-08-11T00/member_003\.nc.*different forecasts"):
        dataset["t2m"].load()


def test_the_zarr_is_written_of_members_though_combined_files_are_there(run: Path) -> None:
    combine_members(run, INITS[0], MEMBERS)
    member_path(run, INITS[0], 0).unlink()
    with pytest.raises(InputError, match=r"lacks 1 of 6 forecasts: 2026-08-10T00/member_000\.nc"):
        write_zarr(run)


@pytest.mark.parametrize("layout", LAYOUTS[1:])
def test_members_other_than_the_manifest_s_are_refused(runs: dict[str, Path], tmp_path: Path, layout: str) -> None:
    run = copy_run(runs[layout], tmp_path / "RUN")
    manifest = json.loads((run / "forecast.json").read_text())
    (run / "forecast.json").write_text(json.dumps(manifest | {"members": [0, 1]}))
    with pytest.raises(InputError, match=r"holds 0, 3, its run 0, 1: .*different forecasts"):
        open_ensemble(run)


def open_files(folder: Path) -> int:
    """How many files below ``folder`` this process has open."""
    return sum(link.resolve().is_relative_to(folder.resolve()) for link in Path("/proc/self/fd").iterdir())


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc")
def test_the_number_of_open_files_is_bounded_and_threads_may_read(run: Path) -> None:
    with xr.set_options(file_cache_maxsize=3):
        dataset = open_ensemble(run)
        assert open_files(run) == 0
        found: dict[int, float] = {}

        def read(place: int) -> None:
            i, m = divmod(place, 2)
            found[place] = float(channel(dataset, "t2m").isel(init_time=i, number=m).mean())

        threads = [threading.Thread(target=read, args=(place % 6,)) for place in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {2 * i + m: value(i, MEMBERS[m], 1, 0) for i in range(3) for m in range(2)}
        assert open_files(run) == 3


def test_opening_needs_no_torch() -> None:
    program = "import sys; from fourcast.forecast import open_ensemble; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
