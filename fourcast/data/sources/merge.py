"""Many pieces as one series: fields put together, duplicates compared, final ERA5 preferred to preliminary."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourcast.data.sources.axes import Times
from fourcast.data.sources.pieces import Float32, Piece
from fourcast.errors import InputError
from fourcast.grid import Grid

Versions = NDArray[np.int64]


def read_pieces(pieces: Iterable[Piece], times: Times, channels: tuple[str, ...], grid: Grid) -> Float32:
    """Fields [T, C, H, W] of ``channels`` at rising ``times``, all of which must be in ``pieces``.

    Raises InputError where a time is there twice with different values, or a file cannot be read.
    """
    merger = _Merger.empty((len(times), len(channels)), grid)
    for piece in pieces:
        wanted, positions = _matches(times, piece.axes.times)
        ours = np.array([i for i, name in enumerate(channels) if name in piece.channels])
        if len(wanted) == 0 or len(ours) == 0:
            continue
        theirs = np.array([piece.channels.index(channels[i]) for i in ours])
        block, versions = piece.load(positions, theirs), piece.versions(positions)
        if not merger.add(np.ix_(wanted, ours), block, versions[:, None]):
            raise InputError(
                f"{piece.path} has {piece.variable.name} between {times[wanted[0]]} and {times[wanted[-1]]} that "
                "the source already holds with other values; remove one of the duplicates"
            )
    assert merger.filled.all()
    return merger.fields


def times_of(pieces: Iterable[Piece], channel: str) -> Times:
    """Rising times at which any of ``pieces`` holds ``channel``."""
    return np.unique(np.concatenate([piece.axes.times for piece in pieces if channel in piece.channels]))


def versions_of(pieces: Iterable[Piece], times: Times, channel: str) -> Versions:
    """The ERA5 version of ``channel`` that ``read_pieces`` takes at rising ``times``: 1, 5, or 0 where it is unsaid."""
    least = np.zeros(len(times), dtype=np.int64)
    for piece in pieces:
        if channel in piece.channels:
            wanted, positions = _matches(times, piece.axes.times)
            versions = piece.versions(positions)
            better = (versions != 0) & ((least[wanted] == 0) | (versions < least[wanted]))
            least[wanted[better]] = versions[better]
    return least


@dataclass(frozen=True, eq=False)
class _Merger:
    """Fields [T, C, H, W] being put together, which of them are there, and the version of each (0: not stated)."""

    fields: Float32
    filled: NDArray[np.bool_]
    versions: Versions

    @classmethod
    def empty(cls, shape: tuple[int, int], grid: Grid) -> "_Merger":
        fields = np.empty((*shape, *grid.shape), dtype=np.float32)
        return cls(fields, np.zeros(shape, dtype=bool), np.zeros(shape, dtype=np.int64))

    def add(self, here: tuple[NDArray, ...], block: Float32, versions: Versions) -> bool:
        """Put what is new, or final where preliminary was, at the positions ``here``; False where it contradicts."""
        filled, before = self.filled[here], self.versions[here]
        differ = (before != 0) & (versions != 0) & (before != versions)
        same = filled & ~differ
        if same.any() and not np.array_equal(self.fields[here][same], block[same], equal_nan=True):
            return False
        taken = ~filled | (differ & (versions < before))
        if taken.all():
            self.fields[here] = block
        else:
            self.fields[here] = np.where(taken[..., None, None], block, self.fields[here])
        self.versions[here] = np.where(taken, versions, before)
        self.filled[here] = True
        return True


def _matches(times: Times, others: Times) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions in ``times`` of what rising ``others`` hold as well, and where that lies in ``others``."""
    at = np.searchsorted(others, times)
    ours = np.flatnonzero(at < len(others))
    ours = ours[others[at[ours]] == times[ours]]
    return ours, at[ours]
