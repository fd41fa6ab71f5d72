"""Global filter (Rao et al., Global Filter Networks for Image Classification, arXiv 2107.00645).

    forward(y) = irfft2(K ⊙ rfft2(y))

K one complex number for each kept mode and channel: a depthwise circular convolution as large as the grid.
Published: all modes, orthonormal transforms, K from 0.02 N(0, 1) in either part, no skip inside;
there one skip goes around filter and MLP together, here each has its own.

Parameters, with N kept modes: 2 N D. Real operations for a sample: 6 N D + transforms.
"""

import torch
from torch import Tensor, nn

from fourcast.kernels.transforms import rdft2
from fourcast.mixer_config import GFNetConfig
from fourcast.models.mixers.mixer import Mixer
from fourcast.models.mixers.spectrum import complex_product, kept_modes, tokens_like


class GFNet(Mixer):
    """[B, H, W, D] → [B, H, W, D]; weight [F, R, 2, D], real part first."""

    def __init__(self, config: GFNetConfig, dim: int, tokens_shape: tuple[int, int]) -> None:
        super().__init__()
        self.modes, kept = kept_modes(config.modes, tokens_shape)
        self.weight = nn.Parameter(0.02 * torch.randn(kept.zonal, kept.row_count, 2, dim))

    def forward(self, y_BHWD: Tensor) -> Tensor:
        """The filtered tokens."""
        z_BFRPD = complex_product(rdft2(y_BHWD, self.modes), self.weight)
        return tokens_like(y_BHWD, z_BFRPD, self.modes)
