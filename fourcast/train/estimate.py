"""What a training will take of memory, disk and time, predicted before it starts."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fourcast.data.dataset import Batches, Span, Windows, fits_in_memory
from fourcast.progress import duration, gigabytes
from fourcast.train.machine import Machine
from fourcast.train.prepare import Task, held_out_steps, loss_steps
from fourcast.train.rehearsal import Rehearsal, Scene, rehearse

UPDATES = 8
"""How many are rehearsed: after so many, a heap grows little any more."""
HEAP_SHARE = 0.75
"""How much of what the heap of a rehearsal takes beyond its tensors counts. How a heap falls into pieces is partly
chance: of the same rehearsal, repeated, it took up to a fifth more. This share came closest to seven trainings."""
TRIAL_UPDATES = 2
"""Enough where there is no heap, or a rough answer will do: optimizers have their state from the second on."""
EFFICIENCY = 0.5
"""What part of a matrix product's speed a training step reaches: normalisations, activations, transforms and optimizer
move memory while little is computed. On one core with AVX-512, networks 192 to 384 wide reached 0.5 to 0.7 of it."""
CUBLAS_BYTES = 32 << 20
"""Room to work that torch gives the matrix products of a GPU: 32 MiB on Hopper, 8 on others."""


@dataclass(frozen=True)
class Memory:
    """Of each process, in bytes.

    weights, gradients, optimizer, average: what it holds of each. activations: kept from a forward pass for its
    backward pass. batches: of data, on the device and read ahead. workspace: the rest, such as gradients of
    activations and what a heap cannot give back. data: stores held in memory. staging: the copy that a checkpoint is
    written from while training goes on. resident: the interpreter and its libraries.

    peak: of the device's memory; host: of the host's, which on a CPU is the same.
    """

    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    batches: int
    workspace: int
    data: int
    staging: int
    resident: int
    peak: int
    host: int


@dataclass(frozen=True)
class Estimate:
    """parameters: how many numbers are trained; memory: of each process; the rest of bytes is of all together.

    sample, step: read from stores for one sample and one step. store, checkpoint, run: on disk; the run with all
    checkpoints that stay. flops: operations of a step of the longest rollout, by one process. seconds: such a step
    takes; hours: all steps take; None where the device's speed is not known.
    """

    parameters: int
    memory: Memory
    sample: int
    step: int
    store: int
    checkpoint: int
    run: int
    flops: int
    seconds: float | None
    hours: float | None


def estimate(task: Task, machine: Machine, updates: int = UPDATES) -> Estimate:
    """What ``task`` takes on ``machine``, found by rehearsing some updates of the weights.

    InputError where batches cannot be divided among processes. Not known: what parallel.compile saves or takes, what
    pictures and trackers take, and how much of a GPU's memory falls into pieces.
    """
    config = task.config
    scene, found = _rehearsal(task, machine, updates)
    sample = found.batch // scene.samples
    checkpoint = found.weights + found.optimizer + found.average
    made = config.steps // config.checkpoint_every + config.steps // config.validate_every + 1
    checkpoints = min(config.keep_checkpoints + 2, made)
    seconds = _seconds(found.flops, machine)
    return Estimate(
        parameters=found.parameters,
        memory=_memory(task, machine, scene, found),
        sample=sample,
        step=sample * config.batch_size,
        store=sum(_on_disk(store.path) for store in task.series.stores),
        checkpoint=checkpoint,
        run=checkpoint * checkpoints,  # those to keep, the best, and the one that is being written
        flops=found.flops,
        seconds=seconds,
        hours=None if seconds is None else _hours(task, machine, scene, found.flops),
    )


def memory(task: Task, machine: Machine, updates: int = UPDATES) -> Memory:
    """The part of ``estimate`` that says whether a training fits."""
    return _memory(task, machine, *_rehearsal(task, machine, updates))


def _rehearsal(task: Task, machine: Machine, updates: int) -> tuple[Scene, Rehearsal]:
    config = task.config
    Batches(1, config.batch_size, config.seed, (0, machine.processes))
    in_heap = _ahead(task) if config.data.loader == "threads" and not machine.on_gpu else 0
    count = min(updates, TRIAL_UPDATES) if machine.on_gpu else updates
    staged = config.async_checkpoints and not machine.on_gpu
    scene = Scene(config.batch_size // machine.processes, loss_steps(config), count, in_heap, staged, machine.on_gpu)
    return scene, rehearse(task, scene)


def _ahead(task: Task) -> int:
    """How many batches are read ahead."""
    config = task.config
    in_memory = fits_in_memory(task.series, len(task.channels), config.data.memory_gb)
    return 0 if in_memory or config.data.workers == 0 else config.data.prefetch


def _memory(task: Task, machine: Machine, scene: Scene, found: Rehearsal) -> Memory:
    kept = _kept(task, machine)
    lasting = found.weights + found.optimizer + found.average
    copies = 2 if scene.staged else 1
    pieces = round(HEAP_SHARE * max(found.occupied - found.peak, 0))
    working = found.peak + pieces - round(copies * lasting * (1 - kept)) + _shared(task, machine, found)
    staging = round(lasting * kept) if task.config.async_checkpoints else 0
    apart = (_ahead(task) + 1) * found.batch if _ahead(task) > scene.ahead else 0  # pinned, or shared with workers
    data = _data_in_memory(task)
    host = machine.resident + data + apart + (staging if machine.on_gpu else 0)
    inside = found.batch * (1 + scene.ahead)
    known = found.activations + inside + round((copies * lasting + found.gradients) * kept)
    return Memory(
        weights=round(found.weights * kept),
        gradients=round(found.gradients * kept),
        optimizer=round(found.optimizer * kept),
        average=round(found.average * kept),
        activations=found.activations,
        batches=inside + apart,
        workspace=max(working - known, 0),
        data=data,
        staging=staging,
        resident=machine.resident,
        peak=working + (CUBLAS_BYTES if machine.on_gpu else host),
        host=host + (0 if machine.on_gpu else working),
    )


def _data_in_memory(task: Task) -> int:
    """Bytes of the analyses that are held in memory: all that are trained or validated on, or none."""
    config, series = task.config, task.series
    if not fits_in_memory(series, len(task.channels), config.data.memory_gb):
        return 0
    spans = (
        (task.periods, loss_steps(config)),
        (task.held_out_periods, held_out_steps(config, series, task.held_out_periods)),
    )
    parts = [
        Windows(series, task.channels, chosen, Span(1, steps, config.data.stride), in_memory=False)
        for chosen, steps in spans
    ]
    return sum(len(np.unique(part.times)) * 4 * int(np.prod(part.shape[1:])) for part in parts)


def _kept(task: Task, machine: Machine) -> float:
    """What part of weights, gradients and optimizer state a process keeps."""
    parallel = task.config.parallel
    if parallel.strategy == "ddp":
        return 1.0
    if parallel.strategy == "fsdp":
        return 1 / machine.processes
    return 1 / min(parallel.shard_processes or machine.processes, machine.processes)


def _shared(task: Task, machine: Machine, found: Rehearsal) -> int:
    """What working together takes: buckets for all gradients, or two blocks and the rest of the weights, whole."""
    if machine.processes == 1:
        return 0
    if task.config.parallel.strategy == "ddp":
        return found.gradients
    return 2 * (found.rest + 2 * found.block)  # weights, and as much for their gradients


def _seconds(flops: int, machine: Machine) -> float | None:
    return None if machine.speed is None else flops / (machine.speed * EFFICIENCY)


def _hours(task: Task, machine: Machine, scene: Scene, longest: int) -> float:
    """Of all steps, each as long as its rollout takes."""
    total = 0.0
    for first, end, rollout in task.config.rollout.spans(task.config.steps):
        same = rollout == scene.rollout
        flops = longest if same else rehearse(task, replace(scene, rollout=rollout, updates=1)).flops
        total += (end - first) * (_seconds(flops, machine) or 0.0)
    return total / 3600


def _on_disk(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def compare(predicted: Estimate, peak: int, seconds: float) -> str:
    """How far off ``predicted`` was, after a step: for the log."""
    expected = predicted.memory.peak
    memory = f"memory {gigabytes(peak)}, predicted {gigabytes(expected)} ({_off(expected, peak)})"
    if predicted.seconds is None:
        return f"{memory}; a step {duration(seconds)}"
    guess = f"guessed {_short(predicted.seconds)} ({_off(predicted.seconds, seconds)})"
    return f"{memory}; a step {_short(seconds)}, {guess}"


def _off(predicted: float, found: float) -> str:
    return f"{100 * (predicted - found) / found:+.0f} %"


def _short(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else duration(seconds)
