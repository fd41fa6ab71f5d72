"""Training windows: index → fields of analyses evenly spaced in time, and the order in which they are drawn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourcast.config import Period
from fourcast.data.reader import Float32
from fourcast.data.series import Series, series_reader
from fourcast.data.statistics import StatisticsSums
from fourcast.data.store import Store, Times
from fourcast.errors import InputError
from fourcast.periods import within

TENDENCY_WINDOWS = 64
"""How many windows tell the typical change between two states, where the store's statistics do not."""


@dataclass(frozen=True)
class Span:
    """States of a window: ``inputs`` and then ``targets``, ``stride`` steps of the store apart."""

    inputs: int = 1
    targets: int = 1
    stride: int = 1

    @property
    def length(self) -> int:
        """How many states a window holds."""
        return self.inputs + self.targets


class Windows:
    """Every window of a span that lies in one of the periods: index → [length, C, H, W] in physical units.

    A window never touches a time that the stores lack; it may reach from one store into the next. With ``in_memory``
    the fields of all windows are read once; else every window is read from the stores.
    """

    def __init__(
        self, series: Series, channels: tuple[str, ...], periods: Sequence[Period], span: Span, in_memory: bool
    ) -> None:
        step = np.timedelta64(span.stride * series.first.step_hours, "h")
        self.times = window_times(series.times, period_of(series.times, periods), span.length, step)
        if len(self.times) == 0:
            raise InputError(
                f"{series.name} holds no {span.length} analyses {step.astype(int)} h apart in {_words(periods)}; it "
                f"has {len(series.times)} times from {series.times[0]} to {series.times[-1]}"
            )
        self.latitude = series.first.grid.latitude
        self.shape: tuple[int, ...] = (span.length, len(channels), *series.first.grid.shape)
        self.reader = series_reader(series, channels)
        self.memory: Float32 | None = None
        if in_memory:
            used, places = np.unique(self.times, return_inverse=True)
            self.places = places.reshape(self.times.shape)
            self.memory = np.empty((len(used), *self.shape[1:]), np.float32)
            self.reader.read(used, self.memory)

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, index: int) -> Float32:
        window = np.empty(self.shape, np.float32)
        self.fill(index, window)
        return window

    def fill(self, index: int, out: Float32, threads: int | None = None) -> None:
        """Read window ``index`` into ``out`` [length, C, H, W], with ``threads`` (default: one a processor)."""
        if self.memory is None:
            self.reader.read(self.times[index], out, threads)
        else:
            np.take(self.memory, self.places[index], axis=0, out=out)

    def tendency_std(self) -> NDArray[np.float64]:
        """Root-mean-square change from the first state of a window to the second [C], of evenly spaced windows."""
        sums = StatisticsSums(self.latitude, self.shape[1])
        for index in np.unique(np.linspace(0, len(self) - 1, TENDENCY_WINDOWS).round().astype(int)):
            window = self[int(index)]
            sums.add_steps(window[:1], window[1:2])
        return sums.finish().tendency_std


def period_of(times: Times, periods: Sequence[Period]) -> NDArray[np.int64]:
    """Which period each of ``times`` lies in [T], −1 for none; InputError where periods overlap."""
    found = np.full(len(times), -1)
    for number, period in enumerate(periods):
        inside = within(times, *period)
        if (found[inside] >= 0).any():
            raise InputError(f"the periods {_words(periods)} overlap; name periods that lie apart")
        found[inside] = number
    return found


def window_times(times: Times, period: NDArray[np.int64], length: int, step: np.timedelta64) -> NDArray[np.int64]:
    """Positions in ``times`` [N, length] of all runs spaced by ``step`` whose times are there and in one period."""
    wanted = times[:, None] + step * np.arange(length)
    found = np.searchsorted(times, wanted).clip(max=len(times) - 1)
    whole = (times[found] == wanted) & (period[found] == period[:, None]) & (period >= 0)[:, None]
    return found[whole.all(axis=1)]


@dataclass(frozen=True)
class Normalisation:
    """Physical units → standard deviations from the mean; center, scale: [C, 1, 1]."""

    center: Tensor
    scale: Tensor

    def __call__(self, fields: Tensor) -> Tensor:
        """Normalise ``fields`` [..., C, H, W] in place, and return them."""
        return fields.sub_(self.center).div_(self.scale)


def normalisation(store: Store, channels: tuple[str, ...], device: torch.device) -> Normalisation:
    """How ``channels`` are normalised, by the statistics of ``store``, on ``device``."""
    chosen = store.channel_positions(channels)
    center, scale = (
        torch.from_numpy(values[chosen].astype(np.float32)[:, None, None]).to(device)
        for values in (store.statistics.mean, store.statistics.std)
    )
    return Normalisation(center, scale)


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


def fits_in_memory(series: Series, channels: int, limit_gb: float) -> bool:
    """Whether all analyses of a series, of ``channels``, take no more than ``limit_gb`` gigabytes."""
    h, w = series.first.grid.shape
    return len(series.times) * channels * h * w * 4 <= limit_gb * 1e9


def _words(periods: Sequence[Period]) -> str:
    return " and ".join(f"the period {start or 'from the first'} to {end or 'the last'}" for start, end in periods)
