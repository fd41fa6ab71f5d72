"""SEEPS: the matrix by hand, 0 for a perfect and 1 for a constant forecast, and the climatology behind it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from fourcast.errors import InputError
from fourcast.grid import Grid
from fourcast.verify.area_means import whole
from fourcast.verify.inputs.targets import open_targets
from fourcast.verify.seeps import Seeps, make_seeps, seeps
from fourcast.verify.seeps_climate import SeepsClimate, seeps_climate, stored_seeps_climate
from tests.tiny import write_store

GRID = Grid(np.array([60.0, 30.0, 0.0]), np.array([0.0, 90.0, 180.0, 270.0]))
VALID = np.datetime64("2026-08-10T06", "h")
DRY, LIGHT, HEAVY = 0.00005, 0.0005, 0.005


def climate(fraction: np.ndarray | float, heavy: float = 0.002, grid: Grid = GRID) -> SeepsClimate:
    """The same threshold everywhere, at 06 UTC and in all seasons."""
    dims = ("latitude", "longitude")
    dry = np.broadcast_to(np.asarray(fraction, dtype=np.float64), grid.shape)
    dataset = xr.Dataset(
        {"dry_fraction": (dims, dry), "heavy": (("hour", "month", *dims), np.full((1, 1, *grid.shape), heavy))},
        {"hour": [6], "month": [0], "latitude": grid.latitude, "longitude": grid.longitude},
    )
    return SeepsClimate(dataset, 1e-4)


def everywhere(amount: float) -> np.ndarray:
    return np.full(GRID.shape, amount, dtype=np.float32)


@pytest.mark.parametrize(
    ("forecast", "analysis", "expected"),  # p = 0.5: 1 / 2(1 − p) = 1, 1 / 2p = 1, 3 / 2(2 + p) = 0.6
    [
        (DRY, DRY, 0.0), (DRY, LIGHT, 1.0), (DRY, HEAVY, 4.0),
        (LIGHT, DRY, 1.0), (LIGHT, LIGHT, 0.0), (LIGHT, HEAVY, 3.0),
        (HEAVY, DRY, 1.6), (HEAVY, LIGHT, 0.6), (HEAVY, HEAVY, 0.0),
    ],
)  # fmt: skip
def test_every_entry_of_the_matrix(forecast, analysis, expected):
    found = seeps(everywhere(forecast), everywhere(analysis), climate(0.5), VALID)
    np.testing.assert_allclose(found, np.full(GRID.shape, expected), rtol=1e-12)


@pytest.mark.parametrize(("p", "dry", "light", "heavy"), [(0.4, 4, 4, 2), (0.25, 3, 6, 3), (0.7, 7, 2, 1)])
@pytest.mark.parametrize("said", [DRY, LIGHT, HEAVY])
def test_a_forecast_that_always_says_the_same_scores_1_over_the_climatology(said, p, dry, light, heavy):
    sample = [DRY] * dry + [LIGHT] * light + [HEAVY] * heavy  # two thirds of the wet ones light
    scores = [seeps(everywhere(said), everywhere(analysis), climate(p), VALID) for analysis in sample]
    np.testing.assert_allclose(np.mean(scores, axis=0), 1.0, rtol=1e-12)


def test_a_perfect_forecast_scores_0_and_a_forecast_of_other_points_does_not():
    rain = np.random.default_rng(0).gamma(0.3, 3e-3, GRID.shape).astype(np.float32)
    assert (seeps(rain, rain, climate(0.5), VALID) == 0).all()
    assert seeps(np.roll(rain, 1, axis=1), rain, climate(0.5), VALID).mean() > 0.5


def test_an_amount_at_a_limit_is_the_wetter_category_and_less_than_nothing_is_dry():
    dry, heavy = np.float32(1e-4), np.float32(0.002)
    assert seeps(everywhere(dry), everywhere(LIGHT), climate(0.5), VALID).max() == 0
    assert seeps(everywhere(heavy), everywhere(HEAVY), climate(0.5), VALID).max() == 0
    assert seeps(everywhere(-1e-9), everywhere(0.0), climate(0.5), VALID).max() == 0


def test_the_score_is_that_of_an_independent_implementation():
    from scores.categorical import seeps as independent

    draw = np.random.default_rng(4)
    forecast, analysis = draw.gamma(0.35, 3e-3, (2, 25, *GRID.shape)).astype(np.float32)
    analysis[3, 1, 2] = forecast[5, 0, 0] = np.nan
    fraction = draw.uniform(0.05, 0.9, GRID.shape)
    found = np.stack([seeps(f, a, climate(fraction), VALID) for f, a in zip(forecast, analysis, strict=True)])
    dims = ("latitude", "longitude")
    given = [xr.DataArray(values, dims=("case", *dims)) for values in (forecast, analysis)]
    expected = independent(
        *given, xr.DataArray(fraction, dims=dims), xr.DataArray(0.002), dry_light_threshold=1e-4, preserve_dims="all"
    )
    assert 0.1 < np.isnan(found).mean() < 0.5
    np.testing.assert_allclose(found, expected.transpose("case", *dims).values, rtol=1e-12)


def test_points_that_are_nearly_always_or_never_dry_and_missing_values_are_left_out():
    fraction = np.full(GRID.shape, 0.5)
    fraction[0] = [0.1, 0.11, 0.84, 0.85]
    analysis, forecast = everywhere(DRY), everywhere(LIGHT)
    analysis[1, 0] = forecast[2, 3] = np.nan
    found = seeps(forecast, analysis, climate(fraction), VALID)
    assert np.argwhere(np.isnan(found)).tolist() == [[0, 0], [0, 3], [1, 0], [2, 3]]


def test_means_over_regions_leave_out_what_is_not_scored():
    fraction = np.full(GRID.shape, 0.5)
    fraction[0] = 0.95
    analysis = everywhere(DRY)
    analysis[2] = HEAVY
    scorer = Seeps({"tp06": climate(fraction)})
    means = whole(np.array([1.5, 1.0, 0.5]), 4)
    said = {"control": everywhere(LIGHT), "ensemble_mean": everywhere(DRY).astype(np.float64)}
    found = scorer.statistics("tp06", VALID, said, analysis, means)
    assert scorer.channels == ("tp06",)
    np.testing.assert_allclose(found["control"], [(1.0 * 1 + 0.5 * 3) / 1.5])
    np.testing.assert_allclose(found["ensemble_mean"], [0.5 * 4 / 1.5])
    only = np.zeros(GRID.shape, dtype=bool)
    only[:2] = True  # row 0 has numbers but is not scored
    np.testing.assert_allclose(scorer.statistics("tp06", VALID, said, analysis, means, only)["control"], [1.0])


def test_an_hour_without_a_climatology_is_named():
    with pytest.raises(InputError, match=r"holds hours \[6\] UTC, not that of 2026-08-10T12"):
        seeps(everywhere(DRY), everywhere(DRY), climate(0.5), np.datetime64("2026-08-10T12", "h"))


@dataclass(frozen=True)
class Analyses:
    """As much of ``Targets`` as is asked for; ``reads`` counts the times that were read."""

    times: np.ndarray
    fields: np.ndarray
    climatology_period: tuple[np.datetime64, np.datetime64] | None
    reads: list[int]
    grid: Grid = GRID
    path: str = "planet.zarr"
    store: None = None

    def read(self, times: np.ndarray, channels: tuple[str, ...]) -> np.ndarray:
        assert channels == ("tp06",)
        self.reads.append(len(times))
        return self.fields[np.searchsorted(self.times, times), None]


def analyses(times: np.ndarray, fields: np.ndarray, period: str | None = "all") -> Analyses:
    return Analyses(times, fields.astype(np.float32), None if period is None else (times[0], times[-1]), [])


def rain_of(times: np.ndarray, scale: np.ndarray | float = 3e-3, seed: int = 1) -> np.ndarray:
    """A gamma distribution that is dry a third of the time, [T, H, W]."""
    scales = np.broadcast_to(scale, len(times))[:, None, None]
    return np.random.default_rng(seed).gamma(0.35, 1.0, (len(times), *GRID.shape)) * scales


def test_the_climatology_is_the_share_of_dry_analyses_and_the_upper_third_of_the_wet_ones():
    times = np.datetime64("2026-01-01T00", "h") + 6 * np.arange(4 * 800)  # in months too few
    rain = rain_of(times)
    found = seeps_climate(analyses(times, rain))
    assert found.dataset["heavy"].dims == ("hour", "month", "latitude", "longitude")
    assert found.dataset["heavy"].shape == (4, 1, 3, 4)
    rain = rain.astype(np.float32)
    shares = np.array([(rain[h::4] < np.float32(1e-4)).mean(axis=0) for h in range(4)])
    np.testing.assert_allclose(found.dry_fraction, shares.mean(axis=0), rtol=1e-12)
    for h, time in enumerate(times[:4]):
        wet = np.where(rain[h::4] < np.float32(1e-4), np.nan, rain[h::4])
        np.testing.assert_allclose(found.heavy_at(time), np.nanquantile(wet, 2 / 3, axis=0), rtol=0.03)


def test_months_have_their_own_thresholds_where_they_hold_enough():
    times = np.datetime64("2001-01-01T00", "h") + 24 * np.arange(4 * 365 + 1)
    month = times.astype("datetime64[M]").astype(int) % 12 + 1
    even = np.random.default_rng(2).uniform(1, 2, (len(times), *GRID.shape))  # wet whenever it is
    found = seeps_climate(analyses(times, 1e-3 * month[:, None, None] * even))
    assert found.dataset["heavy"].dims == ("hour", "month", "latitude", "longitude")
    assert found.dataset["month"].values.tolist() == list(range(1, 13))
    for m in (1, 2, 7, 12):
        at = found.heavy_at(np.datetime64(f"2020-{m:02d}-15T00", "h"))
        np.testing.assert_allclose(at.mean(), m * 1e-3 * (1 + 2 / 3), rtol=0.02)


def test_where_it_is_never_wet_all_rain_is_light_and_where_it_is_never_dry_nothing_is_scored():
    times = np.datetime64("2026-01-01T00", "h") + 24 * np.arange(120)
    rain = np.tile(everywhere(LIGHT), (120, 1, 1))
    rain[:, 0] = 0.0
    rain[::2, 1] = 0.0
    found = seeps_climate(analyses(times, rain))
    np.testing.assert_array_equal(found.dry_fraction, np.array([1.0, 0.5, 0.0])[:, None] * np.ones(4))
    assert np.isinf(found.heavy_at(times[0])[0]).all()
    assert np.isfinite(found.heavy_at(times[0])[1:]).all()
    assert found.scored.tolist() == [[False] * 4, [True] * 4, [False] * 4]


def test_missing_analyses_count_neither_as_dry_nor_as_wet():
    times = np.datetime64("2026-01-01T00", "h") + 24 * np.arange(200)
    rain = np.tile(everywhere(LIGHT), (200, 1, 1))
    rain[:40] = 0.0
    rain[120:] = np.nan
    np.testing.assert_allclose(seeps_climate(analyses(times, rain)).dry_fraction, 40 / 120)


def test_amounts_beyond_the_last_bin_are_still_counted():
    times = np.datetime64("2026-01-01T00", "h") + 24 * np.arange(120)
    found = seeps_climate(analyses(times, np.full((120, *GRID.shape), 100.0)))
    assert (found.heavy_at(times[0]) > 0.3).all()
    assert (found.dry_fraction == 0).all()


def test_too_few_analyses_and_analyses_without_a_period_have_no_climatology():
    times = np.datetime64("2026-01-01T00", "h") + 24 * np.arange(99)
    assert seeps_climate(analyses(times, rain_of(times))) is None
    longer = np.datetime64("2026-01-01T00", "h") + 24 * np.arange(100)
    assert seeps_climate(analyses(longer, rain_of(longer))) is not None
    assert seeps_climate(analyses(longer, rain_of(longer), period=None)) is None


def test_analyses_are_counted_once_and_others_anew(tmp_path: Path):
    times = np.datetime64("2026-01-01T00", "h") + 24 * np.arange(120)
    given = analyses(times, rain_of(times))
    first = make_seeps(given, None, ("t2m", "tp06"), tmp_path)
    assert sum(given.reads) == 120
    second = make_seeps(given, None, ("tp06",), tmp_path)
    assert sum(given.reads) == 120
    for one, other in zip(climates(first), climates(second), strict=True):
        np.testing.assert_array_equal(one.dry_fraction, other.dry_fraction)
        np.testing.assert_array_equal(one.heavy_at(VALID - 6), other.heavy_at(VALID - 6))
    later = analyses(times + 24, rain_of(times, seed=9))
    make_seeps(later, None, ("tp06",), tmp_path)
    assert sum(later.reads) == 120
    assert make_seeps(given, None, ("t2m", "z500"), tmp_path) is None
    assert make_seeps(analyses(times[:9], rain_of(times[:9])), None, ("tp06",), tmp_path) is None


def test_precipitation_of_a_store_is_counted_and_scored(tmp_path: Path):
    times = np.datetime64("2026-01-01T00", "h") + 6 * np.arange(400)
    rain = rain_of(times).astype(np.float32)
    store = write_store(tmp_path / "store.zarr", times, rain[:, None], ("tp06",), GRID)
    scorer = make_seeps(open_targets(store), None, ("tp06",), tmp_path / "parts")
    assert (tmp_path / "parts" / "seeps_tp06.nc").exists()
    assert scorer is not None
    means = whole(np.ones(3), 4)
    said = {"dry": np.zeros(GRID.shape), "light": everywhere(LIGHT), "heavy": everywhere(1.0)}
    found = [scorer.statistics("tp06", time, said, rain[i], means) for i, time in enumerate(times)]
    for system in said:
        np.testing.assert_allclose(np.mean([scores[system] for scores in found]), 1.0, rtol=0.05)


def climates(scorer: Seeps | None) -> list[SeepsClimate]:
    assert scorer is not None
    return list(scorer.climates.values())


def stored(latitude: np.ndarray, longitude: np.ndarray) -> xr.Dataset:
    """WeatherBench 2's layout: latitude ascending, and longitude before it. Values say where and when they are."""
    hour, day = np.arange(0, 24, 6), np.arange(1, 367)
    amount = hour[:, None, None, None] + day[:, None, None] / 1000 + longitude[:, None] * 10 + latitude * 1000
    share = np.broadcast_to(0.2 + 0.1 * (hour[:, None, None, None] / 6) + 0 * amount, amount.shape)
    dims = ("hour", "dayofyear", "longitude", "latitude")
    name = "total_precipitation_6hr_seeps"
    return xr.Dataset(
        {f"{name}_threshold": (dims, amount), f"{name}_dry_fraction": (dims, share)},
        {"hour": hour, "dayofyear": day, "longitude": longitude, "latitude": latitude},
    )


def test_thresholds_of_weatherbench2s_climatology_are_taken_by_hour_and_day_of_year():
    found = stored_seeps_climate(stored(GRID.latitude[::-1], GRID.longitude), GRID)
    expected = 6 + 0.061 + GRID.longitude * 10 + GRID.latitude[:, None] * 1000  # 1 March 2024 is day 61
    np.testing.assert_allclose(found.heavy_at(np.datetime64("2024-03-01T06", "h")), expected, rtol=1e-6)
    np.testing.assert_allclose(found.dry_fraction, 0.35, rtol=1e-12)  # the mean of 0.2, 0.3, 0.4, 0.5
    with pytest.raises(InputError, match="not that of 2024-03-01T03"):
        found.heavy_at(np.datetime64("2024-03-01T03", "h"))


def test_a_row_at_the_south_pole_that_the_grid_lacks_is_dropped_and_another_grid_refused():
    south = np.array([-90.0, *GRID.latitude[::-1]])
    assert stored_seeps_climate(stored(south, GRID.longitude), GRID).dry_fraction.shape == GRID.shape
    with pytest.raises(InputError, match=r"the climatology of precipitation is on .* the analyses on"):
        stored_seeps_climate(stored(GRID.latitude[::-1], GRID.longitude + 5), GRID)


def test_longitudes_from_180_degrees_west_are_turned():
    west = np.array([-180.0, -90.0, 0.0, 90.0])
    found = stored_seeps_climate(stored(GRID.latitude[::-1], west), GRID)
    at_noon = found.heavy_at(np.datetime64("2024-01-01T12", "h"))
    np.testing.assert_allclose(at_noon[0] - 60000 - 12.001, [0, 900, -1800, -900], atol=0.01)


def test_a_stored_climatology_without_hours_is_refused():
    with pytest.raises(InputError, match=r"has dimensions .*, expected hour, dayofyear, latitude, longitude"):
        stored_seeps_climate(stored(GRID.latitude[::-1], GRID.longitude).isel(hour=0, drop=True), GRID)


def test_a_stored_climatology_is_used_only_where_it_is_of_precipitation(tmp_path: Path):
    times = np.datetime64("2026-01-01T00", "h") + 24 * np.arange(120)
    given = analyses(times, rain_of(times))
    make_seeps(given, stored(GRID.latitude[::-1], GRID.longitude), ("tp06",), tmp_path)
    assert given.reads == []
    assert list(tmp_path.iterdir()) == []
    make_seeps(given, xr.Dataset({"2m_temperature": 280.0}), ("tp06",), tmp_path)
    assert sum(given.reads) == 120
