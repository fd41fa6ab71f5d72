"""What a forecast says on the terminal: what it is about to do, and how far it is."""

import time
from collections.abc import Iterator, Sequence

import numpy as np

from fourcast.forecast.prepare import Run
from fourcast.forecast.tasks import Task, Unfinished
from fourcast.forecast.writer import BackgroundWriter
from fourcast.progress import StatusLine, duration, gigabytes, pace


def announced(run: Run, unfinished: Sequence[Unfinished], tasks: Sequence[Sequence[Task]]) -> str:
    """What is to be done, by the ``tasks`` of every rank, and what may not be meant."""
    plan, process = run.plan, run.process
    if not unfinished:
        share = "" if run.config.part is None else f"share {run.config.part} of "
        return f"{share}{plan.run} is finished"
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


def reported(steps: Iterator[int], work: tuple[int, int, str], writer: BackgroundWriter) -> Iterator[None]:
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
