"""What becomes of sums over initial times: coverage, ranks, spectra and reliability."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fourcast.verify.plan import Plan
from fourcast.verify.results.merge import added, held, joined
from fourcast.verify.results.results_file import ResultsFile

Float64 = NDArray[np.float64]
CASES = ("lead_time", "channel", "region")


def write_sums(file: ResultsFile, plan: Plan, parts: Sequence[Path], channel: int) -> None:
    """Coverage, ranks and spectra of one channel."""
    present = held(parts)
    _write_coverage(file, joined(parts, "coverage", channel=channel), channel=channel)
    if "rank_sum" in present:
        _write_ranks(file, plan, parts, channel)
    if "spectrum_sum" in present:
        _write_spectrum(file, parts, channel)


def _write_coverage(file: ResultsFile, coverage: xr.DataArray, channel: int) -> None:
    values = coverage.transpose("init_time", "lead_time", "region").values.astype(np.float64)
    with np.errstate(invalid="ignore"):
        mean = np.nansum(values, axis=0) / np.isfinite(values).sum(axis=0)
    if "coverage" not in file:
        text = "share of the region's area at which analyses and forecasts have numbers"
        file.define("coverage", CASES, {"long_name": text, "units": "1"})
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
        dims = ("ensemble", *CASES, "rank")
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


def write_reliability(file: ResultsFile, parts: Sequence[Path], event: int) -> None:
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
            dims = ("ensemble", "lead_time", "event", "region", "bin")
            file.define(f"reliability_{name}", dims, {"long_name": text, "units": "1"})
        file.write(f"reliability_{name}", values, {"event": event})


def ratio(one: Float64, other: Float64) -> Float64:
    """one / other, NaN where other is 0."""
    return np.divide(one, other, out=np.full(np.broadcast_shapes(one.shape, other.shape), np.nan), where=other > 0)
