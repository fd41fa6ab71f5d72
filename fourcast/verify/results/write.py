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
from fourcast.verify.probabilities import EVENT_STATISTICS
from fourcast.verify.results.described import axes, described
from fourcast.verify.results.intervals import compared, scored
from fourcast.verify.results.maps import draw_error_maps, draw_forecast, write_maps
from fourcast.verify.results.merge import held, joined
from fourcast.verify.results.metrics import COMPARED, EVENT_METRICS, METRICS, Metric, Statistics
from fourcast.verify.results.plots import draw_scores
from fourcast.verify.results.results_file import ResultsFile
from fourcast.verify.results.scorecard import draw_scorecards
from fourcast.verify.results.sums import write_reliability, write_sums
from fourcast.verify.results.text import report, summary
from fourcast.verify.results.tidy import write_csv
from fourcast.verify.scores import STATISTICS

Float64 = NDArray[np.float64]
SCORES, STATISTICS_FILE, MAPS, CSV, TEXT = "scores.nc", "statistics.nc", "maps.nc", "scores.csv", "scores.md"
RESULTS = (SCORES, STATISTICS_FILE, MAPS, CSV, TEXT)
"""What a verification consists of, beside pictures."""
BY_CHANNEL = ("system", "lead_time", "channel", "region")
BY_EVENT = ("system", "lead_time", "event", "region")
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
        said = summary(scores)
        (folder / TEXT).write_text(report(scores, said, pictures), encoding="utf-8")
        return said


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
            write_sums(scores, plan, parts, c)
        for e, _ in enumerate(plan.events):
            given = statistics_of(parts, EVENT_STATISTICS, event=e)
            _write_statistics(statistics, given, {"event": e})
            _write_group(scores, plan, given, EVENT_METRICS, {"event": e})
            if "reliability_sum" in present:
                write_reliability(scores, parts, e)


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
