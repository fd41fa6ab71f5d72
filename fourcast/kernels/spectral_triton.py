"""AFNO's spectral token mixing and its transforms alone in Triton, host side: types, tiles, tables and launches.

Forward: row statistics; layer norm and zonal DFT; meridional DFT, block MLP, softshrink and inverse in one kernel
where all latitudes of one zonal mode and block fit a program, else in four; inverse zonal DFT and residuals.
Backward keeps x, the zonal spectrum z and the row statistics, and recomputes the rest.

Two operand types. float16: products summed in fp32, gradients in bfloat16, which needs no loss scaling. |LayerNorm|
is at most sqrt(D) |weight| + |bias| and an orthonormal transform makes that at most sqrt(H W) times larger, far below
65504 for any weight of order one. float32: products in three TF32 passes.
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

TRITON_TYPE = {torch.float32: tl.float32, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}
OPERANDS = {"fp16": torch.float16, "bf16": torch.float16, "fp32": torch.float32}  # bf16: the type of gradients
WEIGHT_SPLITS = 8  # shares of the rows that weight gradients are summed over apart, then together
NORM_PROGRAMS = 264  # likewise for the gradients of the layer norm: two programs on each unit of a large GPU
SPLIT = (0, 0)  # the limit of ``tiles`` under which nothing is fused


@dataclass(frozen=True)
class Tiles:
    """Sizes of what one program or one step of its loop works on; powers of two."""

    fused: bool  # everything meridional in one kernel
    chunk: int  # channels
    rows: int  # kept meridional modes; all of them where fused
    latitudes: int  # folded; all of them where fused
    warps: int  # of the meridional kernels
    zonal: int  # kept zonal modes
    longitudes: int  # folded
    channels: int
    step: int  # what a loop sums over at a time


@dataclass(frozen=True)
class Setup:
    """What depends on sizes and types only. Tables are pairs C, S, padded to whole tiles."""

    tiles: Tiles
    block: int
    rows: int  # kept meridional modes
    product: str  # how tl.dot multiplies
    DT: tl.dtype  # operands of the forward pass
    GT: tl.dtype  # of gradients
    gradient: torch.dtype
    analysis: tuple[Tensor, Tensor]  # [zonal modes, folded longitudes]
    synthesis: tuple[Tensor, Tensor]  # likewise, weighted as the complex-to-real transform wants
    meridional: tuple[Tensor, Tensor]  # [kept rows, folded latitudes]


def tiles(kept: KeptModes, dim: int, block: int, operand: torch.dtype, limit: tuple[int, int]) -> Tiles:
    """Sizes whose forward kernels compile without spilled registers; ``limit`` is what ``fused_limit`` gives."""
    rows = max(16, dft.power_of_two(kept.row_count))
    latitudes = max(16, dft.power_of_two(dft.half(kept.height)))
    if rows >= 64:
        latitudes = max(latitudes, 64)
    warps = 8 if rows == 128 else 4
    half_precision = operand.itemsize == 2
    fused = half_precision and latitudes <= 64 and rows <= limit[0] and rows * block <= limit[1] * 32 * warps
    if not fused:
        rows, latitudes, warps = 64, 64, 4 if half_precision else 8
    return Tiles(
        fused=fused,
        chunk=math.gcd(block, 32),
        rows=rows,
        latitudes=latitudes,
        warps=warps,
        zonal=min(64, max(16, dft.power_of_two(kept.zonal))),
        longitudes=64,
        channels=math.gcd(dim, 64),
        step=32 if half_precision else 16,
    )


def fused_limit(device: torch.device) -> tuple[int, int]:
    """Kept rows of one program of a fused kernel, and complex numbers of them in one thread, that spill nothing.

    More where tensor cores read operands from shared memory (compute capability 9 and 10) than where operands
    take registers too.
    """
    return (128, 48) if capability(device) in (9, 10) else (64, 24)


def capability(device: torch.device) -> int:
    """Major compute capability; any will do for the interpreter."""
    return torch.cuda.get_device_capability(device)[0] if device.type == "cuda" else 9


@lru_cache
def setup(
    kept: KeptModes,
    width: int,
    dim: int,
    block: int,
    operand: torch.dtype,
    device: torch.device,
    limit: tuple[int, int],
) -> Setup:
    t = tiles(kept, dim, block, operand, limit)
    wide = dft.round_up(dft.half(width), t.longitudes)
    modes = dft.round_up(kept.zonal, max(t.zonal, t.step))
    latitudes = dft.round_up(dft.half(kept.height), t.latitudes)
    cos_sin = dft.meridional_rows(kept.height, kept.rows)
    folded = tuple(table[:, : dft.half(kept.height)] for table in cos_sin)
    weighted = tuple(table.T for table in dft.zonal_inverse(width, kept.zonal))

    def pair(tables: tuple[Tensor, ...], rows: int, columns: int) -> tuple[Tensor, Tensor]:
        cos, sin = (dft.padded(table, rows, columns).to(device, operand) for table in tables)
        return cos, sin

    gradient = torch.bfloat16 if operand == torch.float16 and device.type != "cpu" else operand
    return Setup(
        tiles=t,
        block=block,
        rows=kept.row_count,
        product="ieee" if operand == torch.float16 else "tf32x3",
        DT=TRITON_TYPE[operand],
        GT=TRITON_TYPE[gradient],
        gradient=gradient,
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
    x: Tensor, parameters: Parameters, kept: KeptModes, eps: float, threshold: float, operand: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The output of a contiguous x in its type, then what backward needs: z, mean, rstd."""
    p = Parameters(*(t.contiguous() for t in parameters))
    s = setup(kept, *x.shape[2:], p.w1.shape[-1], operand, x.device, fused_limit(x.device))
    z, mean, rstd = empty_saved(x, kept, operand)
    row_statistics(x, mean, rstd, eps)
    norm = (mean, rstd, p.norm_weight, p.norm_bias)
    zonal_forward(s, x, norm, s.analysis, z, s.DT)
    mixed = mix_modes(s, z, p, threshold)
    out = torch.empty_like(x)
    zonal_inverse(s, mixed, (x, *norm), s.synthesis, out, s.DT)
    return out, z, mean, rstd


def backward(
    grad_out: Tensor,
    x: Tensor,
    z: Tensor,
    mean: Tensor,
    rstd: Tensor,
    parameters: Parameters,
    kept: KeptModes,
    threshold: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x and of every parameter, in their order and types; grad_out and x are contiguous."""
    p = Parameters(*(t.contiguous() for t in parameters))
    s = setup(kept, *x.shape[2:], p.w1.shape[-1], z.dtype, x.device, fused_limit(x.device))
    g = torch.empty_like(z, dtype=s.gradient)
    zonal_forward(s, grad_out, None, s.synthesis, g, s.GT)
    dz, layer1, layer2 = mix_modes_backward(s, z, g, p, threshold)
    dspectral = torch.empty_like(x, dtype=s.gradient)
    zonal_inverse(s, dz, None, s.analysis, dspectral, s.GT)
    dx, dnorm_weight, dnorm_bias = norm_backward(grad_out, dspectral, x, mean, rstd, p.norm_weight)
    gradients = (dnorm_weight, dnorm_bias, *weight_gradient(s, *layer1), *weight_gradient(s, *layer2))
    dp = Parameters(*(d.to(t.dtype) for d, t in zip(gradients, parameters, strict=True)))
    return dx, *dp


def rdft2(x: Tensor, kept: KeptModes, weighted: bool, precision: str, dtype: torch.dtype) -> Tensor:
    """The kept modes [B, F, R, 2, D] of a contiguous field, times the complex-to-real weights where ``weighted``."""
    B, H, W, D = x.shape
    s = setup(kept, W, D, D, OPERANDS[precision], x.device, SPLIT)
    DT, between = arithmetic(s, precision)
    z = x.new_empty(B, kept.zonal, H, 2 * D, dtype=between)
    zonal_forward(s, x, None, s.synthesis if weighted else s.analysis, z, DT)
    hat = x.new_empty(B, kept.zonal, kept.row_count, 2, D, dtype=dtype)
    return meridional_forward(s, z, hat, DT)


def irdft2(hat: Tensor, kept: KeptModes, width: int, weighted: bool, precision: str, dtype: torch.dtype) -> Tensor:
    """The field [B, H, W, D] of contiguous kept modes: the adjoint of ``rdft2``, and where ``weighted`` its inverse."""
    B, F, _, _, D = hat.shape
    s = setup(kept, width, D, D, OPERANDS[precision], hat.device, SPLIT)
    DT, between = arithmetic(s, precision)
    z = hat.new_empty(B, F, kept.height, 2 * D, dtype=between)
    meridional_inverse(s, hat, z, DT)
    out = hat.new_empty(B, kept.height, width, D, dtype=dtype)
    zonal_inverse(s, z, None, s.synthesis if weighted else s.analysis, out, DT)
    return out


def arithmetic(s: Setup, precision: str) -> tuple[tl.dtype, torch.dtype]:
    """Operand type of a transform that stands alone, and the type of the spectrum between its two stages."""
    if precision == "bf16":
        return s.GT, s.gradient
    return s.DT, OPERANDS[precision]


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
        x,
        *(norm or (None,) * 4),
        *table,
        z,
        H,
        F,
        W=W,
        D=D,
        P=t.chunk,
        MW=table[0].shape[1],
        TILE_F=t.zonal,
        TILE_W=t.step,
        TILE_D=t.channels,
        NORM=norm is not None,
        DT=DT,
        PREC=s.product,
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
        z,
        *(residual or (None,) * 5),
        *table,
        out,
        H,
        F,
        W=W,
        D=D,
        P=t.chunk,
        MW=table[0].shape[1],
        TILE_W=t.longitudes,
        TILE_F=t.step,
        TILE_D=t.channels,
        RESIDUAL=residual is not None,
        DT=DT,
        PREC=s.product,
        num_warps=4,
    )


def packed(w: Tensor, chunk: int, dtype: torch.dtype) -> Tensor:
    """Weights [2, K, block, block] as real matrices [K, 2 block, 2 block] on stacked chunks."""
    K, block = w.shape[1:3]
    real, imaginary = w.to(dtype).unflatten(3, (-1, chunk)).unflatten(2, (-1, chunk))
    rows_re = torch.stack([real, imaginary], 4)  # K, in chunk, in, out chunk, part, out
    rows_im = torch.stack([-imaginary, real], 4)
    return torch.stack([rows_re, rows_im], 2).reshape(K, 2 * block, 2 * block)


def mix_modes(s: Setup, z: Tensor, p: Parameters, threshold: float) -> Tensor:
    """Meridional DFT, block MLP, softshrink and inverse."""
    B, F, H, columns = z.shape
    t, D = s.tiles, columns // 2
    w1, w2 = packed(p.w1, t.chunk, z.dtype), packed(p.w2, t.chunk, z.dtype)
    out = torch.empty_like(z)
    if t.fused:
        meridional.fused_forward[(F, D // s.block, B)](
            z,
            out,
            *s.meridional,
            w1,
            p.b1,
            w2,
            p.b2,
            threshold,
            F,
            H=H,
            D=D,
            BLOCK=s.block,
            P=t.chunk,
            MR=t.rows,
            MH=t.latitudes,
            DT=s.DT,
            PREC=s.product,
            num_warps=t.warps,
        )
        return out
    hidden = layer(s, meridional_forward(s, z, empty_rows(s, z), s.DT), w1, p.b1, "relu")
    meridional_inverse(s, layer(s, hidden, w2, p.b2, "shrink", threshold=threshold), out, s.DT)
    return out


def mix_modes_backward(
    s: Setup, z: Tensor, g: Tensor, p: Parameters, threshold: float
) -> tuple[Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """dz, then for each layer its input and the gradient of its output at the kept modes, [B, F, R, 2 D]."""
    B, F, H, columns = z.shape
    t, D = s.tiles, columns // 2
    w1, w2 = packed(p.w1, t.chunk, z.dtype), packed(p.w2, t.chunk, z.dtype)
    dz = torch.empty_like(g)
    if t.fused:
        hat, hidden = (z.new_empty(B, F, s.rows, columns) for _ in range(2))
        dhidden, dout = (g.new_empty(B, F, s.rows, columns) for _ in range(2))
        meridional.fused_backward[(F, D // s.block, B)](
            z,
            g,
            dz,
            hat,
            hidden,
            dhidden,
            dout,
            *s.meridional,
            w1,
            p.b1,
            w2,
            p.b2,
            threshold,
            F,
            s.rows,
            H=H,
            D=D,
            BLOCK=s.block,
            P=t.chunk,
            MR=t.rows,
            MH=t.latitudes,
            DT=s.DT,
            GT=s.GT,
            PREC=s.product,
            num_warps=t.warps,
        )
        return dz, (hat, dhidden), (hidden, dout)
    hat = meridional_forward(s, z, empty_rows(s, z), s.DT)
    hidden = layer(s, hat, w1, p.b1, "relu")
    dout = layer(s, hidden, w2, p.b2, "kept", meridional_forward(s, g, empty_rows(s, g), s.GT), threshold)
    dhidden = layer(s, dout, w2, None, "active", hidden)
    meridional_inverse(s, layer(s, dhidden, w1, None, "adjoint"), dz, s.GT)
    return dz, (hat, dhidden), (hidden, dout)


def layer(
    s: Setup,
    rows: Tensor,
    w: Tensor,
    b: Tensor | None,
    epilogue: str,
    other: Tensor | None = None,
    threshold: float = 0.0,
) -> Tensor:
    """One layer of the block MLP or its adjoint, on [B, F, R, 2 D]; ``meridional.layer`` lists the epilogues."""
    out = torch.empty_like(rows, dtype=s.gradient if epilogue == "kept" else rows.dtype)
    count, D, t = rows.shape[:3].numel(), rows.shape[3] // 2, s.tiles
    meridional.layer[(triton.cdiv(count, t.rows), D // s.block, s.block // t.chunk)](
        rows,
        w,
        b,
        other,
        out,
        threshold,
        count,
        D=D,
        BLOCK=s.block,
        P=t.chunk,
        TILE_R=t.rows,
        EPILOGUE=epilogue,
        PREC=s.product,
        num_warps=t.warps,
    )
    return out


def empty_rows(s: Setup, z: Tensor) -> Tensor:
    """Room for kept meridional modes [B, F, R, 2 D]."""
    B, F, _, columns = z.shape
    return z.new_empty(B, F, s.rows, columns)


def part(s: Setup, hat: Tensor) -> int:
    """How far imaginary parts stand from real ones in rows [B, F, R, 2 D], of chunks, or [B, F, R, 2, D]."""
    return s.tiles.chunk if hat.dim() == 4 else hat.shape[4]


def meridional_forward(s: Setup, z: Tensor, hat: Tensor, DT: tl.dtype) -> Tensor:
    """Kept meridional modes, into hat."""
    B, F, H, columns = z.shape
    t = s.tiles
    grid = (B * F, columns // (2 * t.chunk), triton.cdiv(s.rows, t.rows))
    meridional.transform[grid](
        z,
        hat,
        *s.meridional,
        s.rows,
        H=H,
        D=columns // 2,
        P=t.chunk,
        PART=part(s, hat),
        MH=s.meridional[0].shape[1],
        TILE_R=t.rows,
        TILE_H=t.step,
        DT=DT,
        PREC=s.product,
        num_warps=t.warps,
    )
    return hat


def meridional_inverse(s: Setup, hat: Tensor, z: Tensor, DT: tl.dtype) -> None:
    """All latitudes of the kept modes, into z."""
    B, F, H, columns = z.shape
    t = s.tiles
    grid = (B * F, columns // (2 * t.chunk), triton.cdiv(dft.half(H), t.latitudes))
    meridional.inverse[grid](
        hat,
        z,
        *s.meridional,
        s.rows,
        H=H,
        D=columns // 2,
        P=t.chunk,
        PART=part(s, hat),
        MH=s.meridional[0].shape[1],
        TILE_H=t.latitudes,
        TILE_R=t.step,
        DT=DT,
        PREC=s.product,
        num_warps=t.warps,
    )


def weight_gradient(s: Setup, layer_in: Tensor, dout: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of one layer's weight [2, K, block, block] and bias [2, K, block], fp32."""
    D, block, P, step = layer_in.shape[3] // 2, s.block, s.tiles.chunk, 2 * s.tiles.step
    K, count = D // block, layer_in.shape[:3].numel()
    share = dft.round_up(triton.cdiv(count, WEIGHT_SPLITS), step)
    splits = triton.cdiv(count, share)
    dw = layer_in.new_empty(splits, K, 2 * block, 2 * block, dtype=torch.float32)
    db = layer_in.new_empty(splits, K, 2 * block, dtype=torch.float32)
    meridional.weight_gradient[(K, (block // P) ** 2, splits)](
        layer_in,
        dout,
        dw,
        db,
        count,
        share,
        D=D,
        BLOCK=block,
        P=P,
        MR=step,
        GT=s.GT,
        PREC=s.product,
        num_warps=4,
    )
    parts = dw.sum(0).view(K, block // P, 2, P, block // P, 2, P)
    (rr, ri), (ir, ii) = (parts[:, :, i].unbind(4) for i in range(2))
    dweight = torch.stack([rr + ii, ri - ir]).reshape(2, K, block, block)
    dbias = db.sum(0).view(K, block // P, 2, P).permute(2, 0, 1, 3).reshape(2, K, block)
    return dweight, dbias


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
        grad_out,
        dspectral,
        x,
        mean,
        rstd,
        weight,
        dx,
        dweight,
        dbias,
        rows,
        share,
        D=D,
        MD=MD,
        TILE_ROWS=tile,
        num_warps=4,
    )
    return dx, dweight.sum(0), dbias.sum(0)
