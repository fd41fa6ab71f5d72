"""What a source file or a store holds, as text for people."""

from contextlib import suppress
from dataclasses import fields
from pathlib import Path

from fourcast.data.extend import is_finished, root_attributes
from fourcast.data.manifest import damaged_shards, missing_times, read_record, record_path
from fourcast.data.plan import plan_path, read_plan
from fourcast.data.sources.axes import Times
from fourcast.data.sources.source import Source, open_source
from fourcast.data.store import Store, open_store
from fourcast.data.writer import INGEST
from fourcast.grid import Grid
from fourcast.progress import duration
from fourcast.variables import parse_channel

HEADER = f"  {'channel':9} {'units':9}" + "".join(
    f" {name:>11}" for name in ("mean", "std", "change/step", "minimum", "maximum")
)


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


def describe_store(path: str | Path, checksums: bool = False) -> str:
    """A training store: how far its ingestion is, or its summary, statistics of each channel, and where it came from.

    checksums: compare every shard with what was written, which reads all of it.
    """
    folder = Path(path)
    lines = describe_progress(folder)
    if lines and not root_attributes(folder).get("complete"):
        return "\n".join(lines)
    store = open_store(path)
    lines = [summarise_store(path), *lines, HEADER]
    for i, name in enumerate(store.channels):
        numbers = [getattr(store.statistics, f.name)[i] for f in fields(store.statistics)]
        shown = " ".join(f"{x:>11.5g}" for x in numbers)
        lines.append(f"  {name:9} {parse_channel(name).variable.units:9} {shown}")
    lines += _provenance(store)
    if checksums:
        damaged = damaged_shards(folder)
        lines.append(f"  checksums    {'; '.join(damaged) + ' not as written' if damaged else 'all shards as written'}")
    return "\n".join(lines)


def describe_progress(folder: Path) -> list[str]:
    """How far an ingestion is that has not ended; nothing where it has."""
    if not plan_path(folder).exists() or is_finished(folder, plan := read_plan(folder)):
        return []
    marks = [record_path(folder, i) for i in range(plan.parts) if read_record(folder, plan, i) is not None]
    written = sorted(path.stat().st_mtime for path in marks)
    lines = [
        f"{folder}: {'is being extended' if plan.published else 'unfinished training store'}, {len(marks)} of "
        f"{plan.parts} parts done, {len(plan.channels)} channels, {len(plan.times)} times",
        f"  times        {plan.times[0]} to {plan.times[-1]} every {plan.settings['step_hours']} h, "
        f"{_gaps(plan.times, int(plan.settings['step_hours']))}",
        f"  grid         {_grid(plan.grid)}",
    ]
    if 1 < len(marks) < plan.parts:
        left = (written[-1] - written[0]) / (len(marks) - 1) * (plan.parts - len(marks))
        lines.append(f"  time left    {duration(left)} for the parts, at the pace so far")
    summaries = len(list((folder / INGEST / "summaries").glob("*.npz")))
    if len(marks) == plan.parts:
        lines.append(f"  statistics   of {summaries} of {len(plan.channels)} channels done")
    for words, kind in (("at work", "claims"), ("failed", "failures")):
        for path in sorted((folder / INGEST / kind).glob("*")):
            # A claim may go while one looks at it.
            with suppress(FileNotFoundError):
                lines.append(f"  {words:12} {path.name}: {path.read_text(encoding='utf-8').strip()}")
    return [*lines, "  fourcast ingest with the same configuration goes on with it"]


def _provenance(store: Store) -> list[str]:
    """Where the fields came from and what was done to them, as far as the store knows."""
    attributes = store.attributes
    sources = attributes.get("source_paths", [])
    lines = [f"  sources      {', '.join(sources[:6])}{f' and {len(sources) - 6} more' if len(sources) > 6 else ''}"]
    lines += [f"  {key:12} {text}" for key, text in attributes.get("source_attribution", {}).items()]
    lines += [f"  formula      {name}: {formula}" for name, formula in attributes.get("formulas", {}).items()]
    config = attributes.get("config", {})
    if config.get("grid"):
        lines.append(f"  regridded    to {config['grid']}, {config['regrid']}")
    words = {"0001": "final", "0005": "preliminary"}
    for version, count in attributes.get("expver_times", {}).items():
        lines.append(f"  ERA5         {count} times of expver {version} ({words.get(version, 'other')})")
    lines += [f"  missing      {name}: {count} values" for name, count in attributes.get("missing_values", {}).items()]
    lines += [f"  let in       {fault}" for fault in attributes.get("allowed_faults", [])]
    return [*lines, *(f"  history      {line}" for line in str(attributes.get("history", "")).splitlines())]


def summarise_store(path: str | Path) -> str:
    """A finished training store in a few lines: channels, times and gaps, grid, size on disk."""
    store = open_store(path)
    size = sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())
    climatology = store.climatology(store.channels[:1])
    synthetic = ", SYNTHETIC (a simulated planet)" if store.synthetic else ""
    lines = [
        f"{path}: training store, {len(store.channels)} channels, {len(store.times)} times{synthetic}",
        f"  channels     {', '.join(store.channels[:24])}{', …' if len(store.channels) > 24 else ''}",
        f"  times        {store.times[0]} to {store.times[-1]} every {store.step_hours} h, "
        f"{_gaps(store.times, store.step_hours)}",
        f"  grid         {_grid(store.grid)}",
        f"  static       {', '.join(store.static) or 'none'}",
        f"  statistics   from {' to '.join(store.attributes['statistics_period'])}",
        f"  climatology  hours {', '.join(map(str, climatology.hours))} UTC, {climatology.coefficients.shape[1] // 2} "
        "annual harmonics",
        f"  on disk      {size / 1e6:.1f} MB; its fields as plain float32 {_plain_bytes(store) / 1e6:.1f} MB",
    ]
    return "\n".join(lines)


def _plain_bytes(store: Store) -> int:
    return 4 * len(store.times) * len(store.channels) * store.grid.shape[0] * store.grid.shape[1]


def _gaps(times: Times, step_hours: int) -> str:
    found = missing_times(times, step_hours)
    if not found:
        return "no gap"
    first, last, longest = max(found, key=lambda gap: gap[2])
    total = sum(count for _, _, count in found)
    return f"{len(found)} gaps with {total} missing times, the longest of {longest} from {first} to {last}"


def _grid(grid: Grid) -> str:
    return f"{grid}, {'global' if grid.is_global else 'regional'}"
