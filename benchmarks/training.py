"""How many samples a second does training take in, with how much memory, beside a plain FourCastNet?

    python benchmarks/training.py --output benchmarks/results/training_cpu.md
    python benchmarks/training.py --device cuda --output benchmarks/results/training_h200.md

Steps of ``fourcast train`` and steps of ``plain_fourcastnet`` with the same weights, data, optimizer and precision, in
turns in one process, so that a busy machine slows all alike: forward, backward, gradient norm (ours alone), optimizer.
Peak memory is that of a process that does nothing else. Then the same training on several processes (two on a CPU, with
one thread each; one on every GPU), each with as many samples as one has alone: weak scaling.
"""

import argparse
import multiprocessing
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import plain_fourcastnet
import torch
from common import machine, write_report
from plain_fourcastnet import PlainFourCastNet, Shape
from torch import Tensor

from fourcast.config import ModelConfig, TrainConfig
from fourcast.distributed import Process, process_group
from fourcast.models.build import build_model
from fourcast.train.learner import learner_of
from fourcast.train.loss import relative_l2
from fourcast.train.objective import Draw, Rollout
from fourcast.train.optim import build_optimizers
from fourcast.train.precision import set_matmul_precision
from fourcast.train.step import Batch, Stepper
from fourcast.train_config import OptimConfig, ParallelConfig

Step = Callable[[Tensor], float]
RATE = 5e-4
PATHS = ("plain", "fourcast", "plain, compiled", "fourcast, compiled")
SPAWN = multiprocessing.get_context("spawn")


class Case(NamedTuple):
    """A network, its grid and how many samples a process takes at once."""

    name: str
    shape: Shape
    batch: int
    precision: str = "fp32"

    def states(self, device: torch.device) -> Tensor:
        """States [B, 2, C, H, W]: what is given and what is to be predicted."""
        generator = torch.Generator().manual_seed(1)
        return torch.randn(self.batch, 2, self.shape.channels, *self.shape.grid, generator=generator).to(device)

    def __str__(self) -> str:
        s = self.shape
        size = f"patch {s.patch_size}, width {s.embed_dim}, depth {s.depth}, {s.channels} channels"
        return f"{self.name}: {s.grid[0]}×{s.grid[1]}, {size}, batch {self.batch}, {self.precision}"


COARSE, MIDDLE = (32, 64), (120, 240)
CASES = {
    "cpu": [
        Case("5.625°, model=small", Shape(COARSE, 20, 4, 192, 4), 16),
        Case("1.5°, model=small", Shape(MIDDLE, 20, 4, 192, 4), 2),
        Case("5.625°, era5_5p6deg", Shape(COARSE, 20, 2, 384, 8), 2),
        Case("1.5°, era5_1p5deg", Shape(MIDDLE, 20, 4, 512, 8), 1),
    ],
    "cuda": [Case("0.25°, published", Shape(), batch, "bf16") for batch in (1, 4, 8)],
}
TINY = Case("warm-up", Shape((8, 16), 2, 4, 16, 1), 1)


def make_step(path: str, case: Case, process: Process) -> Step:
    """Training steps by one path, from weights that are the same for all; each gives its loss."""
    torch.manual_seed(0)
    compiled = path.endswith("compiled")
    if path.startswith("fourcast"):
        return our_step(case, process, "default" if compiled else None)
    return plain_step(case, process, compiled)


def our_step(case: Case, process: Process, compiled: str | None) -> Step:
    """A step as ``fourcast train`` makes it."""
    names = tuple(str(channel) for channel in range(case.shape.channels))
    model = ModelConfig(case.shape.patch_size, case.shape.embed_dim, case.shape.depth)
    parallel, optim = ParallelConfig(compile=compiled), OptimConfig(learning_rate=RATE)
    config = TrainConfig(model=model, parallel=parallel, precision=case.precision, optim=optim)
    network = build_model(model, (case.shape.channels, case.shape.channels), case.shape.grid)
    learner = learner_of(network.to(process.device), config, process)
    stepper = Stepper(Rollout(names, names, relative_l2, case.precision), process, 1, None)

    def step(states_BSCHW: Tensor) -> float:
        draw = Draw(0, learner.position.step, range(len(states_BSCHW)))
        return stepper.step(learner, Batch(states_BSCHW, draw), RATE, False).loss

    return step


def plain_step(case: Case, process: Process, compiled: bool) -> Step:
    """A step of the plain network; AdamW without decay, as ours, is the published Adam."""
    model = PlainFourCastNet(case.shape)
    pair = (case.shape.channels, case.shape.channels)
    config = ModelConfig(case.shape.patch_size, case.shape.embed_dim, case.shape.depth)
    torch.manual_seed(0)
    model.load_state_dict(build_model(config, pair, case.shape.grid).state_dict())
    model.to(process.device)
    for block in model.blocks if compiled else ():
        block.compile(mode="default", dynamic=False)
    (optimizer,) = build_optimizers(model, OptimConfig(learning_rate=RATE))

    def step(states_BSCHW: Tensor) -> float:
        x, target = states_BSCHW.unbind(1)
        return plain_fourcastnet.train_step(model, optimizer, x, target, case.precision).item()

    return step


def alone(device: str) -> Process:
    """A process without peers."""
    return Process(0, 1, 0, 1, torch.device(device))


def seconds(step: Step, states: Tensor) -> float:
    """Time of one step, on a device that waits for nothing else."""
    if states.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    step(states)
    if states.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


class Speed(NamedTuple):
    samples: float  # a second, median
    ratio: float  # over the first path's, median over turns
    quartiles: tuple[float, float]


def measure_speed(case: Case, paths: list[str], device: str, repeats: int) -> dict[str, Speed]:
    """Steps in turns. Paths that disagree about the first loss are no comparison: AssertionError."""
    states = case.states(torch.device(device))
    steps = {path: make_step(path, case, alone(device)) for path in paths}
    losses = {path: step(states) for path, step in steps.items()}
    tolerance = 1e-4 if case.precision == "fp32" else 2e-2
    assert max(losses.values()) - min(losses.values()) < tolerance * min(losses.values()), losses
    for step in steps.values():
        step(states)
    turns = [{path: seconds(step, states) for path, step in steps.items()} for _ in range(repeats)]
    speeds = {}
    for path in paths:
        ratios = [turn[paths[0]] / turn[path] for turn in turns]
        low, middle, high = quantiles(ratios, n=4)
        speeds[path] = Speed(case.batch / median(turn[path] for turn in turns), middle, (low, high))
    return speeds


def measure_memory(path: str, case: Case, device: str) -> float:
    """Peak memory of training in bytes: weights, gradients, optimizer and activations; not the libraries."""
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        return pool.submit(growth, path, case, device, torch.get_num_threads()).result()


def growth(path: str, case: Case, device: str, threads: int) -> float:
    """Largest memory in use during three steps, less that after a training of next to nothing."""
    torch.set_num_threads(threads)
    tiny = make_step(path, TINY._replace(precision=case.precision), alone(device))
    tiny(TINY.states(torch.device(device)))
    before = peak(device)
    states = case.states(torch.device(device))
    step = make_step(path, case, alone(device))
    for _ in range(3):
        step(states)
    return peak(device) - before


def peak(device: str) -> float:
    """Most memory this process has held: of the GPU, or resident; ru_maxrss would count the starting process."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def measure_scaling(case: Case, device: str, count: int, repeats: int) -> float:
    """Samples a second of ``count`` processes over those of one alone, with as many samples and threads each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    with ProcessPoolExecutor(count, mp_context=SPAWN) as pool:
        jobs = [pool.submit(scaling_rank, rank, count, port, case, device, repeats) for rank in range(count)]
        results = [job.result() for job in jobs]
    return results[0]


def scaling_rank(rank: int, count: int, port: str, case: Case, device: str, repeats: int) -> float:
    """Steps of the first rank alone, while the others wait, and steps of all, in turns."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ |= {name: str(value) for name, value in place.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    if device == "cpu":
        torch.set_num_threads(1)
    with process_group(device) as process:
        states = case.states(process.device)
        single = make_step("fourcast", case, Process(0, 1, 0, 1, process.device))
        together = make_step("fourcast", case, process)
        ratios = []
        for turn in range(repeats + 2):
            process.barrier()
            own = seconds(single, states) if rank == 0 else 1.0
            process.barrier()
            shared = seconds(together, states)
            if turn >= 2:
                ratios.append(count * own / shared)
        return median(ratios)


def rows(case: Case, arguments: argparse.Namespace) -> list[str]:
    """A row for each path; the first path is what the others are compared with."""
    paths = list(PATHS if arguments.compile else PATHS[:2])
    speeds = measure_speed(case, paths, arguments.device, arguments.repeats)
    memory = {path: measure_memory(path, case, arguments.device) for path in paths[:2]}
    found = []
    for path, speed in speeds.items():
        low, high = speed.quartiles
        cells = [str(case), path, f"{speed.ratio:.2f} ({low:.2f} to {high:.2f})"]
        cells.append(f"{memory[path] / memory['plain']:.2f}" if path in memory else "")
        if arguments.device == "cuda":
            cells += [f"{speed.samples:.1f}", f"{memory[path] / 2**30:.1f}" if path in memory else ""]
        found.append("| " + " | ".join(cells) + " |")
    return found


def heading(arguments: argparse.Namespace) -> list[str]:
    """What was measured, where, and how to read it."""
    on = torch.cuda.get_device_name() + ", " if arguments.device == "cuda" else f"{torch.get_num_threads()} threads on "
    absolute = [" samples/s |", " peak GiB |"] if arguments.device == "cuda" else []
    return [
        "## Training beside a plain FourCastNet",
        "",
        f"{on}{machine('torch')}",
        f"Speed: samples a second over those of `plain`, median of {arguments.repeats} turns (quartiles). Memory: peak "
        "of a process of its own, less that of a training of next to nothing. Compiled: torch.compile of every block.",
        "",
        "| network | path | speed | memory |" + "".join(absolute),
        "|---" * (4 + len(absolute)) + "|",
    ]


def parse() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--cases", nargs="+", type=int, help="numbers of the networks, from 0 on; all")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--compile", action="store_true", help="also both networks under torch.compile")
    parser.add_argument("--no-scaling", action="store_true")
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def main() -> None:
    """Measure, print the tables and write them."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    set_matmul_precision("fp32")
    cases = CASES[arguments.device]
    chosen = [cases[number] for number in arguments.cases or range(len(cases))]
    lines = heading(arguments)
    for case in chosen:
        lines += rows(case, arguments)
    count = torch.cuda.device_count() if arguments.device == "cuda" else 2
    if count > 1 and not arguments.no_scaling:
        lines += ["", f"Weak scaling: samples a second of {count} processes over one, with the same samples each.", ""]
        lines += ["| network | over one |", "|---|---|"]
        for case in chosen[:2]:
            ratio = measure_scaling(case, arguments.device, count, arguments.repeats)
            lines.append(f"| {case} | {ratio:.2f} of {count} |")
    write_report(lines, arguments.output)


if __name__ == "__main__":
    main()
