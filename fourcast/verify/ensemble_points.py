"""What the members of an ensemble are worth at every point of a field."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourcast.verify.ranks import ranks

Float = NDArray[np.float32] | NDArray[np.float64]
Float64 = NDArray[np.float64]
BLOCK = 65536
"""Members' errors that are worked on at once, so that they stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class EnsemblePoints:
    """What an ensemble is worth at every point, NaN where there is no analysis or a member has no number.

    absolute_error: E|X − y|. difference: E|X − X'| / 2 over different members. variance: with divisor M − 1. below_HW,
    equal_HW: how many members lie below the analysis, and equal it.
    """

    absolute_error_HW: Float64
    difference_HW: Float64
    variance_HW: Float64
    below_HW: NDArray[np.integer]
    equal_HW: NDArray[np.integer]


def ensemble_points(members_MHW: Float, target_HW: Float) -> EnsemblePoints:
    """Statistics at every point of members [M, H, W], M ≥ 2, in blocks of points that stay in the cache.

    The mean difference comes from the sorted members, Σ_i (2i − M − 1) x_(i) / (M (M − 1)) for i = 1 … M (the unbiased
    probability-weighted moment of Zamo & Naveau 2018, https://doi.org/10.1007/s11004-017-9709-7).
    """
    size, shape = len(members_MHW), target_HW.shape
    assert size >= 2, size
    members_MN, target_N = members_MHW.reshape(size, -1), target_HW.ravel()
    values_KN = np.empty((3, target_N.size))
    counts_KN = np.empty((2, target_N.size), dtype=np.min_scalar_type(size))
    for block in _blocks(target_N.size, size):
        errors_Mn = members_MN[:, block].astype(np.float64)
        errors_Mn -= target_N[block]
        counts_KN[:, block] = ranks(errors_Mn)
        values_KN[:, block] = _moments(errors_Mn)
    return EnsemblePoints(*values_KN.reshape(3, *shape), *counts_KN.reshape(2, *shape))


def _blocks(points: int, members: int) -> Iterator[slice]:
    step = max(1, BLOCK // members)
    return (slice(start, start + step) for start in range(0, points, step))


def _moments(errors_Mn: Float64) -> tuple[Float64, Float64, Float64]:
    """E|e|, E|e − e'| / 2 over different members, and the variance; changes ``errors_Mn``."""
    size = len(errors_Mn)
    sorted_nM = errors_Mn.T.copy()
    sorted_nM.sort(axis=1)
    order_M = (2.0 * np.arange(1, size + 1) - size - 1) / (size * (size - 1))
    absolute_n = np.abs(errors_Mn).sum(axis=0) / size
    errors_Mn -= errors_Mn.sum(axis=0) / size
    variance_n = np.einsum("mn,mn->n", errors_Mn, errors_Mn) / (size - 1)
    return absolute_n, sorted_nM @ order_M, variance_n
