"""Fourier neural operator (Li et al., arXiv 2010.08895): a weight matrix for every kept mode, and a pointwise skip.

    forward(y) = irfft2(R_k · rfft2(y)_k) + W y + b

R_k complex and block-diagonal over K groups of channels; the published layer is dense, K = 1, keeps the lowest 12
wavenumbers of each axis, has weights from U(0, 1)/(D/K)² and a GELU behind it, which here is the MLP's that follows.

Parameters, with N kept modes: 2 N D²/K + D² + D. Real operations for a sample: 8 N D²/K + 2 H W D² + transforms.
"""

import torch
from torch import Tensor, nn

from fourcast.kernels.transforms import rdft2
from fourcast.mixer_config import FNOConfig
from fourcast.models.mixers.mixer import Mixer
from fourcast.models.mixers.spectrum import kept_modes, tokens_like


class FNO(Mixer):
    """[B, H, W, D] → [B, H, W, D]; weight [2, F, R, K, D/K, D/K], real part first, input channel before output."""

    def __init__(self, config: FNOConfig, dim: int, tokens_shape: tuple[int, int]) -> None:
        super().__init__()
        blocks, block = config.num_blocks, dim // config.num_blocks
        self.modes, kept = kept_modes(config.modes, tokens_shape)
        self.weight = nn.Parameter(torch.rand(2, kept.zonal, kept.row_count, blocks, block, block) / block**2)
        self.skip = nn.Linear(dim, dim)

    def forward(self, y_BHWD: Tensor) -> Tensor:
        """The spectral convolution plus the pointwise linear layer."""
        z_BFRPKi = rdft2(y_BHWD, self.modes).unflatten(-1, self.weight.shape[3:5])
        # Four real products in one: part p of the spectrum with part q of the weight.
        s = torch.einsum("bfrpki,qfrkio->pqbfrko", z_BFRPKi, self.weight)
        s_BFRPD = torch.stack([s[0, 0] - s[1, 1], s[0, 1] + s[1, 0]], 3).flatten(-2)
        mixed_BHWD = tokens_like(y_BHWD, s_BFRPD, self.modes)
        return mixed_BHWD + self.skip(y_BHWD).to(y_BHWD.dtype)
