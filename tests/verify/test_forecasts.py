"""Forecasts of every form give the same cases, in our names, units and orientation."""

import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from foreign_files import (
    GRID,
    HOURS,
    INITS,
    LEADS,
    MEMBERS,
    aloft,
    case,
    number,
    read_cases_alone,
    surface,
    to_zarr,
    weatherbench,
)  # fmt: skip

from fourcast.errors import InputError
from fourcast.forecast.netcdf import FileWriter, Header, columns_of, member_path
from fourcast.forecast.weatherbench import write_zarr
from fourcast.verify.inputs.case_fields import CaseFields
from fourcast.verify.inputs.forecasts import Forecast, open_forecast
from fourcast.verify.inputs.recent import Recent

CHANNELS = ("u10m", "v10m", "t2m", "t500", "t850")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def check(forecast: Forecast, channels: tuple[str, ...], members: tuple[int, ...] = MEMBERS) -> None:
    """Every case of all of INITS and LEADS is what it should be."""
    assert forecast.members == members
    assert forecast.init_times.tolist() == HOURS.tolist()
    assert forecast.lead_hours == LEADS
    assert forecast.grid.same_as(GRID)
    for i, init in enumerate(INITS):
        for j, lead in enumerate(LEADS):
            found = forecast.read(i, j, channels)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, case(channels, init, lead, members), rtol=2e-7, atol=1e-5)


# ---- our own -----------------------------------------------------------------------------------------------------


def make_run(run: Path) -> Path:
    """The same numbers as a run of ours with relative humidity on one of two levels."""
    channels = (*CHANNELS, "r850")
    for init in INITS:
        for member in MEMBERS:
            header = Header(channels, GRID.latitude, GRID.longitude, init, LEADS, {"synthetic": True}, member)
            with FileWriter(member_path(run, init, member), header, columns_of(channels)) as writer:
                for i, lead in enumerate(LEADS):
                    humidity = number("t2m", member, init, lead)[None] / 4
                    fields = np.concatenate([case(CHANNELS, init, lead, (member,))[:, 0], humidity])
                    writer.write(i, fields.astype(np.float32))
    return run


def test_a_run_of_ours_in_all_its_forms(tmp_path: Path) -> None:
    run = make_run(tmp_path / "RUN")
    copied = shutil.copytree(write_zarr(run), tmp_path / "elsewhere.zarr")
    for path in (run, copied):
        forecast = open_forecast(path, "ours")
        assert (forecast.name, forecast.path, forecast.synthetic) == ("ours", str(path), True)
        assert forecast.channels == (*CHANNELS, "r850")  # and not r500
        check(forecast, ("t850", "u10m"))
        np.testing.assert_allclose(forecast.read(0, 1, ("r850",))[0, 0], number("t2m", 1, INITS[0], 6) / 4, rtol=1e-6)
        assert forecast.formulas == {}
        assert forecast.held(CHANNELS).all()
        assert forecast.held(CHANNELS).shape == (3, 6)
    assert open_forecast(run).groups(("t850", "ws10m", "t2m", "t500")) == (("t850", "t500"), ("t2m",), ("ws10m",))
    one = open_forecast(run / "2020-02-28T12")
    assert one.init_times.tolist() == HOURS[1:2].tolist()
    np.testing.assert_allclose(one.read(0, 2, ("t500",)), case(("t500",), INITS[1], 24), rtol=1e-6)


# ---- WeatherBench 2 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("units", [True, False])
def test_a_weatherbench_forecast(tmp_path: Path, units: bool) -> None:
    forecast = open_forecast(to_zarr(weatherbench(units), tmp_path / "ens.zarr"))
    assert forecast.channels == CHANNELS
    check(forecast, ("t850", "t2m", "t500"))
    assert forecast.groups(("t2m", "t850", "t500")) == (("t2m",), ("t850", "t500"))


@pytest.mark.parametrize(
    "order",
    [
        ("latitude", "longitude", "level", "prediction_timedelta", "number", "time"),
        ("prediction_timedelta", "longitude", "time", "latitude", "number", "level"),
    ],
)
def test_dimensions_come_in_any_order(tmp_path: Path, order: tuple[str, ...]) -> None:
    data = weatherbench().transpose(*order, missing_dims="ignore").rename(number="realization")
    check(open_forecast(to_zarr(data, tmp_path / "ens.zarr")), CHANNELS)


def test_one_forecast_without_members_is_the_control(tmp_path: Path) -> None:
    data = weatherbench().isel(number=1, drop=True)
    forecast = open_forecast(to_zarr(data, tmp_path / "hres.zarr"))
    assert forecast.members == (0,)
    found = forecast.read(2, 3, ("t2m",))
    np.testing.assert_allclose(found, case(("t2m",), INITS[2], 30, (2,)), rtol=1e-6)


def test_members_without_numbers_have_no_control(tmp_path: Path) -> None:
    bare = weatherbench().drop_vars("number").rename(number="member")
    check(open_forecast(to_zarr(bare, tmp_path / "bare.zarr")), CHANNELS, (1, 2))
    named = bare.assign_coords(member=["p01", "p02"])
    assert open_forecast(to_zarr(named, tmp_path / "named.zarr")).members == (1, 2)


def test_relative_humidity_of_weatherbench_says_its_formula(tmp_path: Path) -> None:
    data = weatherbench()[["temperature"]].rename(temperature="relative_humidity") / 400
    data["relative_humidity"].attrs = {}
    forecast = open_forecast(to_zarr(data, tmp_path / "r.zarr"))
    np.testing.assert_allclose(forecast.read(0, 0, ("r500",)), case(("t500",), INITS[0], 0) / 4, rtol=1e-6)
    assert "Bolton" in forecast.formulas["r"]


def test_cases_in_one_chunk_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forecast = open_forecast(to_zarr(weatherbench(), tmp_path / "ens.zarr", time=2, prediction_timedelta=4))
    read_cases_alone(monkeypatch)
    loads = iter(range(100))
    load = CaseFields._load
    monkeypatch.setattr(CaseFields, "_load", lambda self, *given: (next(loads), load(self, *given))[1])
    check(forecast, ("t2m",))
    assert next(loads) == 2 * 2  # blocks of 2 of 3 initial times and of 4 of 6 lead times


def test_small_cases_are_read_together(tmp_path: Path) -> None:
    """Here a case of temperature has 2 levels, 2 members and 20 points: 320 bytes; 2 lead times make a chunk."""
    path = to_zarr(weatherbench(), tmp_path / "ens.zarr", prediction_timedelta=2)
    [fields] = [part for part in open_forecast(path).reader.parts if part.piece.variable.name == "t"]  # type: ignore[attr-defined]
    all_leads = slice(0, 6)
    for most, time, leads in (
        (0, slice(1, 2), slice(2, 4)),
        (639, slice(1, 2), slice(2, 4)),
        (1280, slice(1, 2), slice(0, 4)),
        (2 * 6 * 320, slice(0, 2), all_leads),  # first the lead times, then further initial times
        (10**6, slice(0, 3), all_leads),
    ):
        spans = replace(fields, together_bytes=most)._spans({"time": 1, "prediction_timedelta": 3}, 2)
        assert spans == {"time": time, "prediction_timedelta": leads}
    large = replace(fields, recent=Recent(4 * 639))
    assert large._spans({"time": 1, "prediction_timedelta": 3}, 2)["prediction_timedelta"] == slice(3, 4)


# ---- CF netCDF ---------------------------------------------------------------------------------------------------


def cf_file(i: int, member: int, units: str = "hours since 1990-01-01") -> xr.Dataset:
    """One initial time and member as CF has it, in degC and hPa, longitudes from -180, south first."""
    arrays = {
        "air_temperature_2m": (surface("t2m") - 273.15, {"standard_name": "air_temperature", "units": "degC"}),
        "msl": (surface("msl") / 100, {"units": "hPa"}),
        "t": (aloft("t", (500, 850)), {"standard_name": "air_temperature", "units": "K"}),
    }
    data = xr.Dataset({name: a.assign_attrs(attributes) for name, (a, attributes) in arrays.items()})
    data = data.sel(number=member, drop=True).isel(time=i, drop=True).rename(lead="time")
    valid = INITS[i] + np.array(LEADS) * np.timedelta64(1, "h").astype("timedelta64[ns]")
    data = data.assign_coords(time=valid, height=2.0)
    data = data.assign_coords(level=("level", [50000.0, 85000.0], {"units": "Pa"}))
    data["forecast_reference_time"] = ((), INITS[i], {"standard_name": "forecast_reference_time"})
    data["realization"] = ((), member, {"standard_name": "realization"})
    for name in ("time", "forecast_reference_time"):
        data[name].encoding = {"units": units, "dtype": "f8"}
    east = (data["longitude"].values + 180) % 360 - 180
    return data.assign_coords(longitude=east).sortby("longitude").sortby("latitude")


def test_a_folder_of_cf_files(tmp_path: Path) -> None:
    for i in range(len(INITS)):
        for member in MEMBERS:
            cf_file(i, member).to_netcdf(tmp_path / f"{i}_{member}.nc")
    forecast = open_forecast(tmp_path)
    assert forecast.channels == ("t2m", "msl", "t500", "t850")
    channels = ("msl", "t850", "t2m")
    for i, init in enumerate(INITS):
        for j, lead in enumerate(LEADS):
            expected = case(channels, init, lead)
            np.testing.assert_allclose(forecast.read(i, j, channels), expected, rtol=1e-6)
    assert open_forecast(tmp_path / "*_2.nc").members == (2,)


def lead_file(leads: np.ndarray, name: str, attributes: dict[str, str]) -> xr.Dataset:
    """All initial times, with lead times as given."""
    data = xr.Dataset({"t2m": surface("t2m").assign_attrs(units="K")}).rename(time="init_time")
    return data.assign_coords(lead=("lead", leads, attributes)).rename(lead=name)


@pytest.mark.parametrize(
    ("leads", "attributes"),
    [
        (np.array(LEADS), {"units": "hours"}),
        (np.array(LEADS), {}),
        (np.array(LEADS, dtype="f4"), {"units": "h"}),
        (np.array(LEADS, dtype="i4") * 3600, {"units": "seconds"}),
        (np.array(LEADS) / 24, {"units": "days"}),
        (np.array(LEADS).astype("timedelta64[h]").astype("timedelta64[ns]"), {}),
    ],
)
@pytest.mark.parametrize("name", ["lead_time", "step", "forecast_period"])
def test_lead_times_in_all_units(tmp_path: Path, leads: np.ndarray, attributes: dict[str, str], name: str) -> None:
    lead_file(leads, name, attributes).to_netcdf(tmp_path / "f.nc")
    check(open_forecast(tmp_path / "f.nc"), ("t2m",))


def test_valid_times_alone_start_at_the_first(tmp_path: Path) -> None:
    data = cf_file(1, 2).drop_vars(["forecast_reference_time", "realization"])
    data.to_netcdf(tmp_path / "f.nc")
    forecast = open_forecast(tmp_path / "f.nc")
    assert (forecast.members, forecast.lead_hours) == ((0,), LEADS)
    assert forecast.init_times.tolist() == HOURS[1:2].tolist()
    np.testing.assert_allclose(forecast.read(0, 4, ("t500",)), case(("t500",), INITS[1], 36, (2,)), rtol=1e-6)
    assert forecast.notes == (f"no initial time in {tmp_path / 'f.nc'}: the first valid time is taken for it",)
    data.isel(time=slice(2, None)).assign_attrs(init_time="2020-02-28T12:00:00Z").to_netcdf(tmp_path / "g.nc")
    stated = open_forecast(tmp_path / "g.nc")
    assert (stated.lead_hours, stated.notes) == (LEADS[2:], ())


def test_analyses_of_months_are_no_forecast(tmp_path: Path) -> None:
    data = cf_file(1, 2).drop_vars(["forecast_reference_time", "realization"]).isel(time=[0, 1])
    first = data["time"].values[0]
    data.assign_coords(time=first + np.array([0, 47 * 24]) * np.timedelta64(1, "h")).to_netcdf(tmp_path / "f.nc")
    with pytest.raises(InputError, match=r"f.nc.* states no initial time, and its 2 times .*pass analyses as store="):
        open_forecast(tmp_path / "f.nc")


def test_a_time_with_its_lead_time_beside_it(tmp_path: Path) -> None:
    """CF without a reference time: the valid time less the forecast period."""
    data = cf_file(0, 1).drop_vars("forecast_reference_time")
    data["forecast_period"] = ("time", np.array(LEADS), {"units": "hours", "standard_name": "forecast_period"})
    data.to_netcdf(tmp_path / "f.nc")
    forecast = open_forecast(tmp_path / "f.nc")
    assert forecast.lead_hours == LEADS
    assert forecast.init_times.tolist() == HOURS[:1].tolist()
    assert forecast.members == (1,)


def test_files_of_other_lead_times_leave_cases_out(tmp_path: Path) -> None:
    cf_file(0, 1).isel(time=slice(0, 3)).to_netcdf(tmp_path / "0_1.nc")
    cf_file(0, 2).isel(time=slice(1, 4)).to_netcdf(tmp_path / "0_2.nc")
    cf_file(1, 1)[["msl", "forecast_reference_time", "realization"]].to_netcdf(tmp_path / "1_1.nc")
    cf_file(1, 2).to_netcdf(tmp_path / "1_2.nc")
    forecast = open_forecast(tmp_path)
    assert forecast.held(("t2m", "msl")).tolist() == [[False, True, True, False, False, False], [False] * 6]
    assert forecast.held(("msl",)).tolist() == [[False, True, True, False, False, False], [True] * 6]
    with pytest.raises(InputError, match=r"lack t2m of member 1 at 2020-02-28T12 \+ 0 h"):
        forecast.read(1, 0, ("t2m",))


# ---- streaming ---------------------------------------------------------------------------------------------------


def test_opening_and_reading_touch_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every chunk but those of one case is damaged."""
    read_cases_alone(monkeypatch)
    path = to_zarr(weatherbench(), tmp_path / "ens.zarr", prediction_timedelta=1)
    for name in ("2m_temperature", "temperature"):
        spared = {"time": "1", "prediction_timedelta": "3"}
        dims = xr.open_zarr(path)[name].dims
        for chunk in (f for f in (path / name).iterdir() if not f.name.startswith(".")):
            places = dict(zip(dims, chunk.name.split("."), strict=True))
            if any(places[dim] != place for dim, place in spared.items()):
                chunk.write_bytes(b"damaged")
    forecast = open_forecast(path)
    found = forecast.read(1, 3, ("t850", "t2m"))
    np.testing.assert_allclose(found, case(("t850", "t2m"), INITS[1], 30), rtol=1e-6)
    for i, j in ((0, 3), (1, 2)):
        with pytest.raises(InputError, match=r"ens\.zarr: 2m_temperature cannot be read"):
            forecast.read(i, j, ("t2m",))


def test_netcdf_reads_touch_one_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same of compressed netCDF."""
    read_cases_alone(monkeypatch)
    path = tmp_path / "f.nc"
    data = lead_file(np.array(LEADS), "step", {"units": "hours"})
    sizes = [1 if d in ("init_time", "step", "number") else data.sizes[d] for d in data["t2m"].dims]
    data.to_netcdf(path, encoding={"t2m": {"chunksizes": sizes, "zlib": True, "complevel": 1}})
    dims = data["t2m"].dims
    with h5py.File(path) as file:
        chunks = [file["t2m"].id.get_chunk_info(i) for i in range(file["t2m"].id.get_num_chunks())]
    with path.open("r+b") as raw:
        for chunk in chunks:
            places = dict(zip(dims, chunk.chunk_offset, strict=True))
            if (places["init_time"], places["step"]) != (2, 1):
                raw.seek(chunk.byte_offset)
                raw.write(b"\xff" * chunk.size)
    forecast = open_forecast(path)
    np.testing.assert_allclose(forecast.read(2, 1, ("t2m",)), case(("t2m",), INITS[2], 6), rtol=1e-6)
    with pytest.raises(InputError, match=r"f\.nc: t2m cannot be read"):
        forecast.read(2, 2, ("t2m",))


# ---- what follows from winds, and selections ---------------------------------------------------------------------


def test_wind_speed_follows_from_the_components(tmp_path: Path) -> None:
    forecast = open_forecast(to_zarr(weatherbench(), tmp_path / "ens.zarr"))
    assert forecast.can_read("ws10m")
    assert not forecast.can_read("ws850")
    u, t, v = case(("u10m", "t2m", "v10m"), INITS[1], 36)
    found = forecast.read(1, 4, ("ws10m", "t2m", "u10m"))
    np.testing.assert_allclose(found, [np.hypot(u, v), t, u], rtol=1e-6)
    assert forecast.groups(("ws10m", "t2m")) == (("t2m",), ("ws10m",))


def test_relative_humidity_follows_by_ecmwfs_formula(tmp_path: Path) -> None:
    """At 280 K, over water alone, 0.005 kg kg-1 at 850 hPa: e = 681.2 Pa, es = 990.8 Pa."""
    moist = (0 * weatherbench()["temperature"] + 0.005).astype("f4").assign_attrs(units="kg kg**-1")
    warm = (0 * weatherbench()["temperature"] + 280.0).astype("f4").assign_attrs(units="K")
    data = xr.Dataset({"specific_humidity": moist, "temperature": warm})
    forecast = open_forecast(to_zarr(data, tmp_path / "ens.zarr"))
    assert "r850" not in forecast.channels
    np.testing.assert_allclose(forecast.read(0, 0, ("r850",)), 100 * 681.2 / 990.8, rtol=1e-4)


def test_a_selection_has_positions_of_its_own(tmp_path: Path) -> None:
    forecast = open_forecast(to_zarr(weatherbench(), tmp_path / "ens.zarr"))
    chosen = forecast.select(HOURS[1:], (24, 72))
    assert (chosen.lead_hours, chosen.init_times.tolist()) == ((24, 72), HOURS[1:].tolist())
    np.testing.assert_allclose(chosen.read(1, 1, ("t500",)), case(("t500",), INITS[2], 72), rtol=1e-6)


# ---- what cannot be used -----------------------------------------------------------------------------------------


def test_wrong_units_are_refused_by_name(tmp_path: Path) -> None:
    data = weatherbench()
    data["2m_temperature"].attrs["units"] = "m s**-1"
    forecast = open_forecast(to_zarr(data, tmp_path / "ens.zarr"))
    assert "t2m" not in forecast.channels
    assert "2m_temperature has 'm s**-1', expected one of: K, degC" in forecast.refused[0]
    with pytest.raises(InputError, match=r"has no channel t2m.*2m_temperature has 'm s\*\*-1'"):
        forecast.require(("t500", "t2m"))
    only = to_zarr(data[["2m_temperature"]], tmp_path / "only.zarr")
    with pytest.raises(InputError, match=r"only\.zarr holds no forecast that can be used.*'m s\*\*-1'"):
        open_forecast(only)


def test_precipitation_from_the_start_is_refused(tmp_path: Path) -> None:
    data = weatherbench().rename({"2m_temperature": "total_precipitation"})
    data["total_precipitation"].attrs["units"] = "m"
    forecast = open_forecast(to_zarr(data, tmp_path / "ens.zarr"))
    assert "tp06" not in forecast.channels
    assert "adds up from the start" in forecast.refused[0]


def changed_file(path: Path, change: str) -> Path:
    """A forecast with something wrong in it."""
    data = lead_file(np.array(LEADS), "step", {"units": "hours"})
    if change == "repeated members":
        data = data.assign_coords(number=[3, 3])
    elif change == "repeated leads":
        data = data.assign_coords(step=("step", [0, 6, 6, 12, 18, 24], {"units": "hours"}))
    elif change == "half hours":
        data = data.assign_coords(step=("step", np.array(LEADS) + 0.5, {"units": "hours"}))
    elif change == "months":
        data = data.assign_coords(step=("step", np.array(LEADS), {"units": "months"}))
    elif change == "minutes past":
        data = data.assign_coords(init_time=INITS + np.timedelta64(7, "m"))
    elif change == "no times":
        data = data.isel(init_time=0, step=0, drop=True)
    elif change == "bare step":
        data = data.drop_vars("step")
    elif change == "unknown":
        data = data.rename(t2m="mystery")
    elif change == "no grid":
        data = data.rename(latitude="y").drop_vars("y")
    elif change == "shared":
        data["t2m"] = data["t2m"].isel(number=0, drop=True)
        data["msl"] = surface("msl").rename(time="init_time", lead="step").assign_attrs(units="Pa")
    data.to_netcdf(path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("repeated members", "repeats members in number"),
        ("repeated leads", "repeats lead times"),
        ("half hours", r"step of 0\.5, .* expected whole hours"),
        ("months", "step in 'months', expected hours"),
        ("minutes past", "00:07:00.*, expected full hours"),
        ("no times", "has no times of a forecast"),
        ("bare step", "dimension step without values"),
        ("unknown", "holds no forecast that can be used"),
        ("no grid", "no latitude of one dimension"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, change: str, message: str) -> None:
    path = changed_file(tmp_path / "bad.nc", change)
    with pytest.raises(InputError, match=rf"bad\.nc.*{message}"):
        open_forecast(path)


def test_a_field_that_members_share_is_no_ensemble(tmp_path: Path) -> None:
    forecast = open_forecast(changed_file(tmp_path / "f.nc", "shared"))
    assert forecast.channels == ("msl",)
    assert "t2m has dimensions" in forecast.refused[0]
    assert "expected init_time, step, number" in forecast.refused[0]


def test_other_kinds_of_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no forecast")
    for path, message in (
        (tmp_path / "absent", "there is no source at .*absent"),
        (tmp_path / "notes.txt", "neither netCDF, GRIB, ZIP nor zarr"),
        (tmp_path, "holds no data file"),
    ):
        with pytest.raises(InputError, match=message):
            open_forecast(path)


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    cf_file(0, 1).to_netcdf(tmp_path / "a.nc")
    cf_file(0, 1).to_netcdf(tmp_path / "b.nc")
    with pytest.raises(InputError, match=r"a\.nc and .*b\.nc both hold t2m of member 1"):
        open_forecast(tmp_path)
    cf_file(1, 1).isel(latitude=slice(1, None)).to_netcdf(tmp_path / "b.nc")
    with pytest.raises(InputError, match=r"b\.nc and .*a\.nc are on different grids, 3×5 .* 4×5"):
        open_forecast(tmp_path)


def test_constants_are_no_channels(tmp_path: Path) -> None:
    data = lead_file(np.array(LEADS), "step", {"units": "hours"})
    land = xr.DataArray(np.ones(GRID.shape), dims=("latitude", "longitude"), attrs={"units": "1"})
    data.assign(lsm=land).to_netcdf(tmp_path / "f.nc")
    assert open_forecast(tmp_path / "f.nc").channels == ("t2m",)
