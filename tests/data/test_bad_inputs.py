"""What people really bring: each thing is refused by its own name or made ours, and no failure leaves a whole store."""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr
from era5_like import LATITUDE, LEVELS, LONGITUDE, analyses, as_arco, times

from fourcast.data.ingest import ingest
from fourcast.data.store import Store, open_store
from fourcast.data_config import IngestConfig
from fourcast.errors import InputError

Change = Callable[[xr.Dataset], xr.Dataset]
Make = Callable[[Path], None]


def stored(tmp_path: Path, source: Path | str, **settings: Any) -> Store:
    given = {"workers": 1, "south_pole": "keep"} | settings
    return open_store(ingest(IngestConfig(source=[str(source)], output=str(tmp_path / "store"), **given)))


def refused(tmp_path: Path, source: Path | str, message: str, **settings: Any) -> None:
    """The source is refused with ``message``, and what is left, if anything, does not open as a store."""
    with pytest.raises(InputError, match=message):
        stored(tmp_path, source, **settings)
    with pytest.raises(InputError):
        open_store(tmp_path / "store")


# What the fields and coordinates of a readable file may be.


def renamed_units(name: str, units: str | None) -> Change:
    def change(data: xr.Dataset) -> xr.Dataset:
        data[name].attrs = {} if units is None else {"units": units}
        return data

    return change


def scaled(name: str, factor: float, offset: float = 0.0) -> Change:
    """Other units than the attribute says."""
    return lambda data: data.assign({name: (data[name] * factor + offset).assign_attrs(data[name].attrs)})


def put(name: str, value: float, **where: int) -> Change:
    def change(data: xr.Dataset) -> xr.Dataset:
        data[name][where] = value
        return data

    return change


def swapped_levels(data: xr.Dataset) -> xr.Dataset:
    """The fields of each level under the other's name: what indexing by position does to a file in falling order."""
    return data.assign_coords(level=("level", data.level.values[::-1], data.level.attrs))


def on_levels(values: Any, **attributes: str) -> Change:
    return lambda data: data.drop_vars("msl").assign_coords(level=("level", values, attributes))


def curvilinear(data: xr.Dataset) -> xr.Dataset:
    plane = (("y", "x"), np.ones((len(LATITUDE), len(LONGITUDE))))
    return data.rename(latitude="y", longitude="x").drop_vars(["y", "x"]).assign_coords(latitude=plane, longitude=plane)


def expver(*names: str) -> Change:
    return lambda data: data.assign_coords(expver=("time", np.resize(names, data.sizes["time"])))


def with_steps(*hours: int) -> Change:
    return lambda data: data.expand_dims(step=np.array(hours, "m8[h]").astype("m8[ns]"))


def with_number(*numbers: int) -> Change:
    return lambda data: data.expand_dims(number=list(numbers))


def at_times(values: Any) -> Change:
    return lambda data: data.assign_coords(time=values)


def fraction(data: xr.Dataset) -> xr.Dataset:
    data = as_arco(data.assign(r=(data.t / 500).assign_attrs(units="1")))
    return data.rename(r="relative_humidity") if "r" in data else data


def hourly_with_a_hole(data: xr.Dataset) -> xr.Dataset:
    return analyses(("tp",), times(11, "2020-01-01T01", hours=1)).drop_isel(time=[2, 8])


SIX_HOURS = times(8)
BAD: dict[str, tuple[Change | None, dict[str, Any], str]] = {
    "missing level": (None, {"channels": ["t700"]}, "the source has no t700; it holds msl, t500, t850"),
    "missing variable": (None, {"channels": ["u10m"]}, "the source has no u10m"),
    "unknown channel": (None, {"channels": ["x500"]}, "unknown channel 'x500'"),
    "channel listed twice": (None, {"channels": ["t500", "t500"]}, "listed twice"),
    "units of something else": (renamed_units("t", "m"), {}, "t has 'm', expected one of: K, degC"),
    "units that nobody knows": (renamed_units("msl", "furlong"), {}, "msl has 'furlong', expected one of: Pa, hPa"),
    "no units": (renamed_units("t", None), {}, "t has no units"),
    "°C called K": (scaled("t", 1, -273.15), {}, "t500 holds .* looks like °C, not K"),
    "hPa called Pa": (scaled("msl", 0.01), {}, "msl holds .* looks like hPa, not Pa"),
    "gpm called m2 s-2": (
        lambda d: scaled("z", 1 / 9.80665)(analyses(("z",))), {},
        "z500 has a global mean .* looks like geopotential metres"),
    "fraction called %": (
        lambda d: scaled("r", 0.01)(analyses(("r",))), {}, "r500 has a global mean .* looks like a fraction"),
    "mm called m": (
        lambda d: scaled("tp", 6e3)(analyses(("tp",))).rename(tp="total_precipitation_6hr"), {},
        "tp06 has a global mean .* looks like mm"),
    "fraction by another formula": (fraction, {}, "fraction by Bolton's formula"),
    "levels in the wrong order": (swapped_levels, {}, "t500 has a global mean .* looks like t1000 or t850"),
    "levels without values": (lambda d: d.drop_vars(["level", "msl"]), {}, "dimension 'level' without values"),
    "model levels": (on_levels([60, 100], long_name="hybrid level", units="1"), {}, "not on pressure levels"),
    "height levels": (on_levels([10, 100], long_name="height above ground", units="m"), {}, "not on pressure levels"),
    "levels in strange units": (on_levels([500, 850], units="inHg"), {}, "lies on levels 'level' in inHg"),
    "levels between whole hPa": (
        on_levels([500.5, 850.25], units="hPa"), {}, "t lies on 500.5, 850.25 hPa, expected whole hPa"),
    "a value twice": (at_times(SIX_HOURS[[0, 1, 2, 3, 4, 5, 6, 2]]), {}, "already holds with other values"),
    "a field copied to the next time": (
        lambda d: d.isel(time=[0, 1, 2, 3, 3, 5, 6, 7]).assign_coords(time=SIX_HOURS), {},
        "msl is the same field as at the time before at 1 of 8 times"),
    "preliminary data": (expver("0001", "0005"), {}, "4 of 8 times are preliminary ERA5T"),
    "NaN at a pole": (put("t", np.nan, time=3, level=1, latitude=0), {}, "t850 has 16 missing values at 1 of 8 times"),
    "infinity": (put("msl", np.inf, time=2, latitude=1, longitude=3), {}, "msl has 1 infinite values"),
    "fill value without an attribute": (put("t", -32767, time=1, level=0, latitude=4), {}, "t500 holds -3.277e.04"),
    "a field of zeros": (put("t", 0.0, time=1, level=0), {}, "t500 holds 0 K at 1 of 8 times"),
    "a region": (lambda d: d.isel(longitude=slice(0, 5)), {}, "covers a region only.*pass region=true"),
    "half a globe": (lambda d: d.isel(latitude=slice(0, 4)), {}, "covers a region only"),
    "a missing meridian": (lambda d: d.drop_isel(longitude=[5]), {}, "covers a region only"),
    "missing latitudes": (
        lambda d: d.drop_isel(latitude=[4]), {}, "lacks rows between latitude 22.5 and -22.5"),
    "a latitude beyond the pole": (
        lambda d: d.assign_coords(latitude=d.latitude * 1.1), {}, "within 90 to -90 degrees, found 99"),
    "a latitude twice": (
        lambda d: d.assign_coords(latitude=LATITUDE[[0, 1, 1, 3, 4, 5, 6, 7, 8]]), {},
        "latitudes must decrease strictly"),
    "a curvilinear grid": (curvilinear, {}, "no latitude of one dimension"),
    "a projection": (lambda d: d.rename(latitude="y", longitude="x"), {}, "no latitude of one dimension"),
    "several members": (with_number(0, 1), {}, "number 0, 1; choose one with number="),
    "an absent member": (with_number(0, 1), {"number": 7}, "not the number that was asked"),
    "several forecast steps": (with_steps(0, 6), {}, "choose one with forecast_step="),
    "a forecast": (
        lambda d: d.assign_coords(step=np.timedelta64(6, "h").astype("m8[ns]")), {}, "holds step 6; choose one"),
    "monthly means": (at_times(np.arange("2020-01", "2020-09", dtype="M8[M]").astype("M8[ns]")), {}, "monthly means"),
    "a model's calendar": (
        lambda d: d.convert_calendar("360_day", align_on="date", use_cftime=True), {}, "expected standard dates"),
    "times without units": (at_times(np.arange(8)), {}, "time has the calendar of a model or unknown units"),
    "a time that is not there": (
        at_times(np.where(np.arange(8) == 3, np.datetime64("NaT"), SIX_HOURS)), {}, "time has 1 missing values"),
    "no time at all": (lambda d: d.isel(time=0, drop=True), {}, "t has no time, expected a coordinate"),
    "no time in the period": (None, {"start": "2021-01-01"}, "no analysis remains"),
    "no time on the raster": (at_times(SIX_HOURS + np.timedelta64(3, "h")), {}, "no analysis remains"),
    "no time for statistics": (None, {"statistics_end": "2019-01-01"}, "no analysis lies in the statistics period"),
    "precipitation with missing hours": (hourly_with_a_hole, {"channels": ["tp06"]}, "tp06 needs all six"),
    "a single level called by its number": (
        lambda d: d.sel(level=500, drop=True)[["t"]], {}, "t has no pressure level"),
    "100 m or 100 hPa": (
        lambda d: d[["msl"]].rename(msl="u100").assign(u100=lambda x: x.u100.assign_attrs(units="m s-1")), {},
        "u100 may mean 100 hPa or 100 metres"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_analyses(tmp_path: Path, name: str) -> None:
    change, settings, message = BAD[name]
    (analyses() if change is None else change(analyses())).to_netcdf(tmp_path / "source.nc")
    refused(tmp_path, tmp_path / "source.nc", message, **settings)


# What a file or a folder may be.


def netcdf(path: Path, form: str = "NETCDF4") -> None:
    analyses(when=times(60)).to_netcdf(path, format=form, unlimited_dims=["time"])


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def cut_netcdf(form: str) -> Make:
    def make(path: Path) -> None:
        netcdf(path, form)
        cut(path)

    return make


def cut_header(path: Path) -> None:
    netcdf(path, "NETCDF3_64BIT")
    path.write_bytes(path.read_bytes()[:40])


def cut_grib(path: Path) -> None:
    """Two messages, of which the second lacks its end."""
    eccodes = pytest.importorskip("eccodes")
    message = eccodes.codes_grib_new_from_samples("regular_ll_pl_grib2")
    content = eccodes.codes_get_message(message)
    eccodes.codes_release(message)
    path.write_bytes(content + content[:-20])


def zipped(name: str, content: bytes) -> Make:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, content)

    return make


def cut_zip(path: Path) -> None:
    zipped("data.nc", bytes(range(256)) * 100)(path)
    cut(path)


def damaged_chunk(path: Path) -> None:
    """A netCDF file that opens, and of which one chunk no longer has its checksum."""
    with netCDF4.Dataset(path, "w") as file:
        for name, values in (("latitude", LATITUDE), ("longitude", LONGITUDE), ("time", np.arange(40.0) * 6)):
            file.createDimension(name, len(values))
            file.createVariable(name, "f8", (name,))[:] = values
        file["time"].units = "hours since 2020-01-01"
        options = {"chunksizes": (1, 9, 16), "zlib": True, "fletcher32": True}
        variable = file.createVariable("msl", "f4", ("time", "latitude", "longitude"), **options)
        variable.units = "Pa"
        variable[:] = analyses(("msl",), times(40)).msl
    content = bytearray(path.read_bytes())
    last_chunk = content.rfind(b"\x78\x5e")
    content[last_chunk + 8 : last_chunk + 24] = bytes(16)
    path.write_bytes(content)


def foreign_hdf5(path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file["weights"] = np.ones((3, 3))


def fields_of_no_year(path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file.create_dataset("fields", (365, 20, 9, 16), "f4")


def packed(clip: bool) -> Make:
    """16-bit integers for 270 to 300 K: what lies outside was cut off, or wrapped around."""

    def make(path: Path) -> None:
        data = analyses(("t2m",))
        integers = np.rint((data.t2m.astype("f8") - 285.0) / (30.0 / 65534))
        integers = integers.clip(-32767, 32767) if clip else (integers + 32768) % 65536 - 32768
        stored = integers.astype("i2").assign_attrs(units="K", scale_factor=30.0 / 65534, add_offset=285.0)
        data.assign(t2m=stored).to_netcdf(path)

    return make


def zarr_without_a_chunk(path: Path) -> None:
    analyses(("msl",)).to_zarr(path, zarr_format=2, encoding={"msl": {"chunks": (1, 9, 16)}})
    (path / "msl" / "3.0.0").unlink()


def zarr_with_a_cut_chunk(path: Path) -> None:
    analyses(("msl",)).to_zarr(path, zarr_format=2, encoding={"msl": {"chunks": (1, 9, 16)}})
    cut(path / "msl" / "3.0.0")


def zarr_without_metadata(path: Path) -> None:
    analyses(("msl",)).to_zarr(path, zarr_format=2)
    for name in (".zmetadata", ".zgroup"):
        (path / name).unlink()


def zarr_with_damaged_metadata(path: Path) -> None:
    analyses(("msl",)).to_zarr(path, zarr_format=2)
    cut(path / ".zmetadata")


def two_grids(path: Path) -> None:
    path.mkdir()
    analyses(("t",)).to_netcdf(path / "a.nc")
    analyses(("msl",)).isel(latitude=slice(None, None, 2)).to_netcdf(path / "b.nc")


def never_together(path: Path) -> None:
    path.mkdir()
    analyses(("t",)).to_netcdf(path / "a.nc")
    analyses(("msl",), times(8, "2021-01-01")).to_netcdf(path / "b.nc")


FILES: dict[str, tuple[str, Make, str]] = {
    "netCDF 4 cut off": ("a.nc", cut_netcdf("NETCDF4"), "cannot be read as netCDF .* may be truncated"),
    "netCDF 3 cut off": ("a.nc", cut_netcdf("NETCDF3_64BIT"), "is truncated: expected"),
    "netCDF 3 cut off in its header": ("a.nc", cut_header, "damaged header"),
    "netCDF with a damaged chunk": ("a.nc", damaged_chunk, "msl cannot be read"),
    "GRIB cut off": ("a.grib", cut_grib, "truncated GRIB file: it does not end with 7777"),
    "ZIP cut off": ("a.nc", cut_zip, "a broken ZIP"),
    "ZIP of something else": ("a.nc", zipped("readme.txt", b"hello"), "a ZIP without netCDF or GRIB: it holds readme"),
    "ZIP of a web page": ("a.nc", zipped("data.nc", b"<html>"), "neither netCDF, GRIB, ZIP nor zarr"),
    "a web page": ("a.nc", lambda p: p.write_bytes(b"<html>Request has failed"), "starts with b'<html>"),
    "an empty file": ("a.nc", lambda p: p.write_bytes(b""), "starts with b''"),
    "nothing": ("a.nc", lambda p: None, "there is no source at"),
    "an empty folder": ("a", lambda p: p.mkdir(), "holds no data file"),
    "foreign HDF5": ("model.h5", foreign_hdf5, r"neither netCDF-4 nor FourCastNet's fields.*weights\[3, 3\]"),
    "HDF5 of an unknown year": ("train.h5", fields_of_no_year, "its name no single year"),
    "integers that wrapped around": ("a.nc", packed(clip=False), "t2m has neighbouring points near both ends"),
    "integers that were cut off": ("a.nc", packed(clip=True), "t2m has .* points of a field at the end"),
    "zarr without a chunk": ("a.zarr", zarr_without_a_chunk, "msl has 144 missing values at 1 of 8 times"),
    "zarr with a chunk cut off": ("a.zarr", zarr_with_a_cut_chunk, "msl cannot be read"),
    "zarr with damaged metadata": ("a.zarr", zarr_with_damaged_metadata, "cannot be opened as zarr"),
    "zarr without metadata": ("a.zarr", zarr_without_metadata, "holds no data file"),
    "files on two grids": ("a", two_grids, "are on different grids"),
    "files of two periods": ("a", never_together, "at no time does the source hold all of"),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_files(tmp_path: Path, name: str) -> None:
    file, make, message = FILES[name]
    make(tmp_path / file)
    refused(tmp_path, tmp_path / file, message)


@pytest.mark.parametrize(("method", "message"), [("iterdir", "cannot be listed"), ("open", "cannot be read")])
def test_what_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, message: str) -> None:
    """Whoever runs the tests may read everything, so that the system's answer is played."""
    folder = tmp_path / "a"
    folder.mkdir()
    analyses().to_netcdf(folder / "a.nc")
    original = getattr(Path, method)

    def forbidden(path: Path, *arguments: Any, **options: Any) -> Any:
        if path == folder or path.parent == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *arguments, **options)

    monkeypatch.setattr(Path, method, forbidden)
    refused(tmp_path, folder, f"{message} .*Permission denied")


def test_an_output_that_is_something_else(tmp_path: Path) -> None:
    analyses().to_netcdf(tmp_path / "source.nc")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "thesis.tex").write_text("work of years")
    refused(tmp_path, tmp_path / "source.nc", "no training store", overwrite=True)
    assert (tmp_path / "store" / "thesis.tex").read_text() == "work of years"


def test_a_full_disk_leaves_an_unfinished_store_that_the_next_run_finishes(tmp_path: Path) -> None:
    data = analyses(when=times(200))
    data.to_netcdf(tmp_path / "source.nc")
    limit = 60_000
    program = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
        f"from fourcast.cli import run_verb; run_verb('ingest', ['source={tmp_path}/source.nc', "
        f"'output={tmp_path}/store', 'south_pole=keep', 'workers=1', 'shard_times=100'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    with pytest.raises(InputError):
        open_store(tmp_path / "store")
    same(stored(tmp_path, tmp_path / "source.nc", shard_times=100), data)


# What differs from our form and is made ours.


def same(store: Store, data: xr.Dataset) -> None:
    """The store equals the well-formed ``data``."""
    np.testing.assert_array_equal(store.grid.latitude, LATITUDE)
    np.testing.assert_array_equal(store.grid.longitude, LONGITUDE)
    np.testing.assert_array_equal(store.times, data.time.values.astype("datetime64[h]"))
    np.testing.assert_allclose(store.read(slice(None), ("t500", "t850")), data.t.sel(level=list(LEVELS)), rtol=2e-7)
    np.testing.assert_allclose(store.read(slice(None), ("msl",))[:, 0], data.msl, rtol=2e-7)


def as_todays_cds(data: xr.Dataset) -> xr.Dataset:
    data = data.isel(level=[1, 0]).rename(time="valid_time", level="pressure_level")
    return data.assign_coords(number=0, expver=("valid_time", np.full(data.sizes["valid_time"], "0001")))


def with_expver_dimension(data: xr.Dataset) -> xr.Dataset:
    late = data.time >= data.time[5]
    return xr.concat([data.where(~late), data.where(late)], xr.IndexVariable("expver", [1, 5]))


GOOD: dict[str, Change] = {
    "levels scrambled": lambda d: d.isel(level=[1, 0]),
    "levels in Pa": lambda d: d.assign_coords(level=("level", d.level.values * 100.0, {"units": "Pa"})),
    "levels in millibars": lambda d: d.assign_coords(level=d.level.assign_attrs(units="millibars")),
    "latitude flipped": lambda d: d.isel(latitude=slice(None, None, -1)),
    "longitude from -180": lambda d: d.assign_coords(longitude=(d.longitude + 180) % 360 - 180).sortby("longitude"),
    "longitude from 180 to 540": lambda d: d.roll(longitude=8).assign_coords(longitude=LONGITUDE + 180),
    "a meridian repeated": lambda d: d.isel(longitude=[*range(16), 0]).assign_coords(longitude=np.arange(0, 361, 22.5)),
    "dimensions transposed": lambda d: d.transpose("longitude", "level", "latitude", "time"),
    "short names of coordinates": lambda d: d.rename(latitude="lat", longitude="lon"),
    "times scrambled": lambda d: d.isel(time=[3, 1, 0, 2, 7, 5, 6, 4]),
    "a time twice": lambda d: d.isel(time=[0, 0, 1, 2, 3, 4, 5, 6, 7, 3]),
    "today's Climate Data Store": as_todays_cds,
    "versions along a dimension": with_expver_dimension,
    "names of ARCO-ERA5": as_arco,
    "°C": lambda d: d.assign(t=(d.t.astype("f8") - 273.15).assign_attrs(units="degC")),
    "hPa": lambda d: d.assign(msl=(d.msl.astype("f8") / 100).assign_attrs(units="hPa")),
    "an unknown variable beside": lambda d: d.assign(mystery=d.msl.assign_attrs(units="furlong")),
}


@pytest.mark.parametrize("name", GOOD)
def test_other_forms(tmp_path: Path, name: str) -> None:
    data = analyses()
    GOOD[name](data).to_netcdf(tmp_path / "source.nc")
    same(stored(tmp_path, tmp_path / "source.nc", allow=["preliminary"]), data)


def test_missing_hours_are_a_gap(tmp_path: Path) -> None:
    data = analyses().drop_isel(time=[2, 3])
    data.to_netcdf(tmp_path / "source.nc")
    same(stored(tmp_path, tmp_path / "source.nc"), data)


def test_a_zip_under_another_name_and_a_variable_a_file(tmp_path: Path) -> None:
    data = analyses()
    (tmp_path / "era5").mkdir()
    data[["t"]].isel(time=slice(0, 4)).to_netcdf(tmp_path / "era5" / "a.nc")
    data[["t"]].isel(time=slice(4, 8)).to_netcdf(tmp_path / "era5" / "b.nc", format="NETCDF3_64BIT")
    data[["msl"]].to_netcdf(tmp_path / "msl.nc")
    zipped("data_stream-oper_stepType-instant.nc", (tmp_path / "msl.nc").read_bytes())(tmp_path / "era5" / "c.nc")
    same(stored(tmp_path, tmp_path / "era5"), data)


def test_packed_integers(tmp_path: Path) -> None:
    data = analyses()
    packing = {"dtype": "i2", "scale_factor": 0.005, "add_offset": 260.0, "_FillValue": -32767}
    data.to_netcdf(tmp_path / "source.nc", encoding={"t": packing})
    with xr.open_dataset(tmp_path / "source.nc") as unpacked:
        same(stored(tmp_path, tmp_path / "source.nc"), unpacked)
