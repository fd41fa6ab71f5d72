"""One or several stores as one series of analyses."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourcast.data.reader import FieldReader, Float32
from fourcast.data.store import Store, Times, open_store
from fourcast.errors import InputError


@dataclass(frozen=True, eq=False)
class Series:
    """The analyses of stores of one grid and step, in the order of time, as if they lay in one store.

    times [T] increase and may have gaps. owner, position: [T] which store holds a time, and where.
    """

    stores: tuple[Store, ...]
    times: Times
    owner: NDArray[np.int64]
    position: NDArray[np.int64]

    @property
    def first(self) -> Store:
        """The store whose grid, step, statistics and channels are those of the series."""
        return self.stores[0]

    @property
    def name(self) -> str:
        """The paths, for messages."""
        return ", ".join(str(store.path) for store in self.stores)


def open_series(paths: Sequence[str]) -> Series:
    """Open finished stores; InputError where they do not belong together, or hold a time twice."""
    stores = tuple(open_store(path) for path in paths)
    for store in stores[1:]:
        _refuse_unlike(stores[0], store)
    times = np.concatenate([store.times for store in stores])
    owner = np.repeat(np.arange(len(stores)), [len(store.times) for store in stores])
    position = np.concatenate([np.arange(len(store.times)) for store in stores])
    order = np.argsort(times, kind="stable")
    times, owner = times[order], owner[order]
    twice = np.flatnonzero(times[1:] == times[:-1])
    if len(twice):
        first, second = (stores[owner[i]].path for i in (twice[0], twice[0] + 1))
        raise InputError(
            f"{len(twice)} times are in more than one store: {times[twice[0]]} is in {first} and in {second}; leave "
            "one of them out of data.store, or ingest periods that do not overlap"
        )
    return Series(stores, times, owner, position[order])


def _refuse_unlike(first: Store, other: Store) -> None:
    pairs = {
        "step_hours": (first.step_hours, other.step_hours),
        "synthetic": (first.synthetic, other.synthetic),
        "grid": (str(first.grid), str(other.grid)),
        "channels": (", ".join(sorted(first.channels)), ", ".join(sorted(other.channels))),
    }
    differ = [f"{key} {a} and {b}" for key, (a, b) in pairs.items() if a != b]
    if not differ and not first.grid.same_as(other.grid):
        differ = [f"grid {first.grid}, at other latitudes or longitudes"]
    if differ:
        raise InputError(
            f"{first.path} and {other.path} differ: {'; '.join(differ)}; data.store may list stores of one kind only"
        )


@dataclass(frozen=True, eq=False)
class SeriesReader:
    """Reads chosen channels of a series; travels to other threads and processes."""

    readers: tuple[FieldReader, ...]
    channels: tuple[tuple[int, ...], ...]
    owner: NDArray[np.int64]
    position: NDArray[np.int64]

    def read(self, times: NDArray[np.int64], out: Float32, threads: int | None = None) -> None:
        """Fill ``out`` [len(times), C, H, W] with the analyses at positions ``times`` of the series."""
        for start, stop in _runs(self.owner[times]):
            store = self.owner[times[start]]
            positions = [int(p) for p in self.position[times[start:stop]]]
            self.readers[store].read(positions, self.channels[store], out[start:stop], threads)


def series_reader(series: Series, channels: tuple[str, ...]) -> SeriesReader:
    """A reader of ``channels``, in their order; InputError names those that a store lacks."""
    chosen = tuple(tuple(store.channel_positions(channels)) for store in series.stores)
    return SeriesReader(tuple(store.reader for store in series.stores), chosen, series.owner, series.position)


def _runs(values: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Runs (start, stop) of equal ``values``."""
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return ((a, b) for a, b in itertools.pairwise(edges) if b > a)
