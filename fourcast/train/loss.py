"""Training losses on normalised fields: predictions [B·M, C, H, W], targets [B, C, H, W] → scalar, in fp32.

The M predicted members of a sample are adjacent. ``crps`` scores them together; every other loss is the mean of its
values for each of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourcast.errors import InputError
from fourcast.grid import Grid, area_weights, closes_circle, wave_copies
from fourcast.train_config import LossConfig
from fourcast.variables import parse_channel

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Weighting:
    """How errors are averaged. scale: typical change over a step [C, 1, 1]; weights: [C, H, 1], mean 1."""

    scale: Tensor
    weights: Tensor

    def error(self, predictions_NCHW: Tensor, targets_BCHW: Tensor) -> Tensor:
        """Predictions minus targets in typical changes over a step, [B, M, C, H, W]."""
        return _error(predictions_NCHW, targets_BCHW) / self.scale

    def mean(self, values: Tensor) -> Tensor:
        """Mean over samples, members, channels and area of [..., C, H, W]; or of zonal means [..., C, H, 1]."""
        return (values * self.weights).mean()


def build_loss(config: LossConfig, channels: tuple[str, ...], grid: Grid, step_scale_C: Tensor) -> Loss:
    """The loss of a configuration, its constants on the device of ``step_scale_C``.

    step_scale_C [C] is the typical change of a channel over a step, in its normalised units: the unit of errors in
    every loss but relative_l2. InputError for weights that relative_l2 cannot have or that name no channel.
    """
    weights_C = channel_weights(config, channels)
    weights_CH = weights_C[:, None] * area_weights(grid.latitude)
    weights_CH1 = torch.as_tensor(weights_CH[:, :, None], dtype=torch.float32, device=step_scale_C.device)
    weighting = Weighting(step_scale_C.float()[:, None, None], weights_CH1)
    main = relative_l2 if config.name == "relative_l2" else area_loss(point_loss(config), weighting)
    if config.spectral_amplitude == 0:
        return main
    if not closes_circle(grid.longitude):
        raise InputError(f"loss.spectral_amplitude needs rows that go round the globe, found the grid {grid}; set it 0")
    waves = amplitude_loss(weighting, grid.shape[1])

    def loss(predictions_NCHW: Tensor, targets_BCHW: Tensor) -> Tensor:
        return main(predictions_NCHW, targets_BCHW) + config.spectral_amplitude * waves(predictions_NCHW, targets_BCHW)

    return loss


def relative_l2(predictions_NCHW: Tensor, targets_BCHW: Tensor) -> Tensor:
    """Mean over samples of ‖p − t‖ / ‖t‖, each norm over all channels and points: FourCastNet's published loss."""
    errors_BM = _error(predictions_NCHW, targets_BCHW).flatten(2).norm(dim=2)
    return (errors_BM / targets_BCHW.float().flatten(1).norm(dim=1, keepdim=True)).mean()


def area_loss(point: Callable[[Tensor], Tensor], weighting: Weighting) -> Loss:
    """The weighted mean of what ``point`` makes of errors [B, M, C, H, W]."""

    def loss(predictions_NCHW: Tensor, targets_BCHW: Tensor) -> Tensor:
        return weighting.mean(point(weighting.error(predictions_NCHW, targets_BCHW)))

    return loss


def point_loss(config: LossConfig) -> Callable[[Tensor], Tensor]:
    """What an error costs at one point, from errors [B, M, C, H, W]."""
    if config.name == "area_mse":
        return torch.square
    if config.name == "area_mae":
        return torch.abs
    if config.name == "area_huber":
        return lambda errors: huber(errors, config.huber_delta)
    return lambda errors: almost_fair_crps(errors, config.crps_alpha)


def huber(errors: Tensor, delta: float) -> Tensor:
    """e² / 2 up to |e| = delta, from there on delta · (|e| − delta / 2) (Huber 1964)."""
    clipped = errors.clamp(-delta, delta)
    return clipped * (errors - clipped / 2)


def almost_fair_crps(errors_BMCHW: Tensor, alpha: float) -> Tensor:
    """Almost fair CRPS at every point [B, C, H, W] of M members, given as errors x_j − y; of one member |x − y|.

    It is alpha · fair CRPS + (1 − alpha) · CRPS of the empirical distribution (Lang et al. 2024,
    https://arxiv.org/abs/2412.15832): Σ_j |x_j − y| / M − (1 − ε) Σ_j<k |x_j − x_k| / (M (M − 1)) with
    ε = (1 − alpha) / M. To the fair one it is all the same how far above y the highest member lies, and how far
    below y the lowest; ε pulls them back. Backpropagation keeps a field for each of the M (M − 1) / 2 pairs.
    """
    members = errors_BMCHW.shape[1]
    cost = errors_BMCHW.abs().mean(dim=1)
    weight = (1 - (1 - alpha) / members) / max(members * (members - 1), 1)
    for one, other in combinations(errors_BMCHW.unbind(1), 2):
        cost = cost - weight * (one - other).abs()
    return cost


def amplitude_loss(weighting: Weighting, width: int) -> Loss:
    """Squared errors of the amplitudes of zonal waves, (|p̂_m| − |t̂_m|)², summed over m and averaged as area_mse is.

    p̂_m = Σ_n p_n exp(−2πi m n / W) / W, so that by Parseval's theorem Σ_m |p̂_m − t̂_m|² is the mean square error of a
    row. Blind to where a wave lies, it costs at most area_mse, and it costs what a blurred field has lost.
    """
    copies_F = torch.as_tensor(wave_copies(width), dtype=torch.float32, device=weighting.scale.device)

    def amplitude(fields: Tensor) -> Tensor:
        return torch.fft.rfft(fields.float() / weighting.scale, norm="forward").abs()

    def loss(predictions_NCHW: Tensor, targets_BCHW: Tensor) -> Tensor:
        errors_BMCHF = _error(amplitude(predictions_NCHW), amplitude(targets_BCHW))
        return weighting.mean((errors_BMCHF**2 * copies_F).sum(dim=-1, keepdim=True))

    return loss


def channel_weights(config: LossConfig, channels: tuple[str, ...]) -> NDArray[np.float64]:
    """Weights of the channels [C], mean 1: their factors from ``config`` times their weights by level.

    A channel's own name beats that of its variable. By pressure, a channel on a level weighs in proportion to it, 1 on
    the mean over all such channels, and a surface channel 1. Only ratios count, so that weights leave the loss its
    size. InputError for names that are none of the model's, for weights that are all 0, and for relative_l2, which
    takes one norm over all channels.
    """
    if config.name == "relative_l2" and (config.channel_weights or config.level_weights != "equal"):
        raise InputError(
            "loss.name=relative_l2 is one norm over all channels as published and takes no loss.channel_weights or "
            "loss.level_weights; leave them out, or choose loss.name=area_mse"
        )
    parsed, given = [parse_channel(name) for name in channels], config.channel_weights
    unknown = sorted(set(given) - set(channels) - {channel.variable.name for channel in parsed})
    if unknown:
        raise InputError(
            f"loss.channel_weights: {', '.join(unknown)} is no channel or variable of the model, whose channels are "
            f"{', '.join(channels)}"
        )
    factors = [given.get(channel.name, given.get(channel.variable.name, 1.0)) for channel in parsed]
    weights = np.array(factors) * _by_level([channel.level for channel in parsed], config.level_weights)
    if not weights.any():
        raise InputError("loss.channel_weights are 0 for every channel of the model; leave one above 0")
    return weights / weights.mean()


def _by_level(levels: list[int | None], rule: str) -> NDArray[np.float64]:
    pressures = [level for level in levels if level is not None]
    if rule == "equal" or not pressures:
        return np.ones(len(levels))
    return np.array([1.0 if level is None else level / np.mean(pressures) for level in levels])


def _error(predictions_NCHW: Tensor, targets_BCHW: Tensor) -> Tensor:
    """Predictions minus targets by sample and member: [B·M, …], [B, …] → [B, M, …]."""
    assert predictions_NCHW.shape[1:] == targets_BCHW.shape[1:], (predictions_NCHW.shape, targets_BCHW.shape)
    return predictions_NCHW.float().unflatten(0, (len(targets_BCHW), -1)) - targets_BCHW.float()[:, None]
