"""Rank histograms: worked out by hand, ties and missing numbers among them."""

import numpy as np
import pytest

from fourcast.verify.area_means import AreaMeans, Region, whole
from fourcast.verify.ranks import flatness, outside, rank_histogram, ranks

WEIGHTS = np.array([0.75, 1.5, 0.75])


def members(*values: float) -> np.ndarray:
    """[M, 3, 1]: each member the same everywhere."""
    return np.array(values, np.float32)[:, None, None] * np.ones((3, 1), np.float32)


def histogram(
    members_MHW: np.ndarray, target: np.ndarray, means: AreaMeans | None = None, valid: np.ndarray | None = None
) -> np.ndarray:
    size = len(members_MHW)
    below, equal = (count.reshape(target.shape) for count in ranks((members_MHW - target).reshape(size, -1)))
    return rank_histogram(below, equal, size, means or whole(WEIGHTS, target.shape[1]), valid)


def test_every_cell_counts_by_its_area_at_the_number_of_members_below() -> None:
    target = np.array([[0.0], [2.0], [9.0]], np.float32)
    # Below all of 1, 3, 5 in the north (a quarter of the area), above one at the equator, above all in the south.
    np.testing.assert_allclose(histogram(members(3, 1, 5), target), [[0.25, 0.5, 0, 0.25]])


def test_ties_are_spread_evenly_over_the_ranks_they_leave_open() -> None:
    target = np.array([[1.0], [3.0], [5.0]], np.float32)
    # Of 1, 1, 3, 5: the north's 1/4 over ranks 0, 1, 2; the equator's 1/2 over 2, 3; the south's 1/4 over 3, 4.
    expected = [1 / 12, 1 / 12, 1 / 12 + 1 / 4, 1 / 4 + 1 / 8, 1 / 8]
    np.testing.assert_allclose(histogram(members(1, 5, 1, 3), target), [expected])
    np.testing.assert_allclose(histogram(members(7, 7), np.full((3, 1), 7.0)), [[1 / 3] * 3])
    assert histogram(members(1, 5, 1, 3), target).min() >= 0


def test_regions_and_gaps_by_hand() -> None:
    regions = (
        Region("north", np.array([True, False, False]), np.array([True])),
        Region("globe", np.ones(3, bool), np.array([True])),
        Region("tropics", np.array([False, True, False]), np.array([True]), np.full((3, 1), 0.5)),
    )
    means = AreaMeans(regions, WEIGHTS)
    target = np.array([[0.0], [2.0], [9.0]], np.float32)
    expected = [[1, 0, 0], [0.25, 0.5, 0.25], [0, 1, 0]]
    np.testing.assert_allclose(histogram(members(1, 5), target, means), expected)
    valid = np.array([[True], [False], [True]])
    # Without the equator the poles are half each, and the tropics have nothing.
    np.testing.assert_allclose(histogram(members(1, 5), target, means, valid), [[1, 0, 0], [0.5, 0, 0.5], [0, 0, 0]])
    ties = histogram(members(0, 0), target, means, valid)
    np.testing.assert_allclose(ties, [[1 / 3] * 3, [1 / 6, 1 / 6, 1 / 6 + 1 / 2], [0, 0, 0]], atol=1e-16)


@pytest.mark.parametrize("size", [2, 5, 300])
def test_shares_add_up_to_one_and_do_not_depend_on_the_order_of_members(size: int) -> None:
    rng = np.random.default_rng(0)
    fields = rng.integers(0, 4, (size + 1, 3, 7)).astype(np.float32)  # few values, many ties
    found = histogram(fields[1:], fields[0])
    assert found.shape == (1, size + 1)
    assert found.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(histogram(fields[:0:-1], fields[0]), found)


def test_more_members_than_a_byte_counts_are_counted() -> None:
    below, equal = ranks(np.repeat([-1.0, 0.0, 2.0], [300, 260, 1])[:, None] * np.ones((1, 2)))
    assert below.tolist() == [300, 300]
    assert equal.tolist() == [260, 260]


def test_an_analysis_like_any_member_is_ranked_evenly() -> None:
    fields = np.random.default_rng(1).normal(size=(5, 3, 40_000))
    # Four members, five ranks; 3 × 40 000 independent points: deviations of a bin near 0.001.
    np.testing.assert_allclose(histogram(fields[1:], fields[0]), 0.2, atol=0.006)


def test_flatness_and_outliers_by_hand() -> None:
    histograms = np.array([[2.0, 2.0, 2.0, 2.0], [0.0, 0.0, 0.0, 3.0], [0.5, 0.0, 0.0, 0.5]])
    # Always the same rank of four: 4 · ((3/4)² + 3 · (1/4)²) = 3. Both ends: 4 · 4 · (1/4)² = 1.
    np.testing.assert_allclose(flatness(histograms), [0.0, 3.0, 1.0])
    np.testing.assert_allclose(outside(histograms), [0.5, 1.0, 1.0])
