"""Statistics: worked out by hand, then by invariants, then against the package ``scores``."""

from dataclasses import replace

import numpy as np
import pytest
import scores.continuous
import scores.probability
import xarray as xr

from fourcast.errors import InputError
from fourcast.verify import ensemble_points
from fourcast.verify.area_means import AreaMeans, Region, whole
from fourcast.verify.conventions import CONVENTIONS
from fourcast.verify.scores import (
    ENSEMBLE_STATISTICS,
    SINGLE_STATISTICS,
    STATISTICS,
    Fields,
    Scored,
    ensemble_mean,
    score,
)

WEIGHTS = np.array([0.75, 1.5, 0.75])
RNG = np.random.default_rng(0)


def members(size: int, shape: tuple[int, int] = (3, 4)) -> np.ndarray:
    return RNG.normal(280, 5, (size, *shape)).astype(np.float32)


def scored(
    fields: Fields, means: AreaMeans | None = None, convention: str = "weatherbench2", **options: bool
) -> Scored:
    missing = "skip" if options.get("skip") else "refuse"
    means = means or whole(WEIGHTS, fields.target_HW.shape[1])
    return score(fields, means, CONVENTIONS[convention], missing, options.get("energy", True))


def single(
    field: np.ndarray, target: np.ndarray, climatology: np.ndarray | None = None, **how: str
) -> dict[str, float]:
    """Statistics of one field over the globe."""
    found = scored(Fields(target, climatology, {"it": field}, {}), convention=how.get("convention", "weatherbench2"))
    return {name: values["it"].item() for name, values in found.statistics.items()}


def ensemble(fields: np.ndarray, target: np.ndarray, means: AreaMeans | None = None) -> dict[str, float]:
    """Statistics of one ensemble over the globe."""
    found = scored(Fields(target, None, {}, {"it": fields}), means)
    return {name: values["it"].item() for name, values in found.statistics.items()}


def test_a_perfect_forecast_scores_zero_and_correlates_fully() -> None:
    target, climatology = members(2)
    expected = {"error": 0.0, "squared_error": 0.0, "absolute_error": 0.0, "anomaly_correlation": pytest.approx(1.0)}
    assert single(target, target, climatology) == expected
    assert single(target, target, climatology, convention="centred") == expected
    assert ensemble(np.stack([target] * 3), target) == dict.fromkeys(ENSEMBLE_STATISTICS, 0.0)


def test_a_constant_offset_is_the_bias_and_the_error() -> None:
    target = members(1)[0].astype(np.float64)
    expected = {"error": -2.0, "squared_error": 4.0, "absolute_error": 2.0}
    assert single(target - 2.0, target) == pytest.approx(expected)
    # Members that all are off by as much: no variance, and every score is the distance.
    offset = {"crps": 2.0, "fair_crps": 2.0, "energy_score": 2.0, "variance": 0.0}
    assert ensemble(np.stack([target - 2.0] * 3), target) == pytest.approx(offset)


def test_errors_are_weighed_by_hand() -> None:
    target = np.zeros((3, 2))
    field = np.array([[4.0, 0.0], [-1.0, 1.0], [-2.0, 0.0]])
    # Row means 2, 0, -1 of the error; 8, 1, 2 of its square; 2, 1, 1 of its size; weights 1/4, 1/2, 1/4.
    expected = {"error": 0.25, "squared_error": 3.0, "absolute_error": 1.25}
    assert single(field, target) == pytest.approx(expected)


def test_anomaly_correlation_is_uncentred_and_weighted() -> None:
    target = np.array([[1.0], [1.0], [1.0]])
    prediction = np.array([[2.0], [1.0], [0.0]])
    zero = np.zeros((3, 1))
    # Σ w p t = 1.5 + 1.5 + 0 = 3, Σ w p² = 3 + 1.5 = 4.5, Σ w t² = 3 → 3 / √13.5.
    expected = 3 / np.sqrt(13.5)
    assert single(prediction, target, zero)["anomaly_correlation"] == pytest.approx(expected)
    assert single(prediction + 5, target + 5, zero + 5)["anomaly_correlation"] == pytest.approx(expected)
    assert single(-target, target, zero)["anomaly_correlation"] == pytest.approx(-1.0)
    assert np.isnan(single(zero, target, zero)["anomaly_correlation"])
    assert "anomaly_correlation" not in single(prediction, target)


def test_centred_anomaly_correlation_leaves_out_the_mean_of_the_region() -> None:
    target = np.array([[3.0], [1.0], [-1.0]])
    prediction = np.array([[2.0], [1.0], [4.0]])
    zero = np.zeros((3, 1))
    # Means 1 and 2. Departures 2, 0, -2 and 0, -1, 2: Σ w p t = -3, Σ w p² = 1.5 + 3 = 4.5, Σ w t² = 3 + 3 = 6.
    found = single(prediction, target, zero, convention="centred")
    assert found["anomaly_correlation"] == pytest.approx(-3 / np.sqrt(27))
    # Of a constant departure nothing is left, even where its square is rounded.
    assert np.isnan(single(zero + 0.7, target, zero, convention="centred")["anomaly_correlation"])
    assert single(zero + 0.7, target, zero)["anomaly_correlation"] == pytest.approx(3 / np.sqrt(3 * 9))


@pytest.mark.parametrize(
    ("values", "observed", "fair", "standard", "variance"),
    [
        # M = 2: (|1 − 0| + |3 − 0|) / 2 − |1 − 3| / 2 = 2 − 1; of all four pairs, |1 − 3| · 2 / 8 = 1/2.
        ((1.0, 3.0), 0.0, 1.0, 1.5, 2.0),
        # Between the members: (1 + 1) / 2 − 1 = 0.
        ((1.0, 3.0), 2.0, 0.0, 0.5, 2.0),
        # M = 3: mean |x − y| = (1 + 2 + 4) / 3; mean |x − x'| of pairs = (1 + 3 + 2) / 3 = 2, of all nine 12 / 9.
        ((4.0, 1.0, 2.0), 0.0, 4 / 3, 5 / 3, 7 / 3),
        # Order does not matter, nor does an offset.
        ((11.0, 14.0, 12.0), 10.0, 4 / 3, 5 / 3, 7 / 3),
        # Two of three are the same: mean |x − y| = 1, of pairs (0 + 3 + 3) / 3, of all nine 12 / 9.
        ((0.0, 3.0, 0.0), 0.0, 0.0, 1 / 3, 3.0),
    ],
)
def test_ensembles_by_hand(
    values: tuple[float, ...], observed: float, fair: float, standard: float, variance: float
) -> None:
    predictions = np.array(values)[:, None, None] * np.ones((1, 3, 4))
    found = ensemble(predictions, np.full((3, 4), observed))
    # Fields that are the same everywhere are as far apart as their values are.
    expected = {"fair_crps": fair, "crps": standard, "variance": variance, "energy_score": fair}
    assert found == pytest.approx(expected, abs=1e-12)


def test_every_system_finds_its_own_scores_in_every_region() -> None:
    fields, (target, climatology) = members(5), members(2)
    regions = (
        Region("north", np.array([True, False, False]), np.ones(4, bool)),
        Region("globe", np.ones(3, bool), np.ones(4, bool)),
    )
    means = AreaMeans(regions, WEIGHTS)
    singles = {"control": fields[0], "ensemble_mean": ensemble_mean(fields), "persistence": fields[4]}
    found = scored(Fields(target, climatology, singles, {"ensemble": fields, "pair": fields[:2]}), means)
    assert set(found.statistics) == set(STATISTICS) - {"seeps"}
    for name in SINGLE_STATISTICS:
        assert list(found.statistics[name]) == list(singles)
        for system, field in singles.items():
            assert found.statistics[name][system][1] == pytest.approx(single(field, target, climatology)[name])
    for name in ENSEMBLE_STATISTICS:
        assert list(found.statistics[name]) == ["ensemble", "pair"]
        alone = ensemble(fields[:2], target)[name]
        assert found.statistics[name]["pair"][1] == pytest.approx(alone)
        north = ensemble(fields[:, :1], target[:1], whole(np.ones(1), 4))[name]
        assert found.statistics[name]["ensemble"][0] == pytest.approx(north)
    assert found.ranks["ensemble"].shape == (2, 6)
    assert found.ranks["pair"].shape == (2, 3)
    np.testing.assert_allclose(found.ranks["ensemble"].sum(axis=1), 1)
    np.testing.assert_array_equal(found.coverage, [1, 1])


def test_the_energy_score_is_made_where_it_is_asked_for() -> None:
    fields = Fields(members(1)[0], None, {}, {"ensemble": members(2)})
    assert "energy_score" not in scored(fields, energy=False).statistics
    assert "energy_score" in scored(fields, energy=True).statistics


@pytest.mark.parametrize("block", [1, 7, 65536])
@pytest.mark.parametrize(("size", "shape"), [(2, (3, 5)), (7, (3, 13)), (53, (3, 1))])
def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch, block: int, size: int, shape: tuple[int, int]) -> None:
    monkeypatch.setattr(ensemble_points, "BLOCK", block)
    fields, target = members(size, shape), members(1, shape)[0]
    expected = np.abs(fields - target.astype(np.float64)).mean(axis=0), fields.var(axis=0, ddof=1, dtype=np.float64)
    found = ensemble_points.ensemble_points(fields, target)
    np.testing.assert_allclose(found.absolute_error_HW, expected[0], rtol=1e-12)
    np.testing.assert_allclose(found.variance_HW, expected[1], rtol=1e-12)
    pairs = np.abs(fields[:, None].astype(np.float64) - fields[None]).sum(axis=(0, 1)) / (2 * size * (size - 1))
    np.testing.assert_allclose(found.difference_HW, pairs, rtol=1e-12)
    np.testing.assert_array_equal(found.below_HW, (fields < target).sum(axis=0))
    assert not found.equal_HW.any()


def test_a_small_spread_beside_a_large_error_is_not_lost() -> None:
    fields = 1e5 + RNG.normal(0, 1e-3, (9, 3, 500))
    found = ensemble(fields, np.zeros((3, 500)))
    assert found["variance"] == pytest.approx(1e-6, rel=0.1)
    assert found["crps"] - found["fair_crps"] == pytest.approx(1e-3 / np.sqrt(np.pi) / 9, rel=0.1)


def gappy() -> tuple[Fields, np.ndarray]:
    """Six columns of which two lack the analysis, and the fields of the other four alone."""
    fields, target = members(4, (3, 6)), members(1, (3, 6))[0]
    target[:, [1, 4]] = np.nan
    fields[2, :, 4] = np.nan  # of no matter: there is no analysis either
    return Fields(target, members(1, (3, 6))[0], {"control": fields[0]}, {"ensemble": fields}), np.array([0, 2, 3, 5])


def taken(fields: Fields, columns: np.ndarray) -> Fields:
    return replace(
        fields,
        target_HW=fields.target_HW[:, columns],
        climatology_HW=None if fields.climatology_HW is None else fields.climatology_HW[:, columns],
        singles={name: field[:, columns] for name, field in fields.singles.items()},
        ensembles={name: field[:, :, columns] for name, field in fields.ensembles.items()},
    )


def assert_same(found: Scored, expected: Scored) -> None:
    assert set(found.statistics) == set(expected.statistics)
    for name, systems in expected.statistics.items():
        for system, values in systems.items():
            np.testing.assert_allclose(
                found.statistics[name][system], values, rtol=1e-12, err_msg=f"{name} of {system}"
            )
    for system, histogram in expected.ranks.items():
        np.testing.assert_allclose(found.ranks[system], histogram, rtol=1e-12)


@pytest.mark.parametrize("convention", ["weatherbench2", "centred"])
def test_points_without_an_analysis_are_left_out(convention: str) -> None:
    fields, columns = gappy()
    found = scored(fields, convention=convention)
    assert_same(found, scored(taken(fields, columns), convention=convention))
    assert found.coverage == pytest.approx(4 / 6)


@pytest.mark.parametrize("culprit", ["control", "ensemble", "the climatology"])
def test_forecasts_with_gaps_are_refused_or_left_out_for_every_system(culprit: str) -> None:
    fields, columns = gappy()
    of = {"control": fields.singles["control"], "ensemble": fields.ensembles["ensemble"][1]}
    hit = (of | {"the climatology": fields.climatology_HW})[culprit]
    assert hit is not None
    hit[:, 3] = np.nan
    with pytest.raises(
        InputError, match=f"{culprit} has no finite number at 3 points where the analysis has one; pass missing"
    ):
        scored(fields)
    found = scored(fields, skip=True)
    assert_same(found, scored(taken(fields, columns[columns != 3])))
    assert found.coverage == pytest.approx(3 / 6)


def test_a_region_without_an_analysis_has_no_scores_and_no_ranks() -> None:
    fields, _ = gappy()
    here = Region("gap", np.ones(3, bool), np.arange(6) == 4)
    found = scored(fields, AreaMeans((here, Region("globe", np.ones(3, bool), np.ones(6, bool))), WEIGHTS))
    for systems in found.statistics.values():
        for values in systems.values():
            assert np.isnan(values[0])
            assert np.isfinite(values[1])
    assert not found.ranks["ensemble"][0].any()
    assert found.coverage[0] == 0


def drawn(size: int, offset: float = 0.0, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Members and analysis at 3 × 30 000 independent points; the analysis is normal (0, 1)."""
    rng = np.random.default_rng(7)
    target = rng.normal(size=(3, 30_000))
    return (offset + spread * rng.normal(size=(size, 3, 30_000))).astype(np.float32), target.astype(np.float32)


@pytest.mark.parametrize("size", [2, 10])
def test_the_true_distribution_has_the_best_crps(size: int) -> None:
    means = whole(np.ones(3), 30_000)

    def crps(offset: float, spread: float) -> tuple[float, float]:
        fields = Fields(drawn(size)[1], None, {}, {"it": drawn(size, offset, spread)[0]})
        found = score(fields, means, CONVENTIONS["centred"], "refuse", energy=False).statistics
        return found["fair_crps"]["it"].item(), found["crps"]["it"].item()

    # E|X − Y| − E|X − X'| / 2 of standard normals is 1/√π, whatever the number of members; the standard score is too
    # large by E|X − X'| / (2 M).
    fair, standard = crps(0.0, 1.0)
    assert fair == pytest.approx(1 / np.sqrt(np.pi), abs=0.01)
    assert standard - fair == pytest.approx(1 / np.sqrt(np.pi) / size, abs=0.01)
    for wrong in [(0.3, 1.0), (-0.3, 1.0), (0.0, 0.6), (0.0, 1.6)]:
        assert crps(*wrong)[0] > fair + 0.01, wrong


def test_a_reliable_ensemble_has_a_spread_skill_ratio_of_one() -> None:
    size = 5
    fields, target = drawn(size)
    singles, ensembles = {"mean": ensemble_mean(fields)}, {"it": fields}
    found = scored(Fields(target, None, singles, ensembles), whole(np.ones(3), 30_000), energy=False).statistics
    ratio = np.sqrt((size + 1) / size * found["variance"]["it"] / found["squared_error"]["mean"])
    assert ratio == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(("size", "shape"), [(2, (3, 16)), (3, (7, 13)), (10, (5, 1)), (53, (1, 9))])
def test_agreement_with_the_scores_package(size: int, shape: tuple[int, int], gaps: bool) -> None:
    predictions, target = members(size, shape).astype(np.float64), members(1, shape)[0].astype(np.float64)
    weights_H = RNG.random(shape[0]) + 0.1
    weights_H /= weights_H.mean()
    if gaps:
        target.ravel()[::4] = np.nan
    dims = ("latitude", "longitude")
    forecast, observed = xr.DataArray(predictions, dims=("member", *dims)), xr.DataArray(target, dims=dims)
    weights = xr.DataArray(np.broadcast_to(weights_H[:, None], shape), dims=dims)
    fields = Fields(target, None, {"control": predictions[0]}, {"ensemble": predictions})
    found = scored(fields, whole(weights_H, shape[1])).statistics
    ours = {name: systems.get("control", systems.get("ensemble")) for name, systems in found.items()}

    crps = scores.probability.crps_for_ensemble
    theirs = {
        "fair_crps": crps(forecast, observed, "member", method="fair", weights=weights),
        "crps": crps(forecast, observed, "member", method="ecdf", weights=weights),
        "squared_error": scores.continuous.rmse(forecast[0], observed, weights=weights) ** 2,
        "absolute_error": scores.continuous.mae(forecast[0], observed, weights=weights),
        "error": scores.continuous.additive_bias(forecast[0], observed, weights=weights),
    }
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(float(value), rel=1e-6), name


@pytest.mark.filterwarnings("ignore:numba is not available")
def test_the_crps_is_the_integral_of_the_squared_distance_of_distributions() -> None:
    predictions, target = members(5, (1, 3)).astype(np.float64), np.array([[279.0, 281.0, 284.0]])
    fields = Fields(target, None, {}, {"ensemble": predictions})
    found = scored(fields, whole(np.ones(1), 3)).statistics["crps"]["ensemble"]
    # A step is a ramp of 1e-9 K to ``scores``, which integrates between thresholds.
    steps = np.sort(np.concatenate([predictions.ravel(), target.ravel()]))
    thresholds = np.sort(np.concatenate([steps - 1e-9, steps, [200.0, 360.0]]))
    heights = (predictions[:, 0, :, None] <= thresholds).mean(axis=0)
    distribution = xr.DataArray(heights, {"threshold": thresholds}, ("longitude", "threshold"))
    theirs = scores.probability.crps_cdf(
        distribution, xr.DataArray(target[0], dims="longitude"), threshold_dim="threshold", integration_method="exact"
    )
    assert found == pytest.approx(float(theirs["total"]), rel=1e-6)


@pytest.mark.parametrize("size", [2, 9])
def test_ranks_agree_with_the_scores_package(size: int) -> None:
    fields, target = members(size, (7, 13)), members(1, (7, 13))[0]
    found = scored(Fields(target, None, {}, {"ensemble": fields}), whole(np.ones(7), 13)).ranks["ensemble"]
    dims = ("latitude", "longitude")
    forecast, observed = xr.DataArray(fields, dims=("member", *dims)), xr.DataArray(target, dims=dims)
    theirs = scores.probability.rank_histogram(forecast, observed, "member")
    np.testing.assert_allclose(found[0], theirs.values, rtol=1e-6)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinity_is_no_number(value: float) -> None:
    target, forecast = members(2)
    broken, fields = forecast.copy(), np.stack([forecast, forecast + 1])
    broken[0, 1] = fields[1, 2, 3] = value
    for given in (Fields(target, None, {"it": broken}, {}), Fields(target, None, {}, {"it": fields})):
        with pytest.raises(InputError, match="it has no finite number at 1 points"):
            scored(given)
        left = scored(given, skip=True)
        assert left.coverage.item() < 1
        assert all(np.isfinite(of["it"]).all() for of in left.statistics.values())
    without = scored(Fields(broken, None, {"it": forecast}, {}))
    assert without.coverage.item() < 1
    assert np.isfinite(without.statistics["squared_error"]["it"]).all()


def test_large_numbers_are_numbers() -> None:
    target = np.full((3, 4), 1e38, np.float32)
    found = scored(Fields(target, None, {"it": target}, {}))
    assert found.coverage.item() == 1
    assert found.statistics["error"]["it"].item() == 0
