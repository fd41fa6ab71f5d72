"""One step of a training: losses and gradients of a batch, and what they change."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fourcast.distributed import Process
from fourcast.train.learner import Learner
from fourcast.train.objective import Draw, Objective
from fourcast.train.parallel import clip_gradients, synchronising
from fourcast.train.precision import unscale


@dataclass(frozen=True)
class Outcome:
    """What a step came to, the same in all processes: mean loss over the batch, norm of its gradient before clipping.

    stop: whether any process was asked to stop.
    """

    loss: float
    gradient_norm: float
    stop: bool

    @property
    def finite(self) -> bool:
        """Whether the step may change weights."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient_norm)


@dataclass(frozen=True)
class Batch:
    """This process's share of a batch: normalised states [B, S, C, H, W], and which of the whole batch they are."""

    states_BSCHW: Tensor
    draw: Draw

    def parts(self, count: int) -> list["Batch"]:
        """The share in ``count`` parts, one after the other, or in as many as it has samples."""
        parts, first = [], self.draw.places.start
        for states in self.states_BSCHW.tensor_split(min(count, len(self.states_BSCHW))):
            parts.append(Batch(states, Draw(self.draw.seed, self.draw.step, range(first, first + len(states)))))
            first += len(states)
        return parts


@dataclass(frozen=True)
class Stepper:
    """How steps are made, from the first to the last of a training."""

    objective: Objective
    process: Process
    accumulate: int
    gradient_clip: float | None

    def step(self, learner: Learner, batch: Batch, rate: float, stop: bool) -> Outcome:
        """Make one step at learning rate ``rate``; where loss or gradient is not finite, leave the model as it was.

        It waits for the device once, when all processes learn the loss and whether one of them was asked to ``stop``.
        """
        statistics = _kept(learner.model)
        loss = self._gradients(learner, batch)
        unscale(learner.model, learner.scale)
        norm = clip_gradients(learner.model, self.gradient_clip)
        shared = self.process.sum(torch.stack([loss / self.process.world_size, torch.full_like(loss, float(stop))]))
        mean, stops, gradient = torch.cat([shared, norm.reshape(1).to(shared)]).tolist()
        outcome = Outcome(mean, gradient, stops > 0)
        if not outcome.finite:
            _put_back(statistics)
        self._change(learner, outcome, rate)
        return outcome

    def _gradients(self, learner: Learner, batch: Batch) -> Tensor:
        """Accumulate gradients of the mean loss over the share of this process, and return that loss."""
        for optimizer in learner.optimizers:
            optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.process.device)
        parts = batch.parts(self.accumulate)
        for part in parts:
            with synchronising(learner.parallel, part is parts[-1]):
                weight = len(part.states_BSCHW) / len(batch.states_BSCHW)
                value = self.objective(learner.parallel, part.states_BSCHW, part.draw) * weight
                gathered = _kept(learner.model)
                (value * learner.scale.value).backward()
                _put_back(gathered)  # blocks that are recomputed in the backward pass gather theirs twice
            total += value.detach()
        return total

    @staticmethod
    def _change(learner: Learner, outcome: Outcome, rate: float) -> None:
        position = learner.position
        position.step += 1
        if outcome.finite:
            for optimizer in learner.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.step()
            if learner.average is not None:
                learner.average.update(learner.model, position.updates)
            position.updates += 1
            position.skipped = 0
            position.recent.append([outcome.loss, outcome.gradient_norm])
        elif learner.scale.value <= 1.0 or not math.isfinite(outcome.loss):
            position.skipped += 1  # else gradients overflowed in fp16: a lower scale mends that, and nothing is wrong
        learner.scale.update(outcome.finite)

    def culprits(self, learner: Learner, batch: Batch) -> str:
        """Which channels are not finite, in words: those of the analyses, else those the model predicts.

        All processes must call it together.
        """
        objective, statistics = self.objective, _kept(learner.model)
        predicted = torch.zeros(len(objective.channels), device=self.process.device)
        with torch.no_grad():
            for part in batch.parts(self.accumulate):
                for predictions, _ in objective.predictions(learner.parallel, part.states_BSCHW, part.draw):
                    predicted += _broken(predictions)
        _put_back(statistics)
        broken = torch.cat([_broken(batch.states_BSCHW.flatten(0, 1)), predicted])
        counts = self.process.sum(broken).tolist()
        given = [name for name, count in zip(objective.inputs, counts, strict=False) if count]
        if given:
            return f"{', '.join(given)} of the analyses"
        made = [n for n, count in zip(objective.channels, counts[len(objective.inputs) :], strict=True) if count]
        return f"{', '.join(made)} of the prediction" if made else "the gradient alone"


def _statistics(model: nn.Module) -> list[Tensor]:
    """The running statistics that a model gathers in every forward pass of a training, good or bad."""
    return [own for part in model.modules() if isinstance(part, nn.BatchNorm1d) for own in part.buffers()]


def _kept(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Those statistics, each with a copy of what it is now."""
    return [(own, own.clone()) for own in _statistics(model)]


def _put_back(tensors: list[tuple[Tensor, Tensor]]) -> None:
    """Give tensors the values that were kept of them."""
    for own, kept in tensors:
        own.copy_(kept)


def _broken(fields_BCHW: Tensor) -> Tensor:
    """How many values of each channel are not finite [C]."""
    return (~torch.isfinite(fields_BCHW)).sum(dim=(0, 2, 3)).float()
