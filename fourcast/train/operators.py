"""What operators take beside their results: memory for a moment, and arithmetic. Tensors without data show neither.

Sizes are read off the plain implementations of ``fourcast.kernels`` and of the convolutions of oneDNN; where those
change, these follow. Letters as there: F kept zonal wavenumbers, R kept meridional rows, K blocks of c channels.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry

from fourcast.kernels.dense import chunk_bytes
from fourcast.kernels.fft_conv_torch import GROUP_BYTES, fast_length

BLOCKED_CHANNELS = 16
"""oneDNN's convolutions copy fields into blocks of so many channels, the last one filled up, on processors with
AVX-512; with AVX2 it is 8."""


class Cost(NamedTuple):
    """temporaries: bytes of each piece of memory that is held at once while an operator works."""

    temporaries: tuple[int, ...] = ()
    flops: int = 0


def cost(operator: torch._ops.OpOverload, given: Sequence[Any], fused: bool, result: Any) -> Cost:
    """What ``operator`` takes on ``given``; fused: by the GPU kernels of fourcast, not in plain torch."""
    name = operator._schema.name
    own = OWN.get(name)
    if own is not None:
        found: Cost = own(given, fused)
        return found
    count = flop_registry.get(operator.overloadpacket)
    flops = 0 if count is None else int(count(*given, out_val=result))
    if name in ("aten::convolution", "aten::convolution_backward") and not fused:
        fields, kernel = (given[0], given[1]) if name == "aten::convolution" else (given[1], given[2])
        return Cost(_convolution(fields, kernel, result if name == "aten::convolution" else given[0]), flops)
    if name == "aten::_fft_r2c" or name == "aten::_fft_c2r":
        real = given[0] if name == "aten::_fft_r2c" else result
        return Cost((), _fourier(real.numel() // real.shape[-1], real.shape[-1]))
    return Cost((), flops)


def _convolution(fields_BCHW: Tensor, kernel: Tensor, made_BCHW: Tensor) -> tuple[int, ...]:
    """Both sides of a convolution, in blocks of channels."""
    sides = ((fields_BCHW, kernel.shape[1]), (made_BCHW, kernel.shape[0]))
    return tuple(
        fields.numel() // channels * _up(channels, BLOCKED_CHANNELS) * fields.element_size()
        for fields, channels in sides
    )


def _up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _fourier(sequences: int, length: int) -> int:
    """Real transforms: 5/2 n log2 n each, half of the usual count of a complex one."""
    return round(2.5 * sequences * length * math.log2(max(length, 2)))


class Mixing(NamedTuple):
    """Sizes of a spectral transform of [B, H, W, D] with F × R modes kept, computed in numbers of ``width`` bytes."""

    B: int
    H: int
    W: int
    D: int
    F: int
    R: int
    width: int

    @property
    def zonal(self) -> int:
        """Bytes of the zonal modes at all latitudes [B H, 2 F, D]."""
        return self.B * self.H * 2 * self.F * self.D * self.width

    @property
    def chunk(self) -> int:
        """Bytes of a chunk of work."""
        return min(chunk_bytes("cpu"), self.B * self.H * self.W * self.D * self.width)

    @property
    def transforms(self) -> int:
        """Operations of a transform along both axes."""
        return 4 * self.B * self.H * self.F * self.D * (self.W + 2 * self.R)


def _mixing(x_BHWD: Tensor, zonal: int, rows: int) -> Mixing:
    work = torch.promote_types(x_BHWD.dtype, torch.float32)
    B, H, W, D = x_BHWD.shape
    return Mixing(B, H, W, D, zonal, rows, work.itemsize)


def _spectral_mixing(given: Sequence[Any], fused: bool) -> Cost:
    m, w1 = _mixing(given[0], given[7], given[9]), given[3]
    products = 8 * m.B * m.F * m.R * m.D * w1.shape[-1]
    flops = 2 * m.transforms + 2 * products
    if fused:  # the modes mixed, in fp16, or both layers' in turn where one program cannot hold them
        return Cost((m.zonal // 2, m.zonal // 2), flops)
    return Cost((m.zonal, *[m.chunk] * 5), flops)


def _spectral_mixing_backward(given: Sequence[Any], fused: bool) -> Cost:
    m, w1 = _mixing(given[1], given[11], given[13]), given[7]
    products = 8 * m.B * m.F * m.R * m.D * w1.shape[-1]
    flops = 2 * m.transforms + 6 * products
    if fused:  # both gradients of the modes, inputs and gradients of both layers, and the field between
        return Cost((m.zonal // 2,) * 6 + (given[1].nbytes,), flops)
    stacked = 2 * w1.nbytes  # a complex matrix as a real one of twice the size each way
    return Cost((m.zonal, *[stacked] * 4, *[m.chunk] * 6), flops)


def _rdft2(given: Sequence[Any], fused: bool) -> Cost:
    m = _mixing(given[0], given[1], given[3])
    return Cost((m.zonal // 2,) if fused else (m.zonal, m.chunk, m.chunk), m.transforms)


def _irdft2(given: Sequence[Any], fused: bool) -> Cost:
    z, zonal, _, rows, height, width = given[:6]
    work = torch.promote_types(z.dtype, torch.float32)
    m = Mixing(z.shape[0], height, width, z.shape[4], zonal, rows, work.itemsize)
    return Cost((m.zonal // 2,) if fused else (m.zonal, m.chunk, m.chunk), m.transforms)


def _fft_conv(given: Sequence[Any], fused: bool) -> Cost:
    return _long_convolution(given[0], given[1], given[4], (3, 2))


def _fft_conv_backward(given: Sequence[Any], fused: bool) -> Cost:
    return _long_convolution(given[1], given[2], given[5], (5, 3))


def _long_convolution(u_BDL: Tensor, k_DK: Tensor, causal: bool, held: tuple[int, int]) -> Cost:
    """held: how many spectra of a group of channels at once, and how many transforms of every sequence."""
    B, D, L = u_BDL.shape
    width = torch.promote_types(u_BDL.dtype, torch.float32).itemsize
    n = fast_length(L + k_DK.shape[1] - 1) if causal else L
    group = min(D, max(1, GROUP_BYTES // (2 * B * L * width)))
    spectrum = B * group * (n // 2 + 1) * 2 * width
    spectra, transforms = held
    return Cost((spectrum,) * spectra, _fourier(transforms * B * D + 2 * D, n))


OWN: dict[str, Callable[[Sequence[Any], bool], Cost]] = {
    "fourcast::spectral_mixing": _spectral_mixing,
    "fourcast::spectral_mixing_backward": _spectral_mixing_backward,
    "fourcast::rdft2": _rdft2,
    "fourcast::irdft2": _irdft2,
    "fourcast::fft_conv": _fft_conv,
    "fourcast::fft_conv_backward": _fft_conv_backward,
}
