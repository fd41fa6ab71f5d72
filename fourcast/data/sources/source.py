"""Sources of analyses: one or many files as one series of channels, in our names, units and orientation."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from fourcast.data.sources.axes import Times
from fourcast.data.sources.derive import Recipe, as_held, find_recipes
from fourcast.data.sources.merge import read_pieces, times_of, versions_of
from fourcast.data.sources.openers import NO_OPTIONS, SourceOptions, list_sources, open_datasets
from fourcast.data.sources.pieces import Float32, Piece, Unusable, pieces_of
from fourcast.data.sources.recognise import HOURLY_PRECIPITATION
from fourcast.errors import InputError
from fourcast.grid import Grid
from fourcast.variables import VARIABLES, parse_channel

ATTRIBUTION = ("title", "institution", "source", "references", "license", "licence")
HOURLY_WITHOUT_SIX = Unusable(
    HOURLY_PRECIPITATION.name,
    "tp sums over one hour, and no six hours follow each other: tp06 needs all six; give total_precipitation_6hr",
    known=False,
)
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
        """All channels: surface variables in the table's order, then levelled ones, each with pressure rising.

        Six-hour precipitation is among them where six hourly sums precede any time.
        """
        names = self._held() | ({"tp06"} & set(self.derivable))
        return tuple(sorted(names - {HOURLY_PRECIPITATION.name}, key=_channel_order))

    @property
    def derivable(self) -> tuple[str, ...]:
        """Channels that no file holds but that follow from those that files hold: relative humidity, tp06."""
        recipes = find_recipes(self._held())
        usable = [name for name, recipe in recipes.items() if recipe.hours == (0,) or len(self._times_of(recipe))]
        return tuple(sorted(usable, key=_channel_order))

    def formulas(self, channels: Iterable[str]) -> dict[str, str]:
        """How the values of those of ``channels`` came about that are not ERA5's own."""
        held = {name: piece.formula for piece in self.pieces for name in piece.channels if piece.formula}
        stated = {name: recipe.formula or held.get(name, "") for name, recipe in self._recipes(channels).items()}
        return {name: formula for name, formula in stated.items() if formula}

    def grid(self, channels: Iterable[str]) -> Grid:
        """The grid that ``channels`` share; InputError names two files on different grids."""
        pieces = self._pieces_with(name for recipe in self._recipes(channels).values() for name in recipe.inputs)
        for piece in pieces[1:]:
            if not piece.axes.grid.same_as(pieces[0].axes.grid):
                raise InputError(
                    f"{piece.path} and {pieces[0].path} are on different grids, {piece.axes.grid} and "
                    f"{pieces[0].axes.grid}; ingest them apart or interpolate one"
                )
        return pieces[0].axes.grid

    def times(self, channels: Iterable[str]) -> tuple[Times, Times]:
        """Rising times at which all ``channels`` are there, and those at which only some of them are."""
        each = [self._times_of(recipe) for recipe in self._recipes(channels).values()]
        every = reduce(np.intersect1d, each)
        return every, np.setdiff1d(reduce(np.union1d, each), every)

    def read(self, times: Times, channels: tuple[str, ...]) -> Float32:
        """Fields [T, C, H, W] at rising ``times``, all of which must hold all ``channels``.

        Where a time is there as final and as preliminary ERA5, the final one is taken. Raises InputError where a time
        is there twice with different values, or a file cannot be read.
        """
        recipes, grid = self._recipes(channels), self.grid(channels)
        names = tuple(dict.fromkeys(name for r in recipes.values() if r.hours == (0,) for name in r.inputs))
        block = read_pieces(self._pieces_with(names), times, names, grid)
        if names == channels:
            return block
        fields = np.empty((len(times), len(channels), *grid.shape), dtype=np.float32)
        for i, channel in enumerate(channels):
            recipe = recipes[channel]
            if recipe.hours == (0,):
                inputs = block[:, None, [names.index(name) for name in recipe.inputs]]
            else:
                inputs = self._over_hours(times, recipe, grid)
            fields[:, i] = recipe.compute(inputs)
        return fields

    def expver_at(self, times: Times, channels: Iterable[str]) -> NDArray[np.str_]:
        """The ERA5 version of each of ``times``: "0001" final, "0005" where any channel is preliminary, "" unsaid."""
        latest = np.zeros(len(times), dtype=np.int64)
        for recipe in self._recipes(channels).values():
            needed, positions = _needed(times, recipe.hours)
            for name in recipe.inputs:
                versions = versions_of(self._pieces_with([name]), needed, name)
                latest = np.maximum(latest, versions[positions].max(axis=1))
        return np.array([f"{version:04d}" if version else "" for version in latest], dtype=np.str_)

    def versions(self, times: Times, channels: Iterable[str]) -> dict[str, int]:
        """How many of ``times`` are of each ERA5 version (expver), of those of which the files say it."""
        names, counts = np.unique(self.expver_at(times, channels), return_counts=True)
        return {str(name): int(count) for name, count in zip(names, counts, strict=True) if name}

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

    def _held(self) -> set[str]:
        """Names of all that vary in time in the files: channels, and hourly precipitation."""
        return {name for piece in self.pieces if not piece.variable.static for name in piece.channels}

    def _recipes(self, channels: Iterable[str]) -> dict[str, Recipe]:
        """How each of ``channels`` comes from what files hold."""
        derived = find_recipes(self._held())
        return {name: derived.get(name, as_held(name)) for name in channels}

    def _times_of(self, recipe: Recipe) -> Times:
        """Times at which all inputs of a recipe are there at all of its hours."""
        held = [times_of(self._pieces_with([name]), name) for name in recipe.inputs]
        return reduce(np.intersect1d, [times - np.timedelta64(hour, "h") for times in held for hour in recipe.hours])

    def _over_hours(self, times: Times, recipe: Recipe, grid: Grid) -> Float32:
        """A recipe's inputs [T, hours, inputs, H, W] at its hours around each of ``times``; no hour is read twice."""
        needed, positions = _needed(times, recipe.hours)
        return read_pieces(self._pieces_with(recipe.inputs), needed, recipe.inputs, grid)[positions]

    def _pieces_with(self, names: Iterable[str]) -> list[Piece]:
        wanted = set(names)
        return [piece for piece in self.pieces if not piece.variable.static and wanted & set(piece.channels)]


@contextmanager
def open_source(
    paths: Iterable[str],
    number: int | None = None,
    forecast_step: int | None = None,
    options: SourceOptions = NO_OPTIONS,
) -> Iterator[Source]:
    """Open files, folders, globs, zarrs or URLs as one source; it stays open inside the ``with`` block.

    number, forecast_step: the ensemble member, and the forecast step in hours, where the source holds several.
    Raises InputError where a file cannot be read or holds nothing that can be used, and once it is open OSError where a
    server fails.
    """
    with ExitStack() as resources:
        files = list_sources(paths)
        pieces: list[Piece] = []
        skipped: list[Unusable] = []
        attributes = []
        for path in files:
            for dataset in open_datasets(path, resources, options):
                attributes.append(dataset.attrs)
                for found in pieces_of(dataset, path, number, forecast_step, options):
                    if isinstance(found, Piece):
                        pieces.append(found)
                    else:
                        skipped.append(found)
        if not pieces:
            reasons = "; ".join(dict.fromkeys(u.reason for u in skipped)) or "no array on a grid"
            raise InputError(f"{', '.join(files)}: nothing in here can be used: {reasons}")
        synthetic = any(str(a.get("synthetic", "")).lower() in ("true", "1") for a in attributes)
        source = Source(tuple(files), tuple(pieces), tuple(skipped), synthetic, _attribution(attributes))
        if any(piece.variable == HOURLY_PRECIPITATION for piece in pieces) and "tp06" not in source.channels:
            source = replace(source, skipped=(*skipped, HOURLY_WITHOUT_SIX))
        yield source


def _attribution(attributes: list[dict]) -> dict[str, str]:
    """What the files say about their origin, each statement once."""
    stated = {key: [str(a[key]) for a in attributes if key in a] for key in ATTRIBUTION}
    return {key: "; ".join(dict.fromkeys(texts)) for key, texts in stated.items() if texts}


def _channel_order(name: str) -> tuple[bool, int, int]:
    channel = parse_channel(name)
    return channel.variable.levels, ORDER[channel.variable.name], channel.level or 0


def _needed(times: Times, hours: tuple[int, ...]) -> tuple[Times, NDArray[np.int64]]:
    """All of ``times`` moved by each of ``hours``, rising and each once, and the positions [T, hours] of each in it."""
    moved = times[:, None] + np.array(hours, dtype="timedelta64[h]")
    needed, positions = np.unique(moved, return_inverse=True)
    return needed, positions.reshape(moved.shape)
