"""Rank histograms: worked out by hand, ties and missing numbers among them."""

import numpy as np
import pytest

from fourcast.errors import InputError
from fourcast.grid import area_weights
from fourcast.verify.ranks import flatness, outside, rank_histogram

WEIGHTS = area_weights(np.array([60.0, 0.0, -60.0]))  # 0.75, 1.5, 0.75; see test_scores.py


def members(*values: float) -> np.ndarray:
    """[M, 3, 1]: each member the same everywhere."""
    return np.array(values, np.float32)[:, None, None] * np.ones((3, 1), np.float32)


def test_every_cell_counts_by_its_area_at_the_number_of_members_below() -> None:
    target = np.array([[0.0], [2.0], [9.0]], np.float32)
    # Below all of 1, 3, 5 in the north (a quarter of the area), above one at the equator, above all in the south.
    np.testing.assert_allclose(rank_histogram(members(3, 1, 5), target, WEIGHTS), [0.25, 0.5, 0, 0.25])


def test_ties_are_spread_evenly_over_the_ranks_they_leave_open() -> None:
    target = np.array([[1.0], [3.0], [5.0]], np.float32)
    # Of 1, 1, 3, 5: the north's 1/4 over ranks 0, 1, 2; the equator's 1/2 over 2, 3; the south's 1/4 over 3, 4.
    expected = [1 / 12, 1 / 12, 1 / 12 + 1 / 4, 1 / 4 + 1 / 8, 1 / 8]
    np.testing.assert_allclose(rank_histogram(members(1, 5, 1, 3), target, WEIGHTS), expected)
    np.testing.assert_allclose(rank_histogram(members(7, 7), np.full((3, 1), 7.0), WEIGHTS), [1 / 3] * 3)


def test_shares_add_up_to_one_and_do_not_depend_on_the_order_of_members() -> None:
    rng = np.random.default_rng(0)
    fields = rng.integers(0, 4, (5, 3, 7)).astype(np.float32)  # few values, many ties
    found = rank_histogram(fields[1:], fields[0], WEIGHTS)
    assert found.shape == (5,)
    assert found.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(rank_histogram(fields[:0:-1], fields[0], WEIGHTS), found)


def test_an_analysis_like_any_member_is_ranked_evenly() -> None:
    fields = np.random.default_rng(1).normal(size=(5, 3, 40_000))
    # Four members, five ranks; 3 × 40 000 independent points: deviations of a bin near 0.001.
    np.testing.assert_allclose(rank_histogram(fields[1:], fields[0], WEIGHTS), 0.2, atol=0.006)


@pytest.mark.parametrize("gap", [(0, 1, 0), (2, 1, 0)])
def test_missing_numbers_are_refused(gap: tuple[int, int, int]) -> None:
    fields = members(1, 2, 3)
    fields[gap] = np.nan
    with pytest.raises(InputError, match="ranks need numbers everywhere, found"):
        rank_histogram(fields[1:], fields[0], WEIGHTS)


def test_flatness_and_outliers_by_hand() -> None:
    histograms = np.array([[2.0, 2.0, 2.0, 2.0], [0.0, 0.0, 0.0, 3.0], [0.5, 0.0, 0.0, 0.5]])
    # Always the same rank of four: 4 · ((3/4)² + 3 · (1/4)²) = 3. Both ends: 4 · 4 · (1/4)² = 1.
    np.testing.assert_allclose(flatness(histograms), [0.0, 3.0, 1.0])
    np.testing.assert_allclose(outside(histograms), [0.5, 1.0, 1.0])
