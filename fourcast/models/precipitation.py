"""FourCastNet's diagnostic precipitation model (Pathak et al. 2022, section 3.2)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fourcast.models.fourcastnet import FourCastNet

PRECIPITATION = "tp06"
"""The channel that these models give: the sum over the six hours that end at its time, in metres."""
EPSILON = 1e-5
"""Metres: what separates drizzle from none in the logarithm."""


def log_precipitation(metres: Tensor) -> Tensor:
    """log(1 + tp / ε), which brings amounts of all sizes to one scale; missing stays missing."""
    return torch.log1p(metres.clamp(min=0.0) / EPSILON)


def precipitation(logarithm: Tensor) -> Tensor:
    """Metres from what ``log_precipitation`` gives."""
    return torch.expm1(logarithm) * EPSILON


class PrecipitationNet(nn.Module):
    """log(1 + tp / ε) of the six hours that end at a normalised state's time.

    The network, a 3×3 convolution that is periodic in longitude, and ReLU. A new one gives rain everywhere, about ε:
    where it gave none, ReLU would let no gradient through, and it could never learn.
    """

    def __init__(self, backbone: FourCastNet) -> None:
        super().__init__()
        self.backbone = backbone
        self.conv = nn.Conv2d(1, 1, kernel_size=3)
        self.conv.bias = nn.Parameter(torch.ones(1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] → [B, 1, H, W], not negative."""
        y = F.pad(self.backbone(x_BCHW), (1, 1, 0, 0), mode="circular")
        return torch.relu(self.conv(F.pad(y, (0, 0, 1, 1))))
