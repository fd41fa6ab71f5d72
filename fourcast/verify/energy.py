"""The energy score of an ensemble of fields, which rewards members that vary together in space as the analysis does."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourcast.verify.area_means import AreaMeans, divide

Float = NDArray[np.float32] | NDArray[np.float64]
Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]
Places = NDArray[np.intp]
BLOCK = 262144
"""Members' values that are worked on at once, so that they stay in the processor's cache."""


def energy_score(members_MHW: Float, target_HW: Float, means: AreaMeans, valid_HW: Mask | None) -> Float64:
    """The fair energy score of members [M, H, W], M ≥ 2, in units of the field: [R].

    E‖X − y‖ − E‖X − X'‖ / 2 over different members, with ‖v‖ the root of the area mean of v² over a region's valid
    points (Gneiting & Raftery 2007, https://doi.org/10.1198/016214506000001437; fair as in Ferro 2014,
    https://doi.org/10.1002/qj.2270). At a single point it is the fair CRPS. Distances between members come from
    the Gram matrix of their departures from the ensemble mean, in which a common error cannot cancel badly. Of several
    fields, [M, N, H, W] and [N, H, W], one after the other: [N, R].
    """
    if target_HW.ndim > 2:
        each = zip(members_MHW.swapaxes(0, 1), target_HW, strict=True)
        return np.stack([energy_score(*fields, means, valid_HW) for fields in each])
    size, totals_R = len(members_MHW), means.totals(valid_HW)
    gram_RMM, squares_RM = _sums(members_MHW, target_HW, means, valid_HW)
    to_analysis_RM = np.sqrt(divide(squares_RM, totals_R[:, None]))
    own_RM = np.einsum("rmm->rm", gram_RMM)
    between_RMM = np.maximum(own_RM[:, :, None] + own_RM[:, None] - 2.0 * gram_RMM, 0.0)
    apart_R = np.sqrt(divide(between_RMM, totals_R[:, None, None])).sum(axis=(1, 2)) / (size * (size - 1))
    return to_analysis_RM.mean(axis=1) - apart_R / 2


def _sums(members_MHW: Float, target_HW: Float, means: AreaMeans, valid_HW: Mask | None) -> tuple[Float64, Float64]:
    """Weighted sums over every region of ``_products``: [R, M, M] and [R, M]."""
    size, regions = len(members_MHW), len(means.regions)
    gram_RMM, squares_RM = np.zeros((regions, size, size)), np.zeros((regions, size))
    for rows, columns, weights_hw, of_R in means.pieces():
        step = max(1, BLOCK // (size * len(columns)))
        for start in range(0, len(rows), step):
            block = slice(start, start + step)
            place = _span(rows[block]), _span(columns)
            weights = weights_hw[block] if valid_HW is None else weights_hw[block] * _cut(valid_HW, *place)
            gram_MM, squares_M = _products(_cut(members_MHW, *place), _cut(target_HW, *place), weights)
            gram_RMM[of_R] += gram_MM
            squares_RM[of_R] += squares_M
    return gram_RMM, squares_RM


def _cut(field: NDArray[Any], rows: slice | Places, columns: slice | Places) -> NDArray[Any]:
    """Rows and columns of [..., H, W], without a copy where both are slices."""
    return field[..., rows, :][..., columns]


def _span(places: Places) -> slice | Places:
    """As a slice where places follow one another."""
    follow = places[-1] - places[0] + 1 == len(places)
    return slice(places[0], places[-1] + 1) if follow else places


def _products(members_Mhw: Float, target_hw: Float, weights_hw: Float64) -> tuple[Float64, Float64]:
    """Σ w x_i x_j of departures from the ensemble mean [M, M], and Σ w e_i² of errors [M]."""
    size, used_n = len(members_Mhw), weights_hw.ravel() > 0
    errors_Mn = members_Mhw.reshape(size, -1).astype(np.float64)
    errors_Mn -= target_hw.ravel()
    if not used_n.all():
        errors_Mn[:, ~used_n] = 0.0
    errors_Mn *= np.sqrt(weights_hw.ravel())
    squares_M = np.einsum("mn,mn->m", errors_Mn, errors_Mn)
    errors_Mn -= errors_Mn.sum(axis=0) / size
    return errors_Mn @ errors_Mn.T, squares_M
