"""Brier score and reliability of events: by hand, by properness, against the package ``scores``."""

import numpy as np
import pytest
import scores.probability
import xarray as xr

from fourcast.forecast.events import Event
from fourcast.verify.area_means import AreaMeans, Region, whole
from fourcast.verify.probabilities import BINS, brier, reliability

WEIGHTS = np.array([0.75, 1.5, 0.75])
ABOVE = Event("t2m", ">", 0.0)
RNG = np.random.default_rng(0)
REGIONS = AreaMeans(
    (
        Region("north", np.array([True, False, False]), np.ones(1, bool)),
        Region("globe", np.ones(3, bool), np.ones(1, bool)),
    ),
    WEIGHTS,
)


def column(*rows: float) -> np.ndarray:
    return np.array(rows, np.float32)[:, None]


def test_brier_scores_by_hand() -> None:
    # Probabilities 1/4, 1, 1/2; it happens in the north and in the south.
    members = np.stack([column(1, 1, 1), column(-1, 2, 1), column(-1, 3, 0), column(0, 4, -1)])
    target = column(1, 0, 5)
    found = brier(members, target, ABOVE, REGIONS, None)
    # (1/4 − 1)² = 9/16, (1 − 0)² = 1, (1/2 − 1)² = 1/4; over the globe 9/64 + 1/2 + 1/16.
    np.testing.assert_allclose(found["brier"], [9 / 16, 45 / 64])
    # Less p (1 − p) / 3: 1/16, 0, 1/12; over the globe 1/64 + 1/48.
    np.testing.assert_allclose(found["fair_brier"], [9 / 16 - 1 / 16, 45 / 64 - 1 / 64 - 1 / 48])


def test_a_perfect_forecast_has_no_brier_score_and_a_wrong_one_all_of_it() -> None:
    target = RNG.normal(size=(3, 1)).astype(np.float32)
    assert not any(values.any() for values in brier(np.stack([target] * 3), target, ABOVE, REGIONS, None).values())
    opposite = brier(np.stack([-target] * 3), target, ABOVE, REGIONS, None)
    np.testing.assert_allclose([opposite["brier"], opposite["fair_brier"]], 1.0)


def test_one_member_has_a_brier_score_but_no_fair_one() -> None:
    found = brier(column(1, 1, -1)[None], column(-1, 1, -1), ABOVE, REGIONS, None)
    np.testing.assert_allclose(found["brier"], [1, 0.25])
    assert np.isnan(found["fair_brier"]).all()


def test_gaps_are_left_out() -> None:
    members = np.stack([column(1, 1, np.nan), column(-1, 2, 1)])
    target, valid = column(1, np.nan, 5), np.array([[True], [False], [False]])
    found = brier(members, target, ABOVE, REGIONS, valid)
    np.testing.assert_allclose([found["brier"], found["fair_brier"]], [[0.25, 0.25], [0, 0]])
    assert np.isnan(brier(members, target, ABOVE, REGIONS, ~valid)["brier"][0])
    sums = reliability(members, target, ABOVE, REGIONS, ~valid)
    assert not sums[0].any()
    assert sums[1, :, 0].sum() == pytest.approx(1)


def test_values_are_compared_in_float32_as_they_are_written() -> None:
    at = Event("tp06", ">=", 0.01)
    values = np.full((2, 3, 1), 0.01, np.float32)
    assert not brier(values, values[0], at, REGIONS, None)["brier"].any()
    np.testing.assert_allclose(reliability(values, values[0], at, REGIONS, None)[:, -1], 1.0)


def test_reliability_by_hand() -> None:
    members = np.stack([column(1, 1, 1), column(-1, 2, 1), column(-1, 3, 1), column(0, 4, 1)])
    found = reliability(members, column(1, -1, 5), ABOVE, REGIONS, None)
    # 1/4 is half-way between 0.2 and 0.3, and goes to 0.3. The pole is a quarter of the area, the equator half.
    expected = np.zeros((2, BINS, 3))
    expected[0, 3] = [1, 1 / 4, 1]
    expected[1, 3] = [1 / 4, 1 / 16, 1 / 4]
    expected[1, 10] = [3 / 4, 3 / 4, 1 / 4]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("size", [1, 7, 20, 50])
def test_every_probability_is_in_the_bin_whose_centre_is_nearest(size: int) -> None:
    counts = np.arange(size + 1)
    members = np.where(np.arange(size)[:, None] < counts, 1.0, -1.0)[:, None].astype(np.float32)
    found = reliability(members, np.zeros((1, size + 1), np.float32), ABOVE, whole(np.ones(1), size + 1), None)[0]
    held = found[:, 0] > 0
    mean = found[held, 1] / found[held, 0]
    assert found[:, 0].sum() == pytest.approx(1)
    assert found[:, 1].sum() == pytest.approx(0.5)
    assert not found[:, 2].any()
    np.testing.assert_allclose(mean, (np.arange(BINS) / 10)[held], atol=0.05 + 1e-12)


def test_the_true_distribution_has_the_best_fair_brier_score() -> None:
    rng = np.random.default_rng(5)
    target = rng.normal(size=(3, 30_000)).astype(np.float32)
    noise, means, event = rng.normal(size=(6, 3, 30_000)), whole(np.ones(3), 30_000), Event("t2m", ">", 0.5)

    def fair(offset: float, spread: float) -> float:
        return brier((offset + spread * noise).astype(np.float32), target, event, means, None)["fair_brier"].item()

    # The true probability of 0.3085 scores p (1 − p), whatever the number of members.
    assert fair(0, 1) == pytest.approx(0.3085 * 0.6915, abs=0.005)
    for wrong in [(0.5, 1.0), (-0.5, 1.0), (0.0, 0.5), (0.0, 2.5)]:
        assert fair(*wrong) > fair(0, 1) + 0.004, wrong


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(("size", "shape"), [(2, (3, 16)), (7, (7, 13)), (20, (5, 1))])
def test_agreement_with_the_scores_package(size: int, shape: tuple[int, int], gaps: bool) -> None:
    fields, target = RNG.normal(size=(size, *shape)).astype(np.float32), RNG.normal(size=shape).astype(np.float32)
    weights_H = RNG.random(shape[0]) + 0.1
    if gaps:
        target.ravel()[::4] = np.nan
    found = brier(fields, target, Event("t2m", ">=", 0.25), whole(weights_H, shape[1]), ~np.isnan(target))
    dims = ("latitude", "longitude")
    forecast, observed = xr.DataArray(fields, dims=("member", *dims)), xr.DataArray(target, dims=dims)
    weights = xr.DataArray(np.broadcast_to(weights_H[:, None], shape), dims=dims)
    for name, fair in (("brier", False), ("fair_brier", True)):
        theirs = scores.probability.brier_score_for_ensemble(
            forecast, observed, "member", 0.25, fair_correction=fair, weights=weights
        )
        assert found[name] == pytest.approx(theirs.values.ravel(), rel=1e-6), name
