"""``fourcast forecast``: members × initial times, split over ranks and batches, streamed to files."""

import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from fourcast.config import ForecastConfig
from fourcast.distributed import process_group
from fourcast.forecast.combine import combine_members
from fourcast.forecast.contents import ENSEMBLE_FILE, ZARR
from fourcast.forecast.execute import run_task
from fourcast.forecast.netcdf import init_name, member_path
from fourcast.forecast.prepare import Run, prepared
from fourcast.forecast.tasks import Task, Unfinished, share_out
from fourcast.forecast.weatherbench import write_zarr
from fourcast.forecast.writer import BackgroundWriter
from fourcast.progress import StatusLine, duration, gigabytes, pace, progress

LONGEST_WAIT = timedelta(days=30)
"""How long a process without work waits for the others at the end."""


def forecast(config: ForecastConfig) -> Path:
    """Run the forecasts that are not finished yet; return the run's directory.

    Files are RUN/<init_time>/member_NNN.nc and what else is asked for, beside RUN/forecast.json. Every request is
    checked before the first step: InputError for a lead time that is no multiple of the model's step, a channel, grid
    or date that the analyses do not have, initial states that are implausible, a disk that is too small, or a run of
    another configuration in the same place.
    """
    with process_group(config.device, LONGEST_WAIT) as process, prepared(config, process) as (run, unfinished):
        tasks = share_out(unfinished, run.plan.members, run.batching, run.at_once, process.world_size)
        process.say(_announced(run, unfinished, tasks))
        with BackgroundWriter() as writer:
            _work(run, tasks[process.rank], writer)
        process.barrier()
        _export(run)
        process.say(f"{len(run.plan.members)} members from {len(run.plan.init_times)} initial times in {run.plan.run}")
    return run.plan.run


def _announced(run: Run, unfinished: Sequence[Unfinished], tasks: Sequence[Sequence[Task]]) -> str:
    plan, process = run.plan, run.process
    total, left = len(plan.members) * len(plan.init_times), sum(len(each.members) for each in unfinished)
    idle = sum(not any(task.members for task in of_rank) for of_rank in tasks)
    return (
        f"forecasting {len(plan.members)} members from {len(plan.init_times)} initial times to "
        f"{plan.steps * run.step_hours} h ({left} of {total} files to write) on "
        f"{process.world_size} × {process.device.type}, {'exact' if plan.exact else 'to rounding'}"
        + (f"\n  {idle} of {process.world_size} processes have no work; lower ensemble.batch_size" if idle else "")
    )


def _work(run: Run, tasks: Sequence[Task], writer: BackgroundWriter) -> None:
    """Run the tasks of this process; the first one says how far it is."""
    steps = (count for task in tasks for count in run_task(run, task, writer))
    of_members = run.plan.steps + 1
    total = of_members * sum(len(task.members) for task in tasks)
    for _ in _reported(steps, total, of_members, writer) if run.process.is_first else steps:
        pass


def _reported(steps: Iterator[int], total: int, of_members: int, writer: BackgroundWriter) -> Iterator[None]:
    """Say how many members are done, how fast, how long it will take and how much is written."""
    begun, done, line = time.monotonic(), 0, StatusLine()
    for count in steps:
        yield
        done += count
        taken = max(time.monotonic() - begun, 1e-9)
        members = f"{done / of_members:.0f}/{total / of_members:.0f} members"
        if done == total:
            line.end(f"  {members}, took {duration(taken)}")
        elif line.due():
            line.show(
                f"  {members} ({100 * done // total} %), {pace(done / taken, 'steps')}, "
                f"{duration(taken / done * (total - done))} left, {gigabytes(writer.bytes_written)} written"
            )


def _export(run: Run) -> None:
    """Make the files that are made of members' files, once all of these are there; remove those nobody asked for."""
    plan, process = run.plan, run.process
    if not plan.layout or plan.layout == ("member",):
        return
    if "ensemble" in plan.layout:
        mine = plan.init_times[process.rank :: process.world_size]
        missing = [time for time in mine if not (plan.run / init_name(time) / ENSEMBLE_FILE).exists()]
        combined = (combine_members(plan.run, time, plan.members) for time in missing)
        for _ in progress(combined, len(missing), "initial times combined") if process.is_first else combined:
            pass
    if "zarr" in plan.layout and process.is_first and not (plan.run / ZARR).exists():
        write_zarr(plan.run)
    process.barrier()
    if "member" not in plan.layout and process.is_first:
        for path in (member_path(plan.run, time, member) for time in plan.init_times for member in plan.members):
            path.unlink(missing_ok=True)
