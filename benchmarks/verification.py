"""How long does a verification take, and how much memory, beside other programs on the same files?

    python benchmarks/verification.py --weatherbench2 CHECKOUT --weatherbench2-python CHECKOUT/.venv/bin/python \
        --output benchmarks/results/verification_cpu.md
    python benchmarks/verification.py --quick

A forecast, analyses and a climatology in WeatherBench 2's layout (see verification_case.py) are scored from one command
to the numbers on disk, each time by a new process:

fourcast verify: the whole verb, with persistence and climatology beside the forecast, in seven regions; without
pictures, spectra, maps, energy score, intervals and probabilistic climatology, which the others do not compute here.

scores: https://pypi.org/project/scores with xarray, over the globe alone, from memory and with the members in dask
chunks of some initial times. Its anomaly correlation is written in xarray, the package having none.

WeatherBench 2: the functions behind its scripts/evaluate.py --use_beam=False with its metrics in the same regions,
rank histograms over the globe alone; fields are loaded first, as its lazy reading takes several times as long and
has no rank histograms. Not measured where --weatherbench2 is not given.

All compute RMSE (as MSE), MAE, bias and anomaly correlation of the control and of the ensemble mean, fair CRPS, spread
and rank histogram of the ensemble, and the fair Brier score of one event, by channel and lead time. A first turn, which
does not count, fills the page cache; after it only the faster way of every other program goes on. Numbers are compared
in every turn. Peak memory is that of the largest process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import xarray as xr
from common import machine, write_report
from numpy.typing import NDArray
from verification_case import CASES, EVENT

HERE = Path(__file__).parent
MEASURE = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
open(sys.argv[1], "w").write(json.dumps([done.returncode, seconds, peak, done.stderr[-2000:]]))
"""
"""Runs a command from a process that is itself small: the peak of a child is never below that of its parent."""
TOLERANCE, OF_MEANS, OF_RANKS = 1e-6, 1e-4, 1e-4
"""Relative; where others average members in float32; and of shares, where WeatherBench 2 parts ties at random."""
OURS, WEATHERBENCH2 = "fourcast verify", "WeatherBench 2"
Numbers = dict[str, NDArray[np.float64]]
"""By metric, see verification_peers.py."""


@dataclass(frozen=True)
class Way:
    """One way to score a case: its program, a command that ends with where results go, and its environment."""

    name: str
    program: str
    command: tuple[str, ...]
    environment: dict[str, str]


@dataclass(frozen=True)
class Taken:
    """What a run took: seconds, and MB of its largest process."""

    seconds: float
    megabytes: float


def ways_of(folder: Path, arguments: argparse.Namespace) -> list[Way]:
    """All ways for the files in ``folder``."""
    ours = (sys.executable, "-m", "fourcast", "verify", *_overrides(folder))
    peer = ("-W", "ignore", str(HERE / "verification_peers.py"))
    task = str(folder / "task.json")
    ways = [Way(f"{OURS}, workers={count}", OURS, (*ours, f"workers={count}"), {}) for count in arguments.workers] + [
        Way(f"scores, {word}", "scores", (sys.executable, *peer, "scores", way, task), {})
        for way, word in (("loaded", "in memory"), ("dask", "dask"))
    ]
    if arguments.weatherbench2 is not None:
        command = (str(arguments.weatherbench2_python), *peer, "weatherbench2", "loaded", task)
        ways.append(Way(WEATHERBENCH2, WEATHERBENCH2, command, {"PYTHONPATH": str(arguments.weatherbench2)}))
    return ways


def _overrides(folder: Path) -> list[str]:
    """Of our verb, but for the output."""
    channel, threshold = EVENT
    return [
        f"forecast={folder}/forecast.zarr", f"store={folder}/analyses.zarr", f"climatology={folder}/climatology.zarr",
        f"events=['{channel} > {threshold}']", "climatology_members=0", "energy_score=false", "spectra=false",
        "maps.channels=[]", "uncertainty.samples=0", "plots=false", f"hydra.run.dir={folder}/hydra",
    ]  # fmt: skip


def run(way: Way, results: Path) -> Taken:
    """Run a way once; RuntimeError with its last words where it fails."""
    report = results.with_suffix(".json")
    target = f"output={results.with_suffix('')}" if way.program == OURS else str(results)
    environment = {**os.environ, **way.environment}
    command = [sys.executable, "-S", "-c", MEASURE, str(report), *way.command, target]
    subprocess.run(command, check=True, env=environment)
    code, seconds, kilobytes, words = json.loads(report.read_text(encoding="utf-8"))
    if code != 0:
        raise RuntimeError(f"{way.name} ended with {code}: {words}")
    return Taken(seconds, kilobytes / 1024)


def results_of(way: Way, results: Path, channels: list[str]) -> Numbers:
    """The numbers that a run has written."""
    if way.program != OURS:
        with np.load(results) as held:
            return dict(held)
    with xr.open_dataset(results.with_suffix("") / "scores.nc") as scores:
        return _ours(scores.sel(channel=channels).load())


def _ours(scores: xr.Dataset) -> Numbers:
    def values(metric: str, system: str) -> NDArray[np.float64]:
        return np.asarray(scores[metric].sel(system=system).transpose("region", "lead_time", "channel").values)

    singles = {
        f"{metric}_{system}": values(metric, system)
        for metric in ("mse", "mae", "bias", "acc")
        for system in ("control", "ensemble_mean")
    }
    ranks = scores["rank_histogram"].sel(ensemble="ensemble").transpose("region", "lead_time", "channel", "rank")
    return singles | {
        "crps": values("crps", "ensemble"),
        "variance": values("spread", "ensemble") ** 2,
        "ranks": ranks.values,
        "brier": scores["fair_brier"].sel(system="ensemble", region="global").squeeze("event").values,
    }


def require_equal(ours: Numbers, theirs: Numbers, way: Way) -> None:
    """AssertionError where a program finds other numbers, in the regions that it has."""
    assert ours.keys() == theirs.keys(), (way.name, theirs.keys())
    for name, found in theirs.items():
        expected = ours[name][: len(found)]
        system = name.partition("_")[2]
        scale = np.sqrt(ours[f"mse_{system}"])[: len(found)] if name.startswith("bias") else np.abs(expected)
        if name == "ranks":
            allowed = np.full(found.shape, OF_RANKS)
        else:
            allowed = scale * (OF_MEANS if system == "ensemble_mean" else TOLERANCE)
        assert found.shape == expected.shape, (way.name, name, found.shape, expected.shape)
        assert np.all(np.abs(found - expected) <= allowed), (way.name, name, np.abs(found - expected).max())


Turns = dict[str, list[Taken]]
"""What every way took, turn after turn."""


@dataclass(frozen=True)
class Bench:
    """Files to score, and all ways to do that."""

    folder: Path
    ways: list[Way]

    def turn(self, chosen: Sequence[Way]) -> dict[str, Taken]:
        """Run each way once; AssertionError where their numbers differ."""
        results, taken = self.folder / "results.npz", {}
        channels = list(json.loads((self.folder / "task.json").read_text(encoding="utf-8"))["channels"])
        numbers: Numbers = {}
        for way in chosen:
            taken[way.name] = run(way, results)
            found = results_of(way, results, channels)
            numbers = numbers or found
            require_equal(numbers, found, way)
            print(f"{way.name}: {taken[way.name].seconds:.1f} s", file=sys.stderr, flush=True)
        return taken


@contextmanager
def benched(name: str, arguments: argparse.Namespace) -> Iterator[Bench]:
    """The files of a case, which go afterwards."""
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        print(CASES[name], file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-W", "ignore", str(HERE / "verification_case.py"), folder, name], check=True)
        yield Bench(Path(folder), ways_of(Path(folder), arguments))


def measured(name: str, arguments: argparse.Namespace) -> Turns:
    """All turns but the first, after which only the fastest way of every other program goes on."""
    with benched(name, arguments) as bench:
        chosen = fastest(bench.ways, bench.turn(bench.ways))
        turns = [bench.turn(chosen) for _ in range(arguments.repeats)]
    return {way.name: [turn[way.name] for turn in turns] for way in chosen}


def measured_once(name: str, arguments: argparse.Namespace, chosen: Turns) -> Turns:
    """One turn of the ``chosen`` ways, without the program that always holds everything in memory."""
    with benched(name, arguments) as bench:
        turn = bench.turn([way for way in bench.ways if way.name in chosen and way.program != WEATHERBENCH2])
    return {way: [taken] for way, taken in turn.items()}


def fastest(ways: list[Way], first: dict[str, Taken]) -> list[Way]:
    """All of our ways, and the fastest of every other program."""
    best = {
        way.program: min(first[other.name].seconds for other in ways if other.program == way.program) for way in ways
    }
    return [way for way in ways if way.program == OURS or first[way.name].seconds == best[way.program]]


def table_of(taken: Turns) -> list[str]:
    """Medians, and how many times as long as ours a program takes."""
    seconds = {name: median(run.seconds for run in runs) for name, runs in taken.items()}
    best = min((name for name in taken if name.startswith(OURS)), key=seconds.__getitem__)
    rows = []
    for name, runs in taken.items():
        ratios = [run.seconds / ours.seconds for run, ours in zip(runs, taken[best], strict=True)]
        memory = max(run.megabytes for run in runs)
        times = f"{min(run.seconds for run in runs):.1f} to {max(run.seconds for run in runs):.1f}"
        rows.append(f"| {name} | {seconds[name]:.1f} ({times}) | {median(ratios):.2f} | {memory:.0f} |")
    if WEATHERBENCH2 not in taken:
        rows.append(f"| {WEATHERBENCH2} | not measured | | |")
    return ["| program | seconds | of ours | peak MB |", "|---|---:|---:|---:|", *rows]


def doubled_table(plain: Turns, doubled: Turns) -> list[str]:
    """How time and peak grow where there are twice as many initial times."""
    rows = []
    for name in (name for name in plain if name in doubled):
        seconds = [median(run.seconds for run in taken[name]) for taken in (plain, doubled)]
        peaks = [max(run.megabytes for run in taken[name]) for taken in (plain, doubled)]
        rows.append(f"| {name} | {seconds[1] / seconds[0]:.2f} | {peaks[0]:.0f} | {peaks[1]:.0f} |")
    return ["| twice the initial times | time, times | peak MB before | after |", "|---|---:|---:|---:|", *rows]


def report(arguments: argparse.Namespace) -> list[str]:
    lines = [
        "# Verification", "",
        machine("numpy", "xarray", "zarr", "netCDF4", "scores", "dask"),
        f"Medians (smallest to largest) of {arguments.repeats} turns, each of all programs, which found the same "
        "numbers; what they compute is said at the head of benchmarks/verification.py.", "",
    ]  # fmt: skip
    for name in arguments.cases:
        taken = measured(name, arguments)
        lines += [f"## {CASES[name]}", "", *table_of(taken), ""]
        if f"{name}_doubled" in CASES and arguments.doubled:
            lines += [*doubled_table(taken, measured_once(f"{name}_doubled", arguments, taken)), ""]
    return lines


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = os.environ.get("FOURCAST_WEATHERBENCH2")
    parser.add_argument("--weatherbench2", type=Path, default=given, help="a checkout of google-research/weatherbench2")
    python = os.environ.get("FOURCAST_WEATHERBENCH2_PYTHON", sys.executable)
    parser.add_argument("--weatherbench2-python", default=python, help="a Python that has what it needs")
    parser.add_argument("--cases", nargs="+", default=["small", "large"], choices=list(CASES))
    parser.add_argument("--workers", type=int, nargs="+", default=[1], help="of our verb")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--doubled", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    parser.add_argument("--quick", action="store_true", help="little data, once: to try it out")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.cases, arguments.repeats, arguments.doubled = ["tiny"], 1, False
    return arguments


def main() -> None:
    arguments = parse()
    write_report(report(arguments), arguments.output)


if __name__ == "__main__":
    main()
