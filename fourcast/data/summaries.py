"""Statistics and climatology of one channel, in one pass over the store's own fields in the order of time.

The pass comes after the parts, because the sums of a climatology are too large to keep one for every part: for 20
channels on a grid of 0.25°, three gigabytes, however short the part. A channel's sums over its whole blocks of times
stay in the store, so that times appended later are added to them as if all had been there at once, and a pass that was
interrupted goes on from where it last kept them. What a channel's result is depends on nothing but its fields.
"""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourcast.data.climatology import Climatology, ClimatologySums
from fourcast.data.manifest import Record
from fourcast.data.plan import Plan
from fourcast.data.reader import ShardReader, shard_layout
from fourcast.data.statistics import Statistics, StatisticsSums
from fourcast.data.store import Float32
from fourcast.data.writer import INGEST
from fourcast.files import whole_file

BLOCK_BYTES = 2**26
"""Fields of one channel that are added at a time, in whole shards."""
KEEP_SECONDS = 300.0
"""How often sums are kept on the way."""
WORTH_KEEPING = 4
"""Sums are kept where the fields that they stand for are so many times larger; else those are read again."""


class Summaries:
    """Makes the summaries of a plan whose parts are all there; ``records`` are theirs in order."""

    def __init__(self, store: Path, plan: Plan, records: list[Record]) -> None:
        self.store, self.plan = store, plan
        self.learned = plan.learned
        self.hours = plan.times.astype(np.int64)
        self.digests = [digest for record in records for digest in record.shards.values()]
        self.block = block_times(plan)
        self.whole = len(self.hours) - len(self.hours) % self.block
        size = len(np.unique(self.hours[self.learned] % 24)) * (1 + 2 * int(plan.settings["climatology_harmonics"]))
        self.keeps = 4 * self.whole > WORTH_KEEPING * 8 * size

    def path(self, kind: str, channel: str) -> Path:
        """Where the ``sums`` or the ``summaries`` of a channel lie."""
        return self.store / INGEST / kind / f"{channel}.npz"

    def is_done(self, channel: str) -> bool:
        """Whether the summary of a channel is there and is that of the plan's fields."""
        return self._mark_of(self.path("summaries", channel)) == self._mark(len(self.hours))

    def statistics(self, channel: str) -> Statistics:
        """The statistics of a channel, each [1]."""
        with np.load(self.path("summaries", channel)) as kept:
            return Statistics(*(kept[field.name] for field in fields(Statistics)))

    def climatology(self, channel: str) -> Climatology:
        """The climatology of a channel, [hour, term, 1, H, W]."""
        with np.load(self.path("summaries", channel)) as kept:
            return Climatology(kept["hours"], kept["coefficients"])

    def write(self, channel: str) -> None:
        """Summarise one channel; reads its fields from the store."""
        wanted = int(self.plan.settings["climatology_harmonics"])
        sums = ChannelSums(self.plan, wanted if self.keeps else self.plan.harmonics)
        start, kept_at = self._restore(channel, sums) if self.keeps else 0, time.monotonic()
        for positions, values in self._blocks(channel, start):
            sums.add(self.plan.times[positions], self.learned[positions], values)
            late = positions.stop < self.whole and time.monotonic() - kept_at > KEEP_SECONDS
            if self.keeps and (late or positions.stop == self.whole):
                self._save(self.path("sums", channel), positions.stop, sums.state())
                kept_at = time.monotonic()
        statistics, climatology = sums.statistics.finish(), sums.climatology.fit(self.plan.harmonics)
        arrays = {**vars(statistics), "hours": climatology.hours, "coefficients": climatology.coefficients}
        self._save(self.path("summaries", channel), len(self.hours), arrays)

    def _blocks(self, channel: str, start: int) -> Iterator[tuple[slice, Float32]]:
        """Positions and fields [T, 1, H, W] from ``start`` on; fields that nothing is learned from are not read."""
        layout = shard_layout(self.store / "fields")
        assert layout is not None, "a store that was written here"
        reader, c = ShardReader(layout), self.plan.channels.index(channel)
        for first in range(start, len(self.hours), self.block):
            positions = slice(first, min(first + self.block, len(self.hours)))
            times = np.flatnonzero(self.learned[positions]) + first
            values = np.empty((len(times), 1, *self.plan.grid.shape), np.float32)
            reader.read(times.tolist(), [c], values)
            yield positions, values

    def _mark(self, stop: int) -> str:
        """Digest of the first ``stop`` times, which of them are learned from, and their fields."""
        digest = hashlib.sha256(self.hours[:stop].tobytes() + self.learned[:stop].tobytes())
        digest.update("".join(self.digests[: -(-stop // self.plan.shard_times)]).encode())
        return f"{stop} {digest.hexdigest()}"

    def _mark_of(self, path: Path) -> str | None:
        if not path.exists():
            return None
        with np.load(path) as kept:
            return str(kept["mark"])

    def _restore(self, channel: str, sums: "ChannelSums") -> int:
        """Set ``sums`` to those kept, if they are of this plan's fields, and return how many times are in them."""
        path = self.path("sums", channel)
        mark = self._mark_of(path)
        stop = int(mark.split()[0]) if mark else 0
        if mark is None or stop > len(self.hours) or mark != self._mark(stop):
            return 0
        with np.load(path) as kept:
            sums.restore(dict(kept))
        return stop

    def _save(self, path: Path, stop: int, arrays: dict[str, NDArray]) -> None:
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, mark=np.array(self._mark(stop)), **arrays)


def block_times(plan: Plan) -> int:
    """How many times are added at once."""
    shard_bytes = 4 * plan.grid.shape[0] * plan.grid.shape[1] * plan.shard_times
    return plan.shard_times * max(1, BLOCK_BYTES // shard_bytes)


class ChannelSums:
    """Sums of one channel over times in order, with the last field, from which the next step's change is taken."""

    def __init__(self, plan: Plan, harmonics: int) -> None:
        self.statistics = StatisticsSums(plan.grid.latitude, 1)
        self.climatology = ClimatologySums(harmonics)
        self.step = np.timedelta64(int(plan.settings["step_hours"]), "h")
        self.last_time = np.datetime64("NaT", "h")
        self.last = np.zeros((0, 1, *plan.grid.shape), np.float32)

    def add(self, times: NDArray[np.datetime64], learned: NDArray[np.bool_], values: Float32) -> None:
        """Add the ``values`` [T, 1, H, W] at those of ``times`` that are ``learned``."""
        times = times[learned]
        if len(times) == 0:
            return
        self.statistics.add(values)
        self.climatology.add(times, values)
        if times[0] - self.last_time == self.step:
            self.statistics.add_steps(self.last, values[:1])
        for i in np.flatnonzero(np.diff(times) == self.step):
            self.statistics.add_steps(values[i : i + 1], values[i + 1 : i + 2])
        self.last_time, self.last = times[-1], values[-1:].copy()

    def state(self) -> dict[str, NDArray]:
        """Everything by name, for ``restore``."""
        last = {"last": self.last, "last_hour": self.last_time.astype("datetime64[h]").astype(np.int64).reshape(1)}
        return {**self.statistics.state(), **self.climatology.state(), **last}

    def restore(self, state: dict[str, NDArray]) -> None:
        """Go on from ``state``."""
        self.statistics.restore(state)
        self.climatology.restore(state)
        self.last, self.last_time = state["last"], state["last_hour"].astype("datetime64[h]")[0]
