"""Scores and differences of one channel or event, with their intervals."""

import numpy as np
from numpy.typing import NDArray

from fourcast.verify.plan import Plan
from fourcast.verify.results.bootstrap import FEWEST, differences, enough, interval_about, resamples, with_middle
from fourcast.verify.results.metrics import Metric, Statistics, score, series
from fourcast.verify.systems import references

Float64 = NDArray[np.float64]


def scored(plan: Plan, statistics: Statistics, cases: NDArray[np.int64]) -> dict[str, Float64]:
    """Metrics [S, L, R] and the ends of their intervals from statistics [I, S, L, R]; one lead time at a time."""
    size = len(next(iter(statistics.values())))
    given = plan.systems, plan.members
    root_first = plan.convention.root_first
    found = {name: v[0] for name, v in score(statistics, *given, np.ones((1, size)), root_first).items()}
    weights_BI = resamples(size, plan.config.uncertainty)
    if weights_BI is None:
        return found
    ends = {f"{name}_{end}": np.full_like(v, np.nan) for name, v in found.items() for end in ("low", "high")}
    weights = with_middle(weights_BI)
    for i_lead in range(cases.shape[1]):
        at = {name: values[:, :, i_lead] for name, values in statistics.items()}
        for name, rows in score(at, *given, weights, root_first).items():
            low_high = interval_about(found[name][:, i_lead], rows, plan.config.uncertainty.level)
            for end, values in zip(("low", "high"), low_high, strict=True):
                ends[f"{name}_{end}"][:, i_lead] = np.where(cases[:, i_lead] >= FEWEST, values, np.nan)
    return found | ends


def compared(plan: Plan, statistics: Statistics, metric: Metric) -> dict[str, Float64]:
    """Differences [reference, S, L, R] of a metric ("") and the ends of their intervals ("_low", "_high")."""
    root_first = plan.convention.root_first
    values = series(metric, statistics, plan.systems, root_first)
    if values is None:
        return {}
    weights_BI = resamples(len(values), plan.config.uncertainty)
    ones = np.ones((1, len(values)))
    names = references(plan.systems)
    shape = (len(names), *values.shape[1:])
    found = {end: np.full(shape, np.nan) for end in ("", *(() if weights_BI is None else ("_low", "_high")))}
    for r, name in enumerate(names):
        i_reference = plan.systems.index(name)
        found[""][r] = differences(metric, values, i_reference, ones, root_first)[0]
        if weights_BI is None:
            continue
        for i_lead in range(shape[2]):
            at = values[:, :, i_lead]
            rows = differences(metric, at, i_reference, with_middle(weights_BI), root_first)
            both = enough(at + at[:, i_reference, None])
            low_high = interval_about(found[""][r, :, i_lead], rows, plan.config.uncertainty.level)
            for end, values_SR in zip(("_low", "_high"), low_high, strict=True):
                found[end][r, :, i_lead] = np.where(both, values_SR, np.nan)
    return found
