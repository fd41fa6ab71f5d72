"""Triton kernels along longitude: layer norm, real DFT and its inverse with the residuals, and their adjoints.

A field is [B, H, W, D]; a spectrum is [B, F, H, D/P, 2, P] as in ``meridional``. With the fold e_n = x_n + x_{W-n},
o_n = x_n - x_{W-n} (n = 0 and n = W/2 stand alone: e = x, o = 0) and tables C, S over folded longitudes

    forward   Re X = C e,  Im X = -S o
    inverse   x_n = P - Q,  x_{W-n} = P + Q     P = C' Re X, Q = S' Im X

The adjoint of one is the other with the first one's weights of the modes, so two kernels serve both passes.

Letters: F kept zonal modes, MW row length of a table (folded longitudes, padded), TILE_* what one program or one
step takes; TILE_D divides D.
"""

# mypy: disable-error-code="no-untyped-def,assignment,no-redef"
# Inside a kernel a name has the types of the device language, which mypy does not know.

import triton
import triton.language as tl


@triton.jit
def row_statistics(p_x, p_mean, p_rstd, rows, eps, D: tl.constexpr, MD: tl.constexpr, TILE_ROWS: tl.constexpr):
    """Mean and 1 / sqrt(variance + eps) over the channels of every token, fp32."""
    o_row = tl.program_id(0).to(tl.int64) * TILE_ROWS + tl.arange(0, TILE_ROWS)
    o_d = tl.arange(0, MD)
    b_mask = (o_row < rows)[:, None] & (o_d < D)[None, :]
    b_x = tl.load(p_x + o_row[:, None] * D + o_d[None, :], mask=b_mask, other=0.0).to(tl.float32)
    b_mean = tl.sum(b_x, 1) / D
    b_centred = tl.where(b_mask, b_x - b_mean[:, None], 0.0)
    b_rstd = 1.0 / tl.sqrt(tl.sum(b_centred * b_centred, 1) / D + eps)
    tl.store(p_mean + o_row, b_mean, mask=o_row < rows)
    tl.store(p_rstd + o_row, b_rstd, mask=o_row < rows)


@triton.jit
def _normed(b_x, p_mean, p_rstd, o_row, b_row, b_gamma, b_beta):
    """Layer norm of loaded tokens; rows outside the mask give zero."""
    b_mean = tl.load(p_mean + o_row, mask=b_row, other=0.0)
    b_rstd = tl.load(p_rstd + o_row, mask=b_row, other=0.0)
    b_y = (b_x - b_mean[:, None]) * b_rstd[:, None] * b_gamma[None, :] + b_beta[None, :]
    return tl.where(b_row[:, None], b_y, 0.0)


@triton.jit
def _columns(o_d, P: tl.constexpr):
    """Where the real part of each channel stands in a row of the spectrum; its imaginary part is P further."""
    return (o_d // P) * (2 * P) + o_d % P


@triton.jit
def zonal_forward(
    p_x,
    p_mean,
    p_rstd,
    p_gamma,
    p_beta,
    p_cos,
    p_sin,
    p_z,
    H,
    F,
    W: tl.constexpr,
    D: tl.constexpr,
    P: tl.constexpr,
    MW: tl.constexpr,
    TILE_F: tl.constexpr,
    TILE_W: tl.constexpr,
    TILE_D: tl.constexpr,
    NORM: tl.constexpr,
    DT: tl.constexpr,
    PREC: tl.constexpr,
):
    """Kept zonal modes of one latitude of x, or of its layer norm; grid (B H, channel tiles, mode tiles)."""
    i_row = tl.program_id(0).to(tl.int64)
    o_d = tl.program_id(1) * TILE_D + tl.arange(0, TILE_D)
    o_f = tl.program_id(2) * TILE_F + tl.arange(0, TILE_F)
    if NORM:
        b_gamma, b_beta = tl.load(p_gamma + o_d).to(tl.float32), tl.load(p_beta + o_d).to(tl.float32)
    b_re, b_im = tl.zeros((TILE_F, TILE_D), tl.float32), tl.zeros((TILE_F, TILE_D), tl.float32)
    for i_w in range(0, W // 2 + 1, TILE_W):
        o_w = i_w + tl.arange(0, TILE_W)
        b_low, b_high = o_w <= W // 2, (o_w > 0) & (o_w < (W + 1) // 2)
        o_low, o_high = i_row * W + o_w, i_row * W + W - o_w
        b_x = tl.load(p_x + o_low[:, None] * D + o_d[None, :], mask=b_low[:, None], other=0.0).to(tl.float32)
        b_m = tl.load(p_x + o_high[:, None] * D + o_d[None, :], mask=b_high[:, None], other=0.0).to(tl.float32)
        if NORM:
            b_x = _normed(b_x, p_mean, p_rstd, o_low, b_low, b_gamma, b_beta)
            b_m = _normed(b_m, p_mean, p_rstd, o_high, b_high, b_gamma, b_beta)
        o_table = o_f[:, None] * MW + o_w[None, :]
        b_re = tl.dot(tl.load(p_cos + o_table).to(DT), (b_x + b_m).to(DT), b_re, input_precision=PREC)
        b_im = tl.dot(tl.load(p_sin + o_table).to(DT), (b_m - b_x).to(DT), b_im, input_precision=PREC)
    p_mode = p_z + (((i_row // H) * F + o_f) * H + i_row % H)[:, None] * 2 * D + _columns(o_d, P)[None, :]
    tl.store(p_mode, b_re.to(p_z.dtype.element_ty), mask=(o_f < F)[:, None])
    tl.store(p_mode + P, b_im.to(p_z.dtype.element_ty), mask=(o_f < F)[:, None])


@triton.jit
def zonal_inverse(
    p_z,
    p_x,
    p_mean,
    p_rstd,
    p_gamma,
    p_beta,
    p_cos,
    p_sin,
    p_out,
    H,
    F,
    W: tl.constexpr,
    D: tl.constexpr,
    P: tl.constexpr,
    MW: tl.constexpr,
    TILE_W: tl.constexpr,
    TILE_F: tl.constexpr,
    TILE_D: tl.constexpr,
    RESIDUAL: tl.constexpr,
    DT: tl.constexpr,
    PREC: tl.constexpr,
):
    """One latitude from its zonal modes, plus x and its layer norm; grid (B H, channel tiles, longitude tiles)."""
    i_row = tl.program_id(0).to(tl.int64)
    o_d = tl.program_id(1) * TILE_D + tl.arange(0, TILE_D)
    o_w = tl.program_id(2) * TILE_W + tl.arange(0, TILE_W)
    b_p, b_q = tl.zeros((TILE_W, TILE_D), tl.float32), tl.zeros((TILE_W, TILE_D), tl.float32)
    for i_f in range(0, F, TILE_F):
        o_f = i_f + tl.arange(0, TILE_F)
        p_mode = p_z + (((i_row // H) * F + o_f) * H + i_row % H)[:, None] * 2 * D + _columns(o_d, P)[None, :]
        b_re = tl.load(p_mode, mask=(o_f < F)[:, None], other=0.0).to(DT)
        b_im = tl.load(p_mode + P, mask=(o_f < F)[:, None], other=0.0).to(DT)
        o_table = o_f[None, :] * MW + o_w[:, None]
        b_p = tl.dot(tl.load(p_cos + o_table).to(DT), b_re, b_p, input_precision=PREC)
        b_q = tl.dot(tl.load(p_sin + o_table).to(DT), b_im, b_q, input_precision=PREC)
    b_low, b_high = o_w <= W // 2, (o_w > 0) & (o_w < (W + 1) // 2)
    o_low, o_high = i_row * W + o_w, i_row * W + W - o_w
    b_low_out, b_high_out = b_p - b_q, b_p + b_q
    if RESIDUAL:
        b_gamma, b_beta = tl.load(p_gamma + o_d).to(tl.float32), tl.load(p_beta + o_d).to(tl.float32)
        b_x = tl.load(p_x + o_low[:, None] * D + o_d[None, :], mask=b_low[:, None], other=0.0).to(tl.float32)
        b_low_out += b_x + _normed(b_x, p_mean, p_rstd, o_low, b_low, b_gamma, b_beta)
        b_x = tl.load(p_x + o_high[:, None] * D + o_d[None, :], mask=b_high[:, None], other=0.0).to(tl.float32)
        b_high_out += b_x + _normed(b_x, p_mean, p_rstd, o_high, b_high, b_gamma, b_beta)
    out_type = p_out.dtype.element_ty
    tl.store(p_out + o_low[:, None] * D + o_d[None, :], b_low_out.to(out_type), mask=b_low[:, None])
    tl.store(p_out + o_high[:, None] * D + o_d[None, :], b_high_out.to(out_type), mask=b_high[:, None])


@triton.jit
def norm_backward(
    p_g,
    p_dspectral,
    p_x,
    p_mean,
    p_rstd,
    p_gamma,
    p_dx,
    p_dgamma,
    p_dbeta,
    rows,
    rows_per_program,
    D: tl.constexpr,
    MD: tl.constexpr,
    TILE_ROWS: tl.constexpr,
):
    """dx = g + adjoint of the layer norm on dy = g + dspectral; partial sums of its weight's and bias's gradient.

    With h = dy gamma and n = (x - mean) rstd, dx = g + rstd (h - mean(h) - n mean(h n)). Partial sums are
    [programs, D], fp32.
    """
    i_program = tl.program_id(0).to(tl.int64)
    o_d = tl.arange(0, MD)
    b_channel = o_d < D
    b_gamma = tl.load(p_gamma + o_d, mask=b_channel, other=0.0).to(tl.float32)[None, :]
    b_dgamma, b_dbeta = tl.zeros((MD,), tl.float32), tl.zeros((MD,), tl.float32)
    for i in range(0, rows_per_program, TILE_ROWS):
        o_row = i_program * rows_per_program + i + tl.arange(0, TILE_ROWS)
        b_row = o_row < rows
        b_mask = b_row[:, None] & b_channel[None, :]
        o_x = o_row[:, None] * D + o_d[None, :]
        b_g = tl.load(p_g + o_x, mask=b_mask, other=0.0).to(tl.float32)
        b_dy = b_g + tl.load(p_dspectral + o_x, mask=b_mask, other=0.0).to(tl.float32)
        b_rstd = tl.load(p_rstd + o_row, mask=b_row, other=0.0)[:, None]
        b_mean = tl.load(p_mean + o_row, mask=b_row, other=0.0)[:, None]
        b_n = tl.where(b_mask, (tl.load(p_x + o_x, mask=b_mask, other=0.0).to(tl.float32) - b_mean) * b_rstd, 0.0)
        b_dgamma += tl.sum(b_dy * b_n, 0)
        b_dbeta += tl.sum(b_dy, 0)
        b_h = b_dy * b_gamma
        b_mean_h = tl.sum(b_h, 1)[:, None] / D
        b_mean_hn = tl.sum(b_h * b_n, 1)[:, None] / D
        b_dx = b_g + b_rstd * (b_h - b_mean_h - b_n * b_mean_hn)
        tl.store(p_dx + o_x, b_dx.to(p_dx.dtype.element_ty), mask=b_mask)
    tl.store(p_dgamma + i_program * D + o_d, b_dgamma, mask=b_channel)
    tl.store(p_dbeta + i_program * D + o_d, b_dbeta, mask=b_channel)
