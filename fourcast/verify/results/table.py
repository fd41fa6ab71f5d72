"""Scores as text: a tidy CSV with every number, and Markdown tables of the headline ones."""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fourcast.verify.results.metrics import EVENT_METRICS, METRICS, kind

HEADLINE_CHANNELS = ("z500", "t850", "u10m", "t2m", "msl", "u200", "u250", "tcwv", "q700", "tp06", "u850", "t500")
HEADLINE_LEADS = (6, 12, 24, 48, 72, 120, 168, 240)
MOST_CHANNELS = 6
SHORT = {
    "control": "control",
    "ensemble_mean": "ens. mean",
    "ensemble": "ensemble",
    "persistence": "persist.",
    "climatology": "climat.",
    "climatology_ensemble": "prob. clim.",
}
"""Systems in the heads of tables."""
HEADER = ("channel", "units", "region", "lead_hours", "system", "metric", "value", "low", "high", "init_times")


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
    held = [str(name) for name in scores["channel"].values]
    preferred = [name for name in HEADLINE_CHANNELS if name in held]
    return (preferred + [name for name in held if name not in preferred])[:MOST_CHANNELS]


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


def units_in(metric: str, units: str) -> str:
    """Units of a metric of a channel in ``units``."""
    kinds = {"channel": units, "square": "1" if units == "1" else f"({units})^2", "1": "1"}
    return kinds[(METRICS | EVENT_METRICS)[metric].units]


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


def report(scores: xr.Dataset, pictures: Sequence[Path]) -> str:
    """scores.md: what was verified, the headline tables, the pictures, and what every score means."""
    shown = [name for name in (METRICS | EVENT_METRICS) if name in scores]
    texts = {name.replace("_", " "): (METRICS | EVENT_METRICS)[name].text for name in shown}
    parts = [
        "# Forecast verification",
        summary(scores),
        _table(scores, _skill_columns(scores)),
        _events(scores),
        *(f"![{picture.stem.replace('_', ' ')}]({picture.name})" for picture in pictures),
        "## Definitions",
        f"Convention {scores.attrs['convention']}: {scores.attrs['convention_text']}.",
        "\n".join(f"- {name}: {text}" for name, text in texts.items()),
        "\n".join(f"- {line}" for line in scores.attrs["systems"].split("\n")),
        "Every channel, region and lead time is in `scores.csv` and `scores.nc`, differences between systems are in "
        "`scores.nc`, and the statistics of every initial time in `statistics.nc`.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def summary(scores: xr.Dataset) -> str:
    """What was verified and the errors of the headline channels; for the terminal and scores.md alike."""
    verified = scores["verified"].values.astype(bool)
    inits = scores["init_time"].values.astype("datetime64[h]")
    many = "s" if verified.size > 1 else ""
    lines = [
        f"{_forecasts(scores)} against {scores.attrs['analyses']}:",
        f"{verified.size} forecast{many} (initial × lead times) from {inits[0]} to {inits[-1]}, "
        f"{verified.sum()} verified"
        + (f", {(~verified).sum()} skipped because analyses or forecasts are missing." if not verified.all() else "."),
        f"Region {headline_region(scores)}; {scores.attrs['uncertainty']}.",
    ]
    if "comment" in scores.attrs:
        lines.insert(0, f"{scores.attrs['comment']}.")
    return "\n".join(lines) + "\n\n" + _table(scores, _error_columns(scores))


def _forecasts(scores: xr.Dataset) -> str:
    """Which forecasts were verified, and of how many members."""
    names, paths = (scores.attrs[key].split("\n") for key in ("forecasts", "forecast"))
    labels = [f"{name} = {path}" if name else path for name, path in zip(names, paths, strict=True)]
    counts = [_members(scores, name) for name in names]
    several = "s" if len(labels) > 1 else ""
    return f"Forecast{several} " + ", ".join(f"{a} ({b})" for a, b in zip(labels, counts, strict=True))


def _members(scores: xr.Dataset, name: str) -> str:
    ensemble = f"{name}/ensemble" if name else "ensemble"
    held = [str(n) for n in scores["ensemble"].values] if "members" in scores else []
    count = int(scores["members"].values[held.index(ensemble)]) if ensemble in held else 1
    return f"{count} member" + ("s" if count > 1 else "")


def _of_kinds(scores: xr.Dataset, *kinds: str) -> list[str]:
    return [name for wanted in kinds for name in map(str, scores["system"].values) if kind(name) == wanted]


def _best(scores: xr.Dataset, wanted: str) -> list[str]:
    """Of every forecast the system of the wanted kind, or else its control."""
    found: dict[str, str] = {}
    for name in _of_kinds(scores, wanted, "control"):
        found.setdefault(name.rpartition("/")[0], name)
    order = [name for name in scores.attrs["forecasts"].split("\n") if name in found]
    return [found[name] for name in order]


def _heading(system: str) -> str:
    name = system.rpartition("/")[0]
    return f"{name} {SHORT[kind(system)]}".strip()


def _columns(metric: str, title: str, systems: Sequence[str], uncertain: Sequence[str] = ()) -> list[Column]:
    """A column for every system, the first of which says what the metric is."""
    return [
        Column(metric, name, f"{title} {_heading(name)}" if i == 0 else _heading(name), name in uncertain)
        for i, name in enumerate(systems)
    ]


def _error_columns(scores: xr.Dataset) -> list[Column]:
    means, ensembles = _best(scores, "ensemble_mean"), _best(scores, "ensemble")
    baselines = _of_kinds(scores, "persistence", "climatology")
    several = len(scores.attrs["forecasts"].split("\n")) > 1
    controls = [] if several else [name for name in _of_kinds(scores, "control") if name not in means]
    return [
        *_columns("rmse", "RMSE", [*controls, *means, *baselines], means),
        *_columns("crps", "CRPS", [*ensembles, *baselines, *_of_kinds(scores, "climatology_ensemble")], ensembles),
    ]


def _skill_columns(scores: xr.Dataset) -> list[Column]:
    means, ensembles = _best(scores, "ensemble_mean"), _of_kinds(scores, "ensemble")
    controls = [name for name in _of_kinds(scores, "control") if name not in means]
    singles = [*controls, *means, *_of_kinds(scores, "persistence")]
    return [
        *(_columns("acc", "ACC", singles, means) if "acc" in scores else []),
        *_columns("spread", "spread", ensembles),
        *_columns("spread_skill_ratio", "spread/RMSE", ensembles, ensembles),
    ]


def _table(scores: xr.Dataset, columns: Sequence[Column]) -> str:
    """A Markdown table of headline channels and lead times, aligned for the terminal."""
    channels = headline_channels(scores)
    labels = [f"{channel} ({units_of(scores, channel)})" for channel in channels]
    held = scores.drop_dims("event", errors="ignore").sel(channel=channels)
    return _rows_of(held.rename(channel="row"), ["channel (units)", *labels], columns)


def _events(scores: xr.Dataset) -> str:
    """A table of Brier scores."""
    if "event" not in scores.dims or "brier" not in scores:
        return ""
    found = scores["brier"].sel(region=headline_region(scores))
    order = _of_kinds(scores, "ensemble", "control", "persistence", "climatology", "climatology_ensemble")
    names = [name for name in order if bool(np.isfinite(found.sel(system=name)).any())]
    columns = _columns("brier", "Brier", names, [n for n in names if kind(n) == "ensemble"])
    labels = [str(name) for name in scores["event"].values]
    return _rows_of(scores.drop_dims("channel").rename(event="row"), ["event", *labels], columns)


def _rows_of(held: xr.Dataset, labels: Sequence[str], columns: Sequence[Column]) -> str:
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
    at = held.sel(system=column.system).transpose("row", "lead_time", ...)
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
