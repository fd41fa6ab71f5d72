"""What an ingestion will write: decided from the headers of its sources, kept in the store as ``ingest/plan.json``."""

import logging
import os
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourcast import __version__
from fourcast.data.climatology import supported_harmonics
from fourcast.data.sources.axes import Times
from fourcast.data.sources.openers import SourceOptions, list_sources
from fourcast.data.sources.source import Source, open_source
from fourcast.data.target import target_grid
from fourcast.data_config import IngestConfig
from fourcast.errors import InputError
from fourcast.files import read_json, write_json
from fourcast.grid import Grid
from fourcast.periods import within
from fourcast.variables import parse_channels

log = logging.getLogger(__name__)
PRELIMINARY = "0005"
PART_BYTES = 2**29
"""Size of a part where the configuration leaves it open: some seconds of work, and enough parts to share out."""
ELSEWHERE = (
    "output", "overwrite", "allow", "part_times", "memory_gb", "workers", "part", "dask", "storage_options",
)  # fmt: skip
"""Keys of the configuration that leave the content of the store as it is, or that are nobody else's business."""


@dataclass(frozen=True, eq=False)
class Plan:
    """The content of a store and how the work is cut; part i holds the times from i · part_times on.

    settings: the configuration as far as it shapes the content. files: path, size and time of change of every source.
    source_shape: rows and columns before any regridding. published: how many times a finished store, which this plan
    extends, already holds. attributes: of the finished store, as far as they are known now.
    """

    settings: dict[str, Any]
    files: list[dict[str, Any]]
    channels: tuple[str, ...]
    times: Times
    grid: Grid
    source_shape: tuple[int, int]
    part_times: int
    attributes: dict[str, Any]
    published: int = 0

    @property
    def shard_times(self) -> int:
        """Times in a shard."""
        return int(self.settings["shard_times"])

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return -(-len(self.times) // self.part_times)

    def span(self, part: int) -> tuple[int, int]:
        """Positions along time of a part: first, and one behind the last."""
        return part * self.part_times, min((part + 1) * self.part_times, len(self.times))

    @property
    def learned(self) -> NDArray[np.bool_]:
        """Which times statistics and climatology come from."""
        return within(self.times, self.settings["statistics_start"], self.settings["statistics_end"])

    @property
    def harmonics(self) -> int:
        """How many annual harmonics the times can carry."""
        return supported_harmonics(self.times[self.learned], int(self.settings["climatology_harmonics"]))


def plan_path(store: Path) -> Path:
    """Where the plan of a store lies."""
    return store / "ingest" / "plan.json"


def write_plan(store: Path, plan: Plan) -> None:
    """Keep the plan in the store."""
    hours = plan.times.astype("datetime64[h]").astype(np.int64).tolist()
    grid = {"latitude": plan.grid.latitude.tolist(), "longitude": plan.grid.longitude.tolist()}
    write_json(plan_path(store), {**vars(plan), "times": hours, "grid": grid})


def read_plan(store: Path) -> Plan:
    """The plan that a store keeps; InputError where it is damaged."""
    kept = read_json(plan_path(store))
    try:
        grid = Grid(*(np.array(kept["grid"][axis], dtype=np.float64) for axis in ("latitude", "longitude")))
        times = np.array(kept["times"], dtype=np.int64).astype("datetime64[h]")
        lists = {key: tuple(kept[key]) for key in ("channels", "source_shape")}
        # Keys that came with a later version stand at their defaults.
        settings = {**settings_of(IngestConfig(source="-")), **kept["settings"]}
        return Plan(**{**kept, **lists, "grid": grid, "times": times, "settings": settings})
    except (KeyError, TypeError) as error:
        raise InputError(f"{plan_path(store)} is damaged ({error!r}); pass overwrite=true to begin anew") from error


def settings_of(config: IngestConfig) -> dict[str, Any]:
    """The configuration without what does not change the store's content."""
    return {key: value for key, value in asdict(config).items() if key not in ELSEWHERE}


def fingerprint(config: IngestConfig) -> list[dict[str, Any]]:
    """Path, size and time of change of every source file; remote sources and folders by their name alone."""
    listed: list[dict[str, Any]] = []
    for path in list_sources(config.source):
        if "://" in path or Path(path).is_dir():
            listed.append({"path": path})
        else:
            status = Path(path).stat()
            listed.append({"path": path, "bytes": status.st_size, "changed": status.st_mtime})
    return listed


def opened(config: IngestConfig) -> AbstractContextManager[Source]:
    """The sources of ``config``, open inside a ``with`` block."""
    hdf5_channels = None if config.hdf5_channels is None else tuple(config.hdf5_channels)
    options = SourceOptions(hdf5_channels, config.storage_options, tuple(config.allow or ()))
    return open_source(config.source, config.number, config.forecast_step, options)


def make_plan(source: Source, config: IngestConfig) -> Plan:
    """What ``config`` makes of ``source``; InputError where that is impossible, and what to change."""
    channels = _channels(source, config)
    times = _times(source, channels, config)
    given = source.grid(channels)
    grid = target_grid(given, config)
    settings = settings_of(config)
    plan = Plan(
        settings=settings,
        files=fingerprint(config),
        channels=channels,
        times=times,
        grid=grid,
        source_shape=given.shape,
        part_times=config.part_times or _part_times(config.shard_times, len(channels) * grid.shape[0] * grid.shape[1]),
        attributes={},
    )
    return describe_plan(plan, source)


def describe_plan(plan: Plan, source: Source) -> Plan:
    """``plan`` with the attributes of its store; InputError where no time lies in the statistics period."""
    learned = plan.times[plan.learned]
    if len(learned) == 0:
        period = f"{plan.settings['statistics_start']} to {plan.settings['statistics_end']}"
        raise InputError(
            f"no analysis lies in the statistics period {period}; the source holds {plan.times[0]} to {plan.times[-1]}"
        )
    kind = "SYNTHETIC analyses of a simulated planet" if source.synthetic else "Analyses"
    attributes = {
        "Conventions": "CF-1.11",
        "title": f"{kind} for training a weather forecasting model",
        "history": f"{_now():%Y-%m-%dT%H:%M:%SZ} fourcast {__version__} ingest",
        "source_paths": list(source.paths),
        "source_attribution": dict(source.attribution),
        "formulas": source.formulas(plan.channels),
        "synthetic": source.synthetic,
        "step_hours": plan.settings["step_hours"],
        "statistics_period": [str(learned[0]), str(learned[-1])],
        "climatology_harmonics": plan.harmonics,
        "config": plan.settings,
    }
    return replace(plan, attributes=attributes)


def _now() -> datetime:
    """The time for the store's history; SOURCE_DATE_EPOCH in the environment sets it, for reproducible stores."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)


def _part_times(shard_times: int, values: int) -> int:
    """Whole shards of about PART_BYTES together, for ``values`` at each time."""
    return shard_times * max(1, round(PART_BYTES / (4 * values * shard_times)))


def _channels(source: Source, config: IngestConfig) -> tuple[str, ...]:
    """The channels asked for, or all; what cannot be used is said, and refused where it was asked for."""
    holds = source.channels
    if config.channels is None:
        defects = [unusable.reason for unusable in source.skipped if unusable.known]
        if defects:
            raise InputError(f"{'; '.join(dict.fromkeys(defects))} (or name the channels to take without it)")
        if source.skipped:
            names = ", ".join(dict.fromkeys(unusable.name for unusable in source.skipped))
            log.info("skipped, not a variable that fourcast knows how to use: %s", names)
        if not holds:
            raise InputError(f"{', '.join(source.paths)}: static fields alone, expected analyses; add a file of them")
        return holds
    wanted = tuple(channel.name for channel in parse_channels(config.channels))
    # Six-hour precipitation is held where it can be derived at all.
    possible = {*holds, *source.derivable} - ({"tp06"} - set(holds))
    missing = [name for name in wanted if name not in possible]
    if missing:
        reasons = "".join(f"; {unusable.reason}" for unusable in source.skipped[:12])
        raise InputError(f"the source has no {', '.join(missing)}; it holds {', '.join(holds) or 'none'}{reasons}")
    return wanted


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
    if preliminary and "preliminary" not in (config.allow or []):
        raise InputError(
            f"{preliminary} of {len(times)} times are preliminary ERA5T (expver 0005), which final ERA5 will replace; "
            "fetch them again later, end before them, or pass allow=[preliminary]"
        )
    return times
