"""The analyses that forecasts are verified against: a store of ours, or analyses in files of the usual forms."""

import glob
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fourcast.data.sources.axes import MEMBERS, STEPS
from fourcast.data.sources.openers import SourceOptions
from fourcast.data.sources.pieces import Piece, Unusable, pieces_of
from fourcast.data.sources.source import Source
from fourcast.data.store import Store, open_store
from fourcast.errors import InputError
from fourcast.grid import Grid
from fourcast.verify.inputs.follow import can_read, inputs, lacking_channels, read_with_derived
from fourcast.verify.inputs.headers import Header, is_synthetic, open_headers

Float32 = NDArray[np.float32]
Times = NDArray[np.datetime64]
BOLTON_ALLOWED = SourceOptions(allow=("bolton",))


class AnalysisReader(Protocol):
    """Reads analyses in the house's orientation."""

    def read(self, times: Times, channels: tuple[str, ...]) -> Float32:
        """Fields [T, C, H, W] at ``times`` in any order."""

    def static(self) -> Mapping[str, Float32]:
        """Fields [H, W] that are the same at all times, by name."""


@dataclass(frozen=True, eq=False)
class Targets:
    """Analyses; ``read`` touches the disk, everything else but ``land_HW`` is in memory.

    channels: those they hold. times: [T], increasing, in hours, at which they hold all of them. climatology_period:
    first and last day that the climatology beside them is of, where there is one. formulas: variable → how its values
    came about, where that is not as in ERA5. refused: arrays of ours that cannot be used, and why.
    """

    path: str
    channels: tuple[str, ...]
    times: Times
    grid: Grid
    synthetic: bool
    climatology_period: tuple[np.datetime64, np.datetime64] | None
    reader: AnalysisReader
    formulas: Mapping[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    store: Store | None = None

    def read(self, times: Times, channels: tuple[str, ...]) -> Float32:
        """Fields [T, C, H, W] of ``channels``, those that follow from winds among them, at ``times``.

        InputError names times and channels that are not there, or a file that cannot be read.
        """
        self.require(channels)
        self._require_times(times)
        fields_CTHW = read_with_derived(
            channels, self.channels, self.grid, lambda needed: self.reader.read(times, needed).swapaxes(0, 1)
        )
        return np.ascontiguousarray(fields_CTHW.swapaxes(0, 1))

    def can_read(self, channel: str) -> bool:
        """Whether ``read`` gives this channel."""
        return can_read(channel, self.channels)

    @cached_property
    def land_HW(self) -> Float32 | None:  # noqa: N802 (the shape)
        """The share of land from 0 to 1; None where the analyses come without one."""
        land = self.reader.static().get("lsm")
        return None if land is None else land[: len(self.grid.latitude)]

    def require(self, channels: tuple[str, ...]) -> None:
        """InputError names those of ``channels`` that ``read`` cannot give."""
        missing = [name for name in channels if not self.can_read(name)]
        if missing:
            raise InputError(lacking_channels(self.path, missing, self.channels, self.refused))

    def _require_times(self, times: Times) -> None:
        lacking = times[~np.isin(times, self.times)]
        if len(lacking):
            raise InputError(
                f"{self.path} has no analysis at {', '.join(map(str, lacking[:5]))}{' …' if len(lacking) > 5 else ''}; "
                f"it holds {len(self.times)} times from {self.times[0]} to {self.times[-1]}"
            )


def open_targets(path: str | Path) -> Targets:
    """Open analyses: a store of ours, a zarr in the layout of WeatherBench 2 or ARCO-ERA5, or netCDF and GRIB files.

    path: a folder, a file, a glob or a URL. Nothing but headers is read. InputError where nothing is there or nothing
    in it can be used.
    """
    folder = Path(path)
    if "://" not in str(path) and (folder / "zarr.json").exists() and _says_store(folder):
        return _of_store(open_store(folder))
    return _of_files(str(path))


def _says_store(folder: Path) -> bool:
    return '"fourcast_store"' in (folder / "zarr.json").read_text(encoding="utf-8")


def _of_store(store: Store) -> Targets:
    period = store.attributes.get("statistics_period")
    first_last = None if period is None else (np.datetime64(period[0], "h"), np.datetime64(period[1], "h"))
    return Targets(
        str(store.path), store.channels, store.times, store.grid, store.synthetic, first_last, _StoreReader(store),
        store=store,
    )  # fmt: skip


@dataclass(frozen=True)
class _StoreReader:
    store: Store

    def read(self, times: Times, channels: tuple[str, ...]) -> Float32:
        return self.store.read(self.store.time_positions(times), channels)

    def static(self) -> Mapping[str, Float32]:
        return self.store.static


def _of_files(path: str) -> Targets:
    if "://" not in path and not glob.has_magic(path) and not Path(path).exists():
        open_store(path)
    resources = ExitStack()
    headers = open_headers(path, resources)
    _refuse_forecasts(headers)
    found = [
        piece for header in headers for piece in pieces_of(header.dataset, header.path, None, None, BOLTON_ALLOWED)
    ]
    pieces = _without_bolton([piece for piece in found if isinstance(piece, Piece)])
    refused = tuple(piece for piece in found if isinstance(piece, Unusable) and piece.known)
    reasons = tuple(dict.fromkeys(f"{path}: {piece.reason}" for piece in refused))
    if all(piece.variable.static for piece in pieces):
        raise InputError(f"{path} holds no analysis that can be used: {'; '.join(reasons) or 'no variable of ours'}")
    synthetic = is_synthetic(header.dataset for header in headers)
    source = Source(tuple(header.path for header in headers), pieces, refused, synthetic, {})
    return _of_source(path, source, _FileReader(source, headers, resources), reasons)


def _of_source(path: str, source: Source, reader: "_FileReader", refused: tuple[str, ...]) -> Targets:
    times = source.times(_with_times_of_their_own(source))[0]
    hours = times.astype("datetime64[h]")
    times = hours[hours == times]
    if len(times) == 0:
        raise InputError(f"{path} holds no time at a full hour at which all of {', '.join(source.channels)} are there")
    formulas = {piece.variable.name: piece.formula for piece in source.pieces if piece.formula}
    return Targets(path, source.channels, times, reader.grid, source.synthetic, None, reader, formulas, refused)


def _refuse_forecasts(headers: list[Header]) -> None:
    for header in headers:
        several = [name for name in (*MEMBERS, *STEPS) if header.dataset.sizes.get(name, 1) > 1]
        if several:
            raise InputError(
                f"{header.path} is a forecast: it has several of {' and '.join(several)}; name analyses as the store"
            )


def _without_bolton(pieces: list[Piece]) -> tuple[Piece, ...]:
    """Relative humidity by Bolton's formula is left out where ERA5's own follows from what is there."""
    held = {name for piece in pieces for name in piece.channels}
    return tuple(p for p in pieces if not p.formula or not all(set(inputs(name)) <= held for name in p.channels))


def _with_times_of_their_own(source: Source) -> tuple[str, ...]:
    """One channel of every set of files, as all others of the same files have the same times; and summed ones."""
    sets: dict[tuple[int, ...], str] = {}
    for name in source.channels:
        files = tuple(i for i, piece in enumerate(source.pieces) if name in piece.channels)
        sets.setdefault(files, name)
    return tuple(name for files, name in sets.items() if files or name == "tp06")


@dataclass(frozen=True, eq=False)
class _FileReader:
    """Analyses of files; ``resources`` would close them."""

    source: Source
    headers: list[Header]
    resources: ExitStack

    @cached_property
    def grid(self) -> Grid:
        return self.source.grid(self.source.channels)

    def read(self, times: Times, channels: tuple[str, ...]) -> Float32:
        rising, places = np.unique(times.astype("datetime64[s]"), return_inverse=True)
        with self._guards():
            return self.source.read(rising, channels)[places]

    def static(self) -> Mapping[str, Float32]:
        with self._guards():
            return self.source.static(self.grid)[0]

    def _guards(self) -> ExitStack:
        held = ExitStack()
        for guard in {id(header.guard): header.guard for header in self.headers}.values():
            held.enter_context(guard)
        return held
