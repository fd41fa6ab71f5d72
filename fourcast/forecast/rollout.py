"""Rollout: a generator of states in physical units, one model step after the other, constant in memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fourcast.checkpoint import Card, load_card, load_model
from fourcast.errors import InputError
from fourcast.forecast.precipitation import load_precipitation, require_statistics
from fourcast.models.precipitation import PRECIPITATION, precipitation

Float32 = NDArray[np.float32]
Noise = Callable[[int], Float32]
"""Step of the forecast, from 1 → the noise [B, N, H, W] that a model with N noise channels sees at it."""


@dataclass(frozen=True, eq=False)
class Forecaster:
    """A trained model with all that it takes to step physical states; center, scale: [C, 1, 1].

    precipitation: a model that gives log-precipitation from a normalised state, where there is one.
    """

    model: nn.Module
    card: Card
    channels: tuple[str, ...]
    center: Float32
    scale: Float32
    device: torch.device
    precision: str = "fp32"
    precipitation: nn.Module | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """The channels that it gives: those of a state and, with a precipitation model, tp06 behind them."""
        return self.channels if self.precipitation is None else (*self.channels, PRECIPITATION)

    def normalise(self, fields: Float32) -> Float32:
        """Physical units → standard deviations from the mean, [..., C, H, W]."""
        return (fields - self.center) / self.scale

    def denormalise(self, fields: Float32) -> Float32:
        """Standard deviations from the mean → physical units, [..., C, H, W]."""
        return fields * self.scale + self.center


def load_forecaster(
    path: str | Path, device: torch.device, precision: str = "fp32", beside: str | Path | None = None
) -> Forecaster:
    """Load a checkpoint for forecasting, and the precipitation model of checkpoint ``beside``, if one is named.

    InputError where it lacks names, statistics, or forecasts no state, and where the two models do not fit.
    """
    card = load_card(path)
    if card.kind != "forecast":
        raise InputError(f"{path} is a {card.kind} model: it diagnoses a field and cannot be rolled forward")
    require_statistics(path, card)
    return Forecaster(
        model=load_model(path, device),
        card=card,
        channels=tuple(card.channels or ()),
        center=np.array(card.mean, dtype=np.float32)[:, None, None],
        scale=np.array(card.std, dtype=np.float32)[:, None, None],
        device=device,
        precision=precision,
        precipitation=None if beside is None else load_precipitation(beside, device, (path, card)),
    )


@torch.inference_mode()
def rollout(
    forecaster: Forecaster, state_BCHW: Float32, init_time: np.datetime64, steps: int, noise: Noise | None = None
) -> Iterator[tuple[np.datetime64, Float32]]:
    """Yield (valid time, fields [B, C, H, W] in physical units), the initial state first, then ``steps`` more.

    state_BCHW is in normalised units. With a precipitation model, the amount in metres of the six hours that end at
    the valid time is one more channel, at the initial time too: all that it needs is that time's state. Raises
    InputError where a forecast ceases to be finite, and where a model has noise channels but is given no noise.
    """
    if noise is None and forecaster.card.model.noise_channels > 0:
        raise InputError("the model sees noise at every step: pass noise=, as fourcast.forecast.perturb draws it")
    state = torch.from_numpy(state_BCHW).to(forecaster.device)
    step_hours = np.timedelta64(forecaster.card.step_hours, "h")
    for step in range(steps + 1):
        if step > 0:
            state = _advance(forecaster, state, None if noise is None else noise(step))
        valid_time = init_time + step * step_hours
        normalised = state.cpu().numpy()
        _require_finite(normalised, forecaster.channels, init_time, valid_time)
        fields = forecaster.denormalise(normalised)
        if forecaster.precipitation is None:
            yield valid_time, fields
            continue
        metres = _diagnose(forecaster, forecaster.precipitation, state)
        _require_finite(metres, (PRECIPITATION,), init_time, valid_time)
        yield valid_time, np.concatenate([fields, metres], axis=1)


def _advance(forecaster: Forecaster, state: Tensor, noise_BNHW: Float32 | None) -> Tensor:
    if noise_BNHW is not None:
        state = torch.cat([state, torch.from_numpy(noise_BNHW).to(forecaster.device)], dim=1)
    with torch.autocast(forecaster.device.type, torch.bfloat16, enabled=forecaster.precision == "bf16"):
        return forecaster.model(state).float()


def _diagnose(forecaster: Forecaster, model: nn.Module, state: Tensor) -> Float32:
    """Metres [B, 1, H, W] of the six hours that end at the time of a normalised ``state``."""
    with torch.autocast(forecaster.device.type, torch.bfloat16, enabled=forecaster.precision == "bf16"):
        logarithm = model(state).float()
    metres: Float32 = precipitation(logarithm).cpu().numpy()
    return metres


def _require_finite(
    fields: Float32, channels: tuple[str, ...], init_time: np.datetime64, valid_time: np.datetime64
) -> None:
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(fields).all(axis=(0, 2, 3)))
    if not finite.all():
        broken = [name for name, good in zip(channels, finite, strict=True) if not good]
        raise InputError(
            f"the forecast from {init_time} is not finite at {valid_time} in {', '.join(broken)}: the initial state "
            "is bad or the model unstable; inspect both, shorten lead_hours or use precision=fp32"
        )
