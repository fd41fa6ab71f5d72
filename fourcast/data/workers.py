"""An ingestion's work on one process, on several of this machine, or on a Dask cluster."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fourcast.data.extend import is_finished
from fourcast.data.manifest import read_record, read_records
from fourcast.data.parts import BLOCK_BYTES, Parts
from fourcast.data.plan import Plan, read_plan
from fourcast.data.processes import in_processes
from fourcast.data.reader import processors
from fourcast.data.summaries import Summaries, block_times
from fourcast.data.tasks import Outcome, attend
from fourcast.data.writer import INGEST
from fourcast.data_config import IngestConfig
from fourcast.errors import InputError

if TYPE_CHECKING:
    from distributed import Client

BASE_BYTES = 4e8
"""What Python and its libraries take in every process."""


@dataclass(frozen=True)
class PartTask:
    """One part."""

    parts: Parts
    part: int

    @property
    def name(self) -> str:
        """See Task."""
        return f"part_{self.part:05d}"

    @property
    def words(self) -> str:
        """See Task."""
        plan = self.parts.plan
        start, stop = plan.span(self.part)
        return f"part {self.part + 1} of {plan.parts} ({plan.times[start]} to {plan.times[stop - 1]})"

    def is_done(self) -> bool:
        """See Task."""
        return self.parts.is_done(self.part)

    def run(self) -> None:
        """See Task."""
        self.parts.write(self.part)


@dataclass(frozen=True)
class SummaryTask:
    """Statistics and climatology of one channel."""

    summaries: Summaries
    channel: str

    @property
    def name(self) -> str:
        """See Task."""
        return f"summary_{self.channel}"

    @property
    def words(self) -> str:
        """See Task."""
        return f"statistics of {self.channel}"

    def is_done(self) -> bool:
        """See Task."""
        # Who publishes the store removes the summaries.
        return self.summaries.is_done(self.channel) or is_finished(self.summaries.store, self.summaries.plan)

    def run(self) -> None:
        """See Task."""
        self.summaries.write(self.channel)


def work(config: IngestConfig, plan: Plan, chosen: Sequence[int]) -> Iterator[Outcome]:
    """Do the ``chosen`` parts and, once all parts are there, the summaries of all channels; each outcome once."""
    count = min(affordable(config, plan), max(len(chosen), len(plan.channels)))
    if config.dask is not None:
        yield from _on_dask(config, plan, chosen)
    # What one part holds is done sooner than processes start.
    elif count == 1 or plan.parts == 1:
        yield from work_here(config, chosen)
    else:
        yield from in_processes(count, work_here, config, list(chosen))


def work_here(config: IngestConfig, chosen: Sequence[int]) -> Iterator[Outcome]:
    """The same in this process."""
    yield from do_parts(config, chosen)
    store = Path(config.output)
    plan = read_plan(store)
    if all(read_record(store, plan, part) is not None for part in range(plan.parts)):
        yield from do_summaries(config, range(len(plan.channels)))


def do_parts(config: IngestConfig, chosen: Sequence[int]) -> Iterator[Outcome]:
    """Do parts in this process."""
    store = Path(config.output)
    with ExitStack() as resources:
        parts = Parts(config, read_plan(store), resources)
        yield from attend([PartTask(parts, i) for i in chosen], store / INGEST)


def do_summaries(config: IngestConfig, chosen: Sequence[int]) -> Iterator[Outcome]:
    """Do the summaries of channels in this process, for which all parts have to be there."""
    store = Path(config.output)
    plan = read_plan(store)
    summaries = Summaries(store, plan, read_records(store, plan))
    yield from attend([SummaryTask(summaries, plan.channels[i]) for i in chosen], store / INGEST)


def affordable(config: IngestConfig, plan: Plan) -> int:
    """How many processes fit into ``memory_gb``, up to ``workers``; InputError where not even one does."""
    need = worker_bytes(plan)
    if need > config.memory_gb * 1e9:
        raise InputError(
            f"shards of {plan.shard_times} times need {need / 1e9:.1f} GB of memory and memory_gb is "
            f"{config.memory_gb:g}; raise it, or make the shards shorter with shard_times"
        )
    return max(1, min(config.workers or processors(), int(config.memory_gb * 1e9 / need)))


def worker_bytes(plan: Plan) -> float:
    """Memory that one process needs at most; it does not depend on the number of times.

    A part takes a shard of fields, the same encoded, and what is read at a time, four times over. A channel takes
    its sums twice and a block of fields in single and double precision.
    """
    field, channels = 4 * math.prod(plan.grid.shape), len(plan.channels)
    source = 4 * channels * math.prod(plan.source_shape)
    part = 2 * plan.shard_times * channels * field + 4 * max(source, min(BLOCK_BYTES, plan.shard_times * source))
    hours = len(np.unique(plan.times[: 24 * 366].astype(np.int64) % 24))
    sums = 2 * field * hours * (1 + 2 * int(plan.settings["climatology_harmonics"]))
    channel = 2 * sums + 5 * field * block_times(plan)
    return BASE_BYTES + max(part, channel)


def _on_dask(config: IngestConfig, plan: Plan, chosen: Sequence[int]) -> Iterator[Outcome]:
    """Give runs of tasks to the workers of a Dask cluster, which must see sources and store at the same paths."""
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError("dask=… needs a package: pip install 'fourcast[dask]'") from error
    with Client(config.dask) as client:
        outcomes = []
        for outcome in _spread(client, _parts_outcomes, config, chosen):
            outcomes.append(outcome)
            yield outcome
        if not any(outcome.error for outcome in outcomes):
            yield from _spread(client, _summaries_outcomes, config, range(len(plan.channels)))


def _spread(
    client: "Client", function: Callable[..., list[Outcome]], config: IngestConfig, chosen: Sequence[int]
) -> Iterator[Outcome]:
    """Submit tasks in about four runs for each worker, which open the sources once for a run."""
    from distributed import as_completed

    count = min(len(chosen), 4 * max(1, len(client.nthreads())))
    runs = [run.tolist() for run in np.array_split(np.array(chosen), count)] if count else []
    futures = [client.submit(function, config, run, pure=False) for run in runs]
    for future in as_completed(futures):
        yield from future.result()


def _parts_outcomes(config: IngestConfig, chosen: Sequence[int]) -> list[Outcome]:
    return list(do_parts(config, chosen))


def _summaries_outcomes(config: IngestConfig, chosen: Sequence[int]) -> list[Outcome]:
    return list(do_summaries(config, chosen))
