"""AFNO's spectral token mixing and its transforms alone, by matrix products in plain torch: real types, any device.

Forward and backward are written out. Beside x, backward needs the compact spectrum z and the row statistics of
the layer norm; it recomputes the hidden layer. Work goes in chunks small enough to stay in cache from one
product to the next, and each spectrum is overwritten by its successor.

Letters: B batch, H latitude, W longitude, D channels, K blocks, F kept zonal wavenumbers, R kept meridional
rows, P real and imaginary part, p the same interleaved with the axis before it, c channels of a block, C those
channels of the real, then of the imaginary part, N all modes of a chunk.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import softshrink

from fourcast.kernels import dft
from fourcast.kernels.modes import KeptModes, Modes

CPU_CHUNK_BYTES = 1 << 20  # per thread; larger chunks leave the cache and take memory, smaller ones let threads wait
ACCELERATOR_CHUNK_BYTES = 256 << 20


class Parameters(NamedTuple):
    """Layer norm [D], then the block MLP: w [2, K, D/K, D/K] and b [2, K, D/K], real part first."""

    norm_weight: Tensor
    norm_bias: Tensor
    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor


class Tables(NamedTuple):
    """The transforms as real matrices; each adjoint is the transpose."""

    analysis: Tensor  # [PF, W]
    synthesis: Tensor  # [PF, W], transposed, with the weights of the complex-to-real transform
    meridional: Tensor  # [RP, HP]


class Chunk(NamedTuple):
    """Samples b0 ... b1 - 1 and zonal wavenumbers f0 ... f1 - 1; several samples only with all wavenumbers."""

    b0: int
    b1: int
    f0: int
    f1: int


def spectral_mixing(
    x_BHWD: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    *,
    modes: Modes,
    eps: float = 1e-6,
    sparsity_threshold: float = 0.01,
) -> Tensor:
    """The mixer of ``reference.spectral_mixing``, differentiable once."""
    kept = modes.keep(*x_BHWD.shape[1:3])
    return SpectralMixing.apply(x_BHWD, kept, eps, sparsity_threshold, norm_weight, norm_bias, w1, b1, w2, b2)


def empty_saved(x_BHWD: Tensor, block: int, kept: KeptModes) -> tuple[Tensor, Tensor, Tensor]:
    """Room for what forward keeps for backward: z_KBFRC, mean_BHW, rstd_BHW."""
    B, H, W, D = x_BHWD.shape
    dtype = torch.promote_types(x_BHWD.dtype, torch.float32)
    z_KBFRC = x_BHWD.new_empty((D // block, B, kept.zonal, kept.row_count, 2 * block), dtype=dtype)
    return z_KBFRC, x_BHWD.new_empty((B, H, W), dtype=dtype), x_BHWD.new_empty((B, H, W), dtype=dtype)


def forward(
    x_BHWD: Tensor, parameters: Parameters, kept: KeptModes, eps: float, sparsity_threshold: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The output in x's type, then what backward needs: z_KBFRC, mean_BHW, rstd_BHW."""
    B, H, W, D = x_BHWD.shape
    z_KBFRC, mean_BHW, rstd_BHW = empty_saved(x_BHWD, parameters.w1.shape[-1], kept)
    dtype, t = z_KBFRC.dtype, tables(kept, W, z_KBFRC)
    norm = ([D], parameters.norm_weight.to(dtype), parameters.norm_bias.to(dtype), eps)
    x_rows, mean_rows, rstd_rows = x_BHWD.reshape(B * H, W, D), mean_BHW.view(B * H, W), rstd_BHW.view(B * H, W)
    out_rows, q_rows = z_KBFRC.new_empty(B * H, W, D), z_KBFRC.new_empty(B * H, 2 * kept.zonal, D)
    chunks = row_chunks(x_rows, dtype)
    with torch.autocast(x_BHWD.device.type, enabled=False):
        for i, j in chunks:
            x = x_rows[i:j].to(dtype)
            y, mean, rstd = torch.native_layer_norm(x, *norm)
            mean_rows[i:j], rstd_rows[i:j] = mean.squeeze(-1), rstd.squeeze(-1)
            multiply_into(q_rows[i:j], t.analysis, y)
            out_rows[i:j] = y.add_(x)
        mix_modes(q_rows.view(B, 2 * H, kept.zonal, D), z_KBFRC, parameters, t.meridional, sparsity_threshold)
        for i, j in chunks:
            out_rows[i:j].baddbmm_(t.synthesis.T.expand(j - i, -1, -1), q_rows[i:j])
    return out_rows.view(B, H, W, D).to(x_BHWD.dtype), z_KBFRC, mean_BHW, rstd_BHW


def mix_modes(
    q_BHpFD: Tensor, z_KBFRC: Tensor, parameters: Parameters, meridional: Tensor, sparsity_threshold: float
) -> None:
    """Latitude transform, block MLP, softshrink and inverse, in place in q; the spectrum is left in z."""
    w1, b1, w2, b2 = stacked(parameters, z_KBFRC.dtype)
    for chunk in mode_chunks(q_BHpFD):
        z_KNC = part_of(z_KBFRC, chunk)
        read_modes(z_KNC, q_BHpFD, chunk, meridional)
        h_KNC = torch.baddbmm(b1, z_KNC, w1).relu_()
        o_KNC = softshrink(torch.baddbmm(b2, h_KNC, w2), sparsity_threshold)
        write_modes(q_BHpFD, chunk, meridional, o_KNC)


def backward(
    grad_out_BHWD: Tensor,
    x_BHWD: Tensor,
    z_KBFRC: Tensor,
    mean_BHW: Tensor,
    rstd_BHW: Tensor,
    parameters: Parameters,
    kept: KeptModes,
    sparsity_threshold: float,
) -> tuple[Tensor, ...]:
    """Gradients of x and of every parameter, in the order and types of x and ``parameters``."""
    B, H, W, D = x_BHWD.shape
    dtype, t = z_KBFRC.dtype, tables(kept, W, z_KBFRC)
    norm_weight, norm_bias = parameters.norm_weight.to(dtype), parameters.norm_bias.to(dtype)
    g_rows, x_rows = grad_out_BHWD.reshape(B * H, W, D), x_BHWD.reshape(B * H, W, D)
    mean_rows, rstd_rows = mean_BHW.view(B * H, W, 1), rstd_BHW.view(B * H, W, 1)
    q_rows, dx_rows = z_KBFRC.new_empty(B * H, 2 * kept.zonal, D), x_rows.new_empty(B * H, W, D)
    dnorm_weight, dnorm_bias = torch.zeros_like(norm_weight), torch.zeros_like(norm_bias)
    chunks = row_chunks(x_rows, dtype)
    with torch.autocast(x_BHWD.device.type, enabled=False):
        for i, j in chunks:
            multiply_into(q_rows[i:j], t.synthesis, g_rows[i:j].to(dtype))
        q_BHpFD = q_rows.view(B, 2 * H, kept.zonal, D)
        dmlp = mix_modes_backward(q_BHpFD, z_KBFRC, parameters, t.meridional, sparsity_threshold)
        for i, j in chunks:
            g, x = g_rows[i:j].to(dtype), x_rows[i:j].to(dtype)
            dy = torch.baddbmm(g, t.analysis.T.expand(j - i, -1, -1), q_rows[i:j])
            dx, dweight, dbias = torch.ops.aten.native_layer_norm_backward(
                dy, x, [D], mean_rows[i:j], rstd_rows[i:j], norm_weight, norm_bias, [True] * 3
            )
            dx_rows[i:j] = dx.add_(g)
            dnorm_weight += dweight
            dnorm_bias += dbias
    dparameters = zip((dnorm_weight, dnorm_bias, *dmlp), parameters, strict=True)
    return dx_rows.view(B, H, W, D), *(gradient.to(p.dtype) for gradient, p in dparameters)


def mix_modes_backward(
    q_BHpFD: Tensor, z_KBFRC: Tensor, parameters: Parameters, meridional: Tensor, sparsity_threshold: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Adjoint of ``mix_modes``, in place in q; returns the gradients of w1, b1, w2, b2."""
    w1, b1, w2, b2 = stacked(parameters, z_KBFRC.dtype)
    dw1, db1, dw2, db2 = (torch.zeros_like(p) for p in (w1, b1, w2, b2))
    for chunk in mode_chunks(q_BHpFD):
        z_KNC = part_of(z_KBFRC, chunk)
        h_KNC = torch.baddbmm(b1, z_KNC, w1).relu_()
        o_KNC = torch.baddbmm(b2, h_KNC, w2)
        do_KNC = torch.empty_like(o_KNC)
        read_modes(do_KNC, q_BHpFD, chunk, meridional)
        do_KNC = torch.ops.aten.softshrink_backward(do_KNC, o_KNC, sparsity_threshold)
        dw2.baddbmm_(h_KNC.mT, do_KNC)
        db2 += do_KNC.sum(1, keepdim=True)
        dh_KNC = torch.ops.aten.threshold_backward(torch.bmm(do_KNC, w2.mT), h_KNC, 0)
        dw1.baddbmm_(z_KNC.mT, dh_KNC)
        db1 += dh_KNC.sum(1, keepdim=True)
        write_modes(q_BHpFD, chunk, meridional, torch.bmm(dh_KNC, w1.mT))
    return unstacked_weight(dw1), unstacked_bias(db1), unstacked_weight(dw2), unstacked_bias(db2)


def rdft2(x_BHWD: Tensor, kept: KeptModes, weighted: bool, dtype: torch.dtype) -> Tensor:
    """The kept modes z_BFRPD of a field, times the weights of the complex-to-real transform where ``weighted``."""
    B, H, W, D = x_BHWD.shape
    work = torch.promote_types(torch.promote_types(x_BHWD.dtype, dtype), torch.float32)
    z_BFRPD = x_BHWD.new_empty(B, kept.zonal, kept.row_count, 2, D, dtype=dtype)
    x_rows, q_rows = x_BHWD.reshape(B * H, W, D), x_BHWD.new_empty(B * H, 2 * kept.zonal, D, dtype=work)
    t = tables(kept, W, q_rows)
    zonal, q_BHpFD = t.synthesis if weighted else t.analysis, q_rows.view(B, 2 * H, kept.zonal, D)
    for i, j in row_chunks(x_rows, work):
        multiply_into(q_rows[i:j], zonal, x_rows[i:j].to(work))
    for chunk in mode_chunks(q_BHpFD):
        b0, b1, f0, f1 = chunk
        z_BFRPD[b0:b1, f0:f1] = read_rows(q_BHpFD, chunk, t.meridional).permute(0, 3, 1, 2, 4)
    return z_BFRPD


def irdft2(z_BFRPD: Tensor, kept: KeptModes, width: int, weighted: bool, dtype: torch.dtype) -> Tensor:
    """The field x_BHWD of kept modes: the adjoint of ``rdft2``, and where ``weighted`` its inverse."""
    B, F, _, _, D = z_BFRPD.shape
    H, work = kept.height, torch.promote_types(torch.promote_types(z_BFRPD.dtype, dtype), torch.float32)
    x_rows = z_BFRPD.new_empty(B * H, width, D, dtype=dtype)
    q_rows = z_BFRPD.new_empty(B * H, 2 * F, D, dtype=work)
    t = tables(kept, width, q_rows)
    zonal, q_BHpFD = t.synthesis if weighted else t.analysis, q_rows.view(B, 2 * H, F, D)
    for chunk in mode_chunks(q_BHpFD):
        b0, b1, f0, f1 = chunk
        write_rows(q_BHpFD, chunk, t.meridional, z_BFRPD[b0:b1, f0:f1].to(work).permute(0, 2, 3, 1, 4))
    for i, j in row_chunks(x_rows, work):
        x_rows[i:j] = multiply(zonal.T, q_rows[i:j])
    return x_rows.view(B, H, width, D)


def tables(kept: KeptModes, width: int, like: Tensor) -> Tables:
    """The transforms in the type and on the device of ``like``."""
    return Tables(*constant_tables(*kept, width, like.dtype, like.device))


@torch.compiler.assume_constant_result
def constant_tables(
    zonal: int, first_row: int, row_count: int, height: int, width: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, ...]:
    """Plain arguments, and not the cached function itself: torch.compile takes the result as a constant."""
    return cached_tables(KeptModes(zonal, first_row, row_count, height), width, dtype, device)


@lru_cache
def cached_tables(kept: KeptModes, width: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    made = (*dft.zonal_stacked(width, kept.zonal), dft.meridional_stacked(kept))
    return tuple(table.to(device, dtype) for table in made)


@torch.compiler.assume_constant_result
def chunk_bytes(device_type: str) -> int:
    return CPU_CHUNK_BYTES * torch.get_num_threads() if device_type == "cpu" else ACCELERATOR_CHUNK_BYTES


def row_chunks(rows: Tensor, dtype: torch.dtype) -> list[tuple[int, int]]:
    """First and last plus one of each chunk of latitude circles."""
    count, W, D = rows.shape
    return spans(count, chunk_bytes(rows.device.type) // (W * D * dtype.itemsize))


def mode_chunks(q_BHpFD: Tensor) -> Iterator[Chunk]:
    """Whole samples where one fits the budget, else zonal wavenumbers of one sample."""
    B, Hp, F, D = q_BHpFD.shape
    modes = chunk_bytes(q_BHpFD.device.type) // (Hp * D * q_BHpFD.element_size())
    if modes >= F:
        return (Chunk(b0, b1, 0, F) for b0, b1 in spans(B, modes // F))
    return (Chunk(b, b + 1, f0, f1) for b in range(B) for f0, f1 in spans(F, modes))


def spans(count: int, step: int) -> list[tuple[int, int]]:
    step = max(step, 1)
    return [(i, min(i + step, count)) for i in range(0, count, step)]


def multiply(matrix: Tensor, rows: Tensor) -> Tensor:
    """``matrix`` times each of a batch of matrices, without a copy of either."""
    return torch.bmm(matrix.expand(rows.shape[0], -1, -1), rows)


def multiply_into(out: Tensor, matrix: Tensor, rows: Tensor) -> None:
    """``multiply`` without memory of its own; what ``out`` held does not matter."""
    out.baddbmm_(matrix.expand(rows.shape[0], -1, -1), rows, beta=0)


def read_modes(z_KNC: Tensor, q_BHpFD: Tensor, chunk: Chunk, meridional: Tensor) -> None:
    """Latitude transform of a chunk into z, in the layout of the block MLP."""
    b0, b1, f0, f1 = chunk
    v_BRPFKc = read_rows(q_BHpFD, chunk, meridional).unflatten(4, (z_KNC.shape[0], -1))
    z_KBFRPc = z_KNC.unflatten(2, (2, -1)).unflatten(1, (b1 - b0, f1 - f0, -1))
    z_KBFRPc.copy_(v_BRPFKc.permute(4, 0, 3, 1, 2, 5))


def write_modes(q_BHpFD: Tensor, chunk: Chunk, meridional: Tensor, o_KNC: Tensor) -> None:
    """Adjoint of ``read_modes``, which is its inverse on the kept rows; overwrites the chunk in q."""
    b0, b1, f0, f1 = chunk
    o_KBFRPc = o_KNC.unflatten(2, (2, -1)).unflatten(1, (b1 - b0, f1 - f0, -1))
    write_rows(q_BHpFD, chunk, meridional, o_KBFRPc.permute(1, 3, 4, 2, 0, 5).flatten(4))


def read_rows(q_BHpFD: Tensor, chunk: Chunk, meridional: Tensor) -> Tensor:
    """Latitude transform of a chunk: its kept rows [B, R, P, F, D]."""
    b0, b1, f0, f1 = chunk
    v = multiply(meridional, q_BHpFD[b0:b1, :, f0:f1].flatten(2))
    return v.unflatten(2, (f1 - f0, -1)).unflatten(1, (-1, 2))


def write_rows(q_BHpFD: Tensor, chunk: Chunk, meridional: Tensor, v_BRPFD: Tensor) -> None:
    """Adjoint of ``read_rows``, which is its inverse on the kept rows; overwrites the chunk in q."""
    b0, b1, f0, f1 = chunk
    multiply_into(q_BHpFD[b0:b1, :, f0:f1].flatten(2), meridional.T, v_BRPFD.flatten(3).flatten(1, 2))


def part_of(z_KBFRC: Tensor, chunk: Chunk) -> Tensor:
    """The modes of a chunk as a view [K, N, C]."""
    K, C = z_KBFRC.shape[0], z_KBFRC.shape[-1]
    return z_KBFRC[:, chunk.b0 : chunk.b1, chunk.f0 : chunk.f1].view(K, -1, C)


def stacked(parameters: Parameters, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Complex weights as real matrices [[re, im], [-im, re]] on stacked channels, and biases [re, im]."""
    w1, b1, w2, b2 = (p.to(dtype) for p in parameters[2:])
    return stacked_weight(w1), stacked_bias(b1), stacked_weight(w2), stacked_bias(b2)


def stacked_weight(w: Tensor) -> Tensor:
    return torch.cat([torch.cat([w[0], w[1]], 2), torch.cat([-w[1], w[0]], 2)], 1)


def stacked_bias(b: Tensor) -> Tensor:
    return torch.cat([b[0], b[1]], 1)[:, None]


def unstacked_weight(dw: Tensor) -> Tensor:
    """Adjoint of ``stacked_weight``."""
    top, bottom = dw.chunk(2, 1)
    (rr, ri), (ir, ii) = top.chunk(2, 2), bottom.chunk(2, 2)
    return torch.stack([rr + ii, ri - ir])


def unstacked_bias(db: Tensor) -> Tensor:
    return torch.stack(db[:, 0].chunk(2, 1))


class SpectralMixing(torch.autograd.Function):
    """``forward`` and ``backward`` tied together."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: KeptModes, eps: float, threshold: float, *tensors: Tensor) -> Tensor:
        out, *saved = forward(x, Parameters(*tensors), kept, eps, threshold)
        ctx.save_for_backward(x, *saved, *tensors)
        ctx.kept, ctx.threshold = kept, threshold
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        x, z, mean, rstd, *tensors = ctx.saved_tensors
        dx, *dtensors = backward(grad_out, x, z, mean, rstd, Parameters(*tensors), ctx.kept, ctx.threshold)
        return dx, None, None, None, *dtensors
