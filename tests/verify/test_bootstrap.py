"""Resampling, against distributions that can be written down."""

from collections import Counter
from itertools import product

import numpy as np
import pytest

from fourcast.verify.results.bootstrap import (
    FEWEST,
    block_length,
    differences,
    enough,
    interval,
    interval_about,
    resamples,
    with_middle,
)
from fourcast.verify.results.metrics import METRICS, average, series
from fourcast.verify_config import UncertaintyConfig

MAE = METRICS["mae"]


def config(**changes: object) -> UncertaintyConfig:
    return UncertaintyConfig(**{"samples": 500, **changes})  # type: ignore[arg-type]


def counts(size: int, **changes: object) -> np.ndarray:
    found = resamples(size, config(**changes))
    assert found is not None
    return found


def drawn_shares(counts_BI: np.ndarray) -> dict[tuple[int, ...], float]:
    tally = Counter(tuple(row.astype(int).tolist()) for row in counts_BI)
    return {drawn: count / len(counts_BI) for drawn, count in tally.items()}


def test_blocks_of_one_are_the_plain_bootstrap() -> None:
    exact: Counter[tuple[int, ...]] = Counter()
    for drawn in product(range(4), repeat=4):
        exact[tuple(drawn.count(i) for i in range(4))] += 1
    found = drawn_shares(counts(4, block=1, samples=40000))
    assert set(found) == set(exact)
    for drawn, count in exact.items():
        assert found[drawn] == pytest.approx(count / 256, abs=0.008)


def test_blocks_are_neighbours_and_all_equally_likely() -> None:
    # Two blocks of three of six: each starts at 0, 1, 2 or 3.
    exact: Counter[tuple[int, ...]] = Counter()
    for one, other in product(range(4), repeat=2):
        exact[tuple(int(one <= i < one + 3) + int(other <= i < other + 3) for i in range(6))] += 1
    found = drawn_shares(counts(6, block=3, samples=20000))
    assert set(found) == set(exact)
    for drawn, count in exact.items():
        assert found[drawn] == pytest.approx(count / 16, abs=0.015)


def test_the_last_block_is_cut() -> None:
    found = counts(5, block=3, samples=2000)
    assert (found.sum(axis=1) == 5).all()
    # The second block gives its first two: 0 1, 1 2 or 2 3, so that the last initial time comes from the first block.
    assert found[:, 4].max() == 1


def test_one_possible_block_leaves_no_doubt() -> None:
    values = np.random.default_rng(0).normal(size=(7, 3))
    found = counts(7, block=7, samples=20)
    assert (found == 1).all()
    low, high = interval(average(values, found), 0.9)
    np.testing.assert_array_equal(low, high)
    assert (counts(7, block=50, samples=20) == 1).all()


def test_blocks_grow_with_the_cube_root() -> None:
    lengths = [block_length(size, config()) for size in (1, 2, 8, 9, 27, 28, 64, 125, 343, 1000)]
    assert lengths == [1, 2, 2, 3, 3, 4, 4, 5, 7, 10]
    assert block_length(10, config(block=4)) == 4


def test_few_initial_times_say_nothing() -> None:
    assert resamples(FEWEST - 1, config()) is None
    assert resamples(FEWEST, config()) is not None
    assert resamples(100, config(samples=0)) is None
    values = np.ones((6, 2))
    values[1:4, 1] = np.nan
    assert enough(values).tolist() == [True, False]


def test_resamples_are_the_same_again() -> None:
    np.testing.assert_array_equal(counts(30), counts(30))
    assert (counts(30) != counts(30, seed=1)).any()


def test_intervals_are_percentiles() -> None:
    samples = np.random.default_rng(1).permuted(np.repeat(np.arange(101.0)[:, None], 2, axis=1), axis=0)
    low, high = interval(samples, 0.9)
    np.testing.assert_allclose([low, high], [[5, 5], [95, 95]])
    samples[np.isin(samples[:, 1], [0.0, 100.0]), 1] = np.nan
    low, high = interval(samples, 0.9)
    np.testing.assert_allclose([low[1], high[1]], np.nanquantile(samples[:, 1], [0.05, 0.95]))
    assert np.isnan(interval(np.full((5, 1), np.nan), 0.9)).all()


def test_intervals_lie_about_the_score() -> None:
    # The last of these initial times is drawn seldom: resamples are mostly without it, and lower than the score.
    values = np.zeros((12, 1))
    values[-1] = 12.0
    drawn = counts(12, block=4, samples=4000)
    assert average(values, drawn).mean() < 0.5
    rows = average(values, with_middle(drawn))
    np.testing.assert_allclose(rows[0], average(values, drawn).mean(axis=0))
    low, high = interval_about(values.mean(axis=0), rows, 0.99)
    assert 1 - low[0] == pytest.approx(rows[0, 0])
    assert high[0] > 1.5


def test_identical_systems_differ_by_nothing() -> None:
    values = np.random.default_rng(2).normal(size=(20, 1, 4)) ** 2
    both = np.concatenate([values, values, values + 1], axis=1)
    found = differences(METRICS["rmse"], both, 0, counts(20), False)
    assert (found[:, :2] == 0).all()
    assert (found[:, 2] > 0).all()
    np.testing.assert_allclose(differences(MAE, both, 1, counts(20), False)[:, 2], 1.0)


def test_differences_are_over_the_initial_times_that_both_have() -> None:
    values = np.array([[1.0, 10.0], [2.0, np.nan], [3.0, 20.0], [np.nan, 30.0]])[..., None]
    found = differences(MAE, values, 0, np.ones((1, 4)), False)
    np.testing.assert_allclose(found[0, :, 0], [0, 15 - 2])
    statistics = {"absolute_error": values}
    given = series(MAE, statistics, ("control", "persistence"), False)
    assert given is not None
    np.testing.assert_array_equal(given, values)


def test_what_systems_share_drops_out_of_their_difference() -> None:
    random = np.random.default_rng(4)
    weather = random.normal(0, 5, size=(60, 1, 1))
    values = 100 + weather + np.array([0.0, 1.0])[:, None] + random.normal(0, 0.1, size=(60, 2, 1))
    drawn = counts(60)
    alone = np.subtract(*interval(average(values, drawn), 0.95)[::-1])
    paired = np.subtract(*interval(differences(MAE, values, 0, drawn, False), 0.95)[::-1])
    assert paired[1, 0] < alone[1, 0] / 10


@pytest.mark.slow
@pytest.mark.parametrize("memory", [0.0, 0.5])
def test_intervals_hold_the_truth_about_as_often_as_they_say(memory: float) -> None:
    """Means of 100 values of an AR(1) series: intervals of blocks are a little short, those of single values far."""
    random = np.random.default_rng(5)
    trials, size = 1000, 100
    noise = random.normal(size=(size + 200, trials))
    series_IN = np.zeros_like(noise)
    for i in range(1, len(noise)):
        series_IN[i] = memory * series_IN[i - 1] + noise[i]
    values = series_IN[200:]

    def coverage(block: int | None) -> float:
        rows = average(values, with_middle(counts(size, block=block, samples=600)))
        low, high = interval_about(values.mean(axis=0), rows, 0.9)
        return float(((low <= 0) & (high >= 0)).mean())

    if memory == 0:
        assert 0.82 < coverage(None) < 0.93
        assert 0.86 < coverage(1) < 0.93
    else:
        assert 0.74 < coverage(None) < 0.90
        assert coverage(1) < coverage(None) - 0.08
