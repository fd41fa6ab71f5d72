"""Climatologies: of a store, and of files in WeatherBench 2's layout."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from foreign_files import GRID, analyses, to_zarr
from tiny import write_store

from fourcast.data.climatology import Climatology
from fourcast.errors import InputError
from fourcast.grid import Grid
from fourcast.verify.inputs.climate import Climate
from fourcast.verify.inputs.climatology import open_climate
from fourcast.verify.inputs.foreign_climatology import open_dataset, open_foreign
from fourcast.verify.inputs.recent import Recent
from fourcast.verify.inputs.targets import Targets, open_targets
from fourcast.verify_config import VerifyConfig

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
PLACE = GRID.latitude[:, None] + GRID.longitude / 1000
HOURS = (0, 12)


def stated(hour: int, day: int, level: int = 0) -> np.ndarray:
    return 200 + hour + day / 10 + level / 10 + PLACE / 50


def weatherbench(days: int = 366) -> xr.Dataset:
    """As WeatherBench 2 holds it, but in an order of its own, south first and longitudes from -180."""
    hour = xr.DataArray(np.array(HOURS), dims="hour", coords={"hour": list(HOURS)})
    day = xr.DataArray(np.arange(1, days + 1), dims="dayofyear", coords={"dayofyear": np.arange(1, days + 1)})
    level = xr.DataArray([850, 500], dims="level", coords={"level": [850, 500]})
    axes = {"latitude": GRID.latitude, "longitude": GRID.longitude}
    place = xr.DataArray(PLACE, axes, ("latitude", "longitude"))
    single = 200 + hour + day / 10 + place / 50
    data = xr.Dataset({"2m_temperature": single, "temperature_mean": single + level / 10, "temperature_std": single})
    data = data.astype("f4").transpose("level", "longitude", "dayofyear", "latitude", "hour")
    east = (data["longitude"].values + 180) % 360 - 180
    return data.assign_coords(longitude=east).sortby("longitude").sortby("latitude")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return to_zarr(weatherbench(), tmp_path_factory.mktemp("foreign") / "c.zarr", dayofyear=61, hour=1)


def test_weatherbench_climatology(foreign: Path) -> None:
    climate = open_foreign(str(foreign), GRID)
    assert climate.channels == ("t2m", "t500", "t850")
    assert climate.seasonal
    assert climate.hours == HOURS
    for time, day in (("2020-12-31T12", 366), ("2021-12-31T12", 365), ("2021-03-01T00", 60), ("2020-03-01T00", 61)):
        hour = int(time[-2:])
        found = climate.at(np.datetime64(time), ("t850", "t2m"))
        np.testing.assert_allclose(found, [stated(hour, day, 850), stated(hour, day)], rtol=1e-6)
    mean = 200 + 6 + np.arange(1, 367).mean() / 10 + 50 + PLACE / 50
    np.testing.assert_allclose(climate.static(("t500",))[0], mean, rtol=1e-6)


def test_its_row_at_the_south_pole_is_left_out(tmp_path: Path) -> None:
    latitude = np.array([90.0, 0.0, -90.0])
    data = weatherbench().isel(latitude=slice(3)).assign_coords(latitude=latitude[::-1])
    path = str(to_zarr(data, tmp_path / "c.zarr"))
    climate = open_foreign(path, Grid(latitude[:2], GRID.longitude))
    assert climate.at(np.datetime64("2020-01-01T00"), ("t2m",)).shape == (1, 2, 5)
    whole = open_foreign(path, Grid(latitude, GRID.longitude)).at(np.datetime64("2020-01-01T00"), ("t2m",))
    np.testing.assert_array_equal(climate.at(np.datetime64("2020-01-01T00"), ("t2m",)), whole[:, :2])


def test_a_mean_over_all_times(tmp_path: Path) -> None:
    data = weatherbench().isel(hour=0, dayofyear=9, drop=True)
    climate = open_foreign(str(to_zarr(data, tmp_path / "c.zarr")), GRID)
    assert not climate.seasonal
    for time in ("2020-05-05T07", "2021-01-01T00"):
        np.testing.assert_allclose(climate.at(np.datetime64(time), ("t2m",))[0], stated(0, 10), rtol=1e-6)
    np.testing.assert_allclose(climate.static(("t2m",))[0], stated(0, 10), rtol=1e-6)


def test_it_reads_the_chunk_of_a_day(foreign: Path, tmp_path: Path) -> None:
    path = shutil.copytree(foreign, tmp_path / "c.zarr")
    dims = xr.open_zarr(path)["2m_temperature"].dims
    for chunk in (path / "2m_temperature").glob("[0-9]*"):
        places = dict(zip(dims, chunk.name.split("."), strict=True))
        if (places["hour"], places["dayofyear"]) != ("1", "0"):
            chunk.write_bytes(b"damaged")
    climate = open_foreign(str(path), GRID)
    np.testing.assert_allclose(climate.at(np.datetime64("2021-01-09T12"), ("t2m",))[0], stated(12, 9), rtol=1e-6)
    for time in ("2021-01-09T00", "2021-06-01T12"):
        with pytest.raises(InputError, match=r"c\.zarr: 2m_temperature cannot be read"):
            climate.at(np.datetime64(time), ("t2m",))


def test_what_else_is_on_file(foreign: Path) -> None:
    assert "temperature_std" in open_dataset(str(foreign))


def test_bad_climatologies_are_named(foreign: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"c\.zarr is on the grid 4×5 .*analyses are on 3×5 .*climatology=none"):
        open_foreign(str(foreign), Grid(GRID.latitude[:3], GRID.longitude))
    with pytest.raises(InputError, match=r"no climatology of z500, ws10m; it holds t2m, t500, t850\. .*none"):
        open_foreign(str(foreign), GRID).at(np.datetime64("2021-01-01T00"), ("t2m", "z500", "ws10m"))
    with pytest.raises(InputError, match=r"climatology of the hours 0, 12 UTC, not of 2021-01-01T06"):
        open_foreign(str(foreign), GRID).at(np.datetime64("2021-01-01T06"), ("t2m",))
    short = to_zarr(weatherbench(100), tmp_path / "short.zarr")
    with pytest.raises(InputError, match=r"short\.zarr has 100 days of the year, expected 366"):
        open_foreign(str(short), GRID)
    counted = weatherbench().assign_coords(dayofyear=np.arange(366))
    with pytest.raises(InputError, match=r"zero\.zarr has dayofyear \[0, 1, .*expected each once from 1 to 366"):
        open_foreign(str(to_zarr(counted, tmp_path / "zero.zarr")), GRID)
    with pytest.raises(InputError, match=r"climatology: there is no source at .*absent.*; or .*climatology=none"):
        open_foreign(str(tmp_path / "absent"), GRID)
    dated = weatherbench().isel(dayofyear=slice(2), hour=0, drop=True).rename(dayofyear="time")
    for times in (np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[ns]"), np.arange(2)):
        path = to_zarr(dated.assign_coords(time=times), tmp_path / f"dated_{times.dtype.kind}.zarr")
        with pytest.raises(InputError, match=r"climatology: .*dated_.\.zarr is none, for it goes along time; expected"):
            open_foreign(str(path), GRID)
    unknown = weatherbench()[["2m_temperature"]].rename({"2m_temperature": "warmth"})
    with pytest.raises(InputError, match=r"u\.zarr holds no climatology that can be used: no variable of ours"):
        open_foreign(str(to_zarr(unknown, tmp_path / "u.zarr")), GRID)


# ---- of a store --------------------------------------------------------------------------------------------------

TIMES = np.datetime64("2019-01-01T00", "h") + 12 * np.arange(20)


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Targets:
    fields = np.random.default_rng(0).normal(size=(len(TIMES), 2, *GRID.shape)).astype(np.float32)
    path = tmp_path_factory.mktemp("own") / "store.zarr"
    return open_targets(write_store(path, TIMES, fields, ("t2m", "u10m"), GRID))


def test_a_stores_climatology_is_the_one_it_fits(targets: Targets) -> None:
    climate = open_climate(VerifyConfig(), targets)
    assert climate is not None
    assert (climate.hours, climate.seasonal, climate.channels) == ((0, 12), False, ("t2m", "u10m"))
    fields = targets.read(TIMES, ("u10m", "t2m"))
    found = climate.at(np.datetime64("2020-07-01T12"), ("u10m", "t2m"))
    np.testing.assert_allclose(found, fields[1::2].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(climate.static(("u10m", "t2m")), fields.mean(axis=0), atol=1e-6)


def test_harmonics_are_evaluated_as_the_store_does(targets: Targets, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    coefficients = rng.normal(size=(2, 5, 2, *GRID.shape)).astype(np.float32)
    path = shutil.copytree(targets.path, tmp_path / "store.zarr")
    zarr.open_group(path).create_array("climatology", data=coefficients, overwrite=True)
    climate = open_climate(VerifyConfig(), open_targets(path))
    assert climate is not None
    assert climate.seasonal
    time = np.datetime64("2020-07-01T12", "h")
    expected = Climatology(np.array([0, 12]), coefficients).at(np.array([time]))[0]
    np.testing.assert_allclose(climate.at(time, ("t2m", "u10m")), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(climate.static(("u10m",))[0], coefficients[:, 0, 1].mean(axis=0), rtol=1e-5, atol=1e-6)


def test_which_climatology(targets: Targets, foreign: Path, tmp_path: Path) -> None:
    assert open_climate(VerifyConfig(climatology="none"), targets) is None
    named = open_climate(VerifyConfig(climatology=str(foreign)), targets)
    assert isinstance(named, Climate)
    assert named.path == str(foreign)
    files = open_targets(to_zarr(analyses(TIMES), tmp_path / "era5.zarr"))
    with pytest.raises(InputError, match=r"era5\.zarr has no climatology beside .*climatology=FILE\.zarr, or .*none"):
        open_climate(VerifyConfig(), files)


def test_a_stores_climatology_loses_the_row_that_the_targets_lost(targets: Targets) -> None:
    trimmed = replace(targets, grid=Grid(GRID.latitude[:3], GRID.longitude))
    climate = open_climate(VerifyConfig(), trimmed)
    assert climate is not None
    assert climate.at(np.datetime64("2020-07-01T12"), ("t2m",)).shape == (1, 3, 5)


def test_memory_of_what_was_read_is_bounded() -> None:
    made: list[str] = []
    recent = Recent(limit_bytes=3 * 80)

    def ask(key: str, size: int = 10) -> np.ndarray:
        return recent.get(key, lambda: made.append(key) or np.full(size, len(made), dtype=float))  # type: ignore[func-returns-value]

    for key in "abcadab":
        ask(key)
    assert "".join(made) == "abcdb"
    assert recent.held_bytes == 3 * 80
    ask("huge", 31)
    assert recent.held_bytes == 3 * 80
    assert ask("a")[0] == 1.0
