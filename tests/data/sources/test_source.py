"""Real files of every form, against an independent reading of the same file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from era5_like import analyses

from fourcast.data.ingest import ingest
from fourcast.data.sources.openers import list_sources, sniff
from fourcast.data.sources.recognise import identify
from fourcast.data.sources.source import open_source
from fourcast.data.sources.units import STANDARD_GRAVITY, conversion, unit_of
from fourcast.data.store import Store, open_store
from fourcast.data_config import IngestConfig
from fourcast.errors import InputError

Fields = dict[tuple[str, str], np.ndarray]


def stored(tmp_path: Path, source: Path | str, **settings: Any) -> Store:
    """The store that ``source`` becomes."""
    return open_store(ingest(IngestConfig(source=[str(source)], output=str(tmp_path / "store"), **settings)))


def compare(store: Store, channel: str, expected: xr.DataArray, factor: float = 1.0) -> None:
    """Every stored value of ``channel`` equals ``expected`` [time, latitude, longitude] at the same coordinates."""
    names = {"lat": "latitude", "lon": "longitude", "valid_time": "time"}
    expected = expected.drop_vars("time", errors="ignore") if "valid_time" in expected.dims else expected
    expected = expected.rename({old: new for old, new in names.items() if old in expected.dims})
    if "time" not in expected.dims:
        expected = expected.expand_dims("time")
    else:
        expected = expected.sel(time=store.times.astype("datetime64[ns]"))
    expected = expected.assign_coords(longitude=expected.longitude.astype("f8") % 360)
    expected = expected.sortby("longitude").sortby("latitude", ascending=False)
    expected = expected.isel(latitude=slice(0, len(store.grid.latitude))).transpose("time", "latitude", "longitude")
    np.testing.assert_array_equal(store.grid.latitude, expected.latitude.values.astype("f8"))
    np.testing.assert_array_equal(store.grid.longitude, expected.longitude)
    values = store.read(slice(None), (channel,))[:, 0]
    np.testing.assert_array_equal(values, (expected.values.astype("f8") * factor).astype("f4"))


NETCDF: dict[str, tuple[dict[str, Any], dict[str, tuple[str, dict[str, float]]]]] = {
    "gfs_10mwind_6h_5.625deg_2026.nc": ({}, {"u10m": ("u10", {}), "v10m": ("v10", {})}),
    "gfs_10mwind_6h_2.8125deg_2026.nc": ({"start": "2026-07-20"}, {"u10m": ("u10", {}), "v10m": ("v10", {})}),
    "gfs_10mwind_6h_1deg_2026-03_05.nc": ({"end": "2026-03-26"}, {"u10m": ("u10", {}), "v10m": ("v10", {})}),
    "neuralgcm_era5_tl31_19590102T00.nc": (
        {"channels": ["t850", "u10", "q1000", "z1", "sst"]},
        {
            "t850": ("temperature", {"level": 850}),
            "u10": ("u_component_of_wind", {"level": 10}),
            "q1000": ("specific_humidity", {"level": 1000}),
            "z1": ("geopotential", {"level": 1}),
            "sst": ("sea_surface_temperature", {}),
        },
    ),
    "era5_cds_pressure_levels_2026_form.nc": (
        {"region": True, "step_hours": 1, "channels": ["z500", "t975"], "end": "2018-12-31"},
        {"z500": ("z", {"pressure_level": 500}), "t975": ("t", {"pressure_level": 975})},
    ),
    "era5_cds_single_levels_2026_form.nc": (
        {"region": True, "allow": ["preliminary"]},
        {"u10m": ("u10", {}), "v10m": ("v10", {})},
    ),
    "geocat_era5_1995-07-14T12.nc": ({"region": True}, {name: (name, {}) for name in ("t2m", "d2m", "sp")}),
    "skinnywms_mslp_0.4deg_global.nc": ({}, {"msl": ("msl", {})}),
    "speedy_t21_demo_400x12.nc": (
        {"end": "2000-01-08"},
        {"z500": ("z500", {}), "u10m": ("u10", {}), "sp": ("sp", {}), "v850": ("v850", {})},
    ),
}


@pytest.mark.parametrize("name", NETCDF)
def test_real_netcdf(samples: Path, tmp_path: Path, name: str) -> None:
    settings, expected = NETCDF[name]
    store = stored(tmp_path, samples / name, **settings)
    with xr.open_dataset(samples / name) as data:
        for channel, (variable, selection) in expected.items():
            compare(store, channel, data[variable].sel(selection))


def test_three_files_of_one_variable_each(samples: Path, tmp_path: Path) -> None:
    store = stored(tmp_path, samples / "falwa_*.nc", channels=["u10", "v850", "t1000"])
    for channel, letter, level in (("u10", "u", 10), ("v850", "v", 850), ("t1000", "t", 1000)):
        with xr.open_dataset(samples / f"falwa_erainterim_2005-01-23-0000-{letter}.nc") as data:
            compare(store, channel, data[letter].sel(level=level))


def test_zarr_2(samples: Path, tmp_path: Path) -> None:
    store = stored(tmp_path, samples / "earthkit_test.zarr")
    assert store.channels == ("z500", "z850", "t500", "t850")
    with xr.open_zarr(samples / "earthkit_test.zarr") as data:
        compare(store, "t850", data.t.sel(level=850))


def grib_messages(path: Path) -> Fields:
    """(short name, level type and level, number, step, valid time) → values [H, W] of every message, by eccodes."""
    eccodes = pytest.importorskip("eccodes")
    keys = ("shortName", "typeOfLevel", "level", "number", "endStep", "validityDate", "validityTime")
    fields: dict[Any, np.ndarray] = {}
    eccodes.codes_grib_multi_support_on()
    try:
        with path.open("rb") as handle:
            while (message := eccodes.codes_grib_new_from_file(handle)) is not None:
                known = {key for key in keys if eccodes.codes_is_defined(message, key)}
                found = tuple(eccodes.codes_get(message, key) if key in known else 0 for key in keys)
                shape = eccodes.codes_get(message, "Nj"), eccodes.codes_get(message, "Ni")
                fields[found] = eccodes.codes_get_values(message).reshape(shape)
                eccodes.codes_release(message)
    finally:
        eccodes.codes_grib_multi_support_off()
    return fields


GRIB: dict[str, tuple[dict[str, Any], dict[str, tuple[Any, ...]]]] = {
    "cfgrib_era5-levels-members.grib": (
        {"number": 3, "step_hours": 12},
        {"z500": ("z", "isobaricInhPa", 500, 3, 0), "t850": ("t", "isobaricInhPa", 850, 3, 0)},
    ),
    "cfgrib_ERA5_levels.grib": (
        {"number": 1, "forecast_step": 3, "step_hours": 3, "region": True},
        {"u50": ("u", "isobaricInhPa", 50, 1, 3), "t1000": ("t", "isobaricInhPa", 1000, 1, 3)},
    ),
    "earthkit_pl_regular_ll.grib": (
        {"forecast_step": 6},
        {"r850": ("r", "isobaricInhPa", 850, 0, 6), "v300": ("v", "isobaricInhPa", 300, 0, 6)},
    ),
    "earthkit_test4.grib": ({}, {"z500": ("z", "isobaricInhPa", 500, 0, 0), "t850": ("t", "isobaricInhPa", 850, 0, 0)}),
    "earthkit_t_time_series.grib": ({"forecast_step": 6}, {"t1000": ("t", "isobaricInhPa", 1000, 0, 6)}),
    "cfgrib_regular_gg_pl.grib": ({}, {"u10m": ("10u", "surface", 0, 0, 0)}),
    "xarray_era5-2mt-2019-03-uk.grib": ({"region": True, "end": "2019-03-05"}, {"t2m": ("2t", "surface", 0, 0, 0)}),
    "pygrib_gfs.t12z.pgrbf120.2p5deg.grib2": (
        {"forecast_step": 120, "channels": ["u10m", "v10m", "u500", "v850", "t100", "z500", "msl", "sp", "w700"]},
        {
            "u10m": ("10u", "heightAboveGround", 10, 0, 120),
            "v10m": ("10v", "heightAboveGround", 10, 0, 120),
            "u500": ("u", "isobaricInhPa", 500, 0, 120),
            "v850": ("v", "isobaricInhPa", 850, 0, 120),
            "t100": ("t", "isobaricInhPa", 100, 0, 120),
            "z500": ("gh", "isobaricInhPa", 500, 0, 120),
            "msl": ("prmsl", "meanSea", 0, 0, 120),
            "sp": ("sp", "surface", 0, 0, 120),
            "w700": ("w", "isobaricInhPa", 700, 0, 120),
        },
    ),
}


@pytest.mark.parametrize("name", GRIB)
def test_real_grib(samples: Path, tmp_path: Path, name: str) -> None:
    settings, expected = GRIB[name]
    store = stored(tmp_path, samples / name, **settings)
    messages = grib_messages(samples / name)
    east = len(store.grid.longitude)
    for channel, key in expected.items():
        values = store.read(slice(None), (channel,))[:, 0]
        factor = STANDARD_GRAVITY if key[0] == "gh" else 1.0
        for i, time in enumerate(store.times):
            stamp = str(time).replace("-", "")
            field = messages[(*key, int(stamp[:8]), int(stamp[9:11]) * 100)]
            roll = -int(np.argmin((first_longitude(samples / name) + np.arange(east) * spacing(store)) % 360))
            ours = np.roll(field, roll, axis=1)[: values.shape[1]]
            np.testing.assert_allclose(values[i], ours * factor, rtol=1.2e-7, atol=1e-6 * np.abs(field).max())


def first_longitude(path: Path) -> float:
    """Longitude of the first column of a GRIB file."""
    eccodes = pytest.importorskip("eccodes")
    with path.open("rb") as handle:
        message = eccodes.codes_grib_new_from_file(handle)
        longitude = float(eccodes.codes_get(message, "longitudeOfFirstGridPointInDegrees"))
        eccodes.codes_release(message)
    return longitude


def spacing(store: Store) -> float:
    """Degrees between columns."""
    return float(np.min(np.diff(store.grid.longitude)))


@pytest.mark.slow
def test_static_fields_of_a_grib_file(samples: Path, tmp_path: Path) -> None:
    name = "pygrib_gfs.t12z.pgrbf120.2p5deg.grib2"
    store = stored(tmp_path, samples / name, forecast_step=120, channels=["t2m"])
    orography = next(v for k, v in grib_messages(samples / name).items() if k[0] == "orog")
    np.testing.assert_allclose(store.static["z_sfc"], orography[:72] * STANDARD_GRAVITY, rtol=2e-7)
    assert set(np.unique(store.static["lsm"])) == {0.0, 1.0}


REFUSED = {
    "xarray_eraint_uvz.nc": ({}, "monthly means"),
    "metview_forecast_ml.grib": ({}, "hybrid levels"),
    "cfgrib_reduced_gg.grib": ({}, "reduced Gaussian grid"),
    "cfgrib_spherical_harmonics.grib": ({}, "spherical harmonics"),
    "cfgrib_fields_with_missing_values.grib": ({}, "t2m has 21699 missing values at 2 of 2 times"),
    "era5_cds_pressure_levels_2026_form.nc": ({}, "region only"),
    "era5_cds_single_levels_2026_form.nc": ({"region": True}, "preliminary"),
    "cfgrib_ERA5_levels.grib": ({"region": True}, "choose one with number="),
    "cfgrib_era5-levels-members.grib": ({}, "choose one with number="),
    "earthkit_pl_regular_ll.grib": ({}, "choose one with forecast_step="),
    "speedyweather_orography.nc": ({}, "contradicts itself"),
    "erainterim_surface_geopotential_0.75deg.nc": ({}, "static fields alone"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_real_files_that_are_refused_by_name(samples: Path, tmp_path: Path, name: str) -> None:
    settings, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        stored(tmp_path, samples / name, **settings)
    with pytest.raises(InputError):
        open_store(tmp_path / "store")


def test_every_file_that_is_meant_for_ingestion_is_tried(samples: Path) -> None:
    rows = [line.split("|")[1:3] for line in (samples / "MANIFEST.md").read_text().splitlines() if line.startswith("|")]
    meant = {name.strip().rstrip("/") for name, case in rows if case.strip().startswith(("yes", "refused"))}
    others = {"earthkit_test.zarr", *(f"falwa_erainterim_2005-01-23-0000-{letter}.nc" for letter in "uvt")}
    assert len(meant) > 20
    assert meant - {*NETCDF, *GRIB, *REFUSED, *others} == set()


def test_relative_humidity_is_derived_from_a_real_analysis(samples: Path, tmp_path: Path) -> None:
    store = stored(tmp_path, samples / "neuralgcm_era5_tl31_19590102T00.nc", channels=["r850", "t850", "q850"])
    r, t, q = store.read(slice(None))[0].astype("f8")
    warm = t > 273.16
    vapour = q * 85000 / (0.621981 + 0.378019 * q)
    over_water = 611.21 * np.exp(17.502 * (t - 273.16) / (t - 32.19))
    np.testing.assert_allclose(r[warm], (100 * vapour / over_water)[warm], rtol=1e-5)
    assert warm.mean() > 0.3
    assert "IFS Documentation" in store.attributes["formulas"]["r850"]


def test_missing_values_of_a_real_file_where_allowed(samples: Path, tmp_path: Path) -> None:
    store = stored(tmp_path, samples / "cfgrib_fields_with_missing_values.grib", allow=["missing"])
    assert np.isnan(store.read(slice(None))).any()
    assert np.isfinite(store.statistics.mean).all()


@pytest.mark.parametrize(("on_levels", "expected"), [(True, "t"), (False, "t2m")])
def test_a_height_for_the_whole_file_hides_no_pressure_level(on_levels: bool, expected: str) -> None:
    array = xr.DataArray(0.0, {"height": 2.0}, name="x", attrs={"standard_name": "air_temperature"})
    assert identify(array, on_levels)[0].name == expected


@pytest.mark.parametrize("attributes", [{}, {"GRIB_typeOfLevel": "heightAboveGround"}])
def test_humidity_at_two_metres_is_not_at_two_hectopascals(tmp_path: Path, attributes: dict[str, str]) -> None:
    data = analyses(("r", "msl")).sel(level=500, drop=True).rename(r="r2")
    data["r2"].attrs |= attributes
    data.to_netcdf(tmp_path / "a.nc")
    with open_source([str(tmp_path / "a.nc")]) as source:
        assert source.channels == ("msl",)
        assert [unusable.name for unusable in source.skipped] == ["r2"]


def test_nothing_is_written_beside_a_grib_file(samples: Path, tmp_path: Path) -> None:
    copy = tmp_path / "a.grib"
    copy.write_bytes((samples / "earthkit_test4.grib").read_bytes())
    with open_source([str(copy)]) as source:
        assert source.channels == ("z500", "z850", "t500", "t850")
    assert list(tmp_path.iterdir()) == [copy]


def test_truncated_real_grib_is_refused(samples: Path, tmp_path: Path) -> None:
    content = (samples / "earthkit_test4.grib").read_bytes()
    (tmp_path / "a.grib").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(InputError, match="truncated GRIB"), open_source([str(tmp_path / "a.grib")]):
        pass


@pytest.mark.parametrize(
    ("text", "unit"),
    [("m s**-1", "m s-1"), ("m s^-1", "m s-1"), ("m/s", "m s-1"), ("m**2 s**-2", "m2 s-2"), ("millibars", "hPa"),
     ("kg kg**-1", "kg kg-1"), ("(0 - 1)", "1"), ("Kelvin", "K"), ("degC", "degC"), ("kg m**-2", "kg m-2"),
     ("furlong", None), ("", None)],
)  # fmt: skip
def test_unit_texts(text: str, unit: str | None) -> None:
    assert unit_of(text) == unit


def test_conversions_by_hand() -> None:
    one = np.ones(1, dtype=np.float32)
    assert conversion("t", "°C", "K")(one * 20)[0] == np.float32(293.15)
    assert conversion("msl", "hPa", "Pa")(one * 1000)[0] == 100000
    assert conversion("gh", "m", "m2 s-2", is_height=True)(one * 5000)[0] == np.float32(49033.25)
    assert conversion("r", "1", "%")(one * 0.5)[0] == 50
    assert conversion("lsm", "%", "1")(one * 50)[0] == 0.5
    assert conversion("tp", "mm", "m")(one * 2)[0] == np.float32(0.002)
    assert conversion("tp", "kg m**-2", "m")(one * 2)[0] == np.float32(0.002)
    assert conversion("u", "knots", "m s-1")(one * 3600)[0] == 1852
    assert conversion("u", "km/h", "m s-1")(one * 36)[0] == 10
    assert conversion("w", "hPa/s", "Pa s-1")(one)[0] == 100
    with pytest.raises(InputError, match="z has 'm', expected one of: m2 s-2, gpm"):
        conversion("z", "m", "m2 s-2")


def test_folders_globs_and_magic(tmp_path: Path) -> None:
    for name in ("b.nc", "a.grib", "notes.txt", ".hidden.nc", "c.nc.partial"):
        (tmp_path / name).write_bytes(b"GRIB")
    assert list_sources([str(tmp_path)]) == [str(tmp_path / "a.grib"), str(tmp_path / "b.nc")]
    assert list_sources([f"{tmp_path}/*.nc", f"{tmp_path}/b.nc"]) == [str(tmp_path / "b.nc")]
    assert sniff(tmp_path / "b.nc") == "GRIB"
