"""Sources of analyses: one or many files as one series of channels, in our names, units and orientation."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from fourcast.data.sources.axes import Times
from fourcast.data.sources.openers import list_sources, open_datasets
from fourcast.data.sources.pieces import Float32, Piece, Unusable, pieces_of
from fourcast.errors import InputError
from fourcast.grid import Grid
from fourcast.variables import VARIABLES, parse_channel

ATTRIBUTION = ("title", "institution", "source", "references", "license", "licence")
ORDER = {variable.name: position for position, variable in enumerate(VARIABLES)}


@dataclass(frozen=True, eq=False)
class Source:
    """Files opened together; ``read`` touches the disk.

    paths: the files. pieces: the variables in them. skipped: arrays that are none of ours, with the reason.
    synthetic: whether a simulated planet is among them. attribution: what the files say about their origin.
    """

    paths: tuple[str, ...]
    pieces: tuple[Piece, ...]
    skipped: tuple[Unusable, ...]
    synthetic: bool
    attribution: Mapping[str, str]

    @property
    def channels(self) -> tuple[str, ...]:
        """All channels: surface variables in the table's order, then levelled ones, each with pressure rising."""
        names = {name for piece in self.pieces if not piece.variable.static for name in piece.channels}
        return tuple(sorted(names, key=_channel_order))

    def grid(self, channels: Iterable[str]) -> Grid:
        """The grid that ``channels`` share; InputError names two files on different grids."""
        pieces = self._pieces_with(channels)
        for piece in pieces[1:]:
            if not piece.axes.grid.same_as(pieces[0].axes.grid):
                raise InputError(
                    f"{piece.path} and {pieces[0].path} are on different grids, {piece.axes.grid} and "
                    f"{pieces[0].axes.grid}; ingest them apart or interpolate one"
                )
        return pieces[0].axes.grid

    def times(self, channels: Iterable[str]) -> tuple[Times, Times]:
        """Rising times at which all ``channels`` are there, and those at which only some of them are."""
        each = [self._times_of(channel) for channel in channels]
        every = reduce(np.intersect1d, each)
        return every, np.setdiff1d(reduce(np.union1d, each), every)

    def read(self, times: Times, channels: tuple[str, ...]) -> Float32:
        """Fields [T, C, H, W] at ``times``, all of which must hold all ``channels``.

        Raises InputError where a time is there twice with different values, or a file cannot be read.
        """
        pieces = self._pieces_with(channels)
        fields = np.empty((len(times), len(channels), *pieces[0].axes.grid.shape), dtype=np.float32)
        filled = np.zeros(fields.shape[:2], dtype=bool)
        for piece in pieces:
            wanted, positions = _matches(times, piece.axes.times)
            ours = np.array([i for i, name in enumerate(channels) if name in piece.channels])
            theirs = np.array([piece.channels.index(channels[i]) for i in ours])
            if len(wanted) == 0:
                continue
            block, here = piece.load(positions, theirs), np.ix_(wanted, ours)
            known = filled[here]
            if known.any() and not np.array_equal(fields[here][known], block[known], equal_nan=True):
                raise InputError(
                    f"{piece.path} has {piece.variable.name} between {times[wanted[0]]} and {times[wanted[-1]]} that "
                    "the source already holds with other values; remove one of the duplicates"
                )
            fields[here], filled[here] = block, True
        assert filled.all()
        return fields

    def versions(self, times: Times, channels: Iterable[str]) -> dict[str, int]:
        """How many of ``times`` hold each ERA5 version (expver) where the files say so: "0001" final, "0005" not."""
        found: dict[str, NDArray[np.bool_]] = {}
        for piece in self._pieces_with(channels):
            if piece.axes.expver is None:
                continue
            wanted, positions = _matches(times, piece.axes.times)
            for version in np.unique(piece.axes.expver[positions]):
                holds = found.setdefault(str(version), np.zeros(len(times), dtype=bool))
                holds[wanted[piece.axes.expver[positions] == version]] = True
        return {version: int(holds.sum()) for version, holds in sorted(found.items())}

    def static(self, grid: Grid) -> tuple[dict[str, Float32], dict[str, str]]:
        """Static fields [H, W] on ``grid``, and the reason for each that cannot be used."""
        fields: dict[str, Float32] = {}
        unusable: dict[str, str] = {}
        for piece in self.pieces:
            name = piece.variable.name
            if not piece.variable.static or name in fields:
                continue
            ends = [np.array([0]), np.array([len(piece.axes.times) - 1])] if len(piece.axes.times) else [np.array([0])]
            first, last = (piece.load(end, np.array([0]))[0, 0] for end in (ends[0], ends[-1]))
            if not np.array_equal(first, last, equal_nan=True):
                unusable[name] = f"{piece.array.name} has no level and changes in time, so it is not the surface's"
            elif not piece.axes.grid.same_as(grid):
                unusable[name] = f"{piece.array.name} is on the grid {piece.axes.grid}, the analyses are on {grid}"
            elif not np.isfinite(first).all():
                unusable[name] = f"{piece.array.name} has missing values"
            else:
                fields[name] = first
        return fields, {name: reason for name, reason in unusable.items() if name not in fields}

    def _times_of(self, channel: str) -> Times:
        return np.unique(np.concatenate([piece.axes.times for piece in self._pieces_with([channel])]))

    def _pieces_with(self, channels: Iterable[str]) -> list[Piece]:
        wanted = set(channels)
        return [piece for piece in self.pieces if not piece.variable.static and wanted & set(piece.channels)]


@contextmanager
def open_source(paths: Iterable[str], number: int | None = None, forecast_step: int | None = None) -> Iterator[Source]:
    """Open files, folders, globs, zarrs or URLs as one source; it stays open inside the ``with`` block.

    number, forecast_step: the ensemble member, and the forecast step in hours, where the source holds several.
    Raises InputError where a file cannot be read or holds nothing that can be used.
    """
    with ExitStack() as resources:
        files = list_sources(paths)
        pieces: list[Piece] = []
        skipped: list[Unusable] = []
        attributes = []
        for path in files:
            for dataset in open_datasets(path, resources):
                attributes.append(dataset.attrs)
                for found in pieces_of(dataset, path, number, forecast_step):
                    if isinstance(found, Piece):
                        pieces.append(found)
                    else:
                        skipped.append(found)
        if not pieces:
            reasons = "; ".join(dict.fromkeys(u.reason for u in skipped)) or "no array on a grid"
            raise InputError(f"{', '.join(files)}: nothing in here can be used: {reasons}")
        synthetic = any(str(a.get("synthetic", "")).lower() in ("true", "1") for a in attributes)
        yield Source(tuple(files), tuple(pieces), tuple(skipped), synthetic, _attribution(attributes))


def _attribution(attributes: list[dict]) -> dict[str, str]:
    """What the files say about their origin, each statement once."""
    stated = {key: [str(a[key]) for a in attributes if key in a] for key in ATTRIBUTION}
    return {key: "; ".join(dict.fromkeys(texts)) for key, texts in stated.items() if texts}


def _channel_order(name: str) -> tuple[bool, int, int]:
    channel = parse_channel(name)
    return channel.variable.levels, ORDER[channel.variable.name], channel.level or 0


def _matches(times: Times, others: Times) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions in rising ``times`` of what rising ``others`` hold as well, and where that lies in ``others``."""
    _, ours, theirs = np.intersect1d(times, others, assume_unique=True, return_indices=True)
    return ours, theirs
