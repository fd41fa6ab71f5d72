"""Adaptive Fourier neural operator (Guibas et al., arXiv 2111.13587), as FourCastNet has it (arXiv 2202.11214).

    forward(y) = y + irfft2(softshrink(MLP(rfft2(y)), λ))

orthonormal transforms; one complex MLP, block-diagonal over K groups of channels, for all kept modes; ReLU and
softshrink on real and imaginary part apart. Published: K = 8, λ = 0.01, weights from 0.02 N(0, 1).

Parameters: 4 D²/K + 4 D. Real operations for a sample, with N kept modes: 16 N D²/K + transforms.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import softshrink

from fourcast.kernels.spectral import spectral_mixing
from fourcast.kernels.transforms import rdft2
from fourcast.mixer_config import AFFConfig, AFNOConfig
from fourcast.models.mixers.mixer import Mixer
from fourcast.models.mixers.spectrum import block_mlp, kept_modes, tokens_like


class SpectralMLP(Mixer):
    """A mixer with the MLP's parameters under their published names: w1, w2 [2, K, D/K, D/K]; b1, b2 [2, K, D/K]."""

    def __init__(self, config: AFNOConfig | AFFConfig, dim: int, tokens_shape: tuple[int, int]) -> None:
        super().__init__()
        blocks, block = config.num_blocks, dim // config.num_blocks
        self.modes, _ = kept_modes(config.modes, tokens_shape)
        self.sparsity_threshold = config.sparsity_threshold
        self.w1 = nn.Parameter(0.02 * torch.randn(2, blocks, block, block))
        self.b1 = nn.Parameter(0.02 * torch.randn(2, blocks, block))
        self.w2 = nn.Parameter(0.02 * torch.randn(2, blocks, block, block))
        self.b2 = nn.Parameter(0.02 * torch.randn(2, blocks, block))

    def shrunk_mlp(self, z_BFRPD: Tensor) -> Tensor:
        """softshrink(MLP(z), λ)."""
        return softshrink(block_mlp(z_BFRPD, self.w1, self.b1, self.w2, self.b2), self.sparsity_threshold)


class AFNO(SpectralMLP):
    """[B, H, W, D] → [B, H, W, D]; ``residual`` is one fused operator: x + y + filtered(y), the double skip."""

    def forward(self, y_BHWD: Tensor) -> Tensor:
        """y + filtered(y), composed of the transforms."""
        z_BFRPD = self.shrunk_mlp(rdft2(y_BHWD, self.modes))
        return y_BHWD + tokens_like(y_BHWD, z_BFRPD, self.modes)

    def residual(self, x_BHWD: Tensor, norm: nn.LayerNorm) -> Tensor:
        """x + forward(norm(x))."""
        return spectral_mixing(
            x_BHWD, norm.weight, norm.bias, self.w1, self.b1, self.w2, self.b2,
            modes=self.modes, eps=norm.eps, sparsity_threshold=self.sparsity_threshold,
        )  # fmt: skip
