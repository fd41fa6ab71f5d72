"""Scores: worked out by hand, then by invariants, then against the package ``scores``."""

import numpy as np
import pytest
import xarray as xr

from fourcast.grid import area_weights
from fourcast.verify.scores import (
    STATISTICS,
    area_mean,
    compare,
    ensemble_statistics,
    metrics,
    single_statistics,
    sums,
    systems,
)

LATITUDE = np.array([60.0, 0.0, -60.0])
WEIGHTS = area_weights(LATITUDE)
RNG = np.random.default_rng(0)


def members(size: int, shape: tuple[int, int] = (3, 4)) -> np.ndarray:
    return RNG.normal(280, 5, (size, *shape)).astype(np.float32)


def test_weights_are_cell_areas() -> None:
    # Edges at 90, 30, -30, -90 degrees: sines 1, 0.5, -0.5, -1; areas 0.5, 1, 0.5; mean 2/3.
    np.testing.assert_allclose(WEIGHTS, [0.75, 1.5, 0.75])
    field = np.array([[4.0, 4.0], [1.0, 3.0], [0.0, 8.0]])
    # Row means 4, 2, 4 → (0.75 · 4 + 1.5 · 2 + 0.75 · 4) / 3 = 3.
    np.testing.assert_allclose(area_mean(field, WEIGHTS), 3.0)


def test_a_perfect_forecast_scores_zero_and_correlates_fully() -> None:
    target, climatology = members(2)
    assert single_statistics(target, target, climatology, WEIGHTS) == {
        "error": 0.0,
        "squared_error": 0.0,
        "absolute_error": 0.0,
        "anomaly_correlation": pytest.approx(1.0),
    }
    assert ensemble_statistics(np.stack([target] * 3), target, WEIGHTS) == {"fair_crps": 0.0, "variance": 0.0}


def test_a_constant_offset_is_the_bias_and_the_error() -> None:
    target, climatology = members(2).astype(np.float64)
    found = single_statistics(target - 2.0, target, climatology, WEIGHTS)
    assert found["error"] == pytest.approx(-2.0)
    assert found["squared_error"] == pytest.approx(4.0)
    assert found["absolute_error"] == pytest.approx(2.0)


def test_anomaly_correlation_is_uncentred_and_weighted() -> None:
    zero = np.zeros((3, 1))
    target = np.array([[1.0], [1.0], [1.0]])
    prediction = np.array([[2.0], [1.0], [0.0]])
    # Σ w p t = 1.5 + 1.5 + 0 = 3, Σ w p² = 3 + 1.5 = 4.5, Σ w t² = 3 → 3 / √13.5. A centred one would be undefined.
    expected = 3 / np.sqrt(13.5)
    assert single_statistics(prediction, target, zero, WEIGHTS)["anomaly_correlation"] == pytest.approx(expected)
    opposite = single_statistics(-target, target, zero, WEIGHTS)
    assert opposite["anomaly_correlation"] == pytest.approx(-1.0)
    assert np.isnan(single_statistics(zero, target, zero, WEIGHTS)["anomaly_correlation"])


@pytest.mark.parametrize(
    ("values", "observed", "crps", "variance"),
    [
        # M = 2: (|1 − 0| + |3 − 0|) / 2 − |1 − 3| / 2 = 2 − 1.
        ((1.0, 3.0), 0.0, 1.0, 2.0),
        # Between the members: (1 + 1) / 2 − 1 = 0.
        ((1.0, 3.0), 2.0, 0.0, 2.0),
        # M = 3: mean |x − y| = (1 + 2 + 4) / 3; mean |x − x'| over pairs = (1 + 3 + 2) / 3 = 2; 7/3 − 1.
        ((4.0, 1.0, 2.0), 0.0, 4 / 3, 7 / 3),
        # Order does not matter, nor does an offset.
        ((11.0, 14.0, 12.0), 10.0, 4 / 3, 7 / 3),
    ],
)
def test_fair_crps_and_variance_by_hand(
    values: tuple[float, ...], observed: float, crps: float, variance: float
) -> None:
    predictions = np.array(values)[:, None, None] * np.ones((1, 3, 4))
    found = ensemble_statistics(predictions, np.full((3, 4), observed), WEIGHTS)
    assert found["fair_crps"] == pytest.approx(crps)
    assert found["variance"] == pytest.approx(variance)


def test_compare_scores_one_member_without_an_ensemble() -> None:
    fields, target = members(2), members(1)[0]
    singles = {"control": fields[0], "persistence": fields[1], "climatology": target - 1}
    assert set(compare(fields[:1], singles, target, WEIGHTS)) == set(systems(1)) == set(singles)
    found = compare(fields, singles, target, WEIGHTS)
    assert set(found) == set(systems(2)) == set(singles) | {"ensemble", "ensemble_mean"}
    mean = single_statistics(fields.mean(axis=0, dtype=np.float64), target, target - 1, WEIGHTS)
    assert found["ensemble_mean"] == pytest.approx(mean)


def statistics(init_times: int) -> xr.Dataset:
    """Random statistics of the form that evaluate gives, some not verified."""
    shape = (5, init_times, 3, 2)
    dims = ("system", "init_time", "lead_time", "channel")
    verified = RNG.random(shape[1:3]) < 0.7
    verified[0] = True
    fields = {
        name: (dims, np.where(verified[None, :, :, None], RNG.random(shape), np.nan)) for name in STATISTICS
    }
    return xr.Dataset(fields | {"verified": (dims[1:3], verified)}, {"system": list(systems(2))})


def test_sums_add_over_any_partition_of_the_initial_times() -> None:
    whole = statistics(7)
    parts = [whole.isel(init_time=chosen) for chosen in ([0, 5], [1, 2, 6], [3], [4])]
    total = sum((sums(part) for part in parts[1:]), start=sums(parts[0]))
    xr.testing.assert_allclose(total, sums(whole), rtol=1e-14)
    xr.testing.assert_allclose(metrics(total, 4), metrics(sums(whole), 4), rtol=1e-14)


def test_metrics_take_the_root_after_the_mean_over_initial_times() -> None:
    given = statistics(2).assign(verified=(("init_time", "lead_time"), np.ones((2, 3), dtype=bool)))
    given["squared_error"][:] = np.array([1.0, 49.0])[None, :, None, None]
    given["variance"][:] = np.array([2.0, 30.0])[None, :, None, None]
    found = metrics(sums(given), 4)
    # √((1 + 49) / 2) = 5, √((2 + 30) / 2) = 4, √(5/4) · 4 / 5.
    np.testing.assert_allclose(found["rmse"], 5.0)
    np.testing.assert_allclose(found["spread"], 4.0)
    np.testing.assert_allclose(found["spread_skill_ratio"], np.sqrt(5 / 4) * 0.8)
    np.testing.assert_array_equal(found["init_times"], [2, 2, 2])


def test_what_was_never_verified_has_no_score() -> None:
    given = statistics(2)
    given["verified"][:, 1] = False
    found = metrics(sums(given), 2)
    assert np.isnan(found["rmse"].isel(lead_time=1)).all()
    assert np.isfinite(found["rmse"].isel(lead_time=0)).all()


def test_a_reliable_ensemble_has_a_spread_skill_ratio_of_one() -> None:
    size = 5
    truth_and_members = RNG.normal(size=(size + 1, 300, 300))
    weights = np.ones(300)
    found = ensemble_statistics(truth_and_members[1:], truth_and_members[0], weights)
    error = truth_and_members[1:].mean(axis=0) - truth_and_members[0]
    ratio = np.sqrt((size + 1) / size * found["variance"] / np.mean(error**2))
    assert ratio == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("size", [2, 3, 10])
def test_agreement_with_the_scores_package(size: int) -> None:
    continuous = pytest.importorskip("scores.continuous")
    probability = pytest.importorskip("scores.probability")
    predictions, target = members(size, (3, 16)).astype(np.float64), members(1, (3, 16))[0].astype(np.float64)
    forecast = xr.DataArray(predictions, dims=("member", "latitude", "longitude"))
    observed = xr.DataArray(target, dims=("latitude", "longitude"))
    weights = xr.DataArray(WEIGHTS, dims="latitude")
    crps = probability.crps_for_ensemble(forecast, observed, "member", method="fair", weights=weights)
    assert ensemble_statistics(predictions, target, WEIGHTS)["fair_crps"] == pytest.approx(float(crps), rel=1e-6)
    found = single_statistics(predictions[0], target, target * 0, WEIGHTS)
    rmse = continuous.rmse(forecast[0], observed, weights=weights)
    assert np.sqrt(found["squared_error"]) == pytest.approx(float(rmse), rel=1e-6)
    mae = continuous.mae(forecast[0], observed, weights=weights)
    assert found["absolute_error"] == pytest.approx(float(mae), rel=1e-6)
    bias = continuous.additive_bias(forecast[0], observed, weights=weights)
    assert found["error"] == pytest.approx(float(bias), rel=1e-6)
