"""Discrete Fourier transforms as matrix products: tables, their folding, and the least cost of a mixer.

All transforms are orthonormal. Tables are built in float64 from the index product reduced modulo the length,
and cast last. With the fold e_n = x_n + x_{N-n}, o_n = x_n - x_{N-n} for n = 0 ... N//2 (n = 0 and n = N/2 stand
alone: e = x, o = 0), the cosine and sine tables C, S (both with positive sign, N odd or even) serve as

    real forward (longitude)      Re X = C e,  Im X = -S o
    real inverse (longitude)      x_n = P - Q,  x_{N-n} = P + Q      with P = C' Re X, Q = S' Im X
    complex forward (latitude)    X = C e - i S o, one table row for each kept mode
    complex inverse (latitude)    x_n = P + iQ,  x_{N-n} = P - iQ    with P = C^T X, Q = S^T X

which halves the work; where modes k and N-k are both kept they share C e and S o, which halves it again. C' and
S' count every zonal mode twice but the mean and Nyquist, which have no conjugate partner and whose imaginary
parts meet sin = 0.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from fourcast.kernels.modes import KeptModes


def half(n: int) -> int:
    """Length of an axis of ``n`` after folding, and of its half spectrum."""
    return n // 2 + 1


def angles(n: int, rows: Tensor, columns: Tensor) -> Tensor:
    """2 pi r c / n for every row and column index, float64."""
    return torch.outer(rows, columns).remainder(n).double() * (2 * math.pi / n)


@lru_cache
def zonal_forward(width: int, zonal: int) -> tuple[Tensor, Tensor]:
    """Folded real forward tables C, S, each [zonal, W//2 + 1], float64."""
    theta = angles(width, torch.arange(zonal), torch.arange(half(width)))
    return theta.cos() / math.sqrt(width), theta.sin() / math.sqrt(width)


@lru_cache
def zonal_inverse(width: int, zonal: int) -> tuple[Tensor, Tensor]:
    """Folded complex-to-real tables C', S', each [W//2 + 1, zonal], float64."""
    weight = zonal_weights(width, zonal)
    cos, sin = zonal_forward(width, zonal)
    return (cos * weight[:, None]).T.contiguous(), (sin * weight[:, None]).T.contiguous()


def zonal_weights(width: int, zonal: int) -> Tensor:
    """How often each zonal wavenumber counts in a real field: 1 for the mean and Nyquist, else 2."""
    k = torch.arange(zonal)
    return torch.where((k == 0) | (2 * k == width), 1.0, 2.0).double()


@lru_cache
def zonal_stacked(width: int, zonal: int) -> tuple[Tensor, Tensor]:
    """Unfolded real tables [2 zonal, W], real parts then imaginary: analysis A, X = A x, and weighted synthesis S,
    x = S^T X; float64."""
    theta = angles(width, torch.arange(zonal), torch.arange(width))
    analysis = torch.cat([theta.cos(), -theta.sin()]) / math.sqrt(width)
    return analysis, analysis * zonal_weights(width, zonal).repeat(2)[:, None]


@lru_cache
def meridional_rows(height: int, rows: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Forward tables C, S of the given rows of the unshifted DFT, each [len(rows), H], float64: X = (C - iS) x.

    Their first H//2 + 1 columns are the tables for a folded x: X = C e - iS o.
    """
    phi = angles(height, torch.tensor(rows), torch.arange(height))
    return phi.cos() / math.sqrt(height), phi.sin() / math.sqrt(height)


@lru_cache
def meridional_stacked(kept: KeptModes) -> Tensor:
    """Unfolded forward transform of the kept rows as a real matrix [2 rows, 2 H], real and imaginary parts
    interleaved, float64. Its transpose is the inverse, and the adjoint."""
    cos, sin = meridional_rows(kept.height, kept.rows)
    real, imaginary = torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)
    return torch.stack([real, imaginary], 1).reshape(2 * kept.row_count, 2 * kept.height)


def padded(table: Tensor, rows: int, columns: int) -> Tensor:
    """``table`` in the upper left corner of a zero table of the given size."""
    out = table.new_zeros(rows, columns)
    out[: table.shape[0], : table.shape[1]] = table
    return out


def power_of_two(n: int) -> int:
    """The least power of two that is at least ``n``."""
    return 1 << (n - 1).bit_length()


def round_up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


@dataclass(frozen=True)
class Cost:
    """Least arithmetic and least main-memory traffic of one pass."""

    flops: int
    bytes: int

    def seconds(self, flops_per_second: float, bytes_per_second: float) -> float:
        """The time below which the pass cannot go on a machine of that arithmetic rate and bandwidth."""
        return max(self.flops / flops_per_second, self.bytes / bytes_per_second)


@dataclass(frozen=True)
class Workload:
    """One call of the mixer: the sizes on which its cost depends."""

    batch: int
    width: int
    kept: KeptModes
    dim: int
    block: int
    field_bytes: int = 2  # per number of x and of the output
    spectrum_bytes: int = 2  # per real number of the spectrum between stages

    @property
    def field(self) -> int:
        return self.batch * self.kept.height * self.width * self.dim * self.field_bytes

    @property
    def spectrum(self) -> int:
        return 2 * self.batch * self.kept.height * self.kept.zonal * self.dim * self.spectrum_bytes

    @property
    def zonal_flops(self) -> int:
        return 4 * self.batch * self.kept.height * half(self.width) * self.kept.zonal * self.dim

    @property
    def meridional_flops(self) -> int:
        return 8 * self.batch * half(self.kept.height) ** 2 * self.kept.zonal * self.dim

    @property
    def mlp_flops(self) -> int:
        return 16 * self.batch * self.kept.row_count * self.kept.zonal * self.dim * self.block


def forward_cost(work: Workload) -> Cost:
    """Row statistics, three stages with the spectrum passed through memory, output written once."""
    flops = 2 * work.zonal_flops + 2 * work.meridional_flops + work.mlp_flops
    return Cost(flops, 4 * work.field + 4 * work.spectrum)


def backward_cost(work: Workload) -> Cost:
    """Recomputes the hidden layer from the saved spectrum; weight gradients read their four operands once."""
    flops = 2 * work.zonal_flops + 3 * work.meridional_flops + 3 * work.mlp_flops
    return Cost(flops, 4 * work.field + 13 * work.spectrum)
