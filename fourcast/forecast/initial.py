"""Initial states: analyses of a training store, of files that ``fourcast ingest`` reads, or of another forecast."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fourcast.checkpoint import Card
from fourcast.config import ForecastConfig
from fourcast.data.regrid import Regridder
from fourcast.data.sources.source import Source
from fourcast.data.store import Store, Times, open_store
from fourcast.errors import InputError
from fourcast.forecast.initial_files import list_files, open_states
from fourcast.forecast.netcdf import LOCK
from fourcast.grid import Grid, south_pole_rows
from fourcast.periods import last_hour, parse_time
from fourcast.variables import parse_channels

Float32 = NDArray[np.float32]
ToModel = Callable[[Float32], Float32]
"""Fields [..., H, W] on the grid of the analyses → the same on the model's."""
HASHED_BYTES = 2 * 10**9
"""Local files up to this size in all are known by their content; larger ones by the time of their last change."""
NAMED = 3


class Analyses(Protocol):
    """States to start from: the channels of a model on its grid, at rising ``times`` (UTC, whole hours).

    name: for people. digest: SHA-256 of what is read, in hexadecimal. synthetic: whether a simulated planet is in it.
    """

    @property
    def name(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def synthetic(self) -> bool: ...
    @property
    def times(self) -> Times: ...

    def read(self, time: np.datetime64) -> Float32:
        """The state [C, H, W] at ``time`` in physical units; InputError where there is none, or it is unreadable."""


@contextmanager
def open_analyses(config: ForecastConfig, card: Card) -> Iterator[Analyses]:
    """The analyses that ``config`` names, for the model of ``card``; they can be read inside the ``with`` block.

    Another grid is brought to the model's by ``config.regrid``; that of the model with a row at the south pole loses
    this row. Raises InputError where channels are missing, where the grid is another and no method is named, and where
    files hold several members of which ``config.initial_number`` chooses none.
    """
    channels = tuple(card.channels or ())
    if config.initial is None:
        if config.initial_number is not None:
            raise InputError("initial_number chooses a member of files: name them with initial=…, or leave it out")
        store = open_store(config.store)
        store.channel_positions(channels)
        yield _StoreAnalyses(store, channels, _to_model(str(store.path), store.grid, card.grid, config.regrid))
        return
    files = list_files(config.initial, config.initial_number)
    with open_states(files, config.initial_number, tuple(config.allow or ())) as source:
        _require_channels(source, channels)
        to_model = _to_model(_listed(source.paths), source.grid(channels), card.grid, config.regrid)
        described = f"number {config.initial_number}, regrid {config.regrid}"
        yield _SourceAnalyses(source, channels, _whole_hours(source, channels), to_model, described)


def initial_times(config: ForecastConfig, analyses: Analyses) -> list[np.datetime64]:
    """The initial times that ``config`` names, rising, each once; where it names none, the last of ``analyses``."""
    if config.init_times is not None:
        return sorted({parse_time("init_times", text) for text in config.init_times})
    if config.init_start is None:
        return [analyses.times[-1]]
    first = parse_time("init_start", config.init_start)
    last = last_hour("init_end", str(config.init_end))
    return list(np.arange(first, last + 1, np.timedelta64(config.init_every_hours, "h")))


def require_times(analyses: Analyses, times: Times) -> None:
    """Raise InputError, which names some of them, where ``times`` are not among those of ``analyses``."""
    missing = np.setdiff1d(times, analyses.times)
    if len(missing):
        held = analyses.times
        raise InputError(
            f"{analyses.name} has no analysis at {', '.join(map(str, missing[:5]))}{' …' if len(missing) > 5 else ''}; "
            f"it holds {len(held)} times from {held[0]} to {held[-1]}"
        )


@dataclass(frozen=True, eq=False)
class _StoreAnalyses:
    """Those of a training store."""

    store: Store
    channels: tuple[str, ...]
    to_model: ToModel

    @property
    def name(self) -> str:
        return self.store.path.name

    @property
    def digest(self) -> str:
        return self.store.digest

    @property
    def synthetic(self) -> bool:
        return self.store.synthetic

    @property
    def times(self) -> Times:
        return self.store.times

    def read(self, time: np.datetime64) -> Float32:
        """See Analyses."""
        return self.to_model(self.store.read(self.store.time_positions(np.array([time])), self.channels)[0])


@dataclass(frozen=True, eq=False)
class _SourceAnalyses:
    """Those of files. described: what else decides the fields."""

    source: Source
    channels: tuple[str, ...]
    times: Times
    to_model: ToModel
    described: str

    @property
    def name(self) -> str:
        return _listed(tuple(Path(path).name for path in self.source.paths))

    @cached_property
    def digest(self) -> str:
        return digest_of(self.source.paths, self.described)

    @property
    def synthetic(self) -> bool:
        return self.source.synthetic

    def read(self, time: np.datetime64) -> Float32:
        """See Analyses."""
        require_times(self, np.array([time]))
        with LOCK:  # files of the forecast may be written at the same time
            fields = self.source.read(np.array([time]).astype("datetime64[s]"), self.channels)
        return self.to_model(fields[0])


def digest_of(paths: tuple[str, ...], described: str, hashed_bytes: int = HASHED_BYTES) -> str:
    """SHA-256 of ``described`` and, for every file, its name and size and its content; a folder's files are all taken.

    Where local files exceed ``hashed_bytes`` in all, the time of their last change stands for the content; a URL is
    known by its name alone.
    """
    digest = hashlib.sha256(described.encode())
    remote = [path for path in paths if "://" in path]
    roots = [Path(path) for path in paths if "://" not in path]
    files = [(root, file) for root in roots for file in ([root] if root.is_file() else sorted(root.rglob("*")))]
    files = [(root, file) for root, file in files if file.is_file()]
    whole = sum(file.stat().st_size for _, file in files) <= hashed_bytes
    for path in remote:
        digest.update(path.encode())
    for root, file in files:
        status = file.stat()
        digest.update(f"{file.relative_to(root.parent)} {status.st_size}\n".encode())
        if whole:
            with file.open("rb") as handle:
                digest.update(hashlib.file_digest(handle, "sha256").digest())
        else:
            digest.update(str(status.st_mtime_ns).encode())
    return digest.hexdigest()


def _require_channels(source: Source, channels: tuple[str, ...]) -> None:
    """Raise InputError, with what could not be used and why, where ``source`` lacks any of ``channels``."""
    parse_channels(list(channels))
    held = source.channels
    missing = [name for name in channels if name not in {*held, *source.derivable}]
    if missing:
        reasons = "".join(f"; {unusable.reason}" for unusable in source.skipped[:12])
        raise InputError(
            f"{_listed(source.paths)} has no {', '.join(missing)}, which the model takes; it holds "
            f"{', '.join(held) or 'none'}{reasons}"
        )


def _whole_hours(source: Source, channels: tuple[str, ...]) -> Times:
    """The whole hours at which ``source`` holds all ``channels``; InputError where there is none."""
    every, some = source.times(channels)
    hours = every[every == every.astype("datetime64[h]")].astype("datetime64[h]")
    if len(hours) == 0:
        found = f"of {len(every) + len(some)} times none is a whole hour" if len(every) else "some are there apart"
        raise InputError(f"{_listed(source.paths)} holds {', '.join(channels)} at no hour together: {found}")
    return hours


def _to_model(name: str, given: Grid, wanted: Grid, method: str | None) -> ToModel:
    """How fields come to the model's grid; InputError where they cannot, or by a method that is not named."""
    if given.same_as(wanted):
        return _as_they_are
    rows = len(given.latitude) - south_pole_rows(given.latitude)
    if Grid(given.latitude[:rows], given.longitude).same_as(wanted):
        return _without_last_row
    if method is None:
        raise InputError(
            f"{name} has the grid {given}, the model was trained on {wanted}; pass regrid=conservative (from fine to "
            "coarse) or regrid=bilinear to bring it there"
        )
    return Regridder(given, wanted, method)


def _as_they_are(fields: Float32) -> Float32:
    return fields


def _without_last_row(fields: Float32) -> Float32:
    return np.ascontiguousarray(fields[..., :-1, :])


def _listed(paths: tuple[str, ...]) -> str:
    more = len(paths) - NAMED
    return ", ".join(paths[:NAMED]) + (f" and {more} more" if more > 0 else "")
