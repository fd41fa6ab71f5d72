"""Position-aware circular convolution (Zhang, Hu & Wang, ParC-Net, arXiv 2203.03952), by FFT as in Fast-ParC
(arXiv 2210.04020).

    y[h] = b + Σ_i k[i] (x + e)[(h + i) mod H]        on the first half of the channels, at every longitude
    y[w] = b + Σ_i k[i] (x + e)[(w + i) mod W]        on the second half, at every latitude

with a kernel k and a position embedding e for each channel, as long as the axis. Both are kept at a meta resolution
and interpolated linearly, ends on ends, to the axis. Published: k and e from 0.02 N(0, 1), truncated.

Parameters: D (M_H + M_W) + D, M the meta resolution. Real operations for a sample: of order H W D log(H W) by FFT.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from fourcast.kernels.fft_conv import fft_conv
from fourcast.kernels.spectral import operand_precision
from fourcast.mixer_config import ParCConfig
from fourcast.models.mixers.mixer import Mixer


class AxisConvolution(nn.Module):
    """ParC along the last axis: [N, C, L] → [N, C, L]."""

    def __init__(self, channels: int, meta_length: int) -> None:
        super().__init__()
        self.meta_kernel = nn.Parameter(torch.empty(channels, meta_length))
        self.pos_embed = nn.Parameter(torch.empty(channels, meta_length))
        self.bias = nn.Parameter(torch.zeros(channels))
        nn.init.trunc_normal_(self.meta_kernel, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, x_NCL: Tensor) -> Tensor:
        """The circular correlation with the kernel, plus the bias."""
        length = x_NCL.shape[-1]
        kernel, embedding = (resized(t, length) for t in (self.meta_kernel, self.pos_embed))
        # A correlation is a convolution with the kernel reversed around its first place.
        u_NCL = x_NCL + embedding
        y_NCL = fft_conv(u_NCL, kernel.flip(-1).roll(1, -1), precision=operand_precision(u_NCL, None))
        return y_NCL + self.bias[:, None]


class ParC(Mixer):
    """[B, H, W, D] → [B, H, W, D]: along latitude on the first half of the channels, along longitude on the second."""

    def __init__(self, config: ParCConfig, dim: int, tokens_shape: tuple[int, int]) -> None:
        super().__init__()
        rows, columns = config.meta_resolution or tokens_shape
        self.height = AxisConvolution(dim // 2, rows)
        self.width = AxisConvolution(dim // 2, columns)

    def forward(self, y_BHWD: Tensor) -> Tensor:
        """Both halves, side by side."""
        first_BHWC, second_BHWC = y_BHWD.chunk(2, -1)
        return torch.cat([along(self.height, first_BHWC, 1), along(self.width, second_BHWC, 2)], -1).to(y_BHWD.dtype)


def along(convolution: AxisConvolution, x_BHWC: Tensor, axis: int) -> Tensor:
    """The convolution along latitude (1) or longitude (2), at every place of the other axis."""
    x_BOCL = x_BHWC.movedim(axis, -1)
    return convolution(x_BOCL.flatten(0, 1)).view(x_BOCL.shape).movedim(-1, axis)


def resized(t_CL: Tensor, length: int) -> Tensor:
    """Linearly interpolated to ``length``, the first place on the first and the last on the last."""
    if t_CL.shape[-1] == length:
        return t_CL
    return interpolate(t_CL[None], length, mode="linear", align_corners=True)[0]
