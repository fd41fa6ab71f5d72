"""Admission control: faults are found, named, and explained; real and well-formed fields have none."""

from pathlib import Path

import numpy as np
import pytest
from era5_like import LATITUDE, LONGITUDE, analyses, times

from fourcast.data.admission import check, is_allowed
from fourcast.data.plausible import ALOFT, LEVELS, SURFACE, plausible
from fourcast.data.sources.source import open_source
from fourcast.grid import Grid, area_weights
from fourcast.variables import parse_channel

GRID = Grid(LATITUDE, LONGITUDE)
TIMES = times(8).astype("datetime64[h]")
STANDARD_GRAVITY = 9.80665


def fields(name: str, seed: int = 0) -> np.ndarray:
    """Good fields [T, 1, H, W] of a variable of the small planet, at 500 hPa where it has levels."""
    array = analyses((name,), seed=seed)[name]
    return (array.sel(level=[500]) if "level" in array.dims else array.expand_dims("level", 1)).values.copy()


def kinds(values: np.ndarray, channel: str, grid: Grid = GRID) -> list[str]:
    return [fault.kind for fault in check(values, TIMES, (channel,), grid)]


@pytest.mark.parametrize(("variable", "channel"), [
    ("t", "t500"), ("u", "u500"), ("z", "z500"), ("q", "q500"), ("r", "r500"), ("t2m", "t2m"), ("msl", "msl"),
    ("u10", "u10m"),
])  # fmt: skip
def test_good_fields_have_no_fault(variable: str, channel: str) -> None:
    assert check(fields(variable), TIMES, (channel,), GRID) == []


def test_missing_and_infinite_values_are_counted() -> None:
    values = fields("t")
    values[2, 0, 0] = np.nan
    values[5, 0, 3, 4] = np.inf
    missing, infinite = check(values, TIMES, ("t500",), GRID)
    assert (missing.kind, infinite.kind) == ("missing", "infinite")
    assert missing.times == (TIMES[2],)
    assert "t500 has 16 missing values at 1 of 8 times from 2020-01-01T12" in missing.message
    assert "t500 has 1 infinite values at 1 of 8 times from 2020-01-02T06" in infinite.message
    assert "allow=[t500:missing]" in missing.message


def test_missing_values_do_not_hide_what_the_others_are() -> None:
    values = fields("t") - 273.15
    values[:, 0, 4] = np.nan
    assert kinds(values, "t500") == ["missing", "range", "mean"]


def test_sea_surface_temperature_over_land_is_no_range_fault() -> None:
    values = fields("t2m")
    values[:, 0, :, :6] = np.nan
    values = np.maximum(values, 271.5)
    assert kinds(values, "sst") == ["missing"]


WRONG_UNITS = {
    ("t", "t500", 1.0, -273.15): "looks like °C, not K",
    ("t", "t500", 1.8, -459.67): "looks like °F, not K",
    ("msl", "msl", 0.01, 0.0): "looks like hPa, not Pa",
    ("msl", "msl", 0.001, 0.0): "looks like kPa, not Pa",
    ("z", "z500", 1 / STANDARD_GRAVITY, 0.0): "looks like geopotential metres, not m2 s-2",
    ("r", "r500", 0.01, 0.0): "looks like a fraction from 0 to 1, not %",
    ("q", "q500", 1000.0, 0.0): "looks like g kg-1, not kg kg-1",
}


@pytest.mark.parametrize("case", WRONG_UNITS, ids=lambda case: f"{case[1]}-{case[2]:.3g}")
def test_wrong_units_are_named(case: tuple[str, str, float, float]) -> None:
    variable, channel, factor, offset = case
    found = check((fields(variable) * factor + offset).astype("f4"), TIMES, (channel,), GRID)
    assert found
    assert all(len(fault.times) == 8 and fault.channel == channel for fault in found)
    assert all(WRONG_UNITS[case] in fault.message for fault in found if fault.kind != "spread")


def test_another_level_is_named() -> None:
    found = check(fields("z"), TIMES, ("z300",), GRID)
    assert {fault.kind for fault in found} >= {"mean"}
    assert all("looks like z500; are the levels of its file in the order" in fault.message for fault in found)


def test_a_field_of_zeros_and_a_constant_one() -> None:
    values = fields("t")
    values[3] = 0.0
    values[6] = 258.0
    found = {fault.kind: fault.times for fault in check(values, TIMES, ("t500",), GRID)}
    assert found["range"] == (TIMES[3],)
    assert found["spread"] == (TIMES[3], TIMES[6])


def test_repeated_fields_except_where_they_change_daily() -> None:
    values = fields("t2m")
    values[4] = values[3]
    assert kinds(values, "t2m") == ["repeated"]
    values[4, 0, 0, 0] += 0.25
    assert kinds(values, "t2m") == []
    values[4] = values[3]
    assert "repeated" not in kinds(values, "sst")


def test_a_region_is_not_held_to_global_means() -> None:
    region = Grid(LATITUDE[:3], LONGITUDE)
    values = (fields("t") - 25)[:, :, :3]
    assert kinds(values, "t500", region) == []
    assert "mean" in kinds(fields("t") - 25, "t500")


def test_times_must_rise() -> None:
    values = fields("t")
    wrong = TIMES[[0, 1, 2, 2, 4, 3, 6, 7]]
    (fault,) = check(values, wrong, ("t500",), GRID)
    assert (fault.channel, fault.kind) == ("time", "duplicate")
    assert fault.times == (TIMES[2], TIMES[3])


def test_what_is_allowed_says_so() -> None:
    values = fields("t")
    values[2] = np.nan
    (fault,) = check(values, TIMES, ("t500",), GRID, allowed=["t500:missing"])
    assert fault.message == "t500 has 144 missing values at 1 of 8 times from 2020-01-01T12; allowed"
    assert is_allowed(fault, ["missing"])
    assert not is_allowed(fault, ["t850:missing", "range"])


def test_large_grids_are_sampled_but_searched_completely() -> None:
    latitude = np.linspace(90, -90, 721)
    grid = Grid(latitude, np.linspace(0, 360, 1440, endpoint=False))
    wave = np.sqrt(3.0) * np.cos(np.deg2rad(latitude))[:, None] * np.sin(np.deg2rad(grid.longitude))
    values = (258 + 11 * wave).astype("f4")[None, None]
    assert check(values, TIMES[:1], ("t500",), grid) == []
    values[0, 0, 333, 1001] = np.nan
    values[0, 0, 2, 77] = 1000.0
    assert [fault.kind for fault in check(values, TIMES[:1], ("t500",), grid)] == ["missing", "range"]
    warm = check(values + 20, TIMES[:1], ("t500",), grid)
    exact = np.nansum((wave * 11 + 278) * area_weights(latitude)[:, None]) / 721 / 1440
    assert f"global mean of {exact:.3g}" in next(fault.message for fault in warm if fault.kind == "mean")


def icao(pressure: float) -> tuple[float, float]:
    """Temperature in K and geopotential in m2 s-2 of the ICAO standard atmosphere (Doc 7488) up to 20 km."""
    if pressure > 226.32:
        temperature = 288.15 * (pressure / 1013.25) ** (287.05287 * 0.0065 / STANDARD_GRAVITY)
        return temperature, (288.15 - temperature) / 0.0065 * STANDARD_GRAVITY
    return 216.65, 11000 * STANDARD_GRAVITY + 287.05287 * 216.65 * np.log(226.32 / pressure)


@pytest.mark.parametrize("level", [1000, 925, 850, 700, 600, 500, 400, 300, 250, 200, 150, 100, 70, 60])
def test_the_standard_atmosphere_is_plausible(level: int) -> None:
    for name, value in zip(("t", "z"), icao(level), strict=True):
        bounds = plausible(parse_channel(f"{name}{level}"))
        assert bounds is not None
        assert abs(value - bounds.mean) <= 1.25 * bounds.tolerance


def test_the_table_is_consistent() -> None:
    for name in (*SURFACE, *(f"{variable}{level}" for variable in ALOFT for level in (*LEVELS, 3, 30, 70, 925))):
        bounds = plausible(parse_channel(name))
        assert bounds is not None
        assert bounds.low < bounds.mean - bounds.tolerance < bounds.mean + bounds.tolerance < bounds.high
        assert 0 < bounds.least_spread < bounds.most_spread < bounds.high - bounds.low


PUBLISHED = ("u10m", "v10m", "t2m", "sp", "msl", "t850", "u1000", "v1000", "z1000", "u850", "v850", "z850", "u500",
             "v500", "z500", None, "z50", "r500", "r850", "tcwv")  # fmt: skip


def test_published_means_of_forty_years_are_plausible(samples: Path) -> None:
    """FourCastNet's means and deviations count every row the same, which makes the globe colder: two tolerances."""
    means, stds = (np.load(samples / f"fourcastnext_global_{kind}.npy").ravel() for kind in ("means", "stds"))
    for name, mean, std in zip(PUBLISHED, means, stds, strict=False):
        if name is not None:
            bounds = plausible(parse_channel(name))
            assert bounds is not None
            assert abs(mean - bounds.mean) <= 2 * bounds.tolerance, name
            assert bounds.least_spread <= std <= bounds.most_spread, name


REAL = {
    "neuralgcm_era5_tl31_19590102T00.nc": {},
    "falwa_erainterim_2005-01-23-0000-*.nc": {},
    "pygrib_gfs.t12z.pgrbf120.2p5deg.grib2": {"forecast_step": 120},
    "earthkit_pl_regular_ll.grib": {"forecast_step": 0},
    "cfgrib_era5-levels-members.grib": {"number": 4},
    "gfs_10mwind_6h_5.625deg_2026.nc": {},
    "gfs_10mwind_6h_1deg_2026-03_05.nc": {},
    "skinnywms_mslp_0.4deg_global.nc": {},
    "speedy_t21_demo_400x12.nc": {},
    "era5_cds_pressure_levels_2026_form.nc": {},
    "geocat_era5_1995-07-14T12.nc": {},
}


@pytest.mark.parametrize("name", REAL)
def test_real_analyses_have_no_fault(samples: Path, name: str) -> None:
    with open_source([str(samples / name)], **REAL[name]) as source:
        for channel in source.channels:
            when = source.times((channel,))[0]
            when = when[:: max(1, len(when) // 8)]
            assert check(source.read(when, (channel,)), when, (channel,), source.grid((channel,))) == []
        if source.derivable:
            when, _ = source.times(source.derivable)
            assert (
                check(source.read(when, source.derivable), when, source.derivable, source.grid(source.derivable)) == []
            )
