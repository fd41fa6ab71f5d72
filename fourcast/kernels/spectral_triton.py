"""AFNO's spectral token mixing in Triton, host side: types, tiles, tables and launches of forward and backward.

Forward: row statistics; layer norm and zonal DFT; meridional DFT, block MLP, softshrink and inverse in one kernel
where a latitude circle of one block fits a program, else in three; inverse zonal DFT and residuals. Backward keeps
x, the zonal spectrum z and the row statistics, and recomputes the rest.

Two precisions. ``fp16``: products of fp16 numbers summed in fp32; gradients bf16, which need no loss scaling. The
row norm bounds LayerNorm(x) by sqrt(D) |weight| + |bias|, and orthonormal tables its spectrum by sqrt(H W) times
that, so fp16 holds both for any sensible weight (float range 65504). ``fp32``: fp32 numbers, products in three
TF32 passes.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from fourcast.kernels import dft, meridional, zonal
from fourcast.kernels.dense import Parameters
from fourcast.kernels.modes import KeptModes

WEIGHT_SPLITS = 8  # shares of the rows that weight gradients are summed over apart, then together
NORM_PROGRAMS = 264  # likewise for the gradients of the layer norm: two programs on each unit of a large GPU


@dataclass(frozen=True)
class Tiles:
    """Sizes of what one program or one step of its loop works on; powers of two."""

    fused: bool  # the three meridional steps in one kernel
    chunk: int  # channels in a stacked chunk
    rows: int  # kept rows of the fused kernel, or of one program of the three
    latitudes: int  # folded latitudes, likewise
    warps: int  # of the kernels that hold a block
    zonal: int
    longitudes: int
    channels: int
    step: int  # summed over in one step


@dataclass(frozen=True)
class Setup:
    """What depends on the problem's sizes and types only. Tables are padded pairs C, S."""

    operand: torch.dtype
    gradient: torch.dtype
    product: str
    tiles: Tiles
    analysis: tuple[Tensor, Tensor]  # [zonal modes, folded longitudes]
    synthesis: tuple[Tensor, Tensor]  # likewise, weighted as the complex-to-real transform wants
    meridional: tuple[Tensor, Tensor]  # [kept rows, folded latitudes]

    @property
    def DT(self) -> tl.dtype:
        return TRITON_TYPE[self.operand]

    @property
    def GT(self) -> tl.dtype:
        return TRITON_TYPE[self.gradient]


TRITON_TYPE = {torch.float32: tl.float32, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}


def tiles(kept: KeptModes, dim: int, block: int, operand: torch.dtype, most: int) -> Tiles:
    """Sizes that compile without spilled registers in the forward kernels; ``most`` is ``fused_limit``'s."""
    rows = max(16, dft.power_of_two(kept.row_count))
    latitudes = max(16, dft.power_of_two(dft.half(kept.height)))
    if rows >= 64:
        latitudes = max(latitudes, 64)
    fused = operand.itemsize == 2 and latitudes <= 64 and rows * block <= most
    if not fused:
        rows, latitudes = 64, 64
    return Tiles(
        fused=fused,
        chunk=math.gcd(block, 32),
        rows=rows,
        latitudes=latitudes,
        warps=8 if rows == 128 else 4,
        zonal=min(64, max(16, dft.power_of_two(kept.zonal))),
        longitudes=64,
        channels=math.gcd(dim, 64),
        step=32 if operand.itemsize == 2 else 16,
    )


def fused_limit(device: torch.device) -> int:
    """Kept rows times block size that one program of a fused kernel holds without spilling registers.

    Large where tensor cores read operands from shared memory (compute capability 9 and 10), small where they
    come from registers.
    """
    wide = device.type != "cuda" or torch.cuda.get_device_capability(device)[0] in (9, 10)
    return 128 * 96 if wide else 32 * 96


@lru_cache
def setup(
    kept: KeptModes, width: int, dim: int, block: int, operand: torch.dtype, device: torch.device, most: int
) -> Setup:
    t = tiles(kept, dim, block, operand, most)
    wide = dft.round_up(dft.half(width), t.longitudes)
    modes = dft.round_up(kept.zonal, max(t.zonal, t.step))
    latitudes = dft.round_up(dft.half(kept.height), t.latitudes)
    cos_sin = dft.meridional_rows(kept.height, kept.rows)
    folded = tuple(table[:, : dft.half(kept.height)] for table in cos_sin)
    weighted = tuple(table.T for table in dft.zonal_inverse(width, kept.zonal))

    def pair(tables: tuple[Tensor, ...], rows: int, columns: int) -> tuple[Tensor, Tensor]:
        cos, sin = (dft.padded(table, rows, columns).to(device, operand) for table in tables)
        return cos, sin

    return Setup(
        operand=operand,
        gradient=torch.bfloat16 if operand == torch.float16 and device.type != "cpu" else operand,
        product="ieee" if operand == torch.float16 else "tf32x3",
        tiles=t,
        analysis=pair(dft.zonal_forward(width, kept.zonal), modes, wide),
        synthesis=pair(weighted, modes, wide),
        meridional=pair(folded, dft.round_up(kept.row_count, t.rows), latitudes),
    )


def empty_saved(x_BHWD: Tensor, kept: KeptModes, operand: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Room for what forward keeps for backward: z [B, F, H, 2 D], mean and rstd [B, H, W]."""
    B, H, W, D = x_BHWD.shape
    z = x_BHWD.new_empty(B, kept.zonal, H, 2 * D, dtype=operand)
    mean, rstd = (x_BHWD.new_empty(B, H, W, dtype=torch.float32) for _ in range(2))
    return z, mean, rstd


def forward(
    x_BHWD: Tensor, parameters: Parameters, kept: KeptModes, eps: float, threshold: float, operand: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The output in x's type, then what backward needs: z, mean, rstd."""
    x = x_BHWD.contiguous()
    p = Parameters(*(t.contiguous() for t in parameters))
    s = setup(kept, *x.shape[2:], p.w1.shape[-1], operand, x.device, fused_limit(x.device))
    z, mean, rstd = empty_saved(x, kept, operand)
    row_statistics(x, mean, rstd, eps)
    norm = (mean, rstd, p.norm_weight, p.norm_bias)
    zonal_forward(s, x, norm, s.analysis, z, s.DT)
    mixed = mix_modes(s, z, p, kept, threshold)
    out = torch.empty_like(x)
    zonal_inverse(s, mixed, (x, *norm), s.synthesis, out, s.DT)
    return out, z, mean, rstd


def backward(
    grad_out_BHWD: Tensor,
    x_BHWD: Tensor,
    z: Tensor,
    mean: Tensor,
    rstd: Tensor,
    parameters: Parameters,
    kept: KeptModes,
    threshold: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x and of every parameter, in the order and types of x and ``parameters``."""
    x, grad_out = x_BHWD.contiguous(), grad_out_BHWD.contiguous()
    p = Parameters(*(t.contiguous() for t in parameters))
    s = setup(kept, *x.shape[2:], p.w1.shape[-1], z.dtype, x.device, fused_limit(x.device))
    g = torch.empty_like(z, dtype=s.gradient)
    zonal_forward(s, grad_out, None, s.synthesis, g, s.GT)
    dz, layer1, layer2 = mix_modes_backward(s, z, g, p, kept, threshold)
    dspectral = torch.empty_like(x, dtype=s.gradient)
    zonal_inverse(s, dz, None, s.analysis, dspectral, s.GT)
    dx, dnorm_weight, dnorm_bias = norm_backward(grad_out, dspectral, x, mean, rstd, p.norm_weight)
    gradients = (dnorm_weight, dnorm_bias, *weight_gradient(s, *layer1, p), *weight_gradient(s, *layer2, p))
    dparameters = (d.to(t.dtype) for d, t in zip(gradients, parameters, strict=True))
    return dx, *dparameters  # type: ignore[return-value]


def row_statistics(x: Tensor, mean: Tensor, rstd: Tensor, eps: float) -> None:
    D = x.shape[-1]
    rows, MD = mean.numel(), dft.power_of_two(D)
    tile = max(1, 4096 // MD)
    grid = (triton.cdiv(rows, tile),)
    zonal.row_statistics[grid](x, mean, rstd, rows, eps, D=D, MD=MD, TILE_ROWS=tile, num_warps=4)


def zonal_forward(
    s: Setup, x: Tensor, norm: tuple[Tensor, ...] | None, table: tuple[Tensor, Tensor], z: Tensor, DT: tl.dtype
) -> None:
    """Modes of x, or of its layer norm where ``norm`` is mean, rstd, weight and bias, into z."""
    B, H, W, D = x.shape
    F, t = z.shape[1], s.tiles
    grid = (B * H, D // t.channels, triton.cdiv(F, t.zonal))
    zonal.zonal_forward[grid](
        x, *(norm or (None,) * 4), *table, z, H, F, W=W, D=D, P=t.chunk, MW=table[0].shape[1],
        TILE_F=t.zonal, TILE_W=t.step, TILE_D=t.channels, NORM=norm is not None, DT=DT, PREC=s.product,
        num_warps=4,
    )


def zonal_inverse(
    s: Setup, z: Tensor, residual: tuple[Tensor, ...] | None, table: tuple[Tensor, Tensor], out: Tensor, DT: tl.dtype
) -> None:
    """Fields of the modes z into out; adds x and its layer norm where ``residual`` is x, mean, rstd, weight, bias."""
    B, H, W, D = out.shape
    F, t = z.shape[1], s.tiles
    grid = (B * H, D // t.channels, triton.cdiv(dft.half(W), t.longitudes))
    zonal.zonal_inverse[grid](
        z, *(residual or (None,) * 5), *table, out, H, F, W=W, D=D, P=t.chunk, MW=table[0].shape[1],
        TILE_W=t.longitudes, TILE_F=t.step, TILE_D=t.channels, RESIDUAL=residual is not None, DT=DT, PREC=s.product,
        num_warps=4,
    )


def packed(w: Tensor, s: Setup) -> Tensor:
    """Weights [2, K, block, block] as real matrices [K, 2 block, 2 block] on stacked chunks, in the operand type."""
    K, block = w.shape[1:3]
    real, imaginary = w.to(s.operand).unflatten(3, (-1, s.tiles.chunk)).unflatten(2, (-1, s.tiles.chunk))
    rows_re = torch.stack([real, imaginary], 4)  # K, in chunk, in, out chunk, part, out
    rows_im = torch.stack([-imaginary, real], 4)
    return torch.stack([rows_re, rows_im], 2).reshape(K, 2 * block, 2 * block)


def mix_modes(s: Setup, z: Tensor, p: Parameters, kept: KeptModes, threshold: float) -> Tensor:
    """Meridional DFT, block MLP, softshrink and inverse."""
    B, F, H, D = z.shape[0], z.shape[1], z.shape[2], z.shape[3] // 2
    K, block, t = p.w1.shape[1], p.w1.shape[2], s.tiles
    weights = (packed(p.w1, s), p.b1, packed(p.w2, s), p.b2)
    out = torch.empty_like(z)
    if t.fused:
        meridional.fused_forward[(F, K, B)](
            z, out, *s.meridional, *weights, threshold, F, H=H, D=D, BLOCK=block, P=t.chunk,
            MR=t.rows, MH=t.latitudes, DT=s.DT, PREC=s.product, num_warps=t.warps,
        )
        return out
    w1, b1, w2, b2 = weights
    hidden = layer(s, meridional_forward(s, z, kept, s.DT), w1, b1, "relu")
    meridional_inverse(s, layer(s, hidden, w2, b2, "shrink", threshold=threshold), out, s.DT)
    return out


def mix_modes_backward(
    s: Setup, z: Tensor, g: Tensor, p: Parameters, kept: KeptModes, threshold: float
) -> tuple[Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """dz, then input and output gradient of each layer at the kept modes [B, F, R, 2 D]."""
    B, F, H, D = z.shape[0], z.shape[1], z.shape[2], z.shape[3] // 2
    K, block, R, t = p.w1.shape[1], p.w1.shape[2], kept.row_count, s.tiles
    weights = (packed(p.w1, s), p.b1, packed(p.w2, s), p.b2)
    dz = torch.empty_like(g)
    if t.fused:
        hat, hidden = (z.new_empty(B, F, R, 2 * D) for _ in range(2))
        dhidden, dout = (g.new_empty(B, F, R, 2 * D) for _ in range(2))
        meridional.fused_backward[(F, K, B)](
            z, g, dz, hat, hidden, dhidden, dout, *s.meridional, *weights, threshold, F, R, H=H, D=D, BLOCK=block,
            P=t.chunk, MR=t.rows, MH=t.latitudes, DT=s.DT, GT=s.GT, PREC=s.product, num_warps=t.warps,
        )
        return dz, (hat, dhidden), (hidden, dout)
    w1, b1, w2, b2 = weights
    hat = meridional_forward(s, z, kept, s.DT)
    hidden = layer(s, hat, w1, b1, "relu")
    dout = layer(s, hidden, w2, b2, "kept", meridional_forward(s, g, kept, s.GT), threshold)
    dhidden = layer(s, dout, w2, None, "active", hidden)
    meridional_inverse(s, layer(s, dhidden, w1, None, "adjoint"), dz, s.GT)
    return dz, (hat, dhidden), (hidden, dout)


def layer(
    s: Setup, rows: Tensor, w: Tensor, b: Tensor | None, epilogue: str, other: Tensor | None = None,
    threshold: float = 0.0,
) -> Tensor:
    """One layer or its adjoint on [B, F, R, 2 D]; in the type of ``other`` where its entries are what is kept."""
    out = torch.empty_like(other if epilogue == "kept" else rows)
    count, K, t = rows.shape[:3].numel(), w.shape[0], s.tiles
    block = w.shape[1] // 2
    meridional.layer[(triton.cdiv(count, t.rows), K, block // t.chunk)](
        rows, w, b, other, out, threshold, count, D=K * block, BLOCK=block, P=t.chunk, TILE_R=t.rows,
        EPILOGUE=epilogue, PREC=s.product, num_warps=t.warps,
    )
    return out


def meridional_forward(s: Setup, z: Tensor, kept: KeptModes, DT: tl.dtype) -> Tensor:
    """Kept meridional modes [B, F, R, 2 D]."""
    B, F, H, columns = z.shape
    t, R = s.tiles, kept.row_count
    hat = z.new_empty(B, F, R, columns)
    grid = (B * F, columns // (2 * t.chunk), triton.cdiv(R, t.rows))
    meridional.transform[grid](
        z, hat, *s.meridional, R, H=H, D=columns // 2, P=t.chunk, MH=s.meridional[0].shape[1],
        TILE_R=t.rows, TILE_H=t.step, DT=DT, PREC=s.product, num_warps=t.warps,
    )
    return hat


def meridional_inverse(s: Setup, hat: Tensor, z: Tensor, DT: tl.dtype) -> None:
    B, F, H, columns = z.shape
    t, R = s.tiles, hat.shape[2]
    grid = (B * F, columns // (2 * t.chunk), triton.cdiv(dft.half(H), t.latitudes))
    meridional.inverse[grid](
        hat, z, *s.meridional, R, H=H, D=columns // 2, P=t.chunk, MH=s.meridional[0].shape[1],
        TILE_H=t.latitudes, TILE_R=t.step, DT=DT, PREC=s.product, num_warps=t.warps,
    )


def weight_gradient(s: Setup, layer_in: Tensor, dout: Tensor, p: Parameters) -> tuple[Tensor, Tensor]:
    """Gradients of one layer's weight [2, K, block, block] and bias [2, K, block], fp32."""
    B, F, R, columns = layer_in.shape
    K, block, P = p.w1.shape[1], p.w1.shape[2], s.tiles.chunk
    rows, step = B * F * R, 2 * s.tiles.step
    share = dft.round_up(triton.cdiv(rows, WEIGHT_SPLITS), step)
    splits = triton.cdiv(rows, share)
    dw = layer_in.new_empty(splits, K, 2 * block, 2 * block, dtype=torch.float32)
    db = layer_in.new_empty(splits, K, 2 * block, dtype=torch.float32)
    meridional.weight_gradient[(K, (block // P) ** 2, splits)](
        layer_in, dout, dw, db, rows, share, D=columns // 2, BLOCK=block, P=P, MR=step, GT=s.GT, PREC=s.product,
        num_warps=4,
    )
    dw = dw.sum(0).view(K, block // P, 2, P, block // P, 2, P)
    (rr, ri), (ir, ii) = (dw[:, :, i].unbind(4) for i in range(2))
    db = db.sum(0).view(K, block // P, 2, P)
    return (
        torch.stack([rr + ii, ri - ir]).reshape(2, K, block, block),
        db.permute(2, 0, 1, 3).reshape(2, K, block),
    )


def norm_backward(
    grad_out: Tensor, dspectral: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """dx, and the gradients of the layer norm's weight and bias in fp32."""
    D = x.shape[-1]
    rows, MD = mean.numel(), dft.power_of_two(D)
    tile = max(1, 2048 // MD)
    share = dft.round_up(triton.cdiv(rows, NORM_PROGRAMS), tile)
    programs = triton.cdiv(rows, share)
    dx = torch.empty_like(x)
    dweight, dbias = (x.new_empty(programs, D, dtype=torch.float32) for _ in range(2))
    zonal.norm_backward[(programs,)](
        grad_out, dspectral, x, mean, rstd, weight, dx, dweight, dbias, rows, share, D=D, MD=MD, TILE_ROWS=tile,
        num_warps=4,
    )
    return dx, dweight.sum(0), dbias.sum(0)
