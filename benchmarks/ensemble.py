"""How many members × steps a second does an ensemble make, beside the published scheme, with and without files?

    python benchmarks/ensemble.py --output benchmarks/results/ensemble_cpu.md
    python benchmarks/ensemble.py --device cuda --output benchmarks/results/ensemble_h200.md

All ways in turns in one process, with the same weights, so that a busy machine slows all alike:

published: the scheme of inference/inference_ensemble.py at github.com/NVlabs/FourCastNet, written anew around
``plain_fourcastnet``: one member after the other, a batch of one, eager calls in float32 under no_grad, noise of 0.3
standard deviations, and the states of every step added up in memory, from which it takes the ensemble mean. Its reading
of analyses and its scores are left out.

model alone: forward passes of our model and nothing else, in calls of the size that is fastest; on a GPU as CUDA
graphs.

exact, states: the steps of ``fourcast forecast`` in exact mode; normalised states stay where they are.

exact and fast: the tasks of ``fourcast forecast`` from an analysis on: initial states, perturbations, steps, checks,
and every state in physical units in the host's memory. netCDF: with all channels and lead times in a file a member.

Then the cost of an exact ensemble without files against its members and against its lead time, and lines through them;
the numbers of members give every core of two whole calls.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import numpy as np
import torch
from common import machine, write_report
from ensemble_case import CASES, INIT, STEP_HOURS, Bench, Case
from torch import Tensor

from fourcast.forecast.batching import Batch, Batching
from fourcast.forecast.execute import run_task
from fourcast.forecast.graph import Captured
from fourcast.forecast.prepare import Run
from fourcast.forecast.stepper import Stepper, computed, side_by_side
from fourcast.forecast.tasks import share_out
from fourcast.forecast.writer import BackgroundWriter

Work = Callable[[], object]
PUBLISHED_NOISE = 0.3
SIZES = (1, 2, 4, 8)
"""Members in a call, of which the fastest is the model's own rate."""
ALONE = "model alone"


@torch.no_grad()
def published(bench: Bench, members: int, steps: int) -> Tensor:
    """Sums over members of their normalised states [S + 1, C, H, W], as the published scheme makes them."""
    analysis_BCHW = bench.state_CHW[None]
    sums_SCHW = torch.zeros(steps + 1, *bench.state_CHW.shape, device=bench.device)
    for _ in range(members):
        state = analysis_BCHW + PUBLISHED_NOISE * torch.randn(analysis_BCHW.shape).to(bench.device)
        for step in range(1, steps + 1):
            state = bench.plain(state)
            sums_SCHW[step] += state[0]
    return sums_SCHW


def forecast(run: Run, with_files: bool) -> None:
    """The tasks of a run that is not begun; its files go again."""
    tasks = share_out(run.plan.all(), run.plan.members, run.batching, run.at_once, 1)[0]
    with BackgroundWriter() as writer:
        for task in tasks:
            for _ in run_task(run, task if with_files else replace(task, missing=()), writer):
                pass


def step_states(stepper: Stepper, batching: Batching, state_MCHW: Tensor, steps: int) -> None:
    """The steps of all members, and nothing else."""
    with side_by_side(state_MCHW.device, batching) as start:
        works = (partial(stepper.advance, state_MCHW, step) for step in range(1, steps + 1))
        for wait in [start(work, len(stepper.calls)) for work in works]:
            wait()


def call_model(bench: Bench, size: int, calls: int) -> Work:
    """Calls of the model for ``size`` members, each on all cores; as a graph on a GPU."""
    x = bench.state_CHW.expand(size, -1, -1, -1).contiguous()
    compute = partial(computed, bench.forecaster.model, bench.case.precision)
    call = Captured(compute, x) if x.is_cuda else torch.inference_mode()(compute)

    def work() -> None:
        for _ in range(calls):
            call(x)

    return work


def call_model_on_cores(bench: Bench, batching: Batching, calls: int) -> Work:
    """Calls of the model for as many members as in exact mode, each on one core."""
    x = bench.state_CHW.expand(batching.size, -1, -1, -1).contiguous()
    compute = torch.inference_mode()(partial(computed, bench.forecaster.model, bench.case.precision))

    def call(_: int) -> None:
        compute(x)

    def work() -> None:
        with side_by_side(bench.device, batching) as start:
            start(call, calls)()

    return work


class Way(NamedTuple):
    """One way to make members × steps, how many of these are made in a turn, and the folder that it fills."""

    work: Work
    made: int
    files: Path | None = None


def ways_of(bench: Bench, folder: Path) -> dict[str, Way]:
    """All ways to make the ensemble of a case, and calls of the model alone."""
    members, steps, count = bench.case.members, bench.case.steps, bench.case.members * bench.case.steps
    exact, fast = (bench.run(folder, exact, members, steps) for exact in (True, False))
    written = members if bench.case.written is None else bench.case.written
    with_files = bench.run(folder / "written", True, written, steps)
    ways = {"published": Way(partial(published, bench, members, steps), count)}
    for size in SIZES:
        calls = max(1, count // size // 4)
        ways[f"{ALONE}, {size} a call"] = Way(call_model(bench, size, calls), calls * size)
    if bench.device.type == "cpu":
        size = exact.batching.size
        calls = max(1, count // size // 4)
        work = call_model_on_cores(bench, exact.batching, calls)
        ways[f"{ALONE}, {size} a call on each core"] = Way(work, calls * size)
    state = bench.state_CHW.repeat(members, 1, 1, 1)
    stepper = Stepper(bench.forecaster, batch_of(members), exact.batching, bench.device)
    return ways | {
        "exact, states": Way(partial(step_states, stepper, exact.batching, state, steps), count),
        "exact": Way(partial(forecast, exact, False), count),
        "exact, netCDF": Way(partial(forecast, with_files, True), written * steps, with_files.plan.run),
        "fast": Way(partial(forecast, fast, False), count),
    }


def batch_of(members: int) -> Batch:
    """All members of an ensemble."""
    return Batch(INIT, tuple(range(members)), tuple(range(members)), 0)


def seconds(way: Way, device: torch.device) -> float:
    """Time of one turn on a device that waits for nothing else; files that it wrote are removed afterwards."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    way.work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    taken = time.perf_counter() - start
    if way.files is not None:
        shutil.rmtree(way.files)
    return taken


def turns_of(ways: dict[str, Way], device: torch.device, repeats: int) -> list[dict[str, float]]:
    """Seconds of every way, turn after turn, after one that does not count."""
    turns = [{name: seconds(way, device) for name, way in ways.items()} for _ in range(repeats + 1)]
    return turns[1:]


def spread_of(values: list[float], digits: int = 2) -> str:
    """Median and quartiles."""
    low, middle, high = quantiles(values, n=4)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def require_agreement(bench: Bench) -> None:
    """Both networks compute the same, else their speeds do not compare: AssertionError."""
    x = bench.state_CHW[None]
    with torch.inference_mode():
        theirs, ours = bench.plain(x), computed(bench.forecaster.model, bench.case.precision, x)
    assert (ours - theirs).norm() < (1e-4 if bench.case.precision == "fp32" else 2e-2) * theirs.norm()


def table_of(bench: Bench, ways: dict[str, Way], turns: list[dict[str, float]]) -> list[str]:
    """A row for each way; of the model alone, the fastest calls."""
    rate = {name: median(way.made / turn[name] for turn in turns) for name, way in ways.items()}
    best = max((name for name in ways if name.startswith(ALONE)), key=lambda name: rate[name])
    rows = []
    for name in (name for name in ways if not name.startswith(ALONE) or name == best):
        made = ways[name].made
        over, of_model = (
            [made / turn[name] / (ways[other].made / turn[other]) for turn in turns] for other in ("published", best)
        )
        run = bench.case.members * bench.case.steps / rate[name]
        cells = [name, f"{rate[name]:.1f}", f"{run:.2f}", spread_of(over), f"{100 * median(of_model):.0f} %"]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def measured_case(case: Case, arguments: argparse.Namespace) -> list[str]:
    """The table of a case, what writing costs, and the lines."""
    bench = Bench(case, torch.device(arguments.device))
    require_agreement(bench)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name:
        ways = ways_of(bench, Path(name))
        ratio = size_of_files(bench, ways["exact, netCDF"])
        turns = turns_of(ways, bench.device, arguments.repeats)
        lines = [
            f"### {case}",
            "",
            f"{case.members} members, {case.steps} steps of {STEP_HOURS} h.",
            "",
            "| way | members × steps/s | seconds | over published | of the model alone |",
            "|---|---:|---:|---:|---:|",
            *table_of(bench, ways, turns),
            "",
            writing_line(ways, turns, ratio),
        ]
        return [*lines, *line_rows(bench, Path(name), arguments.repeats), ""]


def size_of_files(bench: Bench, way: Way) -> float:
    """Bytes of the files in relation to those of their fields in float32; files are removed."""
    assert way.files is not None
    way.work()
    written = sum(path.stat().st_size for path in way.files.rglob("*.nc"))
    shutil.rmtree(way.files)
    states = way.made + way.made // bench.case.steps  # with the initial ones
    return written / (4 * states * bench.state_CHW.numel())


def writing_line(ways: dict[str, Way], turns: list[dict[str, float]], ratio: float) -> str:
    """What files cost, of the run time with them."""
    members_steps = ways["exact, netCDF"].made / ways["exact"].made
    share = [100 * (1 - members_steps * turn["exact"] / turn["exact, netCDF"]) for turn in turns]
    return f"Writing takes {spread_of(share, 1)} % of the run time; files have {ratio:.2f} times the size of float32."


def line_rows(bench: Bench, folder: Path, repeats: int) -> list[str]:
    """Lines through the cost of exact ensembles without files, against members and against steps."""
    case = bench.case
    if not case.some_members:
        return []
    by_members = {str(m): (m, bench.run(folder, True, m, case.some_steps[0])) for m in case.some_members}
    by_steps = {str(s): (s, bench.run(folder, True, case.members, s)) for s in case.some_steps}
    lines = ["", "| cost against | at | line, seconds | intercept, of the largest | R² |", "|---|---|---|---:|---:|"]
    for name, runs in (("members", by_members), ("steps", by_steps)):
        ways = {key: Way(partial(forecast, run, False), 1) for key, (_, run) in runs.items()}
        turns = turns_of(ways, bench.device, repeats)
        x = [number for number, _ in runs.values()]
        fit = fitted(x, [median(turn[key] for turn in turns) for key in runs])
        lines.append(
            f"| {name} | {', '.join(runs)} | {fit.slope:.4f} × {name} {fit.intercept:+.4f} "
            f"| {100 * fit.share:.1f} % | {fit.r_squared:.4f} |"
        )
    return lines


class Line(NamedTuple):
    """y = slope · x + intercept; share: |intercept| over the largest y."""

    slope: float
    intercept: float
    share: float
    r_squared: float


def fitted(x: list[int], y: list[float]) -> Line:
    """The line of least squares."""
    slope, intercept = (float(number) for number in np.polyfit(x, y, 1))
    residual = np.array(y) - slope * np.array(x) - intercept
    return Line(slope, intercept, abs(intercept) / max(y), float(1 - residual.var() / np.var(y)))


def heading(arguments: argparse.Namespace) -> list[str]:
    """What was measured, where, and how to read it."""
    on = torch.cuda.get_device_name() + ", " if arguments.device == "cuda" else f"{torch.get_num_threads()} threads on "
    return [
        "## Ensembles beside the published scheme",
        "",
        f"{on}{machine('torch', 'netCDF4')}",
        f"Medians of {arguments.repeats} turns (quartiles); random weights, the same on both sides. What the ways are "
        "is said at the head of benchmarks/ensemble.py.",
        "",
    ]


def parse() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--cases", nargs="+", type=int, help="numbers of the networks, from 0 on; all")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--scratch", type=Path, help="where files are written; the system's folder for such")
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def main() -> None:
    """Measure, print the tables and write them."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    torch.backends.cudnn.benchmark = True  # as the published code has it
    cases = CASES[arguments.device]
    lines = heading(arguments)
    for number in arguments.cases or range(len(cases)):
        lines += measured_case(cases[number], arguments)
    write_report(lines[:-1], arguments.output)


if __name__ == "__main__":
    main()
