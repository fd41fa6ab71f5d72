"""Everything that becomes of finished parts: scores with intervals, statistics, maps, tables and pictures.

``scores.nc`` has what people quote, ``statistics.nc`` what it is made of by initial time, ``maps.nc`` errors and spread
at every point; ``scores.csv`` holds the scores as a tidy table, ``scores.md`` and the terminal the headline ones.
Channels are read and written one after the other, so that memory does not grow with their number.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fourcast.verify.plan import Plan
from fourcast.verify.results.bootstrap import FEWEST, differences, enough, interval_about, resamples, with_middle
from fourcast.verify.results.described import axes, described
from fourcast.verify.results.maps import draw_error_maps, draw_forecast, write_maps
from fourcast.verify.results.merge import added, held, joined
from fourcast.verify.results.metrics import (
    COMPARED,
    EVENT_METRICS,
    METRICS,
    Metric,
    Statistics,
    references,
    score,
    series,
)
from fourcast.verify.results.plots import draw_scores
from fourcast.verify.results.results_file import ResultsFile
from fourcast.verify.results.scorecard import draw_scorecards
from fourcast.verify.results.table import report, summary, write_csv
from fourcast.verify.scores import STATISTICS

Float64 = NDArray[np.float64]
SCORES, STATISTICS_FILE, MAPS, CSV, TEXT = "scores.nc", "statistics.nc", "maps.nc", "scores.csv", "scores.md"
BY_CHANNEL = ("system", "lead_time", "channel", "region")
BY_EVENT = ("system", "lead_time", "event", "region")
EVENT_STATISTICS = ("brier", "fair_brier")
UNITS = {"channel": "in units of the channel", "square": "in squared units of the channel"}


def write_results(parts: Sequence[Path], plan: Plan, folder: Path) -> str:
    """Write scores, statistics, maps, tables and pictures into ``folder``; returns the text for the terminal."""
    write_numbers(parts, plan, folder)
    has_maps = "map_cases" in held(parts)
    if has_maps:
        write_maps(parts, plan, folder / MAPS)
    with xr.open_dataset(folder / SCORES, engine="netcdf4") as scores:
        write_csv(scores, folder / CSV)
        pictures = _draw(scores, plan, folder, has_maps) if plan.config.plots else []
        (folder / TEXT).write_text(report(scores, pictures), encoding="utf-8")
        return summary(scores)


def _draw(scores: xr.Dataset, plan: Plan, folder: Path, has_maps: bool) -> list[Path]:
    pictures = [*draw_scorecards(scores, folder), *draw_scores(scores, folder)]
    if has_maps:
        with xr.open_dataset(folder / MAPS, engine="netcdf4") as maps:
            pictures += draw_error_maps(maps, folder)
    return [*pictures, draw_forecast(plan, scores, folder)]


def write_numbers(parts: Sequence[Path], plan: Plan, folder: Path) -> None:
    """scores.nc and statistics.nc, channel by channel and event by event."""
    present = held(parts)
    verified_IL = joined(parts, "verified").transpose("init_time", "lead_time").values.astype(bool)
    coordinates = axes(plan, present)
    with (
        ResultsFile(folder / SCORES, coordinates, described(plan, "Forecast verification")) as scores,
        ResultsFile(folder / STATISTICS_FILE, coordinates, described(plan, "Statistics by initial time")) as statistics,
    ):
        _write_cases(scores, plan, verified_IL)
        for c, _ in enumerate(plan.channels):
            given = statistics_of(parts, [name for name in STATISTICS if name in present], channel=c)
            _write_statistics(statistics, given, {"channel": c})
            _write_group(scores, plan, given, METRICS, {"channel": c})
            _write_rest(scores, plan, parts, c)
        for e, _ in enumerate(plan.events):
            given = statistics_of(parts, EVENT_STATISTICS, event=e)
            _write_statistics(statistics, given, {"event": e})
            _write_group(scores, plan, given, EVENT_METRICS, {"event": e})
            if "reliability_sum" in present:
                _write_reliability(scores, parts, e)


def statistics_of(parts: Sequence[Path], names: Sequence[str], **at: int) -> dict[str, Float64]:
    """Statistics [I, S, L, R] of a channel or an event."""
    order = ("init_time", "system", "lead_time", "region")
    return {name: joined(parts, name, **at).transpose(*order).values for name in names}


def _write_statistics(file: ResultsFile, given: Statistics, at: Mapping[str, int]) -> None:
    """Area means of every initial time, from which scores can be averaged otherwise."""
    dims = ("init_time", "system", "lead_time", *at, "region")
    for name, values in given.items():
        if name not in file:
            file.define(name, dims, {"long_name": f"area mean of {name.replace('_', ' ')}"})
        if np.isfinite(values).any():
            file.write(name, values, at)


def _write_rest(file: ResultsFile, plan: Plan, parts: Sequence[Path], channel: int) -> None:
    """Coverage, ranks and spectra of one channel."""
    present = held(parts)
    _write_coverage(file, joined(parts, "coverage", channel=channel), channel=channel)
    if "rank_sum" in present:
        _write_ranks(file, plan, parts, channel)
    if "spectrum_sum" in present:
        _write_spectrum(file, parts, channel)


def _write_cases(file: ResultsFile, plan: Plan, verified_IL: NDArray[np.bool_]) -> None:
    """Which cases were verified, and how many members the ensembles have."""
    file.define("verified", ("init_time", "lead_time"), {"long_name": "whether the case was verified"}, "i1")
    file.write("verified", verified_IL.astype(np.int8), {})
    file.define("init_times", ("lead_time",), {"long_name": "verified initial times", "units": "1"}, "i4")
    file.write("init_times", verified_IL.sum(axis=0).astype(np.int32), {})
    if plan.ensembles:
        file.define("members", ("ensemble",), {"long_name": "members of the ensemble", "units": "1"}, "i4")
        file.write("members", np.array([plan.members[name] for name in plan.ensembles], dtype=np.int32), {})


def _write_group(
    file: ResultsFile, plan: Plan, statistics: Statistics, metrics: Mapping[str, Metric], at: Mapping[str, int]
) -> None:
    """Scores, intervals and differences of one channel or event."""
    first = file.sizes["system"]
    assert first == len(plan.systems), (first, plan.systems)
    dims = BY_EVENT if "event" in at else BY_CHANNEL
    cases = np.maximum.reduce([np.isfinite(values).sum(axis=0) for values in statistics.values()])
    _put(file, "event_cases" if "event" in at else "cases", dims, cases.astype(np.int32), at)
    for name, values in scored(plan, statistics, cases).items():
        metric = metrics[name.removesuffix("_low").removesuffix("_high")]
        _put(file, name, dims, values, at, metric)
    for name, metric in metrics.items():
        if name in COMPARED:
            for end, values in compared(plan, statistics, metric).items():
                _put(file, f"{name}_difference{end}", ("reference", *dims), values, at, metric)


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


def _put(
    file: ResultsFile,
    name: str,
    dims: tuple[str, ...],
    values: NDArray[Any],
    at: Mapping[str, int],
    metric: Metric | None = None,
) -> None:
    """Write what is somewhere a number; the variable is made when the first such number comes."""
    if values.dtype.kind == "f" and not np.isfinite(values).any():
        return
    if name not in file:
        file.define(name, dims, _attributes(name, metric), f"{values.dtype.kind}{values.dtype.itemsize}")
    file.write(name, values, at)


def _attributes(name: str, metric: Metric | None) -> dict[str, str]:
    """What a variable of scores is."""
    if metric is None:
        return {"long_name": "initial times that count", "units": "1"}
    what = {"low": "lower end of the interval of ", "high": "upper end of the interval of "}
    text = what.get(name.rpartition("_")[2], "") + ("the difference in " if "_difference" in name else "") + metric.text
    units = {"units": "1"} if metric.units == "1" else {"comment": UNITS[metric.units]}
    return {"long_name": text, **units, "better": metric.better}


def _write_coverage(file: ResultsFile, coverage: xr.DataArray, channel: int) -> None:
    values = coverage.transpose("init_time", "lead_time", "region").values.astype(np.float64)
    with np.errstate(invalid="ignore"):
        mean = np.nansum(values, axis=0) / np.isfinite(values).sum(axis=0)
    if "coverage" not in file:
        text = "share of the region's area at which analyses and forecasts have numbers"
        file.define("coverage", BY_CHANNEL[1:], {"long_name": text, "units": "1"})
    file.write("coverage", mean, {"channel": channel})


def _write_ranks(file: ResultsFile, plan: Plan, parts: Sequence[Path], channel: int) -> None:
    """Shares of the ranks; NaN beyond an ensemble's own."""
    order = ("ensemble", "lead_time", "region", "rank")
    total = added(parts, "rank_sum", channel=channel).transpose(*order).values
    cases = added(parts, "rank_cases", channel=channel).transpose(*order[:3]).values[..., None]
    share = ratio(total, cases)
    for i, name in enumerate(plan.ensembles):
        share[i, ..., plan.members[name] + 1 :] = np.nan
    if "rank_histogram" not in file:
        text = "share of the area where so many members lie below the analysis"
        dims = ("ensemble", *BY_CHANNEL[1:], "rank")
        file.define("rank_histogram", dims, {"long_name": text, "units": "1"})
    file.write("rank_histogram", share, {"channel": channel})


def _write_spectrum(file: ResultsFile, parts: Sequence[Path], channel: int) -> None:
    total = added(parts, "spectrum_sum", channel=channel).transpose("spectrum", "lead_time", "band", "wavenumber")
    cases = added(parts, "spectrum_cases", channel=channel).values[:, None, None]
    if "spectrum_mean" not in file:
        attributes = {
            "long_name": "zonal energy spectrum, averaged over initial times",
            "comment": "in metres times squared units of the channel",
        }
        file.define("spectrum_mean", ("spectrum", "lead_time", "channel", "band", "wavenumber"), attributes, "f4")
    file.write("spectrum_mean", ratio(total.values, cases).astype(np.float32), {"channel": channel})


def _write_reliability(file: ResultsFile, parts: Sequence[Path], event: int) -> None:
    """Of every bin its share of the cases, the mean forecast probability and how often the event happened."""
    order = ("ensemble", "lead_time", "region", "bin", "quantity")
    sums = added(parts, "reliability_sum", event=event).transpose(*order).values
    weight, forecast, observed = np.moveaxis(sums, -1, 0)
    found = {
        "share": (ratio(weight, weight.sum(axis=-1, keepdims=True)), "share of the cases in this bin"),
        "forecast": (ratio(forecast, weight), "mean forecast probability in this bin"),
        "observed": (ratio(observed, weight), "how often the event happened in this bin"),
    }
    for name, (values, text) in found.items():
        if f"reliability_{name}" not in file:
            dims = ("ensemble", *BY_EVENT[1:], "bin")
            file.define(f"reliability_{name}", dims, {"long_name": text, "units": "1"})
        file.write(f"reliability_{name}", values, {"event": event})


def ratio(one: Float64, other: Float64) -> Float64:
    """one / other, NaN where other is 0."""
    return np.divide(one, other, out=np.full(np.broadcast_shapes(one.shape, other.shape), np.nan), where=other > 0)
