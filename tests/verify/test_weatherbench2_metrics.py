"""Scores agree with WeatherBench 2's own classes, on random ensembles of awkward shapes and with missing values.

FOURCAST_WEATHERBENCH2 names a checkout of https://github.com/google-research/weatherbench2, and
FOURCAST_WEATHERBENCH2_PYTHON a Python that has what it needs (``pip install <checkout> absl-py``; by default ours).
"""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from row_spectra import row_spectra

from fourcast.forecast.events import Event
from fourcast.grid import Grid
from fourcast.verify.area_means import AreaMeans
from fourcast.verify.conventions import CONVENTIONS, row_weights
from fourcast.verify.probabilities import brier
from fourcast.verify.regions import make_regions
from fourcast.verify.results.metrics import score as metrics_of
from fourcast.verify.scores import Fields, Scored, ensemble_mean, score
from fourcast.verify.seeps import Seeps
from fourcast.verify.seeps_climate import SeepsClimate
from fourcast.verify.spectra import circumference
from fourcast.verify_config import VerifyConfig

CHECKOUT = os.environ.get("FOURCAST_WEATHERBENCH2")
PYTHON = os.environ.get("FOURCAST_WEATHERBENCH2_PYTHON", sys.executable)
PROGRAM = Path(__file__).with_name("weatherbench2_metrics.py")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHECKOUT is None, reason="set FOURCAST_WEATHERBENCH2 to a checkout of weatherbench2"),
]
RTOL = 1e-6
INITS = np.array(["2020-02-27T00", "2020-02-29T12", "2020-12-31T06"], "datetime64[h]")
"""A day that few years have is among the valid times, and the last one of a leap year."""
LEADS = np.array([0, 18, 30])
HOURS = np.arange(0, 24, 6)
DAYS = np.array([1, 58, 59, 60, 61, 62, 366])
THRESHOLD = 280.5
REGIONS = [
    "global", "tropics", "extratropics", "northern_extratropics", "southern_extratropics", "europe", "north_america",
    "north_atlantic", "north_pacific", "east_asia", "australia_new_zealand", "arctic", "antarctic", "global_land",
    "extratropics_land", "tropics_land",
]  # fmt: skip
SOME = ["global", "tropics", "europe", "global_land"]
SINGLES, ENSEMBLE = ("control", "ensemble_mean"), "ensemble"
SYSTEMS = (*SINGLES, ENSEMBLE)
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Case:
    """forecast [I, L, M, H, W], of which the control is member 0, truth [I, L, H, W] and climatology [Q, D, H, W]."""

    grid: Grid
    forecast: NDArray[np.float32]
    truth: NDArray[np.float32]
    climatology: NDArray[np.float32]
    land_HW: NDArray[np.float32]
    regions: tuple[str, ...] = tuple(SOME)

    @property
    def means(self) -> AreaMeans:
        regions = make_regions(VerifyConfig(regions=list(self.regions)), self.grid, self.land_HW)
        return AreaMeans(regions, row_weights(CONVENTIONS["weatherbench2"], self.grid))


def grid_of(height: int, width: int, poles: bool) -> Grid:
    latitude = np.linspace(90, -90, height) if poles else 90 - 180 / height * (np.arange(height) + 0.5)
    return Grid(latitude, 360 / width * np.arange(width))


def random_case(seed: int, grid: Grid, members: int) -> Case:
    """Members about a truth that they miss by more the longer they run; the climatology differs by hour and day."""
    rng = np.random.default_rng(seed)
    plane = grid.shape
    base = 280 + 10 * np.cos(np.deg2rad(grid.latitude))[:, None]
    truth = base + rng.normal(0, 4, (len(INITS), len(LEADS), *plane))
    spread = 1 + np.arange(len(LEADS))[:, None, None, None]
    forecast = truth[:, :, None] + spread * rng.normal(0.2, 1, (len(INITS), len(LEADS), members, *plane))
    climatology = base + rng.normal(0, 1, (len(HOURS), len(DAYS), *plane))
    forecast, truth, climatology = (x.astype(np.float32) for x in (forecast, truth, climatology))
    return Case(grid, forecast, _untied(truth, forecast), climatology, rng.random(plane, np.float32))


def _untied(truth: NDArray[np.float32], forecast: NDArray[np.float32]) -> NDArray[np.float32]:
    """Truth that equals no member: theirs ranks it at random among its equals, ours gives each rank its share."""
    tied = (forecast == truth[:, :, None]).any(axis=2)
    untied = np.where(tied, np.nextafter(truth, np.float32(np.inf)), truth)
    assert not (forecast == untied[:, :, None]).any()
    return untied


def random_rain(seed: int, grid: Grid, members: int) -> Case:
    """Precipitation in metres, dry at about every other point."""
    rng = np.random.default_rng(seed)
    amounts = (
        np.maximum(rng.gamma(0.7, 4e-3, shape) - 1e-3, 0).astype(np.float32)
        for shape in (
            (len(INITS), len(LEADS), members, *grid.shape),
            (len(INITS), len(LEADS), *grid.shape),
            (len(HOURS), len(DAYS), *grid.shape),
        )
    )
    return Case(grid, *amounts, rng.random(grid.shape, np.float32))


def everywhere(case: Case) -> Case:
    """In all regions that theirs has a name for."""
    return replace(case, regions=tuple(REGIONS))


def missing_everywhere(case: Case) -> Case:
    """Without numbers at the same points of truth and of all members, others at every time."""
    truth, forecast = case.truth.copy(), case.forecast.copy()
    missing = np.random.default_rng(9).random(truth.shape) < 0.3
    truth[missing] = np.nan
    forecast[np.broadcast_to(missing[:, :, None], forecast.shape)] = np.nan
    return replace(case, truth=truth, forecast=forecast)


def missing_in_truth(case: Case) -> Case:
    truth = case.truth.copy()
    truth[np.random.default_rng(9).random(truth.shape) < 0.3] = np.nan
    return replace(case, truth=truth)


def missing_in_forecast(case: Case) -> Case:
    forecast = case.forecast.copy()
    missing = np.random.default_rng(9).random(case.truth.shape) < 0.3
    forecast[np.broadcast_to(missing[:, :, None], forecast.shape)] = np.nan
    return replace(case, forecast=forecast)


CASES = {
    "whole": everywhere(random_case(1, grid_of(13, 27, poles=True), members=5)),
    "pair": random_case(2, grid_of(12, 24, poles=False), members=2),
    "many": random_case(3, grid_of(19, 31, poles=False), members=17),
    "gaps": everywhere(missing_everywhere(random_case(4, grid_of(17, 29, poles=True), members=6))),
    "gapstruth": missing_in_truth(random_case(5, grid_of(17, 29, poles=True), members=3)),
    "gapsforecast": missing_in_forecast(random_case(6, grid_of(17, 29, poles=True), members=3)),
    "rain": missing_everywhere(random_rain(7, grid_of(13, 27, poles=True), members=3)),
}
TOGETHER = ("whole", "pair", "many", "gaps", "rain")
"""Where truth and forecasts lack the same points; elsewhere theirs leaves out points for each term of a score alone."""


def in_their_form(case: Case) -> dict[str, NDArray]:
    """Latitudes increasing, and the same numbers in float64."""
    fields = {"forecast": case.forecast, "truth": case.truth, "climatology": case.climatology, "land": case.land_HW}
    fields |= seeps_climatology(case)
    return {name: array[..., ::-1, :].astype(np.float64) for name, array in fields.items()} | {
        "latitude": case.grid.latitude[::-1],
        "longitude": case.grid.longitude,
        "init_times": INITS,
        "lead_hours": LEADS,
        "days": DAYS,
        "hours": HOURS,
        "threshold": np.array(THRESHOLD),
        "regions": np.array(case.regions),
    }


def seeps_climatology(case: Case) -> dict[str, NDArray]:
    """How often it is dry, points that are not scored among them, and where heavy precipitation begins in metres."""
    rng, plane = np.random.default_rng(8), case.grid.shape
    heavy = 2e-3 + 2e-3 * rng.random((len(HOURS), len(DAYS), *plane))
    return {"dry_fraction": rng.random(plane), "wet_threshold": heavy.astype(np.float32)}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NDArray]:
    assert CHECKOUT is not None
    folder = tmp_path_factory.mktemp("wb2_metrics")
    arrays = {f"{key}_{name}": array for name, case in CASES.items() for key, array in in_their_form(case).items()}
    np.savez(folder / "cases.npz", cases=np.array(list(CASES)), **arrays)
    command = [PYTHON, str(PROGRAM), str(folder / "cases.npz"), str(folder / "results.npz")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": CHECKOUT}
    )
    assert done.returncode == 0, done.stderr
    with np.load(folder / "results.npz") as held:
        return dict(held)


def valid_time(i: int, s: int) -> np.datetime64:
    return INITS[i] + np.timedelta64(LEADS[s], "h")


def scored(case: Case, i: int, s: int) -> Scored:
    """Ours, of one initial and lead time."""
    day = (valid_time(i, s).astype("datetime64[D]") - valid_time(i, s).astype("datetime64[Y]")).astype(int) + 1
    hour = (valid_time(i, s) - valid_time(i, s).astype("datetime64[D]")).astype(int)
    members = case.forecast[i, s]
    singles = {"control": members[0], "ensemble_mean": ensemble_mean(members)}
    climatology = case.climatology[np.searchsorted(HOURS, hour), np.searchsorted(DAYS, day)]
    fields = Fields(case.truth[i, s], climatology, singles, {ENSEMBLE: members})
    return score(fields, case.means, CONVENTIONS["weatherbench2"], "skip", energy=True)


@pytest.fixture(scope="module")
def cases() -> dict[str, list[list[Scored]]]:
    return {
        name: [[scored(case, i, s) for s in range(len(LEADS))] for i in range(len(INITS))]
        for name, case in CASES.items()
    }


def stacked(found: list[list[Scored]], statistic: str) -> Array:
    """A statistic [I, S, L, R] of all systems, NaN where one has none."""
    none = np.full(len(found[0][0].coverage), np.nan)
    of = [[[at.statistics[statistic].get(name, none) for at in row] for name in SYSTEMS] for row in found]
    return np.array(of)


@pytest.fixture(scope="module")
def ours(cases: dict[str, list[list[Scored]]]) -> dict[str, dict[str, Array]]:
    """Metrics [S, L, R], in every case."""
    ones = np.ones((1, len(INITS)))
    every = {}
    for name, found in cases.items():
        statistics = {statistic: stacked(found, statistic) for statistic in found[0][0].statistics}
        members = {ENSEMBLE: CASES[name].forecast.shape[2]}
        every[name] = {key: values[0] for key, values in metrics_of(statistics, SYSTEMS, members, ones).items()}
        rooted = metrics_of(statistics, SYSTEMS, members, ones, root_first=True)
        every[name]["rmse_root_first"] = rooted["rmse"][0]
    return every


def require_equal(ours_LR: Array, theirs_RL: NDArray, scale: float = 0.0) -> None:
    """``scale``: of the terms of which ours is a difference."""
    assert ours_LR.shape == theirs_RL.T.shape
    np.testing.assert_allclose(ours_LR, theirs_RL.T, rtol=RTOL, atol=RTOL * scale)


@pytest.mark.parametrize("case", CASES)
def test_regions_are_theirs(theirs: dict[str, NDArray], case: str) -> None:
    assert theirs[f"regions_{case}"].tolist() == list(CASES[case].regions) == list(CASES[case].means.names)


@pytest.mark.parametrize("system", SINGLES)
@pytest.mark.parametrize("metric", ["mse", "mae", "bias"])
@pytest.mark.parametrize("case", CASES)
def test_errors_of_single_fields(theirs: dict, ours: dict, case: str, metric: str, system: str) -> None:
    absolute = float(theirs[f"mae_{system}_{case}"].min()) if metric == "bias" else 0.0
    require_equal(ours[case][metric][SYSTEMS.index(system)], theirs[f"{metric}_{system}_{case}"], scale=absolute)


@pytest.mark.parametrize("system", SINGLES)
@pytest.mark.parametrize("case", TOGETHER)
def test_anomaly_correlation(theirs: dict, ours: dict, case: str, system: str) -> None:
    require_equal(ours[case]["acc"][SYSTEMS.index(system)], theirs[f"acc_{system}_{case}"])


@pytest.mark.parametrize("case", CASES)
def test_root_mean_square_errors_averaged_after_the_root(theirs: dict, ours: dict, case: str) -> None:
    for system, name in (("control", "rmse_root_first"), ("ensemble_mean", "mean_rmse_root_first")):
        require_equal(ours[case]["rmse_root_first"][SYSTEMS.index(system)], theirs[f"{name}_{case}"])


@pytest.mark.parametrize("case", TOGETHER)
def test_scores_of_ensembles(theirs: dict, ours: dict, case: str) -> None:
    mean, ensemble = SYSTEMS.index("ensemble_mean"), SYSTEMS.index(ENSEMBLE)
    require_equal(ours[case]["crps"][ensemble], theirs[f"crps_{case}"])
    require_equal(ours[case]["spread"][ensemble] ** 2, theirs[f"ensemble_variance_{case}"])
    require_equal(ours[case]["mse"][mean], theirs[f"ensemble_mean_mse_{case}"])


@pytest.mark.parametrize("case", TOGETHER)
def test_energy_score_is_theirs_of_all_pairs_of_members(theirs: dict, ours: dict, case: str) -> None:
    require_equal(ours[case]["energy_score"][SYSTEMS.index(ENSEMBLE)], theirs[f"energy_score_{case}"])


@pytest.mark.parametrize("case", TOGETHER)
def test_debiased_errors_of_the_mean(theirs: dict, ours: dict, case: str) -> None:
    """Where so few members are off by so much that the estimate is negative, ours has no root to give."""
    found = theirs[f"debiased_ensemble_mean_mse_{case}"]
    expected = np.where(found >= 0, found, np.nan)
    assert np.isfinite(expected).any()
    ours_LR = ours[case]["debiased_rmse"][SYSTEMS.index("ensemble_mean")] ** 2
    require_equal(ours_LR, expected, scale=float(theirs[f"ensemble_mean_mse_{case}"].max()))


def test_energy_score_of_neighbours_is_another_estimate_of_the_same(theirs: dict, ours: dict) -> None:
    """Theirs pairs members k and k + 1 alone: the same of two members, close to ours of many, and never quite ours."""
    ensemble = SYSTEMS.index(ENSEMBLE)
    require_equal(ours["pair"]["energy_score"][ensemble], theirs["energy_score_neighbours_pair"])
    many, neighbours = ours["many"]["energy_score"][ensemble, :, 0], theirs["energy_score_neighbours_many"][0]
    np.testing.assert_allclose(many, neighbours, rtol=0.05)
    assert np.all(many != neighbours)


@pytest.mark.parametrize("case", CASES)
def test_brier_scores(theirs: dict, case: str) -> None:
    held, event, means = CASES[case], Event("t2m", ">", THRESHOLD), CASES[case].means
    valid = np.isfinite(held.truth) & np.isfinite(held.forecast).all(axis=2)
    for name in ("brier", "fair_brier"):
        found = [
            [brier(held.forecast[i, s], held.truth[i, s], event, means, valid[i, s])[name] for s in range(len(LEADS))]
            for i in range(len(INITS))
        ]
        require_equal(np.mean(found, axis=0), theirs[f"{name}_{case}"], scale=1)


@pytest.mark.parametrize("case", ["whole", "pair", "many", "gaps"])
def test_rank_histograms(theirs: dict, cases: dict[str, list[list[Scored]]], case: str) -> None:
    ranks_ILRK = np.array([[at.ranks[ENSEMBLE] for at in row] for row in cases[case]])
    found_RLK = theirs[f"ranks_{case}"]
    np.testing.assert_allclose(ranks_ILRK.mean(axis=0).swapaxes(0, 1), found_RLK, rtol=RTOL, atol=1e-12)


def test_seeps(theirs: dict) -> None:
    held, plane = CASES["rain"], ("latitude", "longitude")
    climatology = seeps_climatology(held)
    fields = {
        "dry_fraction": (plane, climatology["dry_fraction"]),
        "heavy": (("hour", "dayofyear", *plane), climatology["wet_threshold"]),
    }
    dataset = xr.Dataset(fields, {"hour": HOURS, "dayofyear": DAYS})
    seeps = Seeps({"tp06": SeepsClimate(dataset, 1e-4)})
    found = [
        [
            seeps.statistics("tp06", valid_time(i, s), {"control": held.forecast[i, s, 0]}, truth, held.means, valid)[
                "control"
            ]
            for s, (truth, valid) in enumerate(zip(held.truth[i], np.isfinite(held.truth[i]), strict=True))
        ]
        for i in range(len(INITS))
    ]
    assert 0.1 < theirs["seeps_rain"].min() < theirs["seeps_rain"].max() < 3
    require_equal(np.mean(found, axis=0), theirs["seeps_rain"])


@pytest.mark.parametrize("case", ["whole", "pair", "many"])
def test_zonal_energy_spectra(theirs: dict, case: str) -> None:
    """Of an even number of columns theirs counts the shortest wave twice, which breaks Parseval's theorem."""
    held = CASES[case]
    spectra = row_spectra(held.truth, held.grid)[..., ::-1, :]
    expected = theirs[f"spectrum_{case}"].copy()
    if held.grid.shape[1] % 2 == 0:
        expected[..., -1] /= 2
    np.testing.assert_allclose(spectra, expected, rtol=RTOL, atol=RTOL * expected.max() * 1e-6)


@pytest.mark.parametrize("case", ["whole", "pair"])
def test_wavelengths(theirs: dict, case: str) -> None:
    grid = CASES[case].grid
    wavelengths = circumference(grid)[::-1, None] / np.arange(1, grid.shape[1] // 2 + 1)
    np.testing.assert_allclose(wavelengths, theirs[f"wavelength_{case}"][:, 1:], rtol=RTOL, atol=1e-6)
