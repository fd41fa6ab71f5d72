"""Training losses on normalised fields: [B, C, H, W] → scalar."""

from collections.abc import Callable

import torch
from torch import Tensor

from fourcast.grid import Grid, area_weights

Loss = Callable[[Tensor, Tensor], Tensor]


def relative_l2(predictions_BCHW: Tensor, targets_BCHW: Tensor) -> Tensor:
    """Mean over samples of ‖p − t‖ / ‖t‖, each norm over all channels and points: FourCastNet's published loss."""
    error = (predictions_BCHW - targets_BCHW).flatten(1).norm(dim=1)
    return (error / targets_BCHW.flatten(1).norm(dim=1)).mean()


def area_mse(weights_H: Tensor, channel_scale_C: Tensor) -> Loss:
    """Mean square error weighted by cell area, each channel in units of its typical change over a step."""
    weights_C1H1 = weights_H[:, None] / channel_scale_C[:, None, None] ** 2

    def loss(predictions_BCHW: Tensor, targets_BCHW: Tensor) -> Tensor:
        return ((predictions_BCHW - targets_BCHW) ** 2 * weights_C1H1).mean()

    return loss


def build_loss(name: str, grid: Grid, step_scale_C: Tensor) -> Loss:
    """The loss of a configuration, its constants on the device of ``step_scale_C``."""
    if name == "relative_l2":
        return relative_l2
    weights = torch.as_tensor(area_weights(grid.latitude), dtype=torch.float32, device=step_scale_C.device)
    return area_mse(weights, step_scale_C)
