"""A few steps of a training on tensors without data, by its own code: what memory and arithmetic it takes."""

import importlib.util
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import Optimizer

from fourcast.checkpoint import build, load_card
from fourcast.distributed import Process
from fourcast.kernels.dispatch import VARIABLE
from fourcast.train.learner import learner_of
from fourcast.train.ledger import Heap, Ledger, bytes_of
from fourcast.train.loss import build_loss
from fourcast.train.objective import Draw, Objective, Precipitation, Rollout, make_objective
from fourcast.train.parallel import blocks_of, clip_gradients
from fourcast.train.prepare import PRECIPITATION, Task, held_out_steps
from fourcast.train.step import Batch

CPU = torch.device("cpu")
ALONE = Process(rank=0, world_size=1, local_rank=0, local_world_size=1, device=CPU)


@dataclass(frozen=True)
class Scene:
    """What is rehearsed: a process's share of a batch, rolled out so far, for so many updates of the weights.

    ahead: how many batches more are in memory, read ahead. staged: whether one update runs beside the copy that a
    checkpoint is written from. on_gpu: by the kernels and in the memory of a GPU.
    """

    samples: int
    rollout: int
    updates: int
    ahead: int = 0
    staged: bool = False
    on_gpu: bool = False


@dataclass(frozen=True)
class Rehearsal:
    """What one process holds, in bytes, were it alone with its share of a batch.

    parameters: how many numbers are trained. weights, gradients, optimizer, average: what they take, with buffers
    among the weights; rest: the weights outside the blocks, and block: of one block. batch: of a window for each
    sample. activations: what a forward pass leaves for the backward pass. peak: the most that tensors take at a time,
    temporaries included; occupied: what the C library takes for them. flops: operations of an update.
    """

    parameters: int
    weights: int
    rest: int
    block: int
    gradients: int
    optimizer: int
    average: int
    batch: int
    activations: int
    peak: int
    occupied: int
    flops: int


def rehearse(task: Task, scene: Scene) -> Rehearsal:
    """Train and then validate ``task`` without reading, computing or keeping anything.

    From the second update on, optimizers have their state; the heap on a CPU goes on growing for a few more.
    """
    with torch.device("meta"):
        model = build(task.card)
        backbone = None if task.config.backbone is None else build(load_card(task.config.backbone))
    heap = None if scene.on_gpu else Heap.of_this_system()
    with _kernels(scene.on_gpu) as fused, FakeTensorMode(allow_non_fake_inputs=True), Ledger(heap, fused) as ledger:
        return _Play(task, scene, ledger, (model.to_empty(device=CPU), backbone)).whole()


class _Play:
    """The parts of a rehearsal, in the order in which a training takes them up."""

    def __init__(self, task: Task, scene: Scene, ledger: Ledger, models: tuple[nn.Module, nn.Module | None]) -> None:
        config, (model, backbone) = task.config, models
        self.task, self.scene, self.ledger, self.model = task, scene, ledger, model
        learner = learner_of(model, replace(config, parallel=replace(config.parallel, compile=None)), ALONE)
        self.learner, self.parallel = learner, learner.parallel
        self.optimizers, self.average = learner.optimizers, learner.average
        self.objective = _objective(task, backbone)
        self.activations = 0

    def whole(self) -> Rehearsal:
        """Every update, and a validation."""
        ahead = deque(self.window(self.scene.rollout) for _ in range(self.scene.ahead))
        before, staged = 0, []
        for update in range(self.scene.updates):
            before = self.ledger.flops
            ahead.append(self.window(self.scene.rollout))
            self.update(Batch(ahead.popleft(), Draw(0, update, range(self.scene.samples))), update)
            copied = self.scene.staged and update == self.scene.updates // 2
            staged = [tensor.detach().clone() for tensor in self.learner.tensors().values()] if copied else []
        del staged
        flops = self.ledger.flops - before
        gradients = bytes_of([p.grad for p in self.model.parameters() if p.grad is not None])
        with self.average.applied(self.model) if self.average else nullcontext():
            self.validate()
        return self.found(gradients, flops)

    def window(self, rollout: int, samples: int | None = None) -> Tensor:
        """Room for a batch."""
        count = self.scene.samples if samples is None else samples
        return torch.empty(count, 1 + rollout, len(self.task.channels), *self.task.card.grid.shape)

    def update(self, batch: Batch, number: int) -> None:
        """What ``Stepper.step`` does, but for what it learns from other processes."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        for part in batch.parts(self.task.config.parallel.accumulate):
            before = self.ledger.held
            value = self.objective(self.parallel, part.states_BSCHW, part.draw)
            self.activations = max(self.activations, self.ledger.held - before)
            value.backward()
        clip_gradients(self.model, self.task.config.optim.gradient_clip)
        for optimizer in self.optimizers:
            optimizer.step()
        if self.average is not None:
            self.average.update(self.model, number)

    @torch.no_grad()
    def validate(self) -> None:
        """What ``validate`` does with its first chunk, but for scores, which are made of one sample at a time."""
        config = self.task.config
        steps = held_out_steps(config, self.task.series, self.task.held_out_periods)
        samples = max(self.scene.samples // config.parallel.accumulate, 1)
        ahead = [self.window(steps, samples) for _ in range(self.scene.ahead)]
        self.model.eval()
        window = self.window(steps, samples)
        analyses = window.clone()
        for predictions, targets in self.objective.predictions(self.parallel, window, Draw(0, 0, range(samples))):
            self.objective.loss(predictions, targets)
        del ahead, analyses

    def found(self, gradients: int, flops: int) -> Rehearsal:
        """The sums of the books."""
        parameters, blocks = list(self.model.parameters()), blocks_of(self.model)
        weights = bytes_of([*parameters, *self.model.buffers()])
        inside = sum(bytes_of(list(block.parameters())) for block in blocks)
        return Rehearsal(
            parameters=sum(p.numel() for p in parameters),
            weights=weights,
            rest=weights - inside,
            block=inside // max(len(blocks), 1),
            gradients=gradients,
            optimizer=bytes_of([t for optimizer in self.optimizers for t in _state(optimizer)]),
            average=0 if self.average is None else bytes_of(list(self.average.tensors.values())),
            batch=bytes_of([self.window(self.scene.rollout)]),
            activations=self.activations,
            peak=self.ledger.peak,
            occupied=self.ledger.occupied,
            flops=flops,
        )


def _state(optimizer: Optimizer) -> list[Tensor]:
    return [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]


class _Quiet(Rollout):
    """A rollout whose noise is not drawn."""

    def with_noise(self, state: Tensor, draw: Draw, step: int) -> Tensor:
        """The state and room for noise behind it."""
        if self.noise_channels == 0:
            return state
        return torch.cat([state, state.new_empty(len(state), self.noise_channels, *state.shape[-2:])], dim=1)


def _objective(task: Task, backbone: nn.Module | None) -> Objective:
    """What ``task`` minimises; noise is not drawn, and the weights of a backbone are not read."""
    if backbone is None:
        return _Quiet(**vars(make_objective(task, CPU)))
    loss = build_loss(task.config.loss, (PRECIPITATION,), task.card.grid, torch.ones(1))
    frozen = backbone.to_empty(device=CPU).eval().requires_grad_(False)
    return Precipitation(task.channels, (PRECIPITATION,), loss, task.config.precision, frozen)


@contextmanager
def _kernels(on_gpu: bool) -> Iterator[bool]:
    """Within, operators save for the backward pass what they save on the device that is meant; whether they are fused.

    The choice of ``fourcast.kernels.dispatch`` goes by the tensors' device, and those of a rehearsal have none.
    """
    chosen = os.environ.get(VARIABLE)
    fused = on_gpu and chosen != "torch" and importlib.util.find_spec("triton") is not None
    if not fused:
        yield False
        return
    os.environ[VARIABLE] = "triton"
    try:
        yield True
    finally:
        if chosen is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = chosen
