"""Scores of forecasts against analyses, as in WeatherBench 2 (Rasp et al. 2024, https://arxiv.org/abs/2308.15560).

statistic → area mean → sum over initial times → metric. A statistic is the area mean of one (system, initial time,
lead time, channel); its sums add over any partition of the initial times, and only the metrics made from them hold
square roots and ratios.
"""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

Float = NDArray[np.float32] | NDArray[np.float64]
Float64 = NDArray[np.float64]

SINGLE_STATISTICS = ("error", "squared_error", "absolute_error", "anomaly_correlation")
ENSEMBLE_STATISTICS = ("fair_crps", "variance")
STATISTICS = SINGLE_STATISTICS + ENSEMBLE_STATISTICS

METRICS = {
    "control": ("rmse", "bias", "acc", "crps"),
    "ensemble_mean": ("rmse", "bias", "acc", "crps"),
    "ensemble": ("crps", "spread", "spread_skill_ratio"),
    "persistence": ("rmse", "bias", "acc", "crps"),
    "climatology": ("rmse", "bias", "crps"),
}
"""What is scored for every system. Climatology has no anomaly to correlate."""

DIMENSIONLESS = ("acc", "spread_skill_ratio", "anomaly_correlation", "verified", "init_times")
SQUARED = ("squared_error", "variance")
"""What is in units of 1, and in squared units of the channel; everything else is in units of the channel."""

CONVENTIONS = {
    "verified": "whether the store holds the analyses at the initial and the valid time",
    "init_times": "how many initial times were verified",
    "area mean": "weighted by grid-cell area (difference of the sines of the cell's edges), mean weight 1",
    "rmse": "square root of the mean over initial times of the area-mean squared error",
    "bias": "mean over initial times of the area-mean of forecast minus analysis",
    "acc": "anomaly correlation against the store's climatology, uncentred, averaged over initial times",
    "crps": "continuous ranked probability score; of the ensemble the fair one, of a single field its mean "
    "absolute error",
    "spread": "square root of the mean ensemble variance (divisor M - 1)",
    "spread_skill_ratio": "sqrt((M + 1) / M) times spread over the RMSE of the ensemble mean; 1 is reliable",
    "control": "member 0, started from the unperturbed analysis",
    "ensemble": "all members, the control among them",
    "persistence": "the analysis at the initial time",
    "climatology": "the store's climatology at the valid time",
}
"""What every name in the output means."""


def systems(members: int) -> tuple[str, ...]:
    """What can be scored: one member alone is no ensemble."""
    return tuple(name for name in METRICS if members >= 2 or not name.startswith("ensemble"))


def area_mean(values: Float64, weights: Float64) -> Float64:
    """Weighted mean over the last two axes: [..., H, W] with weights [H] of mean 1 → [...]."""
    return (values.mean(axis=-1) * weights).mean(axis=-1)


def single_statistics(
    prediction: Float, target: Float, climatology: Float, weights: Float64
) -> dict[str, float]:
    """Statistics of one predicted field [H, W].

    The anomaly correlation Σ w p' t' / √(Σ w p'² · Σ w t'²), with p' and t' the departures from climatology, is
    NaN where either vanishes everywhere.
    """
    p, t, c = (np.asarray(x, dtype=np.float64) for x in (prediction, target, climatology))
    error, dp, dt = p - t, p - c, t - c
    norm = np.sqrt(area_mean(dp**2, weights) * area_mean(dt**2, weights))
    return {
        "error": float(area_mean(error, weights)),
        "squared_error": float(area_mean(error**2, weights)),
        "absolute_error": float(area_mean(np.abs(error), weights)),
        "anomaly_correlation": float(area_mean(dp * dt, weights) / norm) if norm else np.nan,
    }


def ensemble_statistics(predictions: Float, target: Float, weights: Float64) -> dict[str, float]:
    """Fair CRPS and variance (divisor M − 1) of members [M, H, W], M ≥ 2.

    Fair CRPS (Ferro 2014, https://doi.org/10.1002/qj.2270): E|X − y| − E|X − X'| / 2 over different members, the
    second term from the sorted members, Σ_i (2i − M − 1) x_(i) / (M (M − 1)) for i = 1 … M (the unbiased
    probability-weighted moment of Zamo & Naveau 2018, https://doi.org/10.1007/s11004-017-9709-7).
    """
    size = len(predictions)
    assert size >= 2, size
    errors = np.sort(np.asarray(predictions, dtype=np.float64) - target, axis=0)
    order = 2.0 * np.arange(1, size + 1) - size - 1
    crps = np.abs(errors).mean(axis=0) - np.tensordot(order, errors, axes=1) / (size * (size - 1))
    return {
        "fair_crps": float(area_mean(crps, weights)),
        "variance": float(area_mean(errors.var(axis=0, ddof=1), weights)),
    }


def compare(
    members: Float, singles: dict[str, Float], target: Float, weights: Float64
) -> dict[str, dict[str, float]]:
    """Statistics of every system for one field: members [M, H, W] and single forecasts {system: [H, W]}.

    ``singles`` holds control, persistence and climatology; the ensemble is scored from two members on.
    """
    if len(members) >= 2:
        singles = {**singles, "ensemble_mean": members.mean(axis=0, dtype=np.float64)}
    climatology = singles["climatology"]
    found = {name: single_statistics(field, target, climatology, weights) for name, field in singles.items()}
    if len(members) >= 2:
        found["ensemble"] = ensemble_statistics(members, target, weights)
    return found


def sums(statistics: xr.Dataset) -> xr.Dataset:
    """Sum statistics over initial times: (system, init_time, lead_time, channel) → (system, lead_time, channel).

    ``verified(init_time, lead_time)`` says which were verified; its sum, ``init_times(lead_time)``, counts them.
    Sums of disjoint sets of initial times add.
    """
    verified = statistics["verified"]
    totals = statistics[list(STATISTICS)].where(verified, 0.0).sum("init_time", skipna=False)
    return totals.assign(init_times=verified.sum("init_time"))


def metrics(totals: xr.Dataset, members: int) -> xr.Dataset:
    """Metrics (system, lead_time, channel) from sums; NaN where a system lacks one or nothing was verified."""
    count = totals["init_times"]
    mean = totals[list(STATISTICS)] / count.where(count > 0)
    rmse = mean["squared_error"] ** 0.5
    spread = mean["variance"] ** 0.5
    skill = rmse.reindex(system=["ensemble_mean"]).squeeze("system", drop=True)
    return xr.Dataset(
        {
            "rmse": rmse,
            "bias": mean["error"],
            "acc": mean["anomaly_correlation"],
            "crps": mean["absolute_error"].fillna(mean["fair_crps"]),
            "spread": spread,
            "spread_skill_ratio": np.sqrt((members + 1) / members) * spread / skill.where(skill > 0),
            "init_times": count,
        }
    )
