"""A verification's work in parts of consecutive initial times, each done once, by whichever process comes first."""

import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from fourcast.data.processes import in_processes
from fourcast.data.reader import processors
from fourcast.data.tasks import Outcome, Task, attend
from fourcast.verify.baselines import Baselines
from fourcast.verify.inputs.climatology import NONE
from fourcast.verify.inputs.foreign_climatology import open_dataset
from fourcast.verify.plan import Plan
from fourcast.verify.prepare import make_plan
from fourcast.verify.scoring import write_part
from fourcast.verify.seeps import Seeps, make_seeps
from fourcast.verify.seeps_climate import DRY_BELOW
from fourcast.verify_config import VerifyConfig

FEWEST = 4
"""Parts, where there are as many initial times."""
LONGEST = 32
"""Initial times of a part at most, so that its memory does not depend on how many there are, up to MOST of these."""
MOST = 256
"""Parts, for all of them are open at once in the end, and each holds sums of its own."""
PART_BYTES = 2**28
"""Fields of forecasts in a part at least: a fraction of a minute's work."""


@dataclass(frozen=True, eq=False)
class PartTask:
    """One part; seeps: what scores precipitation, if anything."""

    baselines: Baselines
    seeps: Seeps | None
    path: Path
    inits: slice
    threads: int

    @property
    def name(self) -> str:
        """See Task."""
        return self.path.stem

    @property
    def words(self) -> str:
        """See Task."""
        times = self.baselines.plan.init_times[self.inits]
        return f"initial times {times[0]} to {times[-1]}" if len(times) > 1 else f"initial time {times[0]}"

    def is_done(self) -> bool:
        """See Task."""
        return self.path.exists()

    def run(self) -> None:
        """See Task."""
        write_part(self.baselines, self.seeps, self.inits, self.path, self.threads)


@dataclass(frozen=True, eq=False)
class SeepsTask:
    """The climatology of precipitation, for which many analyses have to be read."""

    plan: Plan
    folder: Path
    name: str = "seeps"
    words: str = "climatology of precipitation"

    @property
    def mark(self) -> Path:
        """The file that says that it was made, or that there is none."""
        return self.folder / "seeps_done"

    def is_done(self) -> bool:
        """See Task."""
        return self.mark.exists()

    def run(self) -> None:
        """See Task."""
        open_seeps(self.plan, self.folder)
        self.mark.touch()


def spans(plan: Plan) -> list[slice]:
    """The initial times of every part."""
    members = sum(len(forecast.members) for forecast in plan.forecasts)
    fields = members * len(plan.lead_hours) * len(plan.channels)
    return cut(len(plan.init_times), 4 * fields * math.prod(plan.grid.shape))


def cut(count: int, init_bytes: int) -> list[slice]:
    """``count`` initial times of so many bytes each in parts, all of about the same length."""
    length = min(LONGEST, -(-PART_BYTES // init_bytes))
    parts = min(count, max(FEWEST, min(MOST, -(-count // length))))
    edges = np.linspace(0, count, parts + 1).round().astype(int).tolist()
    return [slice(*edge) for edge in pairwise(edges)]


def part_paths(plan: Plan, folder: Path) -> list[Path]:
    """Where the parts lie."""
    return [folder / f"part_{part:05d}.nc" for part in range(len(spans(plan)))]


def preparations(plan: Plan, folder: Path) -> list[Task]:
    """What has to be done before the parts."""
    return [SeepsTask(plan, folder)] if set(plan.channels) & DRY_BELOW.keys() else []


def work(plan: Plan, folder: Path, chosen: Sequence[int]) -> Iterator[Outcome]:
    """Do the ``chosen`` parts in this process or in several; the outcome of each, once."""
    count = max(1, min(plan.config.workers, len(chosen)))
    if count > 1:
        yield from in_processes(count, _work_beside, plan.config, folder, list(chosen), threads_of_each(count))
    else:
        yield from work_here(plan, folder, chosen, threads_of_each(count))


def threads_of_each(processes: int) -> int:
    """How many threads one of so many processes has: no more than OMP_NUM_THREADS, by which a container is told."""
    asked = re.match(r"[1-9][0-9]*", os.environ.get("OMP_NUM_THREADS", ""))
    fair = max(1, processors() // processes)
    return min(fair, int(asked[0])) if asked else fair


def work_here(plan: Plan, folder: Path, chosen: Sequence[int], threads: int) -> Iterator[Outcome]:
    """The same in this process; threads: that score channels."""
    seeps, paths, inits = open_seeps(plan, folder), part_paths(plan, folder), spans(plan)
    baselines = Baselines(plan)
    yield from attend([PartTask(baselines, seeps, paths[i], inits[i], threads) for i in chosen], folder)


def _work_beside(config: VerifyConfig, folder: Path, chosen: Sequence[int], threads: int) -> Iterator[Outcome]:
    """The same in a process of its own, which opens everything again."""
    yield from work_here(make_plan(config), folder, chosen, threads)


def open_seeps(plan: Plan, folder: Path) -> Seeps | None:
    """What scores precipitation, from a climatology file that has it or from what is kept in ``folder``."""
    if not set(plan.channels) & DRY_BELOW.keys():
        return None
    named = plan.config.climatology
    stored = None if named in (None, NONE) else open_dataset(str(named))
    return make_seeps(plan.targets, stored, plan.channels, folder)
