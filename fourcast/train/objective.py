"""From a window of analyses to what is minimised: a rollout of the model, or precipitation beside the state.

An objective is called with the model, normalised fields, and which samples of the whole batch they are; it gives the
loss, a scalar. ``predictions`` gives what it compares, so that what is not finite can be named.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from fourcast.checkpoint import load_model
from fourcast.models.precipitation import PRECIPITATION, log_precipitation
from fourcast.train.loss import Loss, build_loss
from fourcast.train.noise import training_noise
from fourcast.train.precision import autocast
from fourcast.train.prepare import Task


@dataclass(frozen=True)
class Draw:
    """Which part of which batch: the training step, and the place of every sample in the whole batch."""

    seed: int
    step: int
    places: range


class Objective(Protocol):
    """What a training minimises."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the channels of the states."""

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels that are predicted."""

    @property
    def loss(self) -> Loss:
        """What compares predictions with targets."""

    def predictions(self, model: nn.Module, states_BSCHW: Tensor, draw: Draw) -> Iterator[tuple[Tensor, Tensor]]:
        """(predictions [B·M, C, H, W], targets [B, C, H, W]), normalised, of every step."""

    def __call__(self, model: nn.Module, states_BSCHW: Tensor, draw: Draw) -> Tensor:
        """The loss, a mean over samples."""


@dataclass(frozen=True)
class Rollout:
    """The model's own steps from the first state of a window, each compared with the analysis of its time.

    The loss is the mean over all steps; its gradient flows through the last ``backprop_steps`` (null: all). With
    ``members`` > 1 every state has that many successors, told apart by noise.
    """

    inputs: tuple[str, ...]
    channels: tuple[str, ...]
    loss: Loss
    precision: str
    backprop_steps: int | None = None
    members: int = 1
    noise_channels: int = 0

    def predictions(self, model: nn.Module, states_BSCHW: Tensor, draw: Draw) -> Iterator[tuple[Tensor, Tensor]]:
        """See ``Objective``."""
        steps = states_BSCHW.shape[1] - 1
        state = states_BSCHW[:, 0].repeat_interleave(self.members, dim=0)
        first_with_gradient = 1 if self.backprop_steps is None else steps - self.backprop_steps + 1
        for step in range(1, steps + 1):
            grad = torch.is_grad_enabled() and step >= first_with_gradient
            with torch.set_grad_enabled(grad), autocast(state.device, self.precision):
                state = model(self.with_noise(state, draw, step)).float()
            yield state, states_BSCHW[:, step]

    def __call__(self, model: nn.Module, states_BSCHW: Tensor, draw: Draw) -> Tensor:
        """See ``Objective``."""
        pairs = self.predictions(model, states_BSCHW, draw)
        losses = [self.loss(predictions, targets) for predictions, targets in pairs]
        return torch.stack(losses).mean()

    def with_noise(self, state: Tensor, draw: Draw, step: int) -> Tensor:
        """The state and this step's noise behind it."""
        if self.noise_channels == 0:
            return state
        shape, key = (self.noise_channels, *state.shape[-2:]), (draw.seed, draw.step, step)
        return torch.cat([state, training_noise(key, draw.places, self.members, shape, state.device)], dim=1)


@dataclass(frozen=True)
class Precipitation:
    """Six-hour precipitation, as log(1 + tp / ε), from the backbone's prediction of the state at its end.

    States hold the backbone's channels and, last, the precipitation in metres (Pathak et al. 2022, section 3.2).
    """

    inputs: tuple[str, ...]
    channels: tuple[str, ...]
    loss: Loss
    precision: str
    backbone: nn.Module

    def predictions(self, model: nn.Module, states_BSCHW: Tensor, draw: Draw) -> Iterator[tuple[Tensor, Tensor]]:
        """See ``Objective``."""
        with autocast(states_BSCHW.device, self.precision):
            with torch.no_grad():
                predicted = self.backbone(states_BSCHW[:, 0, :-1]).float()
            amount = model(predicted).float()
        yield amount, log_precipitation(states_BSCHW[:, 1, -1:])

    def __call__(self, model: nn.Module, states_BSCHW: Tensor, draw: Draw) -> Tensor:
        """See ``Objective``."""
        ((predictions, targets),) = self.predictions(model, states_BSCHW, draw)
        return self.loss(predictions, targets)


def make_objective(task: Task, device: torch.device) -> Objective:
    """What ``task`` minimises, its constants on ``device``."""
    config, grid = task.config, task.card.grid
    if config.backbone is not None:
        loss = build_loss(config.loss, (PRECIPITATION,), grid, torch.ones(1, device=device))
        backbone = load_model(config.backbone, device).requires_grad_(False)
        return Precipitation(task.channels, (PRECIPITATION,), loss, config.precision, backbone)
    return Rollout(
        inputs=task.channels,
        channels=task.channels,
        loss=build_loss(config.loss, task.channels, grid, task.step_scale.to(device)),
        precision=config.precision,
        backprop_steps=config.rollout.backprop_steps,
        members=config.loss.members,
        noise_channels=config.model.noise_channels,
    )
