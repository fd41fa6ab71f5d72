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

import numpy as np

from fourcast.config import ForecastConfig
from fourcast.distributed import process_group
from fourcast.errors import InputError
from fourcast.forecast.combine import combine_members
from fourcast.forecast.contents import ENSEMBLE_FILE, ZARR
from fourcast.forecast.execute import run_task
from fourcast.forecast.netcdf import init_name, member_path
from fourcast.forecast.prepare import Run, prepared
from fourcast.forecast.tasks import Task, Unfinished, share_out
from fourcast.forecast.weatherbench import write_zarr
from fourcast.forecast.writer import BackgroundWriter, write_error
from fourcast.progress import StatusLine, duration, gigabytes, pace, progress

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
        process.say(_announced(run, unfinished, tasks))
        with BackgroundWriter() as writer:
            _work(run, tasks[process.rank], writer)
        process.barrier()
        _require_complete(run)
        _export(run)
        process.say(f"{len(run.plan.members)} members from {len(run.plan.init_times)} initial times in {run.plan.run}")
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


def _announced(run: Run, unfinished: Sequence[Unfinished], tasks: Sequence[Sequence[Task]]) -> str:
    plan, process = run.plan, run.process
    if not unfinished:
        return f"{plan.run} is finished"
    files = sum(len(each.members) for each in unfinished)
    products = sum(each.products for each in unfinished) * len(plan.product_files)
    idle = sum(not any(task.members for task in of_rank) for of_rank in tasks)
    lines = [
        f"forecasting {len(plan.members)} members from {_times(plan.init_times)} to {plan.steps * run.step_hours} h on "
        f"{process.world_size} × {process.device.type}, "
        f"{'exact' if plan.exact else 'to rounding'}; to write: files of {files} members, {products} products"
    ]
    if idle and run.config.ensemble.batch_size is not None:
        lines.append(f"  {idle} of {process.world_size} processes have no work; lower ensemble.batch_size")
    elif idle:
        lines.append(f"  {idle} of {process.world_size} processes have no work: there are too few members")
    if plan.products is not None and len(plan.members) < run.config.ensemble.size:
        lines.append(f"  products are of the {len(plan.members)} members made, not of all {run.config.ensemble.size}")
    if len(plan.members) > 1 and run.perturbation.is_none and not run.varies:
        lines.append("  nothing makes these members differ: all amplitudes are 0")
    return "\n".join(lines)


def _times(init_times: Sequence[np.datetime64]) -> str:
    if len(init_times) == 1:
        return str(init_times[0])
    return f"{len(init_times)} initial times ({init_times[0]} … {init_times[-1]})"


def _work(run: Run, tasks: Sequence[Task], writer: BackgroundWriter) -> None:
    """Run the tasks of this process; the first one says how far it is."""
    allow_files(max((len(task.missing) for task in tasks), default=0))
    steps = (count for task in tasks for count in run_task(run, task, writer))
    of_members = run.plan.steps + 1
    total = of_members * sum(len(task.members) for task in tasks)
    what = "members" if run.process.world_size == 1 else "members of the first process"
    told = _reported(steps, (total, of_members, what), writer) if run.process.is_first else steps
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


def _reported(steps: Iterator[int], work: tuple[int, int, str], writer: BackgroundWriter) -> Iterator[None]:
    """Say how many members are done, how fast, how long it will take and how much is written.

    work: all steps of members, those of one member, and what to call members.
    """
    total, of_members, what = work
    begun, done, line = time.monotonic(), 0, StatusLine()
    for count in steps:
        yield
        done += count
        taken = max(time.monotonic() - begun, 1e-9)
        members = f"{done / of_members:.0f}/{total / of_members:.0f} {what}"
        if done == total:
            line.end(f"  {members}, took {duration(taken)}")
        elif line.due():
            line.show(
                f"  {members} ({100 * done // total} %), {pace(done / taken, 'steps')}, "
                f"{duration(taken / done * (total - done))} left, {gigabytes(writer.bytes_written)} written"
            )


def _require_complete(run: Run) -> None:
    """Raise InputError where a file that some process was to make is not there; disks of other nodes show it late."""
    for _ in range(PATIENCE):
        if not run.process.is_first or not run.plan.unfinished():
            return
        time.sleep(1.0)
    raise InputError(f"{run.plan.run} lacks files that were written; run the same command again")


def _export(run: Run) -> None:
    """Make the files that are made of members' files, once all of these are there; remove those nobody asked for."""
    plan, process = run.plan, run.process
    if not plan.layout or plan.layout == ("member",):
        return
    if "ensemble" in plan.layout:
        mine = plan.init_times[process.rank :: process.world_size]
        missing = [time for time in mine if not (plan.run / init_name(time) / ENSEMBLE_FILE).exists()]
        combined = (combine_members(plan.run, time, plan.members) for time in missing)
        with _naming(plan.run):
            for _ in progress(combined, len(missing), "initial times combined") if process.is_first else combined:
                pass
    if "zarr" in plan.layout and process.is_first and not (plan.run / ZARR).exists():
        with _naming(plan.run / ZARR):
            write_zarr(plan.run)
    process.barrier()
    if "member" not in plan.layout and process.is_first:
        for path in (member_path(plan.run, time, member) for time in plan.init_times for member in plan.members):
            path.unlink(missing_ok=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say of a write that fails which file it was and how full its disk is."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise write_error(path, error) from error
