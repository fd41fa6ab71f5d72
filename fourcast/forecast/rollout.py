"""Rollout: a generator of states in physical units, one model step after the other, constant in memory."""

from collections import deque
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourcast.errors import InputError
from fourcast.forecast.batching import Batch, Batching
from fourcast.forecast.forecaster import Float32, Forecaster
from fourcast.forecast.memory import home_of_states
from fourcast.forecast.stepper import Fields, Start, Stepper, Wait, side_by_side

MOST_NAMED = 8
"""Members that an error names."""


def rollout(
    forecaster: Forecaster,
    start_MCHW: Float32,
    batch: Batch,
    steps: int,
    batching: Batching,
    dropout: bool = False,
) -> Iterator[tuple[np.datetime64, Float32]]:
    """Yield (valid time, fields [M, C, H, W] in physical units), the initial state first, then ``steps`` more.

    start_MCHW is in normalised units, one state for each member of ``batch``. Fields are the caller's to keep or
    change. With a precipitation model, the amount in metres of the six hours that end at the valid time is one more
    channel, at the initial time too: all that it needs is that time's state. A model with noise channels draws new
    noise for every member at every step, and with ``dropout`` so does one that was trained with it. In exact mode
    the next step runs while the caller has the fields of this one. InputError where a forecast ceases to be finite.
    """
    stepper = Stepper(forecaster, batch, batching, home_of_states(forecaster, len(start_MCHW)), dropout)
    step_hours = np.timedelta64(forecaster.card.step_hours, "h")
    state = _copied(start_MCHW, stepper)
    del start_MCHW
    ahead = int(batching.exact and stepper.home.type == forecaster.device.type)
    with side_by_side(forecaster.device, batching) as start:
        started = _started(stepper, start, state, steps)
        for step, (fields, wait) in enumerate(_ahead(started, ahead)):
            valid_time = batch.init_time + step * step_hours
            wait()
            _require_finite(fields.finite.numpy(), forecaster.outputs, batch, valid_time)
            yield valid_time, fields.values.numpy()


def stepped(
    forecaster: Forecaster,
    state_MCHW: Float32,
    batch: Batch,
    first_step: int,
    steps: int,
    batching: Batching,
) -> Float32:
    """States ``steps`` later, normalised in and out; the first of these has the number ``first_step``, from 1.

    The numbers of the steps decide what noise a model with noise channels sees.
    """
    stepper = Stepper(forecaster, batch, batching, home_of_states(forecaster, len(state_MCHW)))
    state = _copied(state_MCHW, stepper)
    with side_by_side(forecaster.device, batching) as start:
        waits = [
            start(partial(stepper.advance, state, step), len(stepper.calls))
            for step in range(first_step, first_step + steps)
        ]
        for wait in waits:
            wait()
    later: Float32 = state.cpu().numpy()
    return later


def _copied(state_MCHW: Float32, stepper: Stepper) -> Tensor:
    """A copy where the stepper wants it, to be changed in place."""
    assert len(state_MCHW) == len(stepper.batch.numbers), (state_MCHW.shape, stepper.batch)
    return torch.tensor(state_MCHW, dtype=torch.float32, device=stepper.home)


def _started(stepper: Stepper, start: Start, state: Tensor, steps: int) -> Iterator[tuple[Fields, Wait]]:
    """The fields of every step from 0, that of ``state``, and a function that waits until they are there."""
    stream = torch.cuda.Stream(state.device) if state.is_cuda else None
    for step in range(steps + 1):
        fields = stepper.room(state)
        wait = start(partial(_step, stepper, state, step, fields), len(stepper.calls))
        yield (fields, wait) if stream is None else _to_host(fields, stream)


def _step(stepper: Stepper, state: Tensor, step: int, fields: Fields, call: int) -> None:
    if step > 0:
        stepper.advance(state, step, call)
    stepper.diagnose(state, fields, call)


def _to_host(fields: Fields, stream: torch.cuda.Stream) -> tuple[Fields, Wait]:
    """Start a copy to pinned memory on a stream of its own, so that the next step need not wait for it."""
    stream.wait_stream(torch.cuda.current_stream(fields.values.device))
    with torch.cuda.stream(stream):
        here = Fields(_pinned(fields.values, stream), _pinned(fields.finite, stream))
        return here, stream.record_event().synchronize


def _pinned(tensor: Tensor, stream: torch.cuda.Stream) -> Tensor:
    tensor.record_stream(stream)
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


def _ahead(started: Iterator[tuple[Fields, Wait]], count: int) -> Iterator[tuple[Fields, Wait]]:
    """The same, begun ``count`` before they are asked for."""
    begun: deque[tuple[Fields, Wait]] = deque()
    for one in started:
        begun.append(one)
        if len(begun) > count:
            yield begun.popleft()
    yield from begun


def _require_finite(
    finite_MC: NDArray[np.bool_], channels: tuple[str, ...], batch: Batch, valid_time: np.datetime64
) -> None:
    if finite_MC.all():
        return
    broken = [name for i, name in enumerate(channels) if not finite_MC[:, i].all()]
    members = [str(number) for i, number in enumerate(batch.numbers) if not finite_MC[i].all()]
    more = f" and {len(members) - MOST_NAMED} more" if len(members) > MOST_NAMED else ""
    raise InputError(
        f"the forecast from {batch.init_time} is not finite at {valid_time} in {', '.join(broken)} of member "
        f"{', '.join(members[:MOST_NAMED])}{more}: the initial state is bad or the model unstable; inspect both, "
        "shorten lead_hours or use precision=fp32"
    )
