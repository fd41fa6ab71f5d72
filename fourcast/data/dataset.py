"""Training windows: index → normalised fields of consecutive analyses."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fourcast.config import within
from fourcast.data.store import Store, open_store
from fourcast.errors import InputError

Period = tuple[str | None, str | None]


class Windows(Dataset[Tensor]):
    """Every run of ``length`` analyses, step_hours apart, that lies in a period: index → [length, C, H, W].

    A window never spans a gap in the store. Fields are normalised by ``center`` and ``scale`` [C]. With
    ``in_memory`` the period's fields are read once; else every item is read from the store.
    """

    def __init__(
        self, store: Store, channels: tuple[str, ...], period: Period, length: int, in_memory: bool
    ) -> None:
        chosen = store.channel_positions(channels)
        self.path = store.path
        self.channels = channels
        self.length = length
        self.center = store.statistics.mean[chosen].astype(np.float32)[:, None, None]
        self.scale = store.statistics.std[chosen].astype(np.float32)[:, None, None]
        inside = np.flatnonzero(within(store.times, *period))
        self.starts = window_starts(store.times, inside, length, store.step_hours)
        if len(self.starts) == 0:
            raise InputError(
                f"{store.path} holds no {length} analyses {store.step_hours} h apart in {_words(period)}; it has "
                f"{len(store.times)} times from {store.times[0]} to {store.times[-1]}"
            )
        self.offset = int(self.starts[0])
        self.memory: Tensor | None = None
        self.store: Store | None = store
        if in_memory:
            stop = int(self.starts[-1]) + length
            self.memory = torch.from_numpy(self._normalise(store.read(slice(self.offset, stop), channels)))

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> Tensor:
        start = int(self.starts[index])
        if self.memory is not None:
            return self.memory[start - self.offset : start - self.offset + self.length]
        if self.store is None:
            self.store = open_store(self.path)
        return torch.from_numpy(self._normalise(self.store.read(slice(start, start + self.length), self.channels)))

    def __getstate__(self) -> dict[str, object]:
        """A worker opens the store itself: handles and threads do not survive the journey."""
        return {**self.__dict__, "store": None}

    def _normalise(self, fields: NDArray[np.float32]) -> NDArray[np.float32]:
        fields -= self.center
        fields /= self.scale
        return fields


def window_starts(
    times: NDArray[np.datetime64], inside: NDArray[np.int64], length: int, step_hours: int
) -> NDArray[np.int64]:
    """Positions from ``inside`` that begin ``length`` times exactly ``step_hours`` apart, all of them inside."""
    last = inside + length - 1
    possible = inside[last <= (inside[-1] if len(inside) else -1)]
    span = np.timedelta64((length - 1) * step_hours, "h")
    return possible[times[possible + length - 1] - times[possible] == span]


class Batches:
    """The endless stream of training batches, the same for any number of ranks, resumable at any step.

    Step s takes samples s · batch_size … of an endless sequence of epochs, each a permutation keyed by
    (seed, epoch); a rank takes its share of every batch.
    """

    def __init__(self, samples: int, batch_size: int, seed: int, share: tuple[int, int]) -> None:
        rank, ranks = share
        if batch_size % ranks:
            raise InputError(f"batch_size={batch_size} cannot be divided among {ranks} ranks; choose a multiple")
        self.samples, self.batch_size, self.seed = samples, batch_size, seed
        self.mine = slice(rank * batch_size // ranks, (rank + 1) * batch_size // ranks)

    def at(self, step: int) -> list[int]:
        """This rank's sample indices of batch ``step``."""
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)[self.mine]
        epochs = positions // self.samples
        orders = {int(epoch): self._order(int(epoch)) for epoch in np.unique(epochs)}
        return [int(orders[int(epoch)][p % self.samples]) for epoch, p in zip(epochs, positions, strict=True)]

    def between(self, first: int, stop: int) -> Iterator[list[int]]:
        """Batches of steps ``first`` to ``stop`` − 1."""
        return (self.at(step) for step in range(first, stop))

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([self.seed, epoch]).permutation(self.samples)


def loader(windows: Windows, batches: Iterable[list[int]], workers: int) -> DataLoader[Tensor]:
    """Batches [B, length, C, H, W] in the order given, read ahead by ``workers`` processes."""
    return DataLoader(
        windows,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        multiprocessing_context="forkserver" if workers else None,
        timeout=600 if workers else 0,
    )


def fits_in_memory(store: Store, channels: int, times: int, limit_gb: float) -> bool:
    """Whether ``times`` analyses of ``channels`` take no more than ``limit_gb`` gigabytes."""
    h, w = store.grid.shape
    return times * channels * h * w * 4 <= limit_gb * 1e9


def _words(period: Period) -> str:
    start, end = period
    return f"the period {start or 'from the first'} to {end or 'the last'}"
