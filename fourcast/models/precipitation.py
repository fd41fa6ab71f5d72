"""FourCastNet's diagnostic precipitation model (Pathak et al. 2022, section 3.2)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fourcast.models.fourcastnet import FourCastNet


class PrecipitationNet(nn.Module):
    """log(1 + tp / ε) of the next six hours from a normalised state: the network, a periodic 3×3 convolution, ReLU."""

    def __init__(self, backbone: FourCastNet) -> None:
        super().__init__()
        self.backbone = backbone
        self.conv = nn.Conv2d(1, 1, kernel_size=3)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] → [B, 1, H, W], not negative."""
        y = F.pad(self.backbone(x_BCHW), (1, 1, 0, 0), mode="circular")
        return torch.relu(self.conv(F.pad(y, (0, 0, 1, 1))))
