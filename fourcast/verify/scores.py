"""Statistics of one field of forecasts against its analysis: what is averaged over initial times to make scores.

statistic → area mean → mean over initial times → metric, as in WeatherBench 2 (Rasp et al. 2024,
https://arxiv.org/abs/2308.15560). A statistic is the area mean of one (system, initial time, lead time, channel,
region); its sums over initial times add, whatever the order and wherever they are made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fourcast.errors import InputError
from fourcast.verify.area_means import AreaMeans, divide
from fourcast.verify.conventions import Convention
from fourcast.verify.energy import energy_score
from fourcast.verify.ensemble_points import EnsemblePoints, ensemble_points
from fourcast.verify.ranks import rank_histogram

Float = NDArray[np.float32] | NDArray[np.float64]
Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]
Missing = Literal["refuse", "skip"]

SINGLE_STATISTICS = ("error", "squared_error", "absolute_error", "anomaly_correlation")
ENSEMBLE_STATISTICS = ("crps", "fair_crps", "variance", "energy_score")
STATISTICS = (*SINGLE_STATISTICS, *ENSEMBLE_STATISTICS, "seeps")
"""Of a single field, of an ensemble, and SEEPS of precipitation, which ``fourcast.verify.seeps`` makes."""


@dataclass(frozen=True, eq=False)
class Fields:
    """One channel of one case, in one unit: an analysis and the forecasts of it.

    climatology_HW: what anomalies are departures from; None where there is none. singles: of every system of one
    field, the ensemble means among them (see ``ensemble_mean``). ensembles: members, at least 2, of every ensemble.
    NaN, or infinite, where there is no number.
    """

    target_HW: Float
    climatology_HW: Float | None
    singles: Mapping[str, Float]
    ensembles: Mapping[str, Float]


@dataclass(frozen=True, eq=False)
class Scored:
    """Area means over R regions, NaN in a region without a valid point.

    statistics: statistic → system → [R]; without anomaly_correlation where there is no climatology, and energy_score
    where it was not asked for. ranks: ensemble → [R, M + 1], the shares of the region's valid area in which the
    analysis has that rank, 0 in a region without a valid point. coverage: the valid share of every region's area, [R].
    valid_HW: the points that count, None for all.
    """

    statistics: dict[str, dict[str, Float64]]
    ranks: dict[str, Float64]
    coverage: Float64
    valid_HW: Mask | None


def score(fields: Fields, means: AreaMeans, convention: Convention, missing: Missing, energy: bool) -> Scored:
    """Statistics of every system, and rank histograms of every ensemble.

    Points without an analysis are left out. Where a forecast or the climatology has no number although the analysis
    has one, ``missing`` says whether that is refused with an InputError, or such points are left out for every system.
    """
    valid_HW = valid_points(fields, missing)
    with np.errstate(invalid="ignore"):  # of infinities, at points that are left out
        found, ranks_of = _singles(fields, means, convention.centred, valid_HW), {}
        for system, members_MHW in fields.ensembles.items():
            points = ensemble_points(members_MHW, fields.target_HW)
            found[system] = _ensemble(points, len(members_MHW), means, valid_HW)
            if energy:
                found[system]["energy_score"] = energy_score(members_MHW, fields.target_HW, means, valid_HW)
            ranks_of[system] = rank_histogram(points.below_HW, points.equal_HW, len(members_MHW), means, valid_HW)
    statistics = {name: {system: of[name] for system, of in found.items() if name in of} for name in STATISTICS}
    held = {name: of for name, of in statistics.items() if of}
    return Scored(held, ranks_of, means.coverage(valid_HW), valid_HW)


def ensemble_mean(members_MHW: Float) -> Float64:
    """The mean of members in float64: [M, H, W] → [H, W]; no number where one has none."""
    with np.errstate(invalid="ignore"):
        return np.asarray(members_MHW.mean(axis=0, dtype=np.float64))


def _singles(fields: Fields, means: AreaMeans, centred: bool, valid_HW: Mask | None) -> dict[str, dict[str, Float64]]:
    """SINGLE_STATISTICS of every single system: system → statistic → [R]."""
    target_HW = fields.target_HW.astype(np.float64, copy=False)
    anomalies = None
    if fields.climatology_HW is not None:
        anomalies = _Anomalies.of(target_HW, fields.climatology_HW, means, centred, valid_HW)
    found = {}
    for system, field in fields.singles.items():
        field_HW = field.astype(np.float64, copy=False)
        error = field_HW - target_HW
        products = [] if anomalies is None else anomalies.products(field_HW)
        averages = means.means(np.stack([error, error * error, np.abs(error), *products]), valid_HW)
        found[system] = dict(zip(SINGLE_STATISTICS, averages[:3], strict=False))
        if anomalies is not None:
            found[system]["anomaly_correlation"] = anomalies.correlation(averages[3:])
    return found


@dataclass(frozen=True, eq=False)
class _Anomalies:
    """The analysis' departure t' from climatology [H, W], and the area means of it and of its square [R]."""

    climatology_HW: Float64
    departure_HW: Float64
    mean_R: Float64
    square_R: Float64
    centred: bool

    @staticmethod
    def of(
        target_HW: Float64, climatology_HW: Float, means: AreaMeans, centred: bool, valid_HW: Mask | None
    ) -> "_Anomalies":
        climatology = climatology_HW.astype(np.float64, copy=False)
        t = target_HW - climatology
        mean_R, square_R = means.means(np.stack([t, t * t]), valid_HW)
        return _Anomalies(climatology, t, mean_R, square_R, centred)

    def products(self, field_HW: Float64) -> list[Float64]:
        """What ``correlation`` wants the area means of."""
        departure = field_HW - self.climatology_HW
        return [departure, departure * departure, departure * self.departure_HW]

    def correlation(self, averages_KR: Float64) -> Float64:
        """Σ w p' t' / √(Σ w p'² · Σ w t'²) with departures p' and t' from climatology: [R].

        Where centred, the region's means are taken from both before. NaN where either vanishes everywhere.
        """
        mean_R, square_R, product_R = averages_KR
        if not self.centred:
            return divide(product_R, np.sqrt(square_R * self.square_R))
        variances_R = _variance(square_R, mean_R) * _variance(self.square_R, self.mean_R)
        return divide(product_R - mean_R * self.mean_R, np.sqrt(variances_R))


def _variance(square_R: Float64, mean_R: Float64) -> Float64:
    """square − mean², 0 where that is no more than rounding."""
    variance_R = square_R - mean_R**2
    return np.where(variance_R > 1e-13 * square_R, variance_R, 0.0)


def _ensemble(points: EnsemblePoints, size: int, means: AreaMeans, valid_HW: Mask | None) -> dict[str, Float64]:
    """Area means: fair CRPS E|X − y| − E|X − X'| / 2 over different members (Ferro 2014,
    https://doi.org/10.1002/qj.2270); the standard one takes all M² pairs, those of a member with itself among them.
    """
    values_KHW = np.stack([points.absolute_error_HW, points.difference_HW, points.variance_HW])
    absolute_R, difference_R, variance_R = means.means(values_KHW, valid_HW)
    return {
        "crps": absolute_R - (size - 1) / size * difference_R,
        "fair_crps": absolute_R - difference_R,
        "variance": variance_R,
    }


def valid_points(fields: Fields, missing: Missing) -> Mask | None:
    """Where analysis, climatology and forecasts have numbers, None for everywhere; InputError as in ``score``."""
    valid_HW = np.isfinite(fields.target_HW)
    left_out = not valid_HW.all()
    climatology = {} if fields.climatology_HW is None else {"the climatology": fields.climatology_HW}
    for system, field in {**climatology, **fields.singles, **fields.ensembles}.items():
        if np.isfinite(field.min()) and np.isfinite(field.max()):
            continue
        numbers_HW = np.isfinite(field).reshape(-1, *valid_HW.shape).all(axis=0)
        lacking = int((valid_HW & ~numbers_HW).sum())
        if lacking and missing == "refuse":
            raise InputError(
                f"{system} has no finite number at {lacking} points where the analysis has one; pass missing=skip to "
                "leave such points out, or leave the channel out"
            )
        valid_HW, left_out = valid_HW & numbers_HW, True
    return valid_HW if left_out else None
