"""Validation during training: loss and scores of forecasts from held-out analyses, beside those of doing nothing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fourcast.config import TrainConfig
from fourcast.data.climatology import Climatology
from fourcast.data.dataset import Normalisation, Windows
from fourcast.data.loader import Loading, load
from fourcast.data.store import Times
from fourcast.distributed import Process
from fourcast.grid import Grid, area_weights
from fourcast.models.precipitation import log_precipitation, precipitation
from fourcast.train.loss import Loss
from fourcast.train.objective import Draw, Objective
from fourcast.train.prepare import Task
from fourcast.train.scoring import Example, Forecasts, Sums, Validation, example, metrics


@dataclass(frozen=True)
class Units:
    """How predicted channels [..., C, H, W] come from physical units to those of the loss, and back."""

    to_loss: Callable[[Tensor], Tensor]
    to_physical: Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What is validated on, and how it is read and predicted.

    times: the valid times that ``windows`` counts by. climatology, units: of the channels the objective predicts,
    which are the last ones of a window. steps: how many steps it predicts at most.
    """

    config: TrainConfig
    windows: Windows
    times: Times
    climatology: Climatology
    grid: Grid
    step_hours: int
    objective: Objective
    loss: Loss
    normalise: Normalisation
    units: Units
    steps: int


def held_out(task: Task, objective: Objective, device: torch.device) -> HeldOut:
    """What ``task`` holds out, to be validated on ``device``."""
    normalise, windows = task.normalisation(device), task.held_out()

    def to_loss(fields: Tensor) -> Tensor:
        return normalise(fields.clone())

    def to_physical(fields: Tensor) -> Tensor:
        return fields * normalise.scale + normalise.center

    states = task.config.backbone is None
    return HeldOut(
        config=task.config,
        windows=windows,
        times=task.series.times,
        climatology=task.series.first.climatology(objective.channels),
        grid=task.card.grid,
        step_hours=task.card.step_hours,
        objective=objective,
        loss=objective.loss,
        normalise=normalise,
        units=Units(to_loss, to_physical) if states else Units(log_precipitation, precipitation),
        steps=windows.shape[0] - 1 if states else 1,
    )


@dataclass(frozen=True, eq=False)
class Chunk:
    """Windows [B, S, C, H, W] in physical units, their places among all samples, and their times [R, S].

    Only the first R count; the others are there so that all processes call the model alike.
    """

    window_BSCHW: Tensor
    places: range
    times: Times


@torch.no_grad()
def validate(model: nn.Module, data: HeldOut, loss_steps: int, process: Process) -> Validation:
    """Losses and scores over evenly spaced held-out windows, shared among processes, which must all call it.

    The losses, of the model and of persistence, are means over the first ``loss_steps`` steps. RMSE and ACC are by
    channel and step; of an ensemble's mean, where the model makes one. Every process calls the model equally often
    and with equally many samples, as a sharded or a compiled model needs.
    """
    steps = min(data.steps, max(loss_steps, data.config.validation_steps))
    channels = data.objective.channels
    sums = Sums.zero(steps, len(channels), data.windows.shape[-1], process.device)
    shown: Example | None = None
    model.eval()
    for chunk in _chunks(data, steps, process):
        first = _score(model, data, chunk, sums, loss_steps)
        if shown is None and first is not None and process.is_first:
            shown = example(first, chunk.times[0])
    model.train()
    lead_hours = tuple(data.step_hours * step for step in range(1, steps + 1))
    return metrics(sums.over(process), channels, lead_hours, shown)


def _chunks(data: HeldOut, steps: int, process: Process) -> Iterator[Chunk]:
    """What this process validates on, on its device."""
    config, windows = data.config, data.windows
    order = samples(len(windows), config.validation_samples)
    most = max(config.batch_size // process.world_size // config.parallel.accumulate, 1)
    places = shares(len(order), process, most)
    indices = [[order[min(place, len(order) - 1)] for place in chunk] for chunk in places]
    loading = Loading("threads", 0 if windows.memory is not None else config.data.workers, config.data.prefetch)
    for chunk, own, window in zip(places, indices, load(windows, indices, loading), strict=True):
        counting = own[: sum(place < len(order) for place in chunk)]
        states = window[:, : steps + 1].to(process.device, non_blocking=True)
        yield Chunk(states, chunk, data.times[windows.times[counting, : steps + 1]])


def samples(available: int, wanted: int) -> list[int]:
    """At most ``wanted`` windows of those ``available``, evenly spaced."""
    return [int(index) for index in np.linspace(0, available - 1, min(wanted, available)).round()]


def shares(count: int, process: Process, most: int) -> list[range]:
    """This process's places among ``count`` samples, in chunks of one size up to ``most``, alike for all processes.

    A process takes every world_size-th sample; places from ``count`` on fill up its last chunks.
    """
    own = -(-count // process.world_size)
    chunks = -(-own // most)
    stride = process.world_size
    span = stride * -(-own // chunks)
    return [range(process.rank + span * chunk, process.rank + span * (chunk + 1), stride) for chunk in range(chunks)]


def _score(model: nn.Module, data: HeldOut, chunk: Chunk, sums: Sums, loss_steps: int) -> Forecasts | None:
    """Add a chunk's forecasts to ``sums``; return those of its first sample, if one counts, for the last step."""
    window, real = chunk.window_BSCHW, len(chunk.times)
    weights_H = torch.as_tensor(area_weights(data.grid.latitude), dtype=torch.float64, device=window.device)
    analyses_RSCHW = window[:real, :, -len(data.objective.channels) :].clone()
    draw = Draw(data.config.seed, data.config.steps, chunk.places)  # no step of the training draws the same
    predicted = data.objective.predictions(model, data.normalise(window), draw)
    first: Forecasts | None = None
    sums.samples_1.add_(real)
    for step, (predictions, targets) in enumerate(predicted, 1):
        members_RMCHW = predictions.unflatten(0, (len(targets), -1))[:real]
        if real == 0:
            continue
        if step <= loss_steps:
            sums.losses_3.add_(_losses(data, members_RMCHW, analyses_RSCHW[:, 0], targets[:real]))
        for place, forecasts in enumerate(_forecasts(data, members_RMCHW, analyses_RSCHW, step, chunk.times)):
            sums.add(step - 1, forecasts, weights_H)
            first = forecasts if place == 0 else first
    return first


def _losses(data: HeldOut, members_RMCHW: Tensor, persistence_RCHW: Tensor, targets_RCHW: Tensor) -> Tensor:
    """[loss of the model, of persistence, 1] times the number of samples, float64."""
    real, members = members_RMCHW.shape[:2]
    persistence = data.units.to_loss(persistence_RCHW).repeat_interleave(members, dim=0)
    values = [data.loss(forecast, targets_RCHW) for forecast in (members_RMCHW.flatten(0, 1), persistence)]
    return torch.stack([*values, torch.ones_like(values[0])]).double() * real


def _forecasts(
    data: HeldOut, members_RMCHW: Tensor, analyses_RSCHW: Tensor, step: int, times: Times
) -> Iterator[Forecasts]:
    """Each sample's forecasts for ``step``, one sample at a time in physical units."""
    for place, (members_MCHW, analyses_SCHW) in enumerate(zip(members_RMCHW, analyses_RSCHW, strict=True)):
        climatology = data.climatology.at(times[place, step : step + 1])[0]
        member = data.units.to_physical(members_MCHW[0])
        yield Forecasts(
            model=member if len(members_MCHW) == 1 else data.units.to_physical(members_MCHW.mean(dim=0)),
            member=member,
            persistence=analyses_SCHW[0],
            climatology=torch.from_numpy(climatology).to(analyses_SCHW.device),
            analysis=analyses_SCHW[step],
        )
