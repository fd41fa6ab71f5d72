"""Simple long convolution (Fu et al., Simple Hardware-Efficient Long Convolutions, arXiv 2302.06646).

    y = u ∗ k' + d ⊙ u,   k' = dropout(squash(smooth(k))),   squash(k) = sign(k) max(|k| − λ, 0)

over the tokens as one sequence, row after row, with a kernel as long as the sequence and a weight d for each channel;
smooth is a moving average. Circular; ``causal`` is the published form. Published: k from 0.002 N(0, 1), d from
N(0, 1), λ from 0.001 to 0.004, kernel dropout from 0.1 to 0.3, no weight decay on k.

Parameters: D H W + D. Real operations for a sample: of order H W D log(H W) by FFT.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, dropout, pad, softshrink

from fourcast.errors import InputError
from fourcast.kernels.fft_conv import fft_conv
from fourcast.kernels.spectral import operand_precision
from fourcast.mixer_config import LongConvConfig
from fourcast.models.mixers.mixer import Mixer


class LongConv(Mixer):
    """[B, H, W, D] → [B, H, W, D]; kernel [D, H·W], skip [D]."""

    def __init__(self, config: LongConvConfig, dim: int, tokens_shape: tuple[int, int]) -> None:
        super().__init__()
        h, w = tokens_shape
        if config.smooth_width > h * w:
            raise InputError(f"model.mixer.smooth_width={config.smooth_width} exceeds the {h}×{w} tokens")
        self.causal = config.causal
        self.squash = config.squash
        self.smooth_width = config.smooth_width
        self.kernel_dropout = config.kernel_dropout
        self.kernel = nn.Parameter(0.002 * torch.randn(dim, h * w))
        self.skip = nn.Parameter(torch.randn(dim))

    def forward(self, y_BHWD: Tensor) -> Tensor:
        """The convolution along the sequence, plus the weighted skip."""
        u_BDL, k_DL = y_BHWD.flatten(1, 2).mT, self.regularised_kernel()
        v_BDL = fft_conv(u_BDL, k_DL, causal=self.causal, precision=operand_precision(u_BDL, None))
        return v_BDL.mT.reshape(y_BHWD.shape) + (self.skip * y_BHWD).to(y_BHWD.dtype)

    def regularised_kernel(self) -> Tensor:
        """k' [D, L]: smoothed, squashed, and in training with dropout."""
        k = smoothed(self.kernel, self.smooth_width, self.causal)
        return dropout(softshrink(k, self.squash), self.kernel_dropout, self.training)


def smoothed(k_DL: Tensor, width: int, causal: bool) -> Tensor:
    """The mean of ``width`` neighbouring places; beyond the ends is the other end, or zero where causal."""
    if width <= 1:
        return k_DL
    side = width // 2
    return avg_pool1d(pad(k_DL, (side, side), mode="constant" if causal else "circular"), width, stride=1)
