"""What a training changes from step to step, and all of it that a checkpoint must hold."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fourcast.checkpoint import AVERAGE, MODEL, OPTIMIZER, build, find_checkpoint, load_weights
from fourcast.config import TrainConfig
from fourcast.distributed import Process
from fourcast.train.average import WeightAverage
from fourcast.train.optim import Plateau, build_optimizers
from fourcast.train.parallel import parallelize
from fourcast.train.precision import LossScale
from fourcast.train.prepare import Task


@dataclass
class Position:
    """Where a training stands: plain numbers, which JSON keeps exactly.

    step: how many are done. updates: how many of them changed the weights. skipped: how many in a row, up to now, did
    not, because loss or gradient was not finite. recent: [loss, gradient norm] of the steps since the last line in the
    log. Random numbers and the order of samples follow from seed and step and need no state.
    """

    step: int = 0
    updates: int = 0
    skipped: int = 0
    recent: list[list[float]] = field(default_factory=list)


@dataclass
class Learner:
    """A model in training; ``parallel`` is the same model as it is called where several processes train it."""

    model: nn.Module
    parallel: nn.Module
    optimizers: list[Optimizer]
    average: WeightAverage | None
    scale: LossScale
    plateau: Plateau
    position: Position

    def tensors(self) -> dict[str, Tensor]:
        """Everything that training changes, by name; the tensors are the live ones, so filling them is loading."""
        found = {MODEL + name: tensor for name, tensor in self.model.state_dict().items()}  # as sharded, from here on
        names: dict[Tensor, str] = {parameter: name for name, parameter in self.model.named_parameters()}
        if self.average is not None:
            found |= {AVERAGE + name: tensor for name, tensor in self.average.tensors.items()}
        for optimizer in self.optimizers:
            for parameter, state in optimizer.state.items():
                found |= {f"{OPTIMIZER}{names[parameter]}.{key}": tensor for key, tensor in state.items()}
        return found

    def state(self) -> dict[str, Any]:
        """The rest of it, as JSON takes it."""
        return {"position": asdict(self.position), "scale": asdict(self.scale), "plateau": asdict(self.plateau)}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` gave."""
        self.position = Position(**state["position"])
        self.scale = LossScale(**state["scale"])
        self.plateau = Plateau(**state["plateau"])


def materialise(optimizer: Optimizer) -> None:
    """Make an optimizer's state tensors, which it would make at its first step, as they are before that."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    for state in optimizer.state.values():
        for tensor in state.values():
            tensor.zero_()
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def make_learner(task: Task, process: Process) -> Learner:
    """The learner of ``task`` at the beginning, its model fresh or from where it is to start."""
    torch.manual_seed(task.config.seed)
    model = build(task.card)
    if task.config.start_from is not None:
        load_weights(model, find_checkpoint(task.config.start_from), "model.* of this training")
    return learner_of(model.to(process.device), task.config, process)


def learner_of(model: nn.Module, config: TrainConfig, process: Process) -> Learner:
    """``model``, which is on the device of ``process``, spread over all processes, with all that trains it."""
    parallel = parallelize(model, process, config.parallel, config.precision)
    optimizers = build_optimizers(model, config.optim)
    for optimizer in optimizers:
        materialise(optimizer)
    decay = config.optim.ema_decay
    return Learner(
        model=model,
        parallel=parallel,
        optimizers=optimizers,
        average=None if decay is None else WeightAverage(model, decay),
        scale=LossScale.of(config.precision),
        plateau=Plateau(),
        position=Position(),
    )
