"""Analyses of every form, and what they share with forecasts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from foreign_files import GRID, HOURS, INITS, LEADS, analyses, number, to_zarr, weatherbench
from tiny import write_store

from fourcast.data.humidity import relative_humidity
from fourcast.errors import InputError
from fourcast.grid import Grid
from fourcast.verify.inputs.align import align, common_cases, common_grid, shared_channels, verifiable
from fourcast.verify.inputs.forecasts import Forecast, open_forecast
from fourcast.verify.inputs.targets import open_targets

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
TIMES = np.datetime64("2020-02-28T00", "h") + 6 * np.arange(12)
CHANNELS = ("u10m", "v10m", "t2m", "t500", "t850")


def expected(times: np.ndarray, channels: tuple[str, ...]) -> np.ndarray:
    return np.array([[number(name, 0, time, 0) for name in channels] for time in times])


def write_own(path: Path, channels: tuple[str, ...] = CHANNELS) -> Path:
    return write_store(path, TIMES, expected(TIMES, channels).astype(np.float32), channels, GRID)


@pytest.mark.parametrize("form", ["store", "zarr", "netcdf"])
def test_analyses_in_all_forms(tmp_path: Path, form: str) -> None:
    path = tmp_path / form
    if form == "store":
        write_own(path)
    elif form == "zarr":
        to_zarr(analyses(TIMES), path)
    else:
        path.mkdir()
        analyses(TIMES[:5]).to_netcdf(path / "a.nc")
        analyses(TIMES[5:]).to_netcdf(path / "b.nc")
    targets = open_targets(path)
    assert set(targets.channels) == set(CHANNELS)
    assert targets.times.dtype == "datetime64[h]"
    assert targets.times.tolist() == TIMES.tolist()
    assert targets.grid.same_as(GRID)
    times = TIMES[[7, 1, 7, 4]]
    found = targets.read(times, ("t850", "ws10m", "t2m"))
    assert found.dtype == np.float32
    t850, u, v, t2m = expected(times, ("t850", "u10m", "v10m", "t2m")).swapaxes(0, 1)
    np.testing.assert_allclose(found.swapaxes(0, 1), [t850, np.hypot(u, v), t2m], rtol=1e-6)
    assert targets.land_HW is not None
    np.testing.assert_array_equal(targets.land_HW, np.broadcast_to(GRID.longitude < 180, GRID.shape))
    assert (targets.store is not None) == targets.synthetic == (form == "store")
    period = (TIMES[0], TIMES[-1]) if form == "store" else None
    assert targets.climatology_period == period


def test_opening_analyses_reads_no_field(tmp_path: Path) -> None:
    path = to_zarr(analyses(TIMES), tmp_path / "era5.zarr")
    for chunk in (path / "2m_temperature").glob("[0-9]*"):
        if chunk.name.split(".")[0] != "3":
            chunk.write_bytes(b"damaged")
    targets = open_targets(path)
    np.testing.assert_allclose(targets.read(TIMES[3:4], ("t2m",)), expected(TIMES[3:4], ("t2m",)), rtol=1e-6)
    with pytest.raises(InputError, match=r"era5\.zarr: 2m_temperature cannot be read"):
        targets.read(TIMES[:1], ("t2m",))


def test_what_analyses_lack_is_named(tmp_path: Path) -> None:
    targets = open_targets(write_own(tmp_path / "store.zarr"))
    with pytest.raises(InputError, match=r"no channel z500, ws850; it holds u10m.*Ask for others"):
        targets.read(TIMES[:1], ("t2m", "z500", "ws850"))
    with pytest.raises(InputError, match=r"no analysis at 2021-01-01T00; it holds 12 times from 2020-02-28T00"):
        targets.read(np.array(["2021-01-01T00"], dtype="datetime64[h]"), ("t2m",))


def test_other_things_are_no_analyses(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no store at .*absent"):
        open_targets(tmp_path / "absent")
    data = analyses(TIMES)[["2m_temperature"]]
    data["2m_temperature"].attrs["units"] = "m s**-1"
    with pytest.raises(
        InputError, match=r"w\.zarr holds no analysis that can be used: .*'m s\*\*-1', expected one of: K"
    ):
        open_targets(to_zarr(data, tmp_path / "w.zarr"))


def test_relative_humidity_by_bolton_says_so(tmp_path: Path) -> None:
    data = analyses(TIMES)[["temperature"]]
    fraction = (data["temperature"] / 400).assign_attrs(units="1")
    data = data.assign(relative_humidity=fraction)
    targets = open_targets(to_zarr(data, tmp_path / "bolton.zarr"))
    np.testing.assert_allclose(targets.read(TIMES[:1], ("r500",)), expected(TIMES[:1], ("t500",)) / 4, rtol=1e-6)
    assert "Bolton" in targets.formulas["r"]
    moist = (0 * fraction + 0.005).assign_attrs(units="kg kg**-1")
    targets = open_targets(to_zarr(data.assign(specific_humidity=moist), tmp_path / "both.zarr"))
    found = targets.read(TIMES[:1], ("r500", "t500"))
    np.testing.assert_allclose(found[:, 0], relative_humidity(np.full((1, 4, 5), 0.005), found[:, 1], 500.0), rtol=1e-6)
    assert "r" not in targets.formulas


def test_a_forecast_is_no_analysis(tmp_path: Path) -> None:
    path = to_zarr(weatherbench(), tmp_path / "ens.zarr")
    with pytest.raises(InputError, match=r"ens\.zarr is a forecast: it has several of number and prediction_timedelta"):
        open_targets(path)


def test_precipitation_sums_six_hours(tmp_path: Path) -> None:
    """Hourly sums of 1, 2, … mm: by 06 UTC 1 + … + 6 mm have fallen since midnight."""
    hours = np.datetime64("2020-01-01T01", "h") + np.arange(12)
    rain = np.arange(1, 13)[:, None, None] * np.full(GRID.shape, 1e-3)
    axes = {"time": hours.astype("datetime64[ns]"), "latitude": GRID.latitude, "longitude": GRID.longitude}
    data = xr.Dataset({"total_precipitation": (("time", "latitude", "longitude"), rain, {"units": "m"})}, axes)
    targets = open_targets(to_zarr(data, tmp_path / "rain.zarr"))
    assert (targets.channels, targets.times.tolist()) == (("tp06",), hours[5:].tolist())
    np.testing.assert_allclose(targets.read(hours[5:7], ("tp06",))[:, 0, 0, 0], [0.021, 0.027], rtol=1e-6)


# ---- grids -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forecast(tmp_path_factory: pytest.TempPathFactory) -> Forecast:
    return open_forecast(to_zarr(weatherbench(), tmp_path_factory.mktemp("forecast") / "ens.zarr"), "ens")


def with_pole(rows: int) -> Grid:
    return Grid(np.linspace(90.0, -90.0, 5)[:rows], GRID.longitude)


def test_a_row_at_the_south_pole_is_left_out() -> None:
    both = common_grid(with_pole(5), with_pole(4))
    assert both is not None
    assert both.latitude.tolist() == [90.0, 45.0, 0.0, -45.0]
    assert common_grid(with_pole(4), with_pole(5)).shape == (4, 5)  # type: ignore[union-attr]
    assert common_grid(with_pole(5), with_pole(5)).shape == (5, 5)  # type: ignore[union-attr]
    assert common_grid(with_pole(5), with_pole(3)) is None
    assert common_grid(with_pole(4), GRID) is None
    fewer = Grid(with_pole(5).latitude, GRID.longitude[:4])
    assert common_grid(fewer, with_pole(4)) is None


@pytest.mark.parametrize("shorter", ["forecast", "targets"])
def test_reading_leaves_the_pole_out_too(tmp_path: Path, shorter: str) -> None:
    fields = np.random.default_rng(0).normal(size=(len(TIMES), 2, 5, 5)).astype(np.float32)
    rows = {"forecast": slice(5), "targets": slice(5)} | {shorter: slice(4)}
    poles = with_pole(5)
    own = Grid(poles.latitude[rows["targets"]], poles.longitude)
    write_store(tmp_path / "store.zarr", TIMES, fields[:, :, rows["targets"]], ("u10m", "v10m"), own)
    axes = {"time": TIMES[:2].astype("datetime64[ns]"), "latitude": poles.latitude, "longitude": poles.longitude}
    spans = np.array([0, 6]).astype("timedelta64[h]").astype("timedelta64[ns]")
    given = xr.DataArray(fields[:2, None, 0], axes, ("time", "prediction_timedelta", "latitude", "longitude"))
    both = xr.concat([given, given + 1], "prediction_timedelta").assign_coords(prediction_timedelta=spans)
    data = both.isel(latitude=rows["forecast"]).to_dataset(name="10m_u_component_of_wind")
    data = data.assign({"10m_v_component_of_wind": data["10m_u_component_of_wind"] + 1})
    forecast = open_forecast(to_zarr(data, tmp_path / "f.zarr"))
    forecast, targets = align(forecast, open_targets(tmp_path / "store.zarr"))
    assert forecast.grid.shape == targets.grid.shape == (4, 5)
    u = fields[1, 0, :4] + 1
    np.testing.assert_array_equal(forecast.read(1, 1, ("u10m",))[0, 0], u)
    np.testing.assert_allclose(forecast.read(1, 1, ("ws10m",))[0, 0], np.hypot(u, u + 1), rtol=1e-6)
    np.testing.assert_array_equal(targets.read(TIMES[2:3], ("v10m",))[0, 0], fields[2, 1, :4])
    assert targets.land_HW is not None
    assert targets.land_HW.shape == (4, 5)


def test_other_grids_are_both_named(tmp_path: Path, forecast: Forecast) -> None:
    path = write_store(tmp_path / "store.zarr", TIMES, np.ones((12, 1, 4, 5), np.float32), ("t2m",), with_pole(4))
    with pytest.raises(InputError, match=r"ens\.zarr is on the grid 4×5 \(latitude 60 … -60.*on 4×5 \(latitude 90 …"):
        align(forecast, open_targets(path))


# ---- channels ----------------------------------------------------------------------------------------------------


def test_shared_channels(tmp_path: Path, forecast: Forecast) -> None:
    targets = open_targets(write_own(tmp_path / "store.zarr", ("t500", "u10m", "v10m", "z500")))
    channels, left_out = shared_channels([forecast], targets, None)
    assert channels == ("u10m", "v10m", "t500")
    assert left_out == (f"{targets.path} lacks t2m, t850",)
    assert shared_channels([forecast], targets, ["ws10m", "t500"]) == (("ws10m", "t500"), ())
    with pytest.raises(InputError, match=r"ens\.zarr has no channel z500; it holds u10m"):
        shared_channels([forecast], targets, ["z500"])
    with pytest.raises(InputError, match=r"store\.zarr has no channel t2m; it holds t500"):
        shared_channels([forecast], targets, ["t2m"])
    with pytest.raises(InputError, match="unknown channel 'warmth'"):
        shared_channels([forecast], targets, ["warmth"])
    with pytest.raises(InputError, match=r"share no channel: .*z\.zarr lacks u10m, v10m, t2m"):
        shared_channels([forecast], open_targets(write_own(tmp_path / "z.zarr", ("z500",))), None)


def test_a_speed_that_one_holds_follows_where_others_hold_components(tmp_path: Path, forecast: Forecast) -> None:
    speed = weatherbench()[["10m_u_component_of_wind"]].rename({"10m_u_component_of_wind": "10m_wind_speed"})
    other = open_forecast(to_zarr(speed, tmp_path / "speed.zarr"))
    targets = open_targets(write_own(tmp_path / "store.zarr"))
    assert shared_channels([other], targets, None)[0] == ("ws10m",)
    assert shared_channels([forecast, other], targets, None)[0] == ("ws10m",)
    assert "ws10m" not in shared_channels([forecast], targets, None)[0]


def test_the_same_name_by_another_formula_is_not_compared(tmp_path: Path, forecast: Forecast) -> None:
    targets = open_targets(write_own(tmp_path / "store.zarr"))
    bolton = replace(forecast, formulas={"t": "by Bolton"})
    channels, left_out = shared_channels([bolton], targets, None)
    assert channels == ("u10m", "v10m", "t2m")
    assert left_out[0].startswith("t500 differs by its formula")
    with pytest.raises(InputError, match=r"t850 differs by its formula: .*ens\.zarr: by Bolton; .*: as in ERA5"):
        shared_channels([bolton], targets, ["t850"])


# ---- cases -------------------------------------------------------------------------------------------------------


def test_cases_in_common(forecast: Forecast) -> None:
    other = forecast.select(HOURS[1:], (6, 72))
    inits, leads = common_cases([forecast, other])
    assert (inits.tolist(), leads) == (HOURS[1:].tolist(), (6, 72))
    with pytest.raises(InputError, match=r"no initial time in common: .*2020-02-28T00 to 2020-02-28T00, lead times"):
        common_cases([forecast.select(HOURS[:1], LEADS), other])
    with pytest.raises(InputError, match=r"no lead time in common: .*lead times of 0 to 0 h; .*lead times of 6 to 72"):
        common_cases([forecast.select(HOURS, (0,)), other])


def test_cases_with_analyses(tmp_path: Path, forecast: Forecast) -> None:
    """Analyses from 28 February 00 UTC to 1 March 18 UTC: 66 h."""
    targets = open_targets(write_own(tmp_path / "store.zarr"))
    found = verifiable([forecast], targets, ("t2m",))
    inits = [0, 12, 48]
    assert found.tolist() == [[init + lead <= 66 for lead in LEADS] for init in inits]
    late = replace(targets, times=targets.times[1:])
    assert not verifiable([forecast], late, ("t2m",))[0].any()
    with pytest.raises(InputError, match=r"covers 2020-02-28T00 to .* no forecast of .*ens\.zarr, from 2020-03-01T00"):
        verifiable([forecast.select(HOURS[2:], (72,))], targets, ("t2m",))
    assert INITS[2] == np.datetime64("2020-03-01")
