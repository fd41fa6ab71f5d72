"""Scores of the probability that an ensemble gives to an event: the Brier score and reliability."""

import numpy as np
from numpy.typing import NDArray

from fourcast.forecast.events import COMPARISONS, Event
from fourcast.verify.area_means import AreaMeans

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]
EVENT_STATISTICS = ("brier", "fair_brier")
BINS = 11
"""Bins of the forecast probability, centred on 0, 0.1, …, 1."""
QUANTITIES = ("weight", "forecast", "observed")
"""What reliability sums in a bin: shares of the area, and these times the forecast probability and what happened."""


def brier(
    field_MHW: Float32, target_HW: Float32, event: Event, means: AreaMeans, valid_HW: Mask | None
) -> dict[str, Float64]:
    """Area means [R] of ``brier``, (p − o)², and ``fair_brier``, (p − o)² − p (1 − p) / (M − 1).

    p: the fraction of members in which the event happens; o: 1 where it happened, 0 elsewhere (Brier 1950; fair: Ferro
    2014, https://doi.org/10.1002/qj.2270). Of one member there is no fair score: NaN. NaN in a region without a valid
    point. Only numbers may be valid.
    """
    size = len(field_MHW)
    counts_HW, happened_HW = _counts(field_MHW, event), happens(target_HW, event)
    p_HW = counts_HW / size
    score_R, doubt_R = means.means(np.stack([(p_HW - happened_HW) ** 2, p_HW * (1.0 - p_HW)]), valid_HW)
    fair_R = score_R - doubt_R / (size - 1) if size >= 2 else np.full_like(score_R, np.nan)
    return dict(zip(EVENT_STATISTICS, (score_R, fair_R), strict=True))


def reliability(
    field_MHW: Float32, target_HW: Float32, event: Event, means: AreaMeans, valid_HW: Mask | None
) -> Float64:
    """Sums of QUANTITIES by bin of the forecast probability, over a region's valid points: [R, BINS, 3].

    In shares of the region's valid area: the weights of all bins add up to 1, or to 0 in a region without a valid
    point. A probability half-way between two centres goes to the upper bin. Sums over initial times add; forecast /
    weight and observed / weight are a point of the reliability diagram.
    """
    size = len(field_MHW)
    counts_HW = _counts(field_MHW, event)
    bins_HW = (2 * (BINS - 1) * counts_HW + size) // (2 * size)
    weights_HW = np.ones(target_HW.shape) if valid_HW is None else valid_HW.astype(np.float64)
    shares = (weights_HW, weights_HW * counts_HW / size, weights_HW * happens(target_HW, event))
    sums_RBQ = np.stack([means.histogram(bins_HW, share_HW, BINS) for share_HW in shares], axis=-1)
    totals_R11 = means.totals(valid_HW)[:, None, None]
    return np.divide(sums_RBQ, totals_R11, out=np.zeros_like(sums_RBQ), where=totals_R11 != 0)


def happens(field: Float32, event: Event) -> Mask:
    """Where an event happens, compared in float32 as ``Event`` says; never where there is no number."""
    return COMPARISONS[event.comparison][1](np.asarray(field, np.float32), np.float32(event.threshold))


def _counts(field_MHW: Float32, event: Event) -> NDArray[np.intp]:
    return happens(field_MHW, event).sum(axis=0, dtype=np.intp)
