"""What a source file or a store holds, as text for people."""

from pathlib import Path

import numpy as np

from fourcast.data.sources.axes import Times
from fourcast.data.sources.source import Source, open_source
from fourcast.data.store import Store, open_store
from fourcast.grid import Grid
from fourcast.variables import parse_channel


def describe_source(path: str) -> str:
    """A table of what a source would give to ``fourcast ingest``, and of what in it cannot be used."""
    with open_source([path]) as source:
        lines = [f"{path}: {len(source.paths)} file{'s' if len(source.paths) != 1 else ''} of analyses"]
        lines += [f"  {key}: {text}" for key, text in source.attribution.items()]
        if source.synthetic:
            lines.append("  SYNTHETIC: a simulated planet")
        if source.channels:
            lines += _source_channels(source)
        static = sorted({piece.variable.name for piece in source.pieces if piece.variable.static})
        if static:
            lines.append(f"  static fields: {', '.join(static)}")
        reasons = dict.fromkeys(f"  not usable: {unusable.reason}" for unusable in source.skipped)
        return "\n".join([*lines, *reasons])


def _source_channels(source: Source) -> list[str]:
    groups: dict[str, list[str]] = {}
    for name in source.channels:
        channel = parse_channel(name)
        groups.setdefault(channel.variable.name, []).append("" if channel.level is None else str(channel.level))
    lines = [f"  {'variable':9} {'units':9} {'times':>7}  {'from':13} {'to':13} levels in hPa"]
    for variable, levels in groups.items():
        times, _ = source.times([f"{variable}{levels[0]}"])
        ends = [str(t.astype("datetime64[h]")) for t in (times[0], times[-1])]
        units = parse_channel(f"{variable}{levels[0]}").variable.units
        lines.append(f"  {variable:9} {units:9} {len(times):7}  {ends[0]:13} {ends[1]:13} {' '.join(levels)}")
    grids = [piece.axes.grid for piece in source.pieces if not piece.variable.static]
    shown = [grid for i, grid in enumerate(grids) if not any(grid.same_as(other) for other in grids[:i])]
    return [*lines, *(f"  grid {_grid(grid)}" for grid in shown)]


def describe_store(path: str | Path) -> str:
    """A finished training store: its summary and a table of the statistics of each channel."""
    store = open_store(path)
    lines = [summarise_store(path), f"  {'channel':9} {'units':9} {'mean':>11} {'std':>11} {'change a step':>14}"]
    for i, name in enumerate(store.channels):
        numbers = (store.statistics.mean[i], store.statistics.std[i], store.statistics.tendency_std[i])
        mean, std, change = (f"{x:.5g}" for x in numbers)
        lines.append(f"  {name:9} {parse_channel(name).variable.units:9} {mean:>11} {std:>11} {change:>14}")
    return "\n".join(lines)


def summarise_store(path: str | Path) -> str:
    """A finished training store in a few lines: channels, times and gaps, grid, size on disk."""
    store = open_store(path)
    size = sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())
    climatology = store.climatology(store.channels[:1])
    synthetic = ", SYNTHETIC (a simulated planet)" if store.synthetic else ""
    lines = [
        f"{path}: training store, {len(store.channels)} channels, {len(store.times)} times{synthetic}",
        f"  channels     {', '.join(store.channels[:24])}{', …' if len(store.channels) > 24 else ''}",
        f"  times        {store.times[0]} to {store.times[-1]} every {store.step_hours} h, {_gaps(store)}",
        f"  grid         {_grid(store.grid)}",
        f"  static       {', '.join(store.static) or 'none'}",
        f"  statistics   from {' to '.join(store.attributes['statistics_period'])}",
        f"  climatology  hours {', '.join(map(str, climatology.hours))} UTC, {climatology.coefficients.shape[1] // 2} "
        "annual harmonics",
        f"  on disk      {size / 1e6:.1f} MB",
    ]
    return "\n".join(lines)


def gaps(times: Times, step_hours: int) -> list[tuple[np.datetime64, int]]:
    """Where a series is interrupted: the last time before each gap, and how many steps are missing."""
    steps = np.diff(times.astype("datetime64[h]")).astype(np.int64) // step_hours
    return [(times[i], int(steps[i]) - 1) for i in np.flatnonzero(steps > 1)]


def _gaps(store: Store) -> str:
    found = gaps(store.times, store.step_hours)
    if not found:
        return "no gap"
    time, longest = max(found, key=lambda gap: gap[1])
    total = sum(missing for _, missing in found)
    return f"{len(found)} gaps with {total} missing times, the longest of {longest} after {time}"


def _grid(grid: Grid) -> str:
    return f"{grid}, {'global' if grid.is_global else 'regional'}"
