"""Metrics from statistics: statistic of every initial time → weighted mean over initial times → metric.

Weights are ones for the scores, and how often a resample drew every initial time for their intervals, so that both come
from the same code. Formulas as in WeatherBench 2 (Rasp et al. 2024, https://arxiv.org/abs/2308.15560).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourcast.verify.systems import BASELINES, is_ensemble, kind, sibling

Float64 = NDArray[np.float64]
Statistics = Mapping[str, Float64]
"""Statistic → [I, S, …] by initial time and system, NaN where a system has none or nothing was verified."""


@dataclass(frozen=True)
class Metric:
    """What a metric is made of, and what it means.

    text: its definition. units: those of the channel, their square, or 1. better: which values are. single, ensemble:
    the statistic of a single field, and of an ensemble; None where it has no such metric. root: its square root is
    taken, after the mean over initial times or, where a convention says so, before it.
    """

    text: str
    units: str
    better: str
    single: str | None = None
    ensemble: str | None = None
    root: bool = False


CHANNEL, SQUARE, ONE = "channel", "square", "1"
METRICS: dict[str, Metric] = {
    "rmse": Metric("root mean square error", CHANNEL, "low", single="squared_error", root=True),
    "mse": Metric("mean square error", SQUARE, "low", single="squared_error"),
    "mae": Metric("mean absolute error", CHANNEL, "low", single="absolute_error"),
    "bias": Metric("mean of forecast minus analysis", CHANNEL, "zero", single="error"),
    "acc": Metric("anomaly correlation with the climatology, averaged over initial times", ONE, "high",
                  single="anomaly_correlation"),
    "crps": Metric("continuous ranked probability score: of an ensemble the fair one, of a single field its mean "
                   "absolute error", CHANNEL, "low", single="absolute_error", ensemble="fair_crps"),
    "crps_standard": Metric("continuous ranked probability score of the ensemble as it is, which grows as members "
                            "become fewer", CHANNEL, "low", ensemble="crps"),
    "energy_score": Metric("fair energy score, of whole fields by their root mean square distance; of a single field "
                           "that distance", CHANNEL, "low", single="distance", ensemble="energy_score"),
    "spread": Metric("square root of the mean ensemble variance (divisor M - 1)", CHANNEL, "none",
                     ensemble="variance", root=True),
    "seeps": Metric("stable equitable error in probability space, of precipitation", ONE, "low", single="seeps"),
    "spread_skill_ratio": Metric("sqrt((M + 1) / M) times spread over the RMSE of the ensemble mean; 1 is reliable",
                                 ONE, "one"),
    "debiased_rmse": Metric("square root of the mean square error less the mean variance over M: the RMSE that the "
                            "mean of ever more such members would have", CHANNEL, "low"),
}  # fmt: skip
"""By name; the last two are made of others."""
EVENT_METRICS: dict[str, Metric] = {
    "brier": Metric("Brier score of the event's probability", ONE, "low", single="brier", ensemble="brier"),
    "fair_brier": Metric("fair Brier score: less p (1 - p) / (M - 1), as ever more members would have", ONE, "low",
                         single="fair_brier", ensemble="fair_brier"),
}  # fmt: skip
COMPARED = ("rmse", "mae", "acc", "crps", "fair_brier")
"""Metrics whose differences between systems are given."""


def series(metric: Metric, statistics: Statistics, systems: Sequence[str], root_first: bool) -> Float64 | None:
    """What is averaged over initial times for a metric, [I, S, …]; None where no system has it."""
    found = [_statistic(metric, statistics, i, name) for i, name in enumerate(systems)]
    shape = next((values.shape for values in found if values is not None), None)
    if shape is None:
        return None
    stacked = np.stack([np.full(shape, np.nan) if values is None else values for values in found], axis=1)
    return np.sqrt(stacked) if metric.root and root_first else stacked


def _statistic(metric: Metric, statistics: Statistics, i_system: int, system: str) -> Float64 | None:
    """[I, …] of one system."""
    name = metric.ensemble if is_ensemble(system) else metric.single
    if name == "distance":
        squares = statistics.get("squared_error")
        return None if squares is None else np.sqrt(squares[:, i_system])
    values = None if name is None else statistics.get(name)
    return None if values is None else values[:, i_system]


def average(values: Float64, weights_BI: Float64) -> Float64:
    """Weighted means over initial times, values [I, …] → [B, …]; NaN does not count, and is the mean of nothing."""
    flat_IN = values.reshape(len(values), -1)
    held_IN = ~np.isnan(flat_IN)
    if held_IN.all():
        mean_BN = weights_BI @ flat_IN / weights_BI.sum(axis=1, keepdims=True)
    else:
        total_BN = weights_BI @ np.where(held_IN, flat_IN, 0.0)
        weight_BN = weights_BI @ held_IN.astype(np.float64)
        mean_BN = np.full_like(total_BN, np.nan)
        np.divide(total_BN, weight_BN, out=mean_BN, where=weight_BN > 0)
    return mean_BN.reshape(len(weights_BI), *values.shape[1:])


def finish(metric: Metric, mean: Float64, root_first: bool) -> Float64:
    """The metric from the mean over initial times."""
    return np.sqrt(mean) if metric.root and not root_first else mean


def score(
    statistics: Statistics,
    systems: Sequence[str],
    members: Mapping[str, int],
    weights_BI: Float64,
    root_first: bool = False,
) -> dict[str, Float64]:
    """Metrics [B, S, …] of one channel from its statistics [I, S, …]; those that no system has are left out.

    members: M of every ensemble whose spread is compared with its error. weights_BI: of the initial times.
    """
    found: dict[str, Float64] = {}
    for name, metric in (METRICS | EVENT_METRICS).items():
        values = series(metric, statistics, systems, root_first)
        if values is not None:
            found[name] = finish(metric, average(values, weights_BI), root_first)
    if {"rmse", "spread"} <= found.keys():
        variances = series(METRICS["spread"], statistics, systems, root_first=False)
        assert variances is not None
        found |= _combined(found, average(variances, weights_BI), systems, members)
    return found


def _combined(
    found: Mapping[str, Float64], variance: Float64, systems: Sequence[str], members: Mapping[str, int]
) -> dict[str, Float64]:
    """Spread over skill, of ensembles, and the RMSE without the part that more members would remove, of their means."""
    ratio, debiased = np.full_like(found["rmse"], np.nan), np.full_like(found["rmse"], np.nan)
    for name, size in members.items():
        if kind(name) in BASELINES:  # its mean is no system
            continue
        one, mean = systems.index(name), systems.index(sibling(name, "ensemble_mean"))
        spread, rmse = found["spread"][:, one], found["rmse"][:, mean]
        np.divide(np.sqrt((size + 1) / size) * spread, rmse, out=ratio[:, one], where=rmse > 0)
        remaining = found["mse"][:, mean] - variance[:, one] / size
        np.sqrt(remaining, out=debiased[:, mean], where=remaining >= 0)
    return {"spread_skill_ratio": ratio, "debiased_rmse": debiased}
