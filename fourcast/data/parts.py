"""One part of an ingestion: read, regrid, check, write its shards, and last of all its record."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from fourcast.data.admission import check, is_allowed
from fourcast.data.manifest import (
    Record,
    Span,
    held_record,
    joined,
    read_record,
    times_mark,
    version_spans,
    write_record,
)
from fourcast.data.plan import Plan, opened
from fourcast.data.regrid import Regridder
from fourcast.data.sources.axes import Times
from fourcast.data.sources.pieces import Float32
from fourcast.data.sources.source import Source
from fourcast.data.store import Store, open_store
from fourcast.data.target import on_store_grid, regridder
from fourcast.data.writer import write_shard
from fourcast.data_config import IngestConfig
from fourcast.errors import InputError

EARTH = ("mean", "spread")
"""Kinds of faults that compare with the climate of the Earth, which a simulated planet need not have."""
BLOCK_BYTES = 2**28
"""How much of a source is read and checked at a time: whole times, at least one."""


class Parts:
    """Does parts of a plan; the sources are opened when the first part needs them and closed with ``resources``."""

    def __init__(self, config: IngestConfig, plan: Plan, resources: ExitStack) -> None:
        self.config, self.plan, self.resources = config, plan, resources
        self.path = Path(config.output)
        self.source: Source | None = None
        self.regrid: Regridder | None = None
        self.store: Store | None = None

    def is_done(self, part: int) -> bool:
        """Whether the part's record is there and fits the plan."""
        return read_record(self.path, self.plan, part) is not None

    def write(self, part: int) -> None:
        """Write the shards of a part and its record.

        Raises InputError where the fields cannot be read or are refused, OSError where they cannot be written.
        """
        plan, (start, stop) = self.plan, self.plan.span(part)
        missing = np.zeros(len(plan.channels), dtype=np.int64)
        shards: dict[str, str] = {}
        allowed: list[str] = []
        for first in range(start, stop, plan.shard_times):
            positions = slice(first, min(first + plan.shard_times, stop))
            fields = self._fields(positions, allowed)
            missing += (~np.isfinite(fields)).sum(axis=(0, 2, 3))
            index = first // plan.shard_times
            shards[str(index)] = write_shard(self.path, index, fields, plan.shard_times)
            del fields
        held = held_record(self.path, plan, part)
        read = plan.times[max(start, plan.published) : stop]
        record = Record(
            part=part,
            times=times_mark(plan.times[start:stop]),
            sources=self._sources(read),
            held=[*held.held, *held.sources] if held else [],
            shards=shards,
            values=(stop - start) * len(plan.channels) * plan.grid.shape[0] * plan.grid.shape[1],
            missing={name: int(n) for name, n in zip(plan.channels, missing, strict=True) if n},
            allowed=list(dict.fromkeys([*(held.allowed if held else []), *allowed])),
            versions=joined([*(held.versions if held else []), *self._versions(read)]),
        )
        write_record(self.path, record)

    def _fields(self, positions: slice, allowed: list[str]) -> Float32:
        """The store's fields [T, C, H, W] at ``positions``; what a finished store already holds comes from there."""
        plan = self.plan
        fields = np.empty((positions.stop - positions.start, len(plan.channels), *plan.grid.shape), dtype=np.float32)
        known = max(min(plan.published, positions.stop) - positions.start, 0)
        if known:
            fields[:known] = self._held().read(slice(positions.start, positions.start + known))
        times = plan.times[positions]
        block = max(1, BLOCK_BYTES // (4 * len(plan.channels) * plan.source_shape[0] * plan.source_shape[1]))
        for first in range(known, len(times), block):
            chosen = slice(first, min(first + block, len(times)))
            fields[chosen] = self._checked(times[chosen], allowed)
        return fields

    def _checked(self, times: Times, allowed: list[str]) -> Float32:
        """Fields of the source on the store's grid; InputError where they are implausible and not allowed to be."""
        source, plan = self._opened(), self.plan
        fields, grid = source.read(times, plan.channels), source.grid(plan.channels)
        if self.regrid is None:
            fields, grid = on_store_grid(fields, None, plan.grid), plan.grid
        names = set(self.config.allow or [])
        faults = check(fields, times, plan.channels, grid, names)
        if source.synthetic:
            faults = [fault for fault in faults if fault.kind not in EARTH]
        refused = [fault for fault in faults if not is_allowed(fault, names)]
        if refused:
            raise InputError("; ".join(fault.message for fault in refused))
        allowed += [fault.message for fault in faults]
        return fields if self.regrid is None else on_store_grid(fields, self.regrid, plan.grid)

    def _opened(self) -> Source:
        if self.source is None:
            self.source = self.resources.enter_context(opened(self.config))
            self.regrid = regridder(self.source.grid(self.plan.channels), self.config)
        return self.source

    def _held(self) -> Store:
        """The finished store that is being extended."""
        if self.store is None:
            self.store = open_store(self.path)
        return self.store

    def _sources(self, times: Times) -> list[dict[str, Any]]:
        """The plan's files that hold any of ``times``, or hours since the time before, which sums may take."""
        if len(times) == 0:
            return []
        first = times[0] - np.timedelta64(int(self.plan.settings["step_hours"]), "h")
        held = [(piece.path, piece.axes.times) for piece in self._opened().pieces if not piece.variable.static]
        paths = {path for path, its in held if ((its > first) & (its <= times[-1])).any()}
        return [file for file in self.plan.files if file["path"] in paths]

    def _versions(self, times: Times) -> list[Span]:
        if len(times) == 0:
            return []
        return version_spans(times, self._opened().expver_at(times, self.plan.channels))
