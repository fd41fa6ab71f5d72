"""``fourcast forecast``: members × initial times, split over ranks and batches, streamed to files."""

import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from fourcast.config import ForecastConfig
from fourcast.distributed import process_group
from fourcast.errors import InputError
from fourcast.forecast.announce import announced, reported
from fourcast.forecast.execute import run_task
from fourcast.forecast.export import export
from fourcast.forecast.prepare import Run, lacking, prepared
from fourcast.forecast.tasks import Task, share_out
from fourcast.forecast.writer import BackgroundWriter

PATIENCE = 30
"""For how many seconds files of other nodes are waited for."""
OTHER_FILES = 256
"""Open besides members' files: libraries, stores, sockets."""
LONGEST_WAIT = timedelta(days=30)
"""How long a process without work waits for the others at the end."""


def forecast(config: ForecastConfig) -> Path:
    """Run the forecasts that are not finished yet; return the run's directory.

    Files are RUN/<init_time>/member_NNN.nc and what else is asked for, beside RUN/forecast.json. Every request is
    checked before the first step: InputError for a lead time that is no multiple of the model's step, a channel, grid
    or date that the analyses do not have, initial states that are implausible, a disk that is too small, or a run of
    another configuration in the same place.
    """
    with (
        _told_to_stop(),
        process_group(config.device, LONGEST_WAIT) as process,
        prepared(config, process) as (run, unfinished),
    ):
        tasks = share_out(unfinished, run.plan.members, run.batching, run.at_once, process.world_size)
        process.say(announced(run, unfinished, tasks))
        with BackgroundWriter() as writer:
            _work(run, tasks[process.rank], writer)
        process.barrier()
        _require_complete(run)
        process.say(_finished(run))
    return run.plan.run


@contextmanager
def _told_to_stop() -> Iterator[None]:
    """Let SIGTERM, as schedulers send it, end a forecast like Ctrl-C: what is half-written goes, whole files stay."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _work(run: Run, tasks: Sequence[Task], writer: BackgroundWriter) -> None:
    """Run the tasks of this process; the first one says how far it is."""
    allow_files(max((len(task.missing) for task in tasks), default=0))
    steps = (count for task in tasks for count in run_task(run, task, writer))
    of_members = run.plan.steps + 1
    total = of_members * sum(len(task.members) for task in tasks)
    what = "members" if run.process.world_size == 1 else "members of the first process"
    told = reported(steps, (total, of_members, what), writer) if run.process.is_first else steps
    for _ in told:
        pass


def allow_files(count: int) -> None:
    """Let this process have ``count`` files open besides others; InputError where the system does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + OTHER_FILES
    if wanted > hard != resource.RLIM_INFINITY:
        raise InputError(
            f"{count} members' files are open together, and the system allows this process {hard}; raise it "
            "(ulimit -n), use more processes, or leave products or files.layout=member out"
        )
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _require_complete(run: Run) -> None:
    """Raise InputError where a file that some process was to make is not there; disks of other nodes show it late."""
    for _ in range(PATIENCE):
        if not run.process.is_first or not lacking(run):
            return
        time.sleep(1.0)
    raise InputError(f"{run.plan.run} lacks files that were written; run the same command again")


def _finished(run: Run) -> str:
    """Make what is made of members' files, unless that is left to others, and say what there is."""
    plan = run.plan
    if run.config.part is None:
        export(run)
        return f"{len(plan.members)} members from {len(plan.init_times)} initial times in {plan.run}"
    missing = len(plan.unfinished())
    if missing:
        return f"share {run.config.part} of {plan.run} is done; {missing} initial times are not finished by others"
    rest = "" if set(plan.layout) <= {"member"} else f"; the same command without part= makes {', '.join(plan.layout)}"
    return f"share {run.config.part} of {plan.run} is done, and so are the others{rest}"
