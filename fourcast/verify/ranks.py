"""Rank histograms: where the analysis lies among the members of an ensemble (Hamill 2001).

Hamill, T. M., 2001: Interpretation of rank histograms for verifying ensemble forecasts. Mon. Wea. Rev. 129, 550-560,
https://doi.org/10.1175/1520-0493(2001)129<0550:IORHFV>2.0.CO;2. A reliable ensemble's histogram is flat; one of too
little spread is high at both ends, one of too much in the middle, and a biased one on one side.
"""

import numpy as np
from numpy.typing import NDArray

from fourcast.verify.area_means import AreaMeans

Float = NDArray[np.float32] | NDArray[np.float64]
Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]
Counts = NDArray[np.integer]


def ranks(errors_MN: Float) -> tuple[Counts, Counts]:
    """How many members lie below the analysis, and how many equal it: members minus analysis [M, N] → [N], [N]."""
    count = np.min_scalar_type(len(errors_MN))
    below_N = (errors_MN < 0).view(np.uint8).sum(axis=0, dtype=count)
    equal_N = (errors_MN == 0).view(np.uint8).sum(axis=0, dtype=count)
    return below_N, equal_N


def rank_histogram(below_HW: Counts, equal_HW: Counts, size: int, means: AreaMeans, valid_HW: Mask | None) -> Float64:
    """The share of every region's valid area in which so many of ``size`` members lie below the analysis.

    Counts [..., H, W] → [..., R, M + 1].

    Shares add up to 1; in a region without a valid point all are 0. Where k members equal the analysis, its cell is
    divided evenly among the k + 1 ranks that they leave open: nothing is drawn by lot.
    """
    below, equal = below_HW.astype(np.intp), equal_HW.astype(np.intp)
    if not equal.any():
        sums = means.histogram(below, valid_HW, size + 1)
    else:
        shares_HW = (1.0 if valid_HW is None else valid_HW) / (equal + 1.0)
        begins = means.histogram(below, shares_HW, size + 2)
        ends = means.histogram(below + equal + 1, shares_HW, size + 2)
        sums = np.maximum(np.cumsum(begins - ends, axis=-1)[..., :-1], 0.0)
    totals = means.totals(valid_HW)[..., None]
    return np.divide(sums, totals, out=np.zeros_like(sums), where=totals != 0)


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
