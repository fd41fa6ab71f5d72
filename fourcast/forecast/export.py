"""The files that are made of members' files: one for each initial time, and a zarr store of the run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fourcast.forecast.combine import combine_members
from fourcast.forecast.contents import ENSEMBLE_FILE, ZARR
from fourcast.forecast.netcdf import init_name, member_path
from fourcast.forecast.prepare import Run
from fourcast.forecast.weatherbench import write_zarr
from fourcast.forecast.writer import write_error
from fourcast.progress import progress


def export(run: Run) -> None:
    """Make what ``files.layout`` asks for of members' files, all of which are there; remove those nobody asked for."""
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
