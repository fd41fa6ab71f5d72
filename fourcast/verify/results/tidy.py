"""A tidy CSV: one row for every score."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fourcast.verify.results.metrics import EVENT_METRICS, METRICS
from fourcast.verify.results.table import lead_hours, units_of

HEADER = ("channel", "units", "region", "lead_hours", "system", "metric", "value", "low", "high", "init_times")


def write_csv(scores: xr.Dataset, path: Path) -> None:
    """One row for every score that exists, with all digits; of an event its condition stands for the channel."""
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(HEADER)
        for channel in map(str, scores["channel"].values):
            found = scores.drop_dims("event", errors="ignore").sel(channel=channel)
            units = {name: units_in(name, units_of(scores, channel)) for name in METRICS}
            writer.writerows(_rows(found, channel, units, "cases"))
        for event in map(str, scores["event"].values) if "event" in scores.dims else ():
            units = dict.fromkeys(EVENT_METRICS, "1")
            writer.writerows(_rows(scores.drop_dims("channel").sel(event=event), event, units, "event_cases"))


def _rows(found: xr.Dataset, label: str, units: dict[str, str], cases: str) -> Iterator[tuple[Any, ...]]:
    """Rows of one channel or event: by metric, system, region and lead time."""
    leads, count = lead_hours(found), found[cases].transpose("system", "region", "lead_time").values
    regions = [str(name) for name in found["region"].values]
    for metric in (name for name in units if name in found):
        ends = [found[n].transpose("system", "region", "lead_time").values if n in found else None
                for n in (metric, f"{metric}_low", f"{metric}_high")]  # fmt: skip
        assert ends[0] is not None
        systems = [str(name) for name in found["system"].values]
        for s, r, i in np.argwhere(np.isfinite(ends[0])):
            numbers = ["" if e is None or math.isnan(e[s, r, i]) else repr(float(e[s, r, i])) for e in ends]
            yield (label, units[metric], regions[r], leads[i], systems[s], metric, *numbers, int(count[s, r, i]))


def units_in(metric: str, units: str) -> str:
    """Units of a metric of a channel in ``units``."""
    kinds = {"channel": units, "square": "1" if units == "1" else f"({units})^2", "1": "1"}
    return kinds[(METRICS | EVENT_METRICS)[metric].units]
