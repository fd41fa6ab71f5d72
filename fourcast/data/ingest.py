"""``fourcast ingest``: analyses in, training store out, in one pass whose memory does not grow with the series."""

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from fourcast import __version__
from fourcast.config import IngestConfig, within
from fourcast.data.climatology import ClimatologySums, supported_harmonics
from fourcast.data.describe import summarise_store
from fourcast.data.sources.axes import Times
from fourcast.data.sources.openers import list_sources
from fourcast.data.sources.pieces import Float32
from fourcast.data.sources.source import Source, open_source
from fourcast.data.statistics import StatisticsSums
from fourcast.data.store import Store, append, create_store, finish, open_store
from fourcast.errors import InputError
from fourcast.files import whole_directory
from fourcast.grid import Grid, south_pole_rows
from fourcast.progress import progress
from fourcast.variables import parse_channel, parse_channels

log = logging.getLogger(__name__)
PRELIMINARY = "0005"


@dataclass(frozen=True, eq=False)
class Plan:
    """What an ingestion will write: decided and checked before the first field is read."""

    channels: tuple[str, ...]
    times: Times
    learned: NDArray[np.bool_]
    grid: Grid
    static: dict[str, Float32]
    attributes: dict[str, Any]


def ingest(config: IngestConfig) -> Path:
    """Write the training store ``config.output`` from ``config.source`` and return its path.

    A finished store of the same configuration and sources is left as it is. Raises InputError, and leaves nothing,
    where the source cannot be used as it is; the message says what to change.
    """
    output = Path(config.output)
    files = _fingerprint(config)
    if output.exists():
        previous = _previous(output)
        if not config.overwrite:
            _refuse_other(previous, config, files)
            print(f"{output} already holds this ingestion: nothing to do")
            return output
    with open_source(config.source, config.number, config.forecast_step) as source:
        plan = _plan(source, config)
        plan.attributes["files"] = files
        with whole_directory(output) as partial:
            _write(create_store(partial, plan.channels, plan.grid, config.shard_times), source, plan, config)
    print(summarise_store(output))
    return output


def _fingerprint(config: IngestConfig) -> list[dict[str, Any]]:
    """Path, size and time of change of every source file; remote sources by their URL alone."""
    listed: list[dict[str, Any]] = []
    for path in list_sources(config.source):
        if "://" in path:
            listed.append({"path": path})
        else:
            status = Path(path).stat()
            listed.append({"path": path, "bytes": status.st_size, "changed": status.st_mtime})
    return listed


def _settings(config: IngestConfig) -> dict[str, Any]:
    """The configuration without what does not change the store's content."""
    return {key: value for key, value in asdict(config).items() if key not in ("overwrite", "output")}


def _previous(output: Path) -> Store:
    """The store at ``output``; InputError where something else lies there, which is never replaced."""
    try:
        return open_store(output)
    except InputError as error:
        raise InputError(f"{output} exists and is no training store ({error}); choose another output") from error


def _refuse_other(store: Store, config: IngestConfig, files: list[dict[str, Any]]) -> None:
    """Raise InputError where ``store`` came from another configuration or other source files."""
    before, now = store.attributes["config"], _settings(config)
    changed = [f"{key} was {before.get(key)!r} and is {now[key]!r}" for key in now if before.get(key) != now[key]]
    if not changed and store.attributes["files"] != files:
        changed = ["the source files have changed since"]
    if changed:
        raise InputError(f"{store.path} was ingested otherwise: {'; '.join(changed)}; pass overwrite=true to replace")


def _plan(source: Source, config: IngestConfig) -> Plan:
    channels = _channels(source, config)
    times = _times(source, channels, config)
    grid = source.grid(channels)
    if not grid.is_global and not config.region:
        raise InputError(f"the source covers a region only, {grid}; pass region=true if that is meant")
    static, unusable = source.static(grid)
    for reason in unusable.values():
        log.info("left out: %s", reason)
    rows = len(grid.latitude) - (south_pole_rows(grid.latitude) if config.south_pole == "drop" else 0)
    learned = within(times, config.statistics_start, config.statistics_end)
    if not learned.any():
        raise InputError(
            f"no analysis lies in the statistics period {config.statistics_start} to {config.statistics_end}; the "
            f"source holds {times[0]} to {times[-1]}"
        )
    return Plan(
        channels=channels,
        times=times,
        learned=learned,
        grid=Grid(grid.latitude[:rows], grid.longitude),
        static={name: values[:rows] for name, values in static.items()},
        attributes=_attributes(source, config, times, channels, times[learned]),
    )


def _channels(source: Source, config: IngestConfig) -> tuple[str, ...]:
    """The channels asked for, or all; what cannot be used is said, and refused where it was asked for."""
    holds = source.channels
    if config.channels is None:
        defects = [unusable.reason for unusable in source.skipped if unusable.known]
        if defects:
            raise InputError(f"{'; '.join(dict.fromkeys(defects))} (or name the channels to take without it)")
        if source.skipped:
            log.info("skipped, not a variable that fourcast knows how to use: %s", _names(source))
        if not holds:
            raise InputError(f"{', '.join(source.paths)}: static fields alone, expected analyses; add a file of them")
        return holds
    wanted = tuple(channel.name for channel in parse_channels(config.channels))
    missing = [name for name in wanted if name not in holds]
    if missing:
        reasons = "".join(f"; {unusable.reason}" for unusable in source.skipped[:12])
        raise InputError(f"the source has no {', '.join(missing)}; it holds {', '.join(holds) or 'none'}{reasons}")
    return wanted


def _names(source: Source) -> str:
    return ", ".join(dict.fromkeys(unusable.name for unusable in source.skipped))


def _times(source: Source, channels: tuple[str, ...], config: IngestConfig) -> Times:
    """Times to keep: all channels present, on the raster of step_hours, in the period, not preliminary."""
    every, some = source.times(channels)
    if len(some):
        log.info("left out: %d times at which only some of the channels are there, the first %s", len(some), some[0])
    if len(every) == 0:
        raise InputError(f"at no time does the source hold all of {', '.join(channels)}; ingest them apart")
    raster = every.astype(np.int64) % (config.step_hours * 3600) == 0
    if not raster.all():
        log.info("left out: %d of %d times off the %d-hourly raster", (~raster).sum(), len(every), config.step_hours)
    times = every[raster].astype("datetime64[h]")
    times = times[within(times, config.start, config.end)]
    if len(times) == 0:
        raise InputError(
            f"no analysis remains: the source holds {len(every)} times from {every[0]} to {every[-1]}, {raster.sum()} "
            f"of them every {config.step_hours} h, wanted {config.start or 'first'} to {config.end or 'last'}"
        )
    preliminary = source.versions(times, channels).get(PRELIMINARY, 0)
    if preliminary and not config.allow_preliminary:
        raise InputError(
            f"{preliminary} of {len(times)} times are preliminary ERA5T (expver 0005), which final ERA5 will replace; "
            "fetch them again later, end before them, or pass allow_preliminary=true"
        )
    return times


def _attributes(
    source: Source, config: IngestConfig, times: Times, channels: tuple[str, ...], learned: Times
) -> dict[str, Any]:
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    kind = "SYNTHETIC analyses of a simulated planet" if source.synthetic else "Analyses"
    return {
        "title": f"{kind} for training a weather forecasting model",
        "history": f"{now} fourcast {__version__} ingest",
        "source_paths": list(source.paths),
        "source_attribution": dict(source.attribution),
        "synthetic": source.synthetic,
        "step_hours": config.step_hours,
        "expver_times": source.versions(times, channels),
        "statistics_period": [str(learned[0]), str(learned[-1])],
        "config": _settings(config),
    }


def _write(group: zarr.Group, source: Source, plan: Plan, config: IngestConfig) -> None:
    """Fill the store shard by shard; statistics and climatology come from the same fields on the way."""
    statistics = StatisticsSums(plan.grid.latitude, len(plan.channels))
    learned_times = plan.times[plan.learned]
    climatology = ClimatologySums(supported_harmonics(learned_times, config.climatology_harmonics))
    step = np.timedelta64(config.step_hours, "h")
    before: tuple[Times, Float32] | None = None
    for positions, fields in _blocks(source, plan, config):
        times, learned = plan.times[positions], plan.learned[positions]
        append(group, times, fields)
        if not learned.any():
            continue
        chosen, values = times[learned], fields if learned.all() else fields[learned]
        statistics.add(values)
        climatology.add(chosen, values)
        if before is not None and chosen[0] - before[0][-1] == step:
            statistics.add_steps(before[1], values[:1])
        follows = np.flatnonzero(np.diff(chosen) == step)
        if len(follows):
            statistics.add_steps(values[follows], values[follows + 1])
        before = chosen, values[-1:].copy()
    attributes = {**plan.attributes, "climatology_harmonics": climatology.harmonics}
    finish(group, statistics.finish(), climatology.fit(), plan.static, attributes)


def _blocks(source: Source, plan: Plan, config: IngestConfig) -> Iterator[tuple[slice, Float32]]:
    """Whole shards of checked fields [T, C, H, W], with their positions along time."""
    count, size = len(plan.times), config.shard_times
    starts = range(0, count, size)
    for start in progress(starts, len(starts), "ingesting, shards"):
        positions = slice(start, min(start + size, count))
        times = plan.times[positions]
        fields = source.read(times, plan.channels)[:, :, : plan.grid.shape[0]]
        _check(fields, times, plan.channels, config.allow_missing_values)
        yield positions, fields


def _check(fields: Float32, times: Times, channels: tuple[str, ...], allow_missing: bool) -> None:
    """Refuse missing values, unless allowed, and negative values of what cannot be negative."""
    for i, name in enumerate(channels):
        values, variable = fields[:, i], parse_channel(name).variable
        absent = (~np.isfinite(values)).sum(axis=(1, 2))
        holes = absent > 0
        if holes.any() and not allow_missing:
            raise InputError(
                f"{name} has {absent.sum()} missing values at {holes.sum()} of {len(times)} times from "
                f"{times[holes][0]}; fill them, leave {name} out of channels, or pass allow_missing_values=true"
            )
        lowest = np.nanmin(values, initial=0)
        if variable.positive and lowest < 0:
            raise InputError(
                f"{name} falls to {lowest:g} {variable.units} between {times[0]} and {times[-1]}, which is impossible; "
                "the units attribute of its file is probably wrong"
            )
