"""What a case says beside area means of errors: probabilities of events, spectra, and errors at points of a map."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fourcast.verify.plan import Plan
from fourcast.verify.probabilities import EVENT_STATISTICS, brier, reliability
from fourcast.verify.scores import Fields, Float, Float64, Mask
from fourcast.verify.spectra import band_spectra

Float32 = NDArray[np.float32]
Scores = dict[str, dict[str, Float64]]
"""Statistic → system → [R]."""


def event_scores(plan: Plan, channel: str, fields: Fields, valid_HW: Mask | None) -> dict[int, Scores]:
    """Score → system → [R] of the channel's events by their places."""
    found: dict[int, Scores] = {}
    for place, event in plan.events_of(channel):
        found[place] = {name: {} for name in EVENT_STATISTICS}
        for system, members_MHW in fields.ensembles.items():
            scores = brier(single(members_MHW), single(fields.target_HW), event, plan.means, valid_HW)
            for name, values_R in scores.items():
                found[place][name][system] = values_R
    return found


def reliabilities(plan: Plan, channel: str, fields: Fields, valid_HW: Mask | None) -> dict[int, dict[str, Float64]]:
    """Sums [R, B, 3] of every ensemble by place of the channel's events."""
    return {
        place: {
            system: reliability(single(field_MHW), single(fields.target_HW), event, plan.means, valid_HW)
            for system, field_MHW in fields.ensembles.items()
        }
        for place, event in plan.events_of(channel)
    }


def single(field: Float) -> Float32:
    """The field in float32, as it is on file."""
    return np.asarray(field, dtype=np.float32)


def spectra_of(
    plan: Plan, target_HW: Float32, singles: Mapping[str, Float], ensembles: Mapping[str, Float]
) -> Float64 | None:
    """Spectra [S, B, K] in the order of ``plan.spectrum_names``; None where the analysis has gaps."""
    if not np.isfinite(target_HW).all():
        return None
    weights_H = plan.means.weights_H
    fields = {"analysis": target_HW, **singles}
    fields |= {system.removesuffix("ensemble") + "members": members_MHW for system, members_MHW in ensembles.items()}
    return np.stack([band_spectra(fields[name], plan.grid, weights_H) for name in plan.spectrum_names])


def point_errors(
    plan: Plan, target_HW: Float32, singles: Mapping[str, Float], ensembles: Mapping[str, Float]
) -> tuple[Float64, Float64]:
    """Errors [S, h, w] of the mapped systems and variances [E, h, w] of the ensembles at the points of the map."""
    rows, columns = plan.map_points
    target = target_HW[rows, columns]
    target = np.where(np.isfinite(target), target, np.float32(np.nan))
    errors = [np.subtract(singles[system][rows, columns], target, dtype=np.float64) for system in plan.map_systems]
    with np.errstate(invalid="ignore"):  # of infinities, at points that are left out
        variances = [
            np.where(np.isnan(target), np.nan, ensembles[name][:, rows, columns].var(axis=0, ddof=1, dtype=np.float64))
            for name in plan.ensembles
        ]
    return np.array(errors), np.array(variances)
