"""Amplitudes at which spread matches error: a damped fixed point, with a secant in logarithms once two rounds are done.

With r the ratio of spread to error and a the amplitude, log r = 0 is sought over log a. Spread grows at most linearly
with the amplitude and mostly less, so a first step that takes d log r / d log a for 1 comes short of the goal rather
than beyond it. After that the slope is that of the last two rounds, kept within ``SLOPES``: other channels' amplitudes
change at the same time, and what a channel's own did cannot be told apart from what theirs did. Where that leads no
nearer, the last round brings all channels together to the goal in the mean, by one factor.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

TOLERANCE = 0.02
"""|log ratio| below which spread matches error."""
MOST, LEAST = 2.0, 1e-4
"""Between these an amplitude is sought, in standard deviations: twice the weather's own variability is no forecast."""
FACTOR = 3.0
"""By how much a round changes an amplitude at most."""
SLOPES = (0.3, 1.0)
"""What a measured d log ratio / d log amplitude is believed to be."""
STALLED = 0.95
"""Of an earlier round's distance from the goal: a later one that is not below this share of it came no nearer."""


@dataclass(frozen=True, eq=False)
class Round:
    """Amplitudes [C] and what ratio [C] of spread to error they gave; 1 is sought.

    An amplitude of 0 stays 0. A ratio is NaN where there is no error, which only such a channel may have.
    """

    amplitude_C: Float64
    ratio_C: Float64


def sought(found: Round, by_channel: bool) -> Float64:
    """log ratio [C] that is to become 0: each channel's own, or else of all the same, that of the pooled ratio.

    It is 0 where the amplitude is 0, for nothing changes it.
    """
    ratio_C = found.ratio_C if by_channel else np.full_like(found.ratio_C, pooled(found.ratio_C))
    return np.log(ratio_C, out=np.zeros_like(ratio_C), where=found.amplitude_C > 0)


def pooled(ratio_C: Float64) -> float:
    """One ratio for all channels that have any: the root of the mean of its squares, so of variance over error²."""
    return float(np.sqrt(np.nanmean(ratio_C**2)))


def distance(found: Round, by_channel: bool) -> float:
    """How far a round is from its goal: the mean |log ratio| of what is sought."""
    return float(np.abs(sought(found, by_channel)[found.amplitude_C > 0]).mean())


def matches(found: Round, by_channel: bool) -> bool:
    """Whether spread matches error wherever it is sought."""
    return bool((np.abs(sought(found, by_channel)) < TOLERANCE).all())


def best(rounds: Sequence[Round], by_channel: bool) -> int:
    """Which round came nearest to its goal; the earliest of several."""
    return int(np.argmin([distance(found, by_channel) for found in rounds]))


def next_amplitudes(rounds: Sequence[Round], by_channel: bool, left: int) -> Float64:
    """Amplitudes [C] for the next of ``left`` rounds; those of the last one where nothing is left to try."""
    if by_channel and left == 1 and has_stalled(rounds):
        nearest = rounds[best(rounds, by_channel)]
        y_C = sought(nearest, by_channel)
        return _changed(nearest.amplitude_C, np.full_like(y_C, -y_C[nearest.amplitude_C > 0].mean()), by_channel=False)
    step_C = -sought(rounds[-1], by_channel) / _slope(rounds, by_channel)
    return _changed(rounds[-1].amplitude_C, step_C, by_channel)


def has_stalled(rounds: Sequence[Round]) -> bool:
    """Whether the last round came hardly nearer by changing channels one by one than one before it.

    Then the model mixes what goes into its channels, or an amplitude is at its limit.
    """
    distances = [distance(found, by_channel=True) for found in rounds]
    return len(rounds) > 1 and distances[-1] > STALLED * min(distances[:-1])


def at_limit(amplitude_C: Float64) -> NDArray[np.bool_]:
    """Which channels have the greatest or the least amplitude that is tried."""
    return (amplitude_C >= MOST * (1 - 1e-6)) | ((amplitude_C <= LEAST * (1 + 1e-6)) & (amplitude_C > 0))


def _changed(amplitude_C: Float64, step_C: Float64, by_channel: bool) -> Float64:
    """Amplitudes after a step of their logarithms, bounded."""
    low_C, high_C = _room(amplitude_C, by_channel)
    return amplitude_C * np.exp(np.clip(np.clip(step_C, -np.log(FACTOR), np.log(FACTOR)), low_C, high_C))


def _slope(rounds: Sequence[Round], by_channel: bool) -> Float64:
    """d log ratio / d log amplitude [C], from the last two rounds; 1 where there is no second or nothing changed."""
    slope_C = np.ones_like(rounds[-1].amplitude_C)
    if len(rounds) < 2:
        return slope_C
    dx_C = _log(rounds[-1].amplitude_C) - _log(rounds[-2].amplitude_C)
    dy_C = sought(rounds[-1], by_channel) - sought(rounds[-2], by_channel)
    np.divide(dy_C, dx_C, out=slope_C, where=np.abs(dx_C) > TOLERANCE / 2)
    return np.clip(slope_C, *SLOPES)


def _log(amplitude_C: Float64) -> Float64:
    return np.log(np.where(amplitude_C > 0, amplitude_C, 1.0))


def _room(amplitude_C: Float64, by_channel: bool) -> tuple[Float64, Float64]:
    """How far log amplitudes [C] may go down and up; where all have one factor, as far as the first to meet a limit."""
    x_C = _log(amplitude_C)
    low_C = np.where(amplitude_C > 0, np.log(LEAST) - x_C, -np.inf)
    high_C = np.where(amplitude_C > 0, np.log(MOST) - x_C, np.inf)
    if by_channel:
        return low_C, high_C
    return np.full_like(low_C, low_C.max()), np.full_like(high_C, high_C.min())
