"""Fast Fourier convolution (Chi, Jiang & Mu, NeurIPS 2020): a local branch, and a global one in Fourier space.

    y_l = f_ll(x_l) + f_gl(x_g),   y_g = f_lg(x_l) + f_gg(x_g)

f_ll, f_gl, f_lg are 3×3 convolutions, periodic in longitude and with the first and last row repeated beyond the poles.
f_gg, the spectral transform, of C global channels with c = C/2 inside:

    h = relu(BN(A x_g)),   f_gg(x_g) = B (h + FU(h) + LFU(h)),   FU(h) = irfft2(relu(BN(U [re | im] of rfft2(h))))

A, B, U pointwise. LFU, the local Fourier unit, takes the first c/4 channels of h, cut into four quarters of the grid
that become c channels, through a Fourier unit of its own, and repeats the result 2×2. Published: half of the channels
global, no biases, orthonormal transforms, LFU on. No skip inside.

BatchNorm takes its statistics over all tokens (or modes) of a rank's batch, many even where the batch is one; ranks
keep running statistics of their own while training, and what is validated and saved is their mean.

Parameters, half of the channels global: 27/4 D² (3×3) + D²/4 (A, B) + D²/4 a Fourier unit, of which there are one or
two, + norms. Real operations for a sample: 14 H W D² and, with N modes in all, N D²/2 a whole Fourier unit
+ transforms.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from fourcast.errors import InputError
from fourcast.kernels.modes import Modes
from fourcast.kernels.transforms import rdft2
from fourcast.mixer_config import FFCConfig
from fourcast.models.mixers.mixer import Mixer
from fourcast.models.mixers.spectrum import tokens_like

ALL = Modes("full")


class NormRelu(nn.Module):
    """Batch normalisation of the last axis over all others, then ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[…, C] → […, C]."""
        return self.norm(x.flatten(0, -2)).view(x.shape).relu()


class FourierUnit(nn.Module):
    """A pointwise layer with norm and ReLU on real and imaginary parts: [B, H, W, C] → [B, H, W, C]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * channels, 2 * channels, bias=False)
        self.norm_relu = NormRelu(2 * channels)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """Every token sees every other."""
        z_BFRPC = rdft2(x_BHWC, ALL)
        s_BFRPC = self.norm_relu(self.linear(z_BFRPC.flatten(3))).view(z_BFRPC.shape)
        return tokens_like(x_BHWC, s_BFRPC, ALL)


class SpectralTransform(nn.Module):
    """The global branch f_gg: [B, H, W, C] → [B, H, W, C]."""

    def __init__(self, channels: int, local: bool) -> None:
        super().__init__()
        inner = channels // 2
        self.enter = nn.Sequential(nn.Linear(channels, inner, bias=False), NormRelu(inner))
        self.fourier = FourierUnit(inner)
        self.local_fourier = FourierUnit(inner) if local else None
        self.leave = nn.Linear(inner, channels, bias=False)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """The pointwise layer of the sum of the units."""
        h = self.enter(x_BHWC)
        total = h + self.fourier(h)
        if self.local_fourier is not None:
            total = total + self.local_fourier(quarters(h[..., : h.shape[-1] // 4])).repeat(1, 2, 2, 1)
        return self.leave(total)


class FFC(Mixer):
    """[B, H, W, D] → [B, H, W, D]; local channels first. H and W must be even with the local Fourier unit."""

    def __init__(self, config: FFCConfig, dim: int, tokens_shape: tuple[int, int]) -> None:
        super().__init__()
        h, w = tokens_shape
        if config.local_fourier_unit and (h % 2 or w % 2):
            raise InputError(
                f"model.mixer.local_fourier_unit=true needs an even number of tokens along each axis, found {h}×{w}; "
                "pass model.mixer.local_fourier_unit=false"
            )
        channels = config.global_channels(dim)
        self.split = [dim - channels, channels]
        self.local_to_all = nn.Conv2d(dim - channels, dim, kernel_size=3, bias=False)
        self.global_to_local = nn.Conv2d(channels, dim - channels, kernel_size=3, bias=False)
        self.global_to_global = SpectralTransform(channels, config.local_fourier_unit)

    def forward(self, y_BHWD: Tensor) -> Tensor:
        """Local and global channels of the result, side by side."""
        local, distant = y_BHWD.split(self.split, -1)
        to_local, to_global = convolved(self.local_to_all, local).split(self.split, -1)
        to_local = to_local + convolved(self.global_to_local, distant)
        return torch.cat([to_local, to_global + self.global_to_global(distant)], -1).to(y_BHWD.dtype)


def convolved(convolution: nn.Conv2d, x_BHWC: Tensor) -> Tensor:
    """A 3×3 convolution of the globe: periodic in longitude, the outermost rows repeated beyond the poles."""
    x_BCHW = pad(x_BHWC.permute(0, 3, 1, 2), (1, 1, 0, 0), mode="circular")
    # Concatenated: compilers mistake the memory layout that the gradient of a replicating pad has.
    x_BCHW = torch.cat([x_BCHW[:, :, :1], x_BCHW, x_BCHW[:, :, -1:]], 2)
    return convolution(x_BCHW).permute(0, 2, 3, 1)


def quarters(x_BHWC: Tensor) -> Tensor:
    """The four quarters of a grid as channels: [B, H, W, C] → [B, H/2, W/2, 4C]."""
    upper, lower = x_BHWC.chunk(2, 1)
    return torch.cat([half for part in (upper, lower) for half in part.chunk(2, 2)], -1)
