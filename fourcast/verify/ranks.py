"""Rank histograms: where the analysis lies among the members of an ensemble (Hamill 2001).

Hamill, T. M., 2001: Interpretation of rank histograms for verifying ensemble forecasts. Mon. Wea. Rev. 129, 550-560,
https://doi.org/10.1175/1520-0493(2001)129<0550:IORHFV>2.0.CO;2. A reliable ensemble's histogram is flat; one of too
little spread is high at both ends, one of too much in the middle, and a biased one on one side.
"""

import numpy as np
from numpy.typing import NDArray

from fourcast.errors import InputError

Float = NDArray[np.float32] | NDArray[np.float64]
Float64 = NDArray[np.float64]


def rank_histogram(predictions_MHW: Float, target_HW: Float, weights_H: Float64) -> Float64:
    """The share of the area in which so many members lie below the analysis: [M + 1], which adds up to 1.

    weights_H: of the rows, mean 1. Where k members equal the analysis, its cell is divided evenly among the k + 1 ranks
    that they leave open: nothing is drawn by lot. Shares of several fields add. InputError where a number is missing,
    for nothing can be said of its rank.
    """
    size = len(predictions_MHW)
    _require_numbers(predictions_MHW, target_HW)
    below_HW = np.count_nonzero(predictions_MHW < target_HW, axis=0)
    equal_HW = np.count_nonzero(predictions_MHW == target_HW, axis=0)
    share_HW = np.broadcast_to(weights_H[:, None], target_HW.shape) / target_HW.size / (equal_HW + 1)
    histogram = np.zeros(size + 1)
    for further in range(int(equal_HW.max()) + 1):
        reaches = equal_HW >= further
        histogram += np.bincount(below_HW[reaches] + further, share_HW[reaches], minlength=size + 1)
    return histogram


def flatness(histogram: Float64) -> Float64:
    """The mean squared relative departure of a bin from the flat histogram: [..., R] → [...].

    With shares f of R bins, R · Σ (f − 1/R)²: χ² over the number of cases, and so independent of it. 0 is flat; R − 1,
    the most there is, means that the analysis has always the same rank.
    """
    bins = histogram.shape[-1]
    shares = histogram / histogram.sum(axis=-1, keepdims=True)
    return np.asarray(bins * ((shares - 1 / bins) ** 2).sum(axis=-1))


def outside(histogram: Float64) -> Float64:
    """The share of cases below or above all members: [..., R] → [...]; 2 / R where the ensemble is reliable."""
    ends = histogram[..., 0] + histogram[..., -1]
    return np.asarray(ends / histogram.sum(axis=-1))


def _require_numbers(predictions_MHW: Float, target_HW: Float) -> None:
    missing = int(np.isnan(target_HW).sum()), int(np.isnan(predictions_MHW).sum())
    if any(missing):
        raise InputError(
            f"ranks need numbers everywhere, found {missing[0]} missing in the analysis and {missing[1]} in the "
            "members; leave such channels out, or ingest analyses without gaps"
        )
