"""Adaptive frequency filter (Huang et al., AFFNet, arXiv 2307.14008).

    forward(y) = y + irfft2(softshrink(MLP(z), λ) · z),  z = rfft2(y)

the spectrum times a complex mask made of itself by AFNO's MLP, which is a convolution with a kernel that depends on
the input. Published: K = 8 groups of channels, λ = 0.01, all modes, weights from 0.02 N(0, 1).

Parameters: 4 D²/K + 4 D. Real operations for a sample, with N kept modes: 16 N D²/K + 6 N D + transforms.
"""

from torch import Tensor

from fourcast.kernels.transforms import rdft2
from fourcast.models.mixers.afno import SpectralMLP
from fourcast.models.mixers.spectrum import complex_product, tokens_like


class AFF(SpectralMLP):
    """[B, H, W, D] → [B, H, W, D]; parameters as AFNO's."""

    def forward(self, y_BHWD: Tensor) -> Tensor:
        """y + the filtered y."""
        z_BFRPD = rdft2(y_BHWD, self.modes)
        masked_BFRPD = complex_product(self.shrunk_mlp(z_BFRPD), z_BFRPD)
        return y_BHWD + tokens_like(y_BHWD, masked_BFRPD, self.modes)
