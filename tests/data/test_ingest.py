"""Synthetic sources built here, good and bad, through the whole ingestion."""

import zipfile
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr

from fourcast.data.climatology import harmonic_basis
from fourcast.data.describe import describe_source, describe_store
from fourcast.data.ingest import ingest
from fourcast.data.store import Store, open_store
from fourcast.data_config import IngestConfig
from fourcast.errors import InputError
from fourcast.files import partial_path
from fourcast.grid import area_weights

LATITUDE = np.arange(75.0, -76.0, -30.0)
LONGITUDE = np.arange(0.0, 360.0, 30.0)
LEVELS = np.array([850, 500])
RNG = np.random.default_rng(0)
ANYTHING = ["range", "mean", "spread"]
"""Values that no weather has are let in."""


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """Every test draws the same random numbers, whichever ran before it."""
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


def analyses(count: int = 8, start: str = "2020-01-01") -> xr.Dataset:
    """A small good source: t on two levels and msl, six-hourly, global."""
    times = np.datetime64(start, "ns") + np.arange(count) * np.timedelta64(6, "h")
    plane = ("latitude", "longitude")
    shape = (count, len(LATITUDE), len(LONGITUDE))
    mean = np.array([280.0, 258.0], "f4")[:, None, None]
    t = mean + RNG.uniform(-20, 20, (count, len(LEVELS), *shape[1:])).astype("f4")
    msl = RNG.uniform(99300, 102900, shape).astype("f4")
    return xr.Dataset(
        {"t": (("time", "level", *plane), t, {"units": "K"}), "msl": (("time", *plane), msl, {"units": "Pa"})},
        {"time": times, "level": ("level", LEVELS, {"units": "hPa"}), "latitude": LATITUDE, "longitude": LONGITUDE},
    )


def run(tmp_path: Path, data: xr.Dataset, **settings: Any) -> Store:
    """Write ``data`` as netCDF, ingest it, and open the store."""
    path = tmp_path / "source.nc"
    data.to_netcdf(path)
    return open_store(ingest(IngestConfig(source=[str(path)], output=str(tmp_path / "store"), **settings)))


def test_values_and_attributes(tmp_path: Path) -> None:
    data = analyses()
    store = run(tmp_path, data.assign_attrs(title="made here", synthetic="true"))
    assert store.channels == ("msl", "t500", "t850")
    fields = store.read(slice(None))
    np.testing.assert_array_equal(fields[:, 0], data.msl)
    np.testing.assert_array_equal(fields[:, 1], data.t.sel(level=500))
    np.testing.assert_array_equal(fields[:, 2], data.t.sel(level=850))
    assert store.synthetic
    assert "SYNTHETIC" in store.attributes["title"]
    assert store.attributes["source_attribution"] == {"title": "made here"}
    assert store.attributes["statistics_period"] == ["2020-01-01T00", "2020-01-02T18"]
    assert store.step_hours == 6


def same(store: Store, data: xr.Dataset) -> None:
    """The store equals the well-formed ``data``."""
    np.testing.assert_array_equal(store.grid.latitude, data.latitude)
    np.testing.assert_array_equal(store.grid.longitude, data.longitude)
    np.testing.assert_array_equal(store.times, data.time.values.astype("datetime64[h]"))
    np.testing.assert_array_equal(store.read(slice(None), ("t500", "t850")), data.t.sel(level=[500, 850]))
    np.testing.assert_array_equal(store.read(slice(None), ("msl",))[:, 0], data.msl)


def as_pascals(data: xr.Dataset) -> xr.Dataset:
    return data.assign_coords(level=("level", data.level.values * 100.0, {"units": "Pa"})).rename(level="plev")


def as_new_cds(data: xr.Dataset) -> xr.Dataset:
    renamed = data.rename(time="valid_time", level="pressure_level")
    versions = ("valid_time", np.full(data.sizes["time"], "0001"))
    return renamed.assign_coords(number=0, expver=versions)


def with_older_expver(data: xr.Dataset) -> xr.Dataset:
    late = data.time >= data.time[5]
    return xr.concat([data.where(~late), data.where(late)], xr.IndexVariable("expver", [1, 5]))


GOOD = {
    "levels scrambled": lambda d: d.isel(level=[1, 0]),
    "levels in Pa": as_pascals,
    "levels in millibars": lambda d: d.assign_coords(level=d.level.assign_attrs(units="millibars")),
    "latitude flipped": lambda d: d.isel(latitude=slice(None, None, -1)),
    "longitude from -180": lambda d: d.assign_coords(longitude=(d.longitude + 180) % 360 - 180).sortby("longitude"),
    "meridian repeated": lambda d: d.isel(longitude=[*range(12), 0]).assign_coords(longitude=np.arange(0, 361, 30.0)),
    "dimensions transposed": lambda d: d.transpose("longitude", "level", "latitude", "time"),
    "short names": lambda d: d.rename(latitude="lat", longitude="lon"),
    "times scrambled": lambda d: d.isel(time=[3, 1, 0, 2, 7, 5, 6, 4]),
    "identical duplicates": lambda d: d.isel(time=[0, 0, 1, 2, 3, 4, 5, 6, 7, 3]),
    "Climate Data Store today": as_new_cds,
    "celsius": lambda d: d.assign(t=(d.t.astype("f8") - 273.15).assign_attrs(units="degC")),
    "hPa": lambda d: d.assign(msl=(d.msl.astype("f8") / 100).assign_attrs(units="hPa")),
    "unknown variable beside": lambda d: d.assign(mystery=d.msl.assign_attrs(units="furlong")),
}


@pytest.mark.parametrize("name", GOOD)
def test_forms_that_are_made_ours(tmp_path: Path, name: str) -> None:
    data = analyses()
    store = run(tmp_path, GOOD[name](data), allow=["preliminary"])
    if name in ("celsius", "hPa"):
        np.testing.assert_allclose(store.read(slice(None), ("t500",))[:, 0], data.t.sel(level=500), rtol=2e-7)
        np.testing.assert_allclose(store.read(slice(None), ("msl",))[:, 0], data.msl, rtol=2e-7)
    else:
        same(store, data)


def test_older_expver_dimension_is_merged_and_recorded(tmp_path: Path) -> None:
    data = analyses()
    store = run(tmp_path, with_older_expver(data), allow=["preliminary"])
    same(store, data)
    assert store.attributes["expver_times"] == {"0001": 5, "0005": 3}


def damaged_netcdf(path: Path, form: str) -> None:
    analyses(40).to_netcdf(path, format=form, unlimited_dims=["time"])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def zip_of(path: Path, name: str, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)


def hybrid(data: xr.Dataset) -> xr.Dataset:
    words = {"long_name": "hybrid level", "units": "1"}
    return data.drop_vars("msl").assign_coords(level=("level", [60, 100], words))


def monthly(data: xr.Dataset) -> xr.Dataset:
    return data.assign_coords(time=np.array([f"2020-{m:02}-01" for m in range(1, 9)], dtype="datetime64[ns]"))


def with_hole(data: xr.Dataset) -> xr.Dataset:
    data.t[3, 1, 2, 4] = np.nan
    return data


def versions(*names: str) -> Any:
    return lambda d: d.assign_coords(expver=("time", np.resize(names, d.sizes["time"])))


def with_units(variable: str, units: str | None) -> Any:
    def change(data: xr.Dataset) -> xr.Dataset:
        data[variable].attrs = {} if units is None else {"units": units}
        return data

    return change


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "missing level": (None, {"channels": ["t700"]}, "no t700; it holds msl, t500, t850"),
    "missing variable": (None, {"channels": ["t500", "u10m"]}, "no u10m"),
    "unknown channel": (None, {"channels": ["x500"]}, "unknown channel 'x500'"),
    "channel listed twice": (None, {"channels": ["t500", "t500"]}, "listed twice"),
    "wrong units": (with_units("t", "m"), {}, "t has 'm', expected one of: K, degC"),
    "missing units": (with_units("t", None), {}, "t has no units, expected one of: K, degC"),
    "celsius called kelvin": (lambda d: d.assign(t=(d.t - 273.15).assign_attrs(units="K")), {}, "looks like °C"),
    "other duplicates": (lambda d: d.assign_coords(time=d.time.values[[0, 1, 2, 3, 4, 5, 6, 2]]), {}, "other values"),
    "mixed expver": (versions("0001", "0005"), {}, "4 of 8 times are preliminary"),
    "missing values": (with_hole, {}, "t850 has 1 missing values|t500 has 1 missing values"),
    "monthly means": (monthly, {}, "monthly means"),
    "month dimension": (lambda d: d.assign_coords(time=np.arange(8)).rename(time="month"), {}, "monthly means"),
    "hybrid levels": (hybrid, {}, "levels, not on pressure levels"),
    "numbers of model levels": (
        lambda d: d.isel(level=[0, 1, 0, 1]).assign_coords(level=np.arange(1, 5)).drop_vars("msl"), {}, "no units"),
    "levels without values": (lambda d: d.drop_vars(["level", "msl"]), {}, "without values"),
    "region": (lambda d: d.isel(longitude=slice(0, 5)), {}, "region only.*pass region=true"),
    "half the globe": (lambda d: d.isel(latitude=slice(0, 3)), {}, "region only"),
    "two grid dimensions": (
        lambda d: d.rename(latitude="y", longitude="x").assign_coords(
            latitude=(("y", "x"), np.ones((6, 12))), longitude=(("y", "x"), np.ones((6, 12)))), {}, "no latitude"),
    "several members": (lambda d: d.expand_dims(number=[0, 1]), {}, "number 0, 1; choose one with number="),
    "absent member": (lambda d: d.expand_dims(number=[0, 1]), {"number": 7}, "not the number that was asked"),
    "several steps": (lambda d: d.expand_dims(step=np.array([0, 6], "m8[h]").astype("m8[ns]")), {}, "forecast_step="),
    "a forecast": (lambda d: d.assign_coords(step=np.timedelta64(6, "h").astype("m8[ns]")), {}, "holds step 6"),
    "period without data": (None, {"start": "2021-01-01"}, "no analysis remains"),
    "statistics without data": (None, {"statistics_end": "2019-01-01"}, "no analysis lies in the statistics period"),
    "nothing on the raster": (lambda d: d.assign_coords(time=d.time + np.timedelta64(3, "h")), {}, "no analysis"),
    "no time": (lambda d: d.isel(time=0, drop=True), {}, "static fields alone|no time"),
    "model calendar": (lambda d: d.convert_calendar("360_day", align_on="date", use_cftime=True), {}, "standard dates"),
    "hourly precipitation": (
        lambda d: d.rename(msl="tp").assign(tp=lambda x: x.tp.assign_attrs(units="m")),
        {"channels": ["tp06"]}, "tp sums"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_sources_are_refused_by_name(tmp_path: Path, name: str) -> None:
    change, settings, message = BAD[name]
    data = analyses() if change is None else change(analyses())
    with pytest.raises(InputError, match=message):
        run(tmp_path, data, **settings)
    nothing_opens(tmp_path)


def nothing_opens(folder: Path) -> None:
    """What an ingestion left, if anything, is a store that says it is unfinished."""
    left = {path.name for path in folder.iterdir()} - {"source.nc"}
    assert left <= {"store"}
    with pytest.raises(InputError, match="is unfinished" if left else "there is no store"):
        open_store(folder / "store")


def html(path: Path) -> None:
    path.write_bytes(b"<html>Request has failed</html>")


def unreadable_zip(path: Path) -> None:
    zip_of(path, "data.nc", b"\x89HDF" + bytes(4000))
    path.write_bytes(path.read_bytes()[:2000])


BAD_FILES: dict[str, tuple[Any, str]] = {
    "truncated netCDF 4": (lambda p: damaged_netcdf(p, "NETCDF4"), "cannot be read as netCDF"),
    "truncated netCDF 3": (lambda p: damaged_netcdf(p, "NETCDF3_64BIT"), "truncated: expected"),
    "truncated GRIB": (lambda p: p.write_bytes(b"GRIB" + bytes(200)), "does not end with 7777"),
    "ZIP of something else": (lambda p: zip_of(p, "readme.txt", b"hello"), "a ZIP without netCDF or GRIB"),
    "ZIP of a damaged file": (lambda p: zip_of(p, "data.nc", b"hello"), "neither netCDF, GRIB, ZIP nor zarr"),
    "truncated ZIP": (unreadable_zip, "broken ZIP"),
    "web page": (html, "starts with b'<html>"),
    "empty": (lambda p: p.write_bytes(b""), "starts with b''"),
    "absent": (lambda p: None, "there is no source"),
    "folder without data": (lambda p: p.mkdir(), "holds no data file"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused_by_name_and_leave_nothing(tmp_path: Path, name: str) -> None:
    make, message = BAD_FILES[name]
    make(tmp_path / "source.nc")
    output = tmp_path / "store"
    with pytest.raises(InputError, match=message):
        ingest(IngestConfig(source=[str(tmp_path / "source.nc")], output=str(output)))
    assert not output.exists()
    assert not partial_path(output).exists()


def test_several_files_and_todays_zip_make_one_series(tmp_path: Path) -> None:
    data = analyses()
    data[["t"]].isel(time=slice(0, 4)).to_netcdf(tmp_path / "a.nc")
    data[["t"]].isel(time=slice(4, 8)).to_netcdf(tmp_path / "b.nc", format="NETCDF3_64BIT")
    data[["msl"]].to_netcdf(tmp_path / "msl.nc")
    with zipfile.ZipFile(tmp_path / "download.nc", "w") as archive:
        archive.write(tmp_path / "msl.nc", "data_stream-oper_stepType-instant.nc")
    (tmp_path / "msl.nc").unlink()
    same(open_store(ingest(IngestConfig(source=[str(tmp_path)], output=str(tmp_path / "x" / "store")))), data)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr(tmp_path: Path, zarr_format: int) -> None:
    data = analyses()
    data.to_zarr(tmp_path / "source.zarr", zarr_format=zarr_format)
    config = IngestConfig(source=[str(tmp_path / "source.zarr")], output=str(tmp_path / "store"))
    same(open_store(ingest(config)), data)


def test_files_on_different_grids_are_refused(tmp_path: Path) -> None:
    data = analyses()
    data[["t"]].to_netcdf(tmp_path / "a.nc")
    data[["msl"]].isel(longitude=slice(0, 6)).to_netcdf(tmp_path / "b.nc")
    with pytest.raises(InputError, match="are on different grids"):
        ingest(IngestConfig(source=[f"{tmp_path}/*.nc"], output=str(tmp_path / "store")))


def test_times_where_a_channel_is_absent_are_gaps(tmp_path: Path) -> None:
    data = analyses()
    data[["t"]].to_netcdf(tmp_path / "a.nc")
    data[["msl"]].isel(time=[0, 1, 5]).to_netcdf(tmp_path / "b.nc")
    store = open_store(ingest(IngestConfig(source=[f"{tmp_path}/*.nc"], output=str(tmp_path / "store"))))
    same(store, data.isel(time=[0, 1, 5]))
    assert "1 gaps with 3 missing times" in describe_store(store.path)


def test_member_and_step_are_chosen(tmp_path: Path) -> None:
    data = analyses()
    steps = np.array([0, 6], "m8[h]").astype("m8[ns]")
    many = xr.concat([data, data.assign(t=data.t + 1)], xr.IndexVariable("number", [0, 1]), combine_attrs="override")
    many = many.assign(t=many.t.assign_attrs(units="K")).expand_dims(step=steps)
    store = run(tmp_path, many, number=1, forecast_step=6)
    moved = data.assign_coords(time=data.time + np.timedelta64(6, "h"))
    same(store, moved.assign(t=data.t.variable + 1))


def test_geopotential_height_humidity_and_static_fields(tmp_path: Path) -> None:
    data = analyses()
    height = (data.t * 20).assign_attrs(units="gpm", standard_name="geopotential_height")
    data["gh"] = height
    data["r"] = (data.t / 500).assign_attrs(units="1")
    data["orog"] = (data.msl[0] / 100).assign_attrs(units="m")
    data["land_sea_mask"] = (data.msl[0] * 0 + 1).assign_attrs(units="(0 - 1)")
    store = run(tmp_path, data, allow=ANYTHING)
    expected = height.sel(level=500).astype("f8") * 9.80665
    np.testing.assert_allclose(store.read(slice(None), ("z500",))[:, 0], expected, rtol=1e-7)
    np.testing.assert_allclose(store.read(slice(None), ("r850",))[:, 0], data.t.sel(level=850) / 5, rtol=2e-7)
    np.testing.assert_allclose(store.static["z_sfc"], data.orog * 9.80665, rtol=2e-7)
    assert (store.static["lsm"] == 1).all()


def test_wind_at_ten_metres_is_not_wind_at_ten_hectopascals(tmp_path: Path) -> None:
    data = analyses().rename(msl="u10", t="u")
    data["u10"].attrs["units"] = data["u"].attrs["units"] = "m s**-1"
    data = data.assign_coords(level=("level", [10, 500], {"units": "hPa"}))
    store = run(tmp_path, data, allow=ANYTHING)
    assert store.channels == ("u10m", "u10", "u500")
    np.testing.assert_array_equal(store.read(slice(None), ("u10m",))[:, 0], data.u10)
    np.testing.assert_array_equal(store.read(slice(None), ("u10",))[:, 0], data.u[:, 0])


def test_missing_values_carry_no_weight_where_allowed(tmp_path: Path) -> None:
    store = run(tmp_path, with_hole(analyses()), allow=["missing"])
    assert np.isnan(store.read(slice(None))).sum() == 1
    assert np.isfinite(store.statistics.mean).all()


def test_south_pole_row(tmp_path: Path) -> None:
    latitude = np.linspace(90, -90, 7)
    data = analyses().interp(latitude=latitude, method="nearest", kwargs={"fill_value": "extrapolate"})
    assert run(tmp_path, data, allow=["msl:spread"]).grid.shape == (6, 12)
    store = run(tmp_path, data, allow=["msl:spread"], south_pole="keep", overwrite=True)
    np.testing.assert_array_equal(store.grid.latitude, latitude)


def test_statistics_and_climatology_equal_numpy_over_everything(tmp_path: Path) -> None:
    data = analyses(count=1470)
    data = data.isel(time=np.r_[0:100, 103:1470])
    store = run(tmp_path, data, statistics_start="2020-01-11", statistics_end="2020-12-31", shard_times=70)
    fields, times = store.read(slice(None)).astype(np.float64), store.times
    chosen = (times >= np.datetime64("2020-01-11")) & (times < np.datetime64("2021-01-01"))
    weights = area_weights(LATITUDE)[:, None] / (len(LATITUDE) * len(LONGITUDE))
    learned = fields[chosen]
    mean = (learned * weights).sum(axis=(2, 3)).mean(axis=0)
    std = np.sqrt((((learned - mean[:, None, None]) ** 2) * weights).sum(axis=(2, 3)).mean(axis=0))
    pairs = np.flatnonzero(np.diff(times[chosen]) == np.timedelta64(6, "h"))
    assert len(pairs) == chosen.sum() - 2
    change = ((learned[pairs + 1] - learned[pairs]) ** 2 * weights).sum(axis=(2, 3)).mean(axis=0)
    np.testing.assert_allclose(store.statistics.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(store.statistics.std, std, rtol=1e-6)
    np.testing.assert_allclose(store.statistics.tendency_std, np.sqrt(change), rtol=1e-6)
    climatology = store.climatology()
    assert climatology.coefficients.shape == (4, 5, 3, 6, 12)
    at_six = chosen & (times.astype("datetime64[h]").astype(int) % 24 == 6)
    basis = harmonic_basis(times[at_six], 2)
    fitted = np.linalg.lstsq(basis, fields[at_six].reshape(at_six.sum(), -1), rcond=None)[0].reshape(5, 3, 6, 12)
    np.testing.assert_allclose(climatology.coefficients[1, 0], fitted[0], rtol=1e-6)
    scale = np.abs(fitted[1:]).max(axis=(0, 2, 3))[:, None, None]
    assert (np.abs(climatology.coefficients[1, 1:] - fitted[1:]) / scale).max() < 1e-6


def test_rerun_is_a_no_op_and_anything_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = analyses()
    first = run(tmp_path, data)
    stamp = (first.path / "zarr.json").stat().st_mtime_ns
    config = IngestConfig(source=[str(tmp_path / "source.nc")], output=str(first.path))
    ingest(config)
    assert "nothing to do" in capsys.readouterr().out
    assert (first.path / "zarr.json").stat().st_mtime_ns == stamp
    config.step_hours = 12
    with pytest.raises(InputError, match="step_hours was 6 and is 12; pass overwrite=true"):
        ingest(config)
    config.overwrite = True
    assert len(open_store(ingest(config)).times) == 4
    with pytest.raises(InputError, match="source files have changed"):
        run(tmp_path, data, step_hours=12)


def test_overwrite_never_replaces_what_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "thesis.tex").write_text("work of years")
    with pytest.raises(InputError, match="no training store"):
        run(tmp_path, analyses(), overwrite=True)
    assert (tmp_path / "store" / "thesis.tex").exists()


def test_descriptions(tmp_path: Path) -> None:
    store = run(tmp_path, analyses().assign(mystery=analyses().msl))
    text = describe_source(str(tmp_path / "source.nc"))
    assert "t         K               8  2020-01-01T00 2020-01-02T18 500 850" in text
    assert "not usable: mystery is not a variable that fourcast knows" in text
    text = describe_store(store.path)
    assert "3 channels, 8 times" in text
    assert "no gap" in text


def test_a_file_that_breaks_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "source.nc"
    with netCDF4.Dataset(path, "w") as file:
        for name, values in (("latitude", LATITUDE), ("longitude", LONGITUDE), ("time", np.arange(40.0) * 6)):
            file.createDimension(name, len(values))
            file.createVariable(name, "f8", (name,))[:] = values
        file["time"].units = "hours since 2020-01-01"
        options = {"chunksizes": (1, 6, 12), "zlib": True, "fletcher32": True}
        variable = file.createVariable("msl", "f4", ("time", "latitude", "longitude"), **options)
        variable.units = "Pa"
        variable[:] = 1.011e5 + 1000 * RNG.standard_normal((40, 6, 12))
    content = bytearray(path.read_bytes())
    last_chunk = content.rfind(b"\x78\x5e")
    content[last_chunk + 8 : last_chunk + 24] = bytes(16)
    path.write_bytes(content)
    with pytest.raises(InputError, match="msl cannot be read"):
        ingest(IngestConfig(source=[str(path)], output=str(tmp_path / "store")))
    nothing_opens(tmp_path)
