"""Intervals of scores and of their differences: a paired moving-block bootstrap over initial times.

Scores of neighbouring initial times resemble one another, so blocks of consecutive ones are drawn together (Künsch
1989, https://doi.org/10.1214/aos/1176347265): from I initial times ⌈I / b⌉ blocks of b out of the I − b + 1 that there
are, with replacement, cut to I. All systems, channels and lead times are scored on the same resamples, so that what
they share drops out of their differences. The interval lies between the percentiles of the resampled scores (Efron &
Tibshirani 1993, An Introduction to the Bootstrap, chapter 13), moved by what the score is away from that of the average
resample: blocks draw the first and the last initial times less often than the others.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fourcast.verify.results.metrics import Metric, average, finish
from fourcast.verify_config import UncertaintyConfig

Float64 = NDArray[np.float64]
FEWEST = 4
"""Initial times below which nothing is said of the uncertainty."""


def block_length(size: int, config: UncertaintyConfig) -> int:
    """Consecutive initial times that are drawn together, at most all of them."""
    if config.block is not None:
        return min(config.block, size)
    return math.ceil(round(size ** (1 / 3), 9))


def resamples(size: int, config: UncertaintyConfig) -> Float64 | None:
    """How often every initial time is drawn in every resample, [B, I]; None where there is nothing to resample.

    The rows are the same for the same number of initial times and configuration.
    """
    if config.samples == 0 or size < FEWEST:
        return None
    block = block_length(size, config)
    starts = np.random.default_rng(config.seed).integers(size - block + 1, size=(config.samples, -(-size // block)))
    drawn = (starts[:, :, None] + np.arange(block)).reshape(config.samples, -1)[:, :size]
    counts_BI = np.zeros((config.samples, size))
    np.add.at(counts_BI, (np.arange(config.samples)[:, None], drawn), 1.0)
    return counts_BI


def with_middle(weights_BI: Float64) -> Float64:
    """The average resample, and then all of them: [1 + B, I]."""
    return np.vstack([weights_BI.mean(axis=0), weights_BI])


def interval_about(values: Float64, rows: Float64, level: float) -> tuple[Float64, Float64]:
    """Ends of the interval of scores [...], from those of the weights ``with_middle`` gives, [1 + B, …]."""
    return interval(rows[1:] + (values - rows[0]), level)


def interval(samples: Float64, level: float) -> tuple[Float64, Float64]:
    """Ends of the interval that holds the share ``level`` of the samples, [B, …] → two of [...].

    Resamples that are NaN, having drawn none of the cases that count, are left out.
    """
    ordered = np.sort(samples, axis=0)
    last = np.isfinite(ordered).sum(axis=0) - 1
    return _quantile(ordered, last, (1 - level) / 2), _quantile(ordered, last, (1 + level) / 2)


def _quantile(ordered: Float64, last: NDArray[np.int64], share: float) -> Float64:
    """Linear between the samples, of which ``last`` is the position of the last that is finite, -1 for none."""
    place = np.maximum(last, 0) * share
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(last, 0))
    low, high = (np.take_along_axis(ordered, at[None], axis=0)[0] for at in (below, above))
    return np.asarray(low + (place - below) * (high - low))


def enough(values: Float64) -> NDArray[np.bool_]:
    """Where so many initial times count that something can be said of the uncertainty: [I, …] → [...]."""
    return np.isfinite(values).sum(axis=0) >= FEWEST


def differences(metric: Metric, values: Float64, i_reference: int, weights_BI: Float64, root_first: bool) -> Float64:
    """A metric of every system minus that of a reference, over the initial times that both have.

    values: [I, S, …] as ``series`` gives them. → [B, S, …], exactly 0 for the reference itself.
    """
    reference = np.broadcast_to(values[:, i_reference, None], values.shape)
    both = np.isfinite(values) & np.isfinite(reference)
    one, other = (average(np.where(both, given, np.nan), weights_BI) for given in (values, reference))
    return finish(metric, one, root_first) - finish(metric, other, root_first)
