"""Rollout: a generator of states in physical units, one model step after the other, constant in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fourcast.checkpoint import Card, load_card, load_model
from fourcast.errors import InputError

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Forecaster:
    """A trained model with all that it takes to step physical states; center, scale: [C, 1, 1]."""

    model: nn.Module
    card: Card
    channels: tuple[str, ...]
    center: Float32
    scale: Float32
    device: torch.device
    precision: str = "fp32"

    def normalise(self, fields: Float32) -> Float32:
        """Physical units → standard deviations from the mean, [..., C, H, W]."""
        return (fields - self.center) / self.scale

    def denormalise(self, fields: Float32) -> Float32:
        """Standard deviations from the mean → physical units, [..., C, H, W]."""
        return fields * self.scale + self.center


def load_forecaster(path: str | Path, device: torch.device, precision: str = "fp32") -> Forecaster:
    """Load a checkpoint for forecasting; InputError where it lacks names, statistics, or forecasts no state."""
    card = load_card(path)
    if card.kind != "forecast":
        raise InputError(f"{path} is a {card.kind} model: it diagnoses a field and cannot be rolled forward")
    if card.channels is None or card.mean is None or card.std is None:
        raise InputError(
            f"{path} knows no channel names or statistics; import the weights again with channels=, means= and stds="
        )
    return Forecaster(
        model=load_model(path, device),
        card=card,
        channels=tuple(card.channels),
        center=np.array(card.mean, dtype=np.float32)[:, None, None],
        scale=np.array(card.std, dtype=np.float32)[:, None, None],
        device=device,
        precision=precision,
    )


@torch.inference_mode()
def rollout(
    forecaster: Forecaster, state_BCHW: Float32, init_time: np.datetime64, steps: int
) -> Iterator[tuple[np.datetime64, Float32]]:
    """Yield (valid time, fields [B, C, H, W] in physical units), the initial state first, then ``steps`` more.

    state_BCHW is in normalised units. Raises InputError where a forecast ceases to be finite.
    """
    state = torch.from_numpy(state_BCHW).to(forecaster.device)
    step_hours = np.timedelta64(forecaster.card.step_hours, "h")
    for step in range(steps + 1):
        if step > 0:
            state = _advance(forecaster, state)
        valid_time = init_time + step * step_hours
        fields = state.cpu().numpy()
        _require_finite(fields, forecaster.channels, init_time, valid_time)
        yield valid_time, forecaster.denormalise(fields)


def _advance(forecaster: Forecaster, state: Tensor) -> Tensor:
    with torch.autocast(forecaster.device.type, torch.bfloat16, enabled=forecaster.precision == "bf16"):
        return forecaster.model(state).float()


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
