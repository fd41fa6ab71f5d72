"""Markdown tables: which scores they show, and numbers as people read them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from fourcast.verify.headline import headline

HEADLINE_LEADS = (6, 12, 24, 48, 72, 120, 168, 240)


@dataclass(frozen=True)
class Column:
    """Of a table: a metric of a system, under a heading, and whether its interval is shown."""

    metric: str
    system: str
    heading: str
    uncertain: bool = False


def lead_hours(scores: xr.Dataset) -> list[int]:
    """Lead times in hours."""
    return [int(lead) for lead in scores["lead_time"].values / np.timedelta64(1, "h")]


def headline_channels(scores: xr.Dataset) -> list[str]:
    """Up to six channels: those everybody looks at first, then the others in their order."""
    return list(headline([str(name) for name in scores["channel"].values]))


def headline_leads(scores: xr.Dataset) -> list[int]:
    """Positions of the customary lead times; of all lead times where none of those exist."""
    leads = lead_hours(scores)
    return [i for i, lead in enumerate(leads) if lead in HEADLINE_LEADS] or list(range(len(leads)))


def headline_region(scores: xr.Dataset) -> str:
    """The globe, or the first region where the globe is not scored."""
    held = [str(name) for name in scores["region"].values]
    return "global" if "global" in held else held[0]


def units_of(scores: xr.Dataset, channel: str) -> str:
    """Units of a channel."""
    return str(scores["units"].sel(channel=channel).values)


def table_of(held: xr.Dataset, labels: Sequence[str], columns: Sequence[Column]) -> str:
    """A table of the customary lead times for every channel or event ("row"), ``labels`` after that of their column."""
    shown, leads = headline_leads(held), lead_hours(held)
    at_leads = held.sel(region=headline_region(held)).isel(lead_time=shown)
    cells = [_cells(at_leads, column) for column in columns]
    rows = [
        [label if i == 0 else "", f"{leads[lead]} h", *(cell[r][i] for cell in cells)]
        for r, label in enumerate(labels[1:])
        for i, lead in enumerate(shown)
    ]
    return align([[labels[0], "lead", *(column.heading for column in columns)], *rows])


def _cells(held: xr.Dataset, column: Column) -> list[list[str]]:
    """A column's text by row and lead time: scores, with half the width of their intervals where that is shown."""
    if column.metric not in held:
        return [["–"] * held.sizes["lead_time"]] * held.sizes["row"]
    names = [name for end in ("", "_low", "_high") if (name := column.metric + end) in held]
    at = held[names].sel(system=column.system).transpose("row", "lead_time", ...)
    values = at[column.metric].values
    half = np.full_like(values, np.nan)
    if column.uncertain and f"{column.metric}_low" in at:
        half = (at[f"{column.metric}_high"].values - at[f"{column.metric}_low"].values) / 2
    return [[_cell(*pair) for pair in zip(*both, strict=True)] for both in zip(values, half, strict=True)]


def _cell(value: float, half: float) -> str:
    """A score, and half the width of its interval in two digits."""
    return number(value) + ("" if math.isnan(value) or math.isnan(half) else f" ±{float(f'{half:.2g}'):g}")


def number(value: float) -> str:
    """Four significant digits, and all digits of a large whole number."""
    if math.isnan(value):
        return "–"
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    scientific = f"{value:.3e}"
    exponent = int(scientific.partition("e")[2])
    return f"{value:.{max(0, 3 - exponent)}f}" if exponent >= -4 else scientific


def align(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns also line up in a terminal; the first row is the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    padded = [
        [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))] for row in rows
    ]
    lines = [f"| {' | '.join(row)} |" for row in padded]
    rule = "|" + "|".join("-" * (w + 1) + (":" if i else "-") for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
