"""The search for amplitudes, on ratios that are known functions of them."""

from collections.abc import Callable

import numpy as np
import pytest

from fourcast.calibrate.search import Round, at_limit, best, distance, has_stalled, matches, next_amplitudes, pooled

Ratios = Callable[[np.ndarray], np.ndarray]


def rounds_of(ratios: Ratios, start: list[float], most: int, by_channel: bool = True) -> list[Round]:
    """Rounds until spread matches error, nothing is left to try, or ``most``."""
    found = [Round(np.array(start), ratios(np.array(start)))]
    while len(found) < most and not matches(found[-1], by_channel):
        amplitude = next_amplitudes(found, by_channel, most - len(found))
        if np.allclose(amplitude, found[-1].amplitude_C, rtol=1e-9):
            break
        found.append(Round(amplitude, ratios(amplitude)))
    return found


def test_spread_that_is_proportional_takes_one_step() -> None:
    found = rounds_of(lambda a: a / [0.2, 0.05], [0.1, 0.1], 9)
    assert len(found) == 2
    np.testing.assert_allclose(found[-1].amplitude_C, [0.2, 0.05])


def test_a_power_law_takes_two_steps() -> None:
    # r = √(a / 0.4): 0.5 at 0.1; twice as much gives √½; the slope is then ½, and another factor of 2 arrives.
    found = rounds_of(lambda a: np.sqrt(a / 0.4), [0.1], 9)
    np.testing.assert_allclose([each.amplitude_C[0] for each in found], [0.1, 0.2, 0.4])
    assert best(found, by_channel=True) == 2


def test_a_round_changes_an_amplitude_by_a_bounded_factor() -> None:
    found = Round(np.array([0.1, 0.1]), np.array([1e-3, 1e3]))
    np.testing.assert_allclose(next_amplitudes([found], by_channel=True, left=5), [0.3, 0.1 / 3])


def test_an_amplitude_stops_at_its_limit_where_spread_never_suffices() -> None:
    found = rounds_of(lambda a: 0.5 + 0 * a, [0.5], 6)
    # The first step believes in a slope of 1, the second one in the least there is, 0.3: more than there is room for.
    np.testing.assert_allclose([each.amplitude_C[0] for each in found], [0.5, 1.0, 2.0])
    assert at_limit(found[-1].amplitude_C).all()
    assert not at_limit(np.array([0.1, 0.0])).any()


def test_spread_that_saturates_is_reached_from_below() -> None:
    # Persistence of analyses with an error of 0.3, and 10 members: 1 at 0.3; see test_calibrate.py.
    found = rounds_of(lambda a: np.sqrt(1.1 * a**2 / (0.3**2 + a**2 / 10)), [0.02], 6)
    assert matches(found[-1], by_channel=True)
    assert found[-1].amplitude_C == pytest.approx(0.3, rel=0.02)


def test_one_factor_serves_the_pooled_ratio() -> None:
    # √((0.6² + 0.8²) / 2) = √½
    assert pooled(np.array([0.6, 0.8])) == pytest.approx(np.sqrt(0.5))
    found = rounds_of(lambda a: a / [1 / 6, 0.25], [0.1, 0.2], 9, by_channel=False)
    np.testing.assert_allclose(found[1].amplitude_C, np.sqrt(2) * np.array([0.1, 0.2]))
    assert len(found) == 2


def test_one_factor_ends_where_the_first_channel_meets_a_limit() -> None:
    found = Round(np.array([0.1, 1.6]), np.array([0.1, 0.1]))
    np.testing.assert_allclose(next_amplitudes([found], by_channel=False, left=5), [0.125, 2.0])


@pytest.mark.parametrize("by_channel", [True, False])
def test_an_amplitude_of_zero_stays_and_does_not_count(by_channel: bool) -> None:
    without_error = Round(np.array([0.1, 0.0]), np.array([0.5, np.nan]))
    np.testing.assert_allclose(next_amplitudes([without_error], by_channel, left=5), [0.2, 0.0])
    assert distance(without_error, by_channel) == pytest.approx(np.log(2))
    assert matches(Round(np.array([0.1, 0.0]), np.array([1.01, np.nan])), by_channel)


def test_the_best_round_is_kept_not_the_last() -> None:
    ratios = [[0.5, 1.0], [0.9, 1.1], [1.3, 0.7]]
    assert best([Round(np.ones(2), np.array(ratio)) for ratio in ratios], by_channel=True) == 1


def test_channels_that_cannot_be_told_apart_are_matched_in_the_mean() -> None:
    """Both ratios follow from the sum of the amplitudes: they stay a factor of 4 apart, whatever these are."""
    found = rounds_of(lambda a: a.sum() * np.array([1.0, 3.0, 4.0]), [0.2, 0.2, 0.2], 6)
    assert len(found) == 6
    assert has_stalled(found[:5])
    np.testing.assert_allclose(np.log(found[-1].ratio_C).mean(), 0.0, atol=1e-6)
    assert best(found, by_channel=True) == 5
