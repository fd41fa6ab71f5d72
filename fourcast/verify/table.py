"""Scores as text: a tidy CSV with every number, and Markdown tables of the headline ones."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from fourcast.verify.scores import CONVENTIONS, DIMENSIONLESS, METRICS

HEADLINE_CHANNELS = ("z500", "t850", "u10m", "t2m", "msl", "u200", "u250", "tcwv", "q700", "tp06", "u850", "t500")
HEADLINE_LEADS = (6, 12, 24, 48, 72, 120, 168, 240)
MOST_CHANNELS = 6
Columns = list[tuple[str, str, str]]
"""(metric, system, heading) of a table's columns."""


def lead_hours(scores: xr.Dataset) -> list[int]:
    """Lead times in hours."""
    return [int(lead) for lead in scores["lead_time"].values / np.timedelta64(1, "h")]


def headline_channels(scores: xr.Dataset) -> list[str]:
    """Up to six channels: those everybody looks at first, then the others in their order."""
    held = [str(name) for name in scores["channel"].values]
    preferred = [name for name in HEADLINE_CHANNELS if name in held]
    return (preferred + [name for name in held if name not in preferred])[:MOST_CHANNELS]


def headline_leads(scores: xr.Dataset) -> list[int]:
    """Positions of the customary lead times; of all lead times where none of those exist."""
    leads = lead_hours(scores)
    return [i for i, lead in enumerate(leads) if lead in HEADLINE_LEADS] or list(range(len(leads)))


def is_ensemble(scores: xr.Dataset) -> bool:
    """Whether the scores are of two members or more."""
    return "ensemble" in scores["system"].values


def units_of(scores: xr.Dataset, channel: str) -> str:
    """Units of a channel."""
    return str(scores["units"].sel(channel=channel).values)


def write_csv(scores: xr.Dataset, path: Path) -> None:
    """One row for every channel, lead time, system and metric, with all digits."""
    counts = scores["init_times"].values.tolist()
    held = [str(name) for name in scores["system"].values]
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(("channel", "units", "lead_hours", "system", "metric", "value", "init_times"))
        for channel in scores["channel"].values:
            for system, metric in ((s, m) for s in held for m in METRICS[s]):
                units = "1" if metric in DIMENSIONLESS else units_of(scores, channel)
                values = scores[metric].sel(system=system, channel=channel).values.tolist()
                for lead, value, count in zip(lead_hours(scores), values, counts, strict=True):
                    writer.writerow((channel, units, lead, system, metric, repr(value), count))


def report(scores: xr.Dataset, pictures: Sequence[Path]) -> str:
    """scores.md: what was verified, the headline tables, the pictures, and what every score means."""
    parts = [
        "# Forecast verification",
        summary(scores),
        _table(scores, _skill_columns(is_ensemble(scores))),
        *(f"![{picture.stem.replace('_', ' ')}]({picture.name})" for picture in pictures),
        "## Conventions",
        "\n".join(f"- {name.replace('_', ' ')}: {text}" for name, text in CONVENTIONS.items()),
        "Every channel and lead time is in `scores.csv` and `scores.nc`.",
    ]
    return "\n\n".join(parts) + "\n"


def summary(scores: xr.Dataset) -> str:
    """What was verified and the errors of the headline channels; for the terminal and scores.md alike."""
    verified = scores["verified"].values
    inits = scores["init_time"].values.astype("datetime64[h]")
    lines = [
        f"Forecast {scores.attrs['forecast']} ({_members(scores)}) against {scores.attrs['analyses']}:",
        f"{verified.size} forecasts (initial × lead times) from {inits[0]} to {inits[-1]}, {verified.sum()} verified"
        + (f", {(~verified).sum()} skipped because the store lacks the analysis." if not verified.all() else "."),
    ]
    if "comment" in scores.attrs:
        lines.insert(0, f"{scores.attrs['comment']}.")
    return "\n".join(lines) + "\n\n" + _table(scores, _error_columns(is_ensemble(scores)))


def _members(scores: xr.Dataset) -> str:
    count = scores.attrs["members"]
    return f"{count} member" + ("s" if count > 1 else "")


def _error_columns(ensemble: bool) -> Columns:
    control = ("rmse", "control", "RMSE control")
    rmse = [("rmse", "persistence", "persist."), ("rmse", "climatology", "climat.")]
    crps = [("crps", "persistence", "persist."), ("crps", "climatology", "climat.")]
    if not ensemble:
        return [control, *rmse, ("crps", "control", "CRPS control"), *crps]
    return [control, ("rmse", "ensemble_mean", "ens. mean"), *rmse, ("crps", "ensemble", "CRPS ensemble"), *crps]


def _skill_columns(ensemble: bool) -> Columns:
    single = [("acc", "control", "ACC control"), ("acc", "persistence", "persist.")]
    mean = [
        ("acc", "ensemble_mean", "ens. mean"),
        ("spread", "ensemble", "spread"),
        ("spread_skill_ratio", "ensemble", "spread/RMSE"),
    ]
    return single + (mean if ensemble else [])


def _table(scores: xr.Dataset, columns: Columns) -> str:
    """A Markdown table of headline channels and lead times, aligned for the terminal."""
    rows = [["channel (units)", "lead", *(heading for _, _, heading in columns)]]
    leads = lead_hours(scores)
    for channel in headline_channels(scores):
        label = f"{channel} ({units_of(scores, channel)})"
        for i in headline_leads(scores):
            at = scores.sel(channel=channel).isel(lead_time=i)
            rows.append([label, f"{leads[i]} h", *(_number(float(at[m].sel(system=s))) for m, s, _ in columns)])
            label = ""
    return _align(rows)


def _number(value: float) -> str:
    """Four significant digits, and all digits of a large whole number."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    scientific = f"{value:.3e}"
    exponent = int(scientific.partition("e")[2])
    return f"{value:.{max(0, 3 - exponent)}f}" if exponent >= -4 else scientific


def _align(rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    padded = [
        [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        for row in rows
    ]
    lines = [f"| {' | '.join(row)} |" for row in padded]
    rule = "|" + "|".join("-" * (w + 1) + (":" if i else "-") for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
