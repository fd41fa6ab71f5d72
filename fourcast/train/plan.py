"""``fourcast plan``: what a training will take, before it starts, and what to change where it cannot fit."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import fourcast.train.loop  # noqa: F401  what a training imports is part of the memory that it takes
from fourcast.config import PlanConfig, TrainConfig
from fourcast.errors import InputError
from fourcast.progress import duration, gigabytes
from fourcast.train.estimate import EFFICIENCY, TRIAL_UPDATES, Estimate, estimate, memory
from fourcast.train.machine import Machine, this_machine
from fourcast.train.prepare import Task, loss_steps, prepare


def plan(config: PlanConfig) -> Estimate:
    """Predict memory, disk and time of a training, and print them.

    InputError where it does not fit into memory, with what would.
    """
    task = prepare(config)
    machine = this_machine(config.device, config.precision, config.processes, config.device_memory_gb)
    found = estimate(task, machine)
    print(table(task, machine, found))
    require_fit(task, machine, found)
    return found


def table(task: Task, machine: Machine, found: Estimate) -> str:
    """What was found, in words."""
    config, (h, w) = task.config, task.card.grid.shape
    device = "GPU" if machine.on_gpu else "CPU"
    head = (
        f"{found.parameters:,} parameters, {len(task.channels)} channels, {h}×{w}, "
        f"batches of {config.batch_size} on {machine.processes} × {device}"
    )
    held = found.memory
    parts = {
        "weights": held.weights, "gradients": held.gradients, "optimizer": held.optimizer,
        "average of the weights": held.average, "activations": held.activations,
        "workspace and heap": held.workspace, "batches": held.batches, "stores in memory": held.data,
        "copy for checkpoints": held.staging, "interpreter": held.resident,
    }  # fmt: skip
    disk = {"stores": found.store, "a checkpoint": found.checkpoint, "the run": found.run}
    reading = {"a sample": found.sample, "a step": found.step}
    peak = f"{gigabytes(held.peak)} of {gigabytes(machine.capacity)}"
    lines = [
        head,
        *_section("memory of a process (not all of it at once)", parts),
        f"  {'at most, predicted':24}{peak:>12}",
        *([f"  {'of the host':24}{gigabytes(held.host):>12}"] if machine.on_gpu else []),
        *_section("read from stores", reading),
        *_section("disk", disk),
        "time",
        f"  {'operations a step':24}{found.flops * machine.processes:>12.3g}",
        *_time(config, found),
    ]
    return "\n".join(lines)


def _section(title: str, sizes: dict[str, int]) -> list[str]:
    return [title, *(f"  {name:24}{gigabytes(size):>12}" for name, size in sizes.items() if size)]


def _time(config: TrainConfig, found: Estimate) -> list[str]:
    if found.seconds is None or found.hours is None:
        return ["  how long is not known: the device is not here"]
    total = f"{config.steps} steps take {duration(3600 * found.hours)}, a step {found.seconds:.2g} s"
    return [
        f"  {total}: a rough guess, at {EFFICIENCY:.0%} of the speed of products",
        "  of matrices alone, without validation, reading and exchange between processes; it can be off twofold",
    ]


def require_fit(task: Task, machine: Machine, found: Estimate) -> None:
    """Raise InputError where a process needs more memory than it has, naming changes that would make it fit."""
    needed = found.memory.peak
    if needed <= machine.capacity:
        return
    ways = [f"{way} ({gigabytes(less)})" for way, less in ways_out(task, machine)]
    raise InputError(
        f"a process would need {gigabytes(needed)} of memory and has {gigabytes(machine.capacity)}; "
        + (f"any one of these fits: {', '.join(ways)}" if ways else _together(task, machine))
    )


def _together(task: Task, machine: Machine) -> str:
    """What all changes come to that leave the result as it is, where none alone is enough."""
    config = task.config
    keys: dict[str, Any] = {"accumulate": config.batch_size // machine.processes, "recompute": 1.0}
    if machine.processes > 1:
        keys["strategy"] = "fsdp"
    changed = replace(config, parallel=replace(config.parallel, **keys))
    needed = memory(replace(task, config=changed), machine, TRIAL_UPDATES).peak
    text = " ".join(f"parallel.{key}={value}" for key, value in keys.items())
    if needed <= machine.capacity:
        return f"together these fit: {text} ({gigabytes(needed)})"
    return f"even {text} need {gigabytes(needed)}: make the model or the rollout smaller, or use more memory"


def ways_out(task: Task, machine: Machine) -> Iterator[tuple[str, int]]:
    """(what to set, what a process needs then), the mildest change of each kind that fits."""

    def needed(config: TrainConfig) -> int:
        return memory(replace(task, config=config), machine, TRIAL_UPDATES).peak

    for kind in _changes(task.config, machine.processes):
        if not kind or needed(kind[-1][1]) > machine.capacity:
            continue
        sizes = ((text, needed(config)) for text, config in kind)
        yield next((text, size) for text, size in sizes if size <= machine.capacity)


Change = tuple[str, TrainConfig]


def _changes(config: TrainConfig, processes: int) -> Iterator[list[Change]]:
    """Kinds of changes, each from the mildest on; first those that leave the result of the training as it is."""
    parallel, share, rollout = config.parallel, config.batch_size // processes, loss_steps(config)
    parts = [n for n in range(parallel.accumulate + 1, share + 1) if share % n == 0]
    yield [
        (f"parallel.accumulate={n}", replace(config, parallel=replace(parallel, accumulate=n))) for n in _spread(parts)
    ]
    fractions = [fraction for fraction in (0.25, 0.5, 0.75, 1.0) if fraction > parallel.recompute]
    yield [(f"parallel.recompute={f}", replace(config, parallel=replace(parallel, recompute=f))) for f in fractions]
    if processes > 1 and parallel.strategy == "ddp":
        yield [("parallel.strategy=fsdp", replace(config, parallel=replace(parallel, strategy="fsdp")))]
    if config.precision in ("fp32", "tf32"):
        yield [("precision=bf16", replace(config, precision="bf16"))]
    sizes = [processes * n for n in range(share - 1, 0, -1) if share % n == 0]
    yield [(f"batch_size={n}", replace(config, batch_size=n)) for n in _spread(sizes)]
    lengths = range(rollout - 1, 0, -1)
    yield [(f"rollout.steps={n}", replace(config, rollout=replace(config.rollout, steps=n))) for n in lengths]


def _spread(numbers: list[int], most: int = 5) -> list[int]:
    """At most so many of ``numbers``, the last among them."""
    stride = -(-len(numbers) // most)
    return numbers[::-1][::stride][::-1] if numbers else []
