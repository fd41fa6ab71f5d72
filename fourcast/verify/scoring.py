"""Score a part: group of channels by group, case by case, reading ahead while threads score.

Which thread scores what makes no difference: cases are added up in their order.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourcast.verify.baselines import Baselines
from fourcast.verify.case import Found, FoundBaselines, Inputs, score_baselines, score_cases
from fourcast.verify.part import PartWriter
from fourcast.verify.plan import Plan
from fourcast.verify.seeps import Seeps
from fourcast.verify.tally import Tally, coordinates, held_names

Float32 = NDArray[np.float32]
MOST_BYTES = 2**28
"""Fields of one case that are read together, unless one channel alone is more; two such are in memory."""
TOGETHER = 2**19
"""Values of a channel in lead times that are scored together; the calls that smaller tasks need cost more than they."""


@dataclass(frozen=True, eq=False)
class Started:
    """Some lead times of an initial time that are being scored: of every channel [N] cases."""

    i_init: int
    i_leads: Sequence[int]
    inputs: Sequence[Sequence[Inputs]]
    found: Sequence["Future[list[Found]]"]
    baselines: Sequence[Sequence["Future[FoundBaselines]"]]


def write_part(baselines: Baselines, seeps: Seeps | None, inits: slice, path: Path, threads: int) -> None:
    """Score the cases of the initial times ``inits`` on ``threads`` threads, and write the part.

    Raises InputError where a field cannot be read or used, and then leaves no part.
    """
    plan = baselines.plan
    axes = coordinates(plan, inits)
    sizes = {str(dim): size for dim, size in axes.sizes.items()}
    with PartWriter(path, axes, held_names(plan)) as writer, ThreadPoolExecutor(threads) as pool:
        writer.put("verified", plan.verified[inits].astype(np.float64))
        for channels in groups(plan):
            tallies = [Tally(plan, sizes, channel) for channel in channels]
            GroupWork(plan, channels, seeps, inits, baselines, pool, threads).fill(tallies)
            for tally in tallies:
                tally.write(writer)


def groups(plan: Plan) -> Iterator[tuple[str, ...]]:
    """The channels in groups that are read together, of at most MOST_BYTES or of one."""
    members = sum(len(forecast.members) for forecast in plan.forecasts)
    most = max(1, MOST_BYTES // (4 * members * math.prod(plan.grid.shape)))
    for group in plan.forecasts[0].groups(plan.channels):
        for start in range(0, len(group), most):
            yield group[start : start + most]


@dataclass(frozen=True, eq=False)
class GroupWork:
    """A group of channels over the cases of a part."""

    plan: Plan
    channels: tuple[str, ...]
    seeps: Seeps | None
    inits: slice
    baselines: Baselines
    pool: ThreadPoolExecutor
    threads: int

    def fill(self, tallies: Sequence[Tally]) -> None:
        """Add all cases to the channels' tallies."""
        for started in self._in_order():
            given = zip(tallies, started.inputs, started.found, started.baselines, strict=True)
            for tally, cases, future, besides in given:
                for i_lead, inputs, found, beside in zip(started.i_leads, cases, future.result(), besides, strict=True):
                    masked_HW = found.masked_HW
                    baselines = beside.result() if masked_HW is None else self._baselines_of(inputs, masked_HW)
                    tally.add(started.i_init - self.inits.start, i_lead, found, baselines)

    def _in_order(self) -> Iterator[Started]:
        """The cases in their order, the next ones being started already."""
        waiting: deque[Started] = deque()
        values = sum(len(forecast.members) for forecast in self.plan.forecasts) * math.prod(self.plan.grid.shape)
        together, channels = max(1, TOGETHER // values), len(self.channels)
        ahead = 1 + min(MOST_BYTES // (4 * values * together * channels), self.threads // channels)
        self._read_ahead(self.inits)
        for i_init in range(self.inits.start, self.inits.stop):
            i_leads = np.flatnonzero(self.plan.verified[i_init]).tolist()
            self._read_ahead(slice(i_init, i_init + 1))
            for start in range(0, len(i_leads), together):
                waiting.append(self._start(i_init, i_leads[start : start + together]))
                if len(waiting) > ahead:
                    yield waiting.popleft()
        yield from waiting

    def _read_ahead(self, inits: slice) -> None:
        """Read the analyses of initial times and all their valid times, so far as they fit into memory."""
        cases = np.argwhere(self.plan.verified[inits]).tolist()
        valid = [self.plan.valid_time(inits.start + i_init, i_lead) for i_init, i_lead in cases]
        init = [self.plan.init_times[inits.start + i_init] for i_init, _ in cases]
        self.baselines.read_ahead(np.array([*init, *valid]), self.channels)

    def _start(self, i_init: int, i_leads: Sequence[int]) -> Started:
        """Read cases and let them be scored."""
        cases = [self._read(i_init, i_lead) for i_lead in i_leads]
        inputs = list(zip(*cases, strict=True))
        found = [self.pool.submit(score_cases, self.plan, each) for each in inputs]
        baselines = [self.baselines.start(self.pool, case) for case in cases]
        return Started(i_init, i_leads, inputs, found, list(zip(*baselines, strict=True)))

    def _read(self, i_init: int, i_lead: int) -> tuple[Inputs, ...]:
        plan, channels = self.plan, self.channels
        valid, lead = plan.valid_time(i_init, i_lead), plan.lead_hours[i_lead]
        members = [forecast.read(i_init, i_lead, channels) for forecast in plan.forecasts]
        target_CHW = self.baselines.analysis(valid, channels)
        persistence_CHW = self.baselines.analysis(plan.init_times[i_init], channels)
        climatology = self.baselines.climatology(valid, channels)
        return tuple(
            Inputs(
                channel=channel,
                lead_hours=lead,
                valid_time=valid,
                target_HW=target_CHW[c],
                persistence_HW=persistence_CHW[c],
                climatology_HW=climatology.get(channel),
                members=tuple(fields_CMHW[c] for fields_CMHW in members),
                seeps=self.seeps if self.seeps is not None and channel in self.seeps.channels else None,
                maps=channel in plan.map_channels and lead in plan.map_leads,
            )
            for c, channel in enumerate(channels)
        )

    def _baselines_of(self, inputs: Inputs, masked_HW: Float32) -> FoundBaselines:
        """What climatology comes to on the points that are left of the analysis."""
        fields_CKHW = self.baselines.others(inputs.valid_time, (inputs.channel,))
        climate_KHW = None if fields_CKHW is None else fields_CKHW[0]
        return score_baselines(self.plan, replace(inputs, target_HW=masked_HW), climate_KHW)
