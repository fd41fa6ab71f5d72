"""Scores as text: scores.md, and what the terminal shows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from fourcast.verify.results.metrics import EVENT_METRICS, METRICS
from fourcast.verify.results.table import Column, headline_channels, headline_region, table_of, units_of
from fourcast.verify.systems import kind

SHORT = {
    "control": "control",
    "ensemble_mean": "ens. mean",
    "ensemble": "ensemble",
    "persistence": "persist.",
    "climatology": "climat.",
    "climatology_ensemble": "prob. clim.",
}
"""Systems in the heads of tables."""


def report(scores: xr.Dataset, said: str, pictures: Sequence[Path]) -> str:
    """scores.md: its summary as it was ``said``, more tables, the pictures, and what every score means."""
    shown = [name for name in (METRICS | EVENT_METRICS) if name in scores]
    texts = {name.replace("_", " "): (METRICS | EVENT_METRICS)[name].text for name in shown}
    parts = [
        "# Forecast verification",
        said,
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
    return table_of(held.rename(channel="row"), ["channel (units)", *labels], columns)


def _events(scores: xr.Dataset) -> str:
    """A table of Brier scores."""
    if "event" not in scores.dims or "brier" not in scores:
        return ""
    found = scores["brier"].sel(region=headline_region(scores))
    order = _of_kinds(scores, "ensemble", "control", "persistence", "climatology", "climatology_ensemble")
    names = [name for name in order if bool(np.isfinite(found.sel(system=name)).any())]
    columns = _columns("brier", "Brier", names, [n for n in names if kind(n) == "ensemble"])
    labels = [str(name) for name in scores["event"].values]
    return table_of(scores.drop_dims("channel").rename(event="row"), ["event", *labels], columns)
