"""Forecast files: what they hold, what tools make of them, and that they appear whole or not at all."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

from fourcast.forecast.netcdf import SYNTHETIC, ForecastHeader, MemberWriter, is_finished, member_path
from fourcast.grid import Grid

CHANNELS = ("t2m", "u10m", "u100m", "msl", "tp06", "z500", "t850", "t500", "r850")
GRID = Grid(np.linspace(90, -90, 7)[:-1], np.arange(8) * 45.0)
INIT = np.datetime64("2026-08-10T00", "h")
HEADER = ForecastHeader(CHANNELS, GRID, INIT, 3, (0, 6, 12), {"title": "A test", "seed": 7, "amplitude": 0.3})


def states(header: ForecastHeader = HEADER) -> np.ndarray:
    """[lead, C, H, W], every number different."""
    shape = (len(header.lead_hours), len(header.channels), *header.grid.shape)
    return np.random.default_rng(0).normal(280, 10, shape).astype(np.float32)


def write(path: Path, header: ForecastHeader = HEADER) -> Path:
    with MemberWriter(path, header) as writer:
        for i_lead, state in enumerate(states(header)):
            writer.write(i_lead, state)
    return path


def test_every_field_comes_back_bit_for_bit(tmp_path: Path) -> None:
    dataset = xr.open_dataset(write(tmp_path / "member_003.nc"))
    expected = states()
    for c, name in enumerate(CHANNELS):
        if name[-3:] in ("500", "850"):
            found = dataset[name[:-3]].sel(level=int(name[-3:]))
        else:
            found = dataset[name]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found.values, expected[:, c])


def test_levels_a_variable_does_not_have_are_missing(tmp_path: Path) -> None:
    dataset = xr.open_dataset(write(tmp_path / "member_003.nc"))
    assert dataset["level"].values.tolist() == [500, 850]
    assert np.isnan(dataset["z"].sel(level=850)).all()
    assert np.isnan(dataset["r"].sel(level=500)).all()
    assert np.isfinite(dataset["t"]).all()


def test_xarray_decodes_valid_initial_and_lead_times(tmp_path: Path) -> None:
    dataset = xr.open_dataset(write(tmp_path / "member_003.nc"))
    hours = np.array([0, 6, 12], dtype="timedelta64[h]")
    np.testing.assert_array_equal(dataset["time"].values, INIT + hours)
    np.testing.assert_array_equal(dataset["forecast_period"].values, hours)
    assert dataset["forecast_reference_time"].values == INIT
    assert dataset["number"].values == 3
    assert set(dataset["t2m"].coords) >= {"forecast_period", "forecast_reference_time", "number", "height_2m"}
    np.testing.assert_array_equal(dataset["latitude"].values, GRID.latitude)


def test_attributes_follow_cf(tmp_path: Path) -> None:
    with netCDF4.Dataset(write(tmp_path / "member_003.nc")) as dataset:
        assert dataset.Conventions == "CF-1.11"
        assert (dataset.title, dataset.seed, dataset.amplitude) == ("A test", 7, 0.3)
        assert "comment" not in dataset.ncattrs()
        assert dataset["time"].axis == "T"
        assert dataset["time"].calendar == "standard"
        assert dataset["forecast_reference_time"].units_metadata == "leap_seconds: none"
        assert dataset["number"].standard_name == "realization"
        assert dataset["number"].dimensions == ()
        assert (dataset["level"].units, dataset["level"].positive, dataset["level"].axis) == ("hPa", "down", "Z")
        assert (dataset["t"].standard_name, dataset["t"].units) == ("air_temperature", "K")
        assert dataset["t"].units_metadata == dataset["t2m"].units_metadata == "temperature: on_scale"
        assert "units_metadata" not in dataset["msl"].ncattrs()
        assert dataset["u10m"].coordinates.endswith("height_10m")
        assert float(dataset["height_100m"][:]) == 100.0
        assert dataset["z"].filters()["zlib"]
        assert dataset["z"].chunking() == [1, 1, *GRID.shape]


def test_precipitation_says_over_which_hours_it_adds_up(tmp_path: Path) -> None:
    with netCDF4.Dataset(write(tmp_path / "member_003.nc")) as dataset:
        assert dataset["time"].bounds == "time_bnds"
        assert (dataset["time_bnds"][:, 1] == dataset["time"][:]).all()
        assert (dataset["time_bnds"][:, 1] - dataset["time_bnds"][:, 0] == 6).all()
        assert dataset["tp06"].cell_methods == "time: sum"
        assert dataset["t2m"].cell_methods == "time: point"


def test_without_accumulations_and_levels_neither_bounds_nor_level_are_written(tmp_path: Path) -> None:
    header = replace(HEADER, channels=("t2m", "msl"))
    with netCDF4.Dataset(write(tmp_path / "member_003.nc", header)) as dataset:
        assert set(dataset.dimensions) == {"time", "latitude", "longitude"}
        assert "bounds" not in dataset["time"].ncattrs()


def test_synthetic_data_say_so(tmp_path: Path) -> None:
    header = replace(HEADER, attributes={"synthetic": True, "comment": "mine"})
    with netCDF4.Dataset(write(tmp_path / "member_003.nc", header)) as dataset:
        assert dataset.comment == SYNTHETIC
        assert dataset.synthetic == 1


def test_the_state_may_be_reused_after_writing(tmp_path: Path) -> None:
    buffer = np.empty(states()[0].shape, dtype=np.float32)
    with MemberWriter(tmp_path / "reused.nc", HEADER) as writer:
        for i_lead, state in enumerate(states()):
            buffer[:] = state
            writer.write(i_lead, buffer)
            buffer[:] = -1
    np.testing.assert_array_equal(xr.open_dataset(tmp_path / "reused.nc")["msl"].values, states()[:, 3])


def test_an_exception_leaves_no_file(tmp_path: Path) -> None:
    def interrupted() -> None:
        with MemberWriter(tmp_path / "member_000.nc", HEADER) as writer:
            writer.write(0, states()[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_closing_too_early_raises_and_leaves_no_file(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="1 of 3"),
        MemberWriter(tmp_path / "member_000.nc", HEADER) as writer,
    ):
        writer.write(0, states()[0])
    assert list(tmp_path.iterdir()) == []


def test_lead_times_are_written_in_order(tmp_path: Path) -> None:
    with pytest.raises(AssertionError), MemberWriter(tmp_path / "member_000.nc", HEADER) as writer:
        writer.write(1, states()[1])
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_netcdf import HEADER, MemberWriter, states
with MemberWriter(Path({path!r}), HEADER) as writer:
    writer.write(0, states()[0])
    writer.write(1, states()[1])
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_leaves_no_finished_file_and_the_next_run_replaces_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "member_003.nc"
    code = KILLED.format(tests=str(Path(__file__).parent), path=str(path))
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == -signal.SIGKILL
    assert [p.suffix for p in tmp_path.iterdir()] == [".partial"]
    assert not is_finished(path, HEADER)
    write(path)
    assert [p.name for p in tmp_path.iterdir()] == ["member_003.nc"]
    assert is_finished(path, HEADER)


@pytest.mark.parametrize(
    "change",
    [
        {"channels": ("t2m", "msl")},
        {"member": 4},
        {"lead_hours": (0, 6, 18)},
        {"init_time": INIT + 24},
        {"grid": Grid(GRID.latitude - 0.5, GRID.longitude)},
        {"attributes": {"title": "A test", "seed": 8, "amplitude": 0.3}},
        {"attributes": {"title": "A test", "seed": 7}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_only_the_same_forecast_counts_as_finished(tmp_path: Path, change: dict) -> None:
    path = write(tmp_path / "member_003.nc")
    assert is_finished(path, replace(HEADER))
    assert not is_finished(path, replace(HEADER, **change))


def test_paths() -> None:
    assert member_path(Path("run"), INIT, 7) == Path("run/2026-08-10T00/member_007.nc")
    assert member_path(Path("run"), INIT + 6, 1234) == Path("run/2026-08-10T06/member_1234.nc")


def test_compliance_checker_has_no_finding(tmp_path: Path) -> None:
    pytest.importorskip("compliance_checker")
    checker = Path(sys.executable).with_name("compliance-checker")
    path = write(tmp_path / "member_003.nc", replace(HEADER, attributes={"synthetic": True, "seed": 1}))
    done = subprocess.run([checker, "-t", "cf:1.11", "-c", "strict", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "All tests passed!" in done.stdout


def tool(name: str, *arguments: object) -> str:
    """Run one of the tools forecasters use; skip where it is not installed."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run([name, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ncdump_reads_it(tmp_path: Path) -> None:
    header = tool("ncdump", "-h", write(tmp_path / "member_003.nc"))
    assert "float t(time, level, latitude, longitude)" in header


def test_cdo_sees_pressure_levels_and_the_initial_time(tmp_path: Path) -> None:
    seen = tool("cdo", "-s", "sinfon", write(tmp_path / "member_003.nc"))
    assert "500 to 850 hPa" in seen
    assert "ForecastRefTime =  2026-08-10T00:00:00" in seen


def test_nco_averages_members_and_times(tmp_path: Path) -> None:
    first = write(tmp_path / "member_003.nc")
    second = write(tmp_path / "member_004.nc", replace(HEADER, member=4))
    tool("nces", "-O", first, second, tmp_path / "mean.nc")
    tool("ncra", "-O", first, tmp_path / "average.nc")
    np.testing.assert_array_equal(xr.open_dataset(tmp_path / "mean.nc")["t2m"].values, states()[:, 0])
    np.testing.assert_allclose(
        xr.open_dataset(tmp_path / "average.nc")["t2m"].values[0], states()[:, 0].mean(axis=0), rtol=1e-6
    )
