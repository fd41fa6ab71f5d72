"""Triton kernels along latitude: complex DFT, block MLP on the kept modes, inverse DFT, and their adjoints.

A spectrum is [B, F, H, D/P, 2, P] in memory: kept zonal modes, latitudes, then for each chunk of P channels P real
and P imaginary parts. One chunk is a tile of 2P real columns: a complex matrix a + ib acts on it from the right as
[[a, b], [-b, a]], while bias, ReLU and softshrink are plain elementwise operations. Chunks serve because tiles are
powers of two and 96 is not. The kept meridional modes are the rows of the tables C, S (columns are the folded
latitudes), so any subset of modes is only a choice of table rows:

    forward   Z = C e - i S o                                   e, o the fold of z over latitude
    inverse   z_h = P + iQ, z_{H-h} = P - iQ                    P = C' Z, Q = S' Z

Each is the adjoint of the other. What the weight gradients need goes to memory as rows [B, F, R, D/P, 2, P] and
is reduced without atomics. Where the transforms stand alone, rows are [B, F, R, 2, D].

Letters: F, R kept zonal and meridional modes; H latitudes; D channels in K blocks of BLOCK and in chunks of P; PART
how far imaginary parts of rows stand from the real ones, P or D; MR, MH padded kept modes and folded latitudes;
TILE_* what one program or one step takes; DT type of the operands of the forward pass, GT of gradients; PREC tl.dot's
input_precision.
"""

# mypy: disable-error-code="no-untyped-def,assignment,no-redef"
# Inside a kernel a name has the types of the device language, which mypy does not know.

import triton
import triton.language as tl


@triton.jit
def _softshrink(v, threshold):
    return tl.where(v > threshold, v - threshold, tl.where(v < -threshold, v + threshold, 0.0))


@triton.jit
def _columns(P: tl.constexpr):
    return tl.arange(0, 2 * P)[None, :]


@triton.jit
def _row_columns(P: tl.constexpr, PART: tl.constexpr):
    """Columns of a chunk of rows whose imaginary parts stand PART further."""
    if PART == P:
        return _columns(P)
    else:  # noqa: RET505  the compiler follows one branch only where both are branches
        return (_columns(P) // P) * PART + _columns(P) % P


@triton.jit
def _row_chunk(i_chunk, P: tl.constexpr, PART: tl.constexpr):
    """Where a chunk of rows begins."""
    return i_chunk * (2 * P if PART == P else P)


@triton.jit
def _swapped(P: tl.constexpr, PART: tl.constexpr):
    """Columns of a chunk with its halves exchanged, [1, 2, P], and the sign (+, -) that makes it -i times z.

    Three-dimensional pointers keep the loads as wide as those of the chunk itself.
    """
    o_part = tl.arange(0, 2)[None, :, None]
    return (1 - o_part) * PART + tl.arange(0, P)[None, None, :], 1.0 - 2.0 * o_part


@triton.jit
def _times_i(b_s, P: tl.constexpr, PREC: tl.constexpr):
    """(re | im) to (-im | re): an exact product with a signed permutation."""
    o_in = tl.arange(0, 2 * P)[:, None]
    b_swap = tl.where(_columns(P) - o_in == P, 1.0, tl.where(o_in - _columns(P) == P, -1.0, 0.0))
    return tl.dot(b_s, b_swap.to(b_s.dtype), input_precision=PREC).to(b_s.dtype)


@triton.jit
def _fold(p_chunk, o_h, H: tl.constexpr, D: tl.constexpr, P: tl.constexpr, DT: tl.constexpr):
    """Even part, and -i times the odd part, of one chunk at the folded latitudes ``o_h``."""
    b_low = (o_h <= H // 2)[:, None]
    b_high = ((o_h > 0) & (o_h < (H + 1) // 2))[:, None]
    p_low, p_high = p_chunk + (o_h * 2 * D)[:, None], p_chunk + ((H - o_h) * 2 * D)[:, None]
    b_even = tl.load(p_low + _columns(P), mask=b_low, other=0.0).to(tl.float32)
    b_even += tl.load(p_high + _columns(P), mask=b_high, other=0.0).to(tl.float32)
    o_swapped, b_sign = _swapped(P, P)
    b_odd = tl.load(p_low[:, :, None] + o_swapped, mask=b_low[:, :, None], other=0.0).to(tl.float32)
    b_odd -= tl.load(p_high[:, :, None] + o_swapped, mask=b_high[:, :, None], other=0.0).to(tl.float32)
    return b_even.to(DT), tl.reshape((b_odd * b_sign).to(DT), (o_h.shape[0], 2 * P))


@triton.jit
def _unfold(p_chunk, b_p, b_q, o_h, H: tl.constexpr, D: tl.constexpr, P: tl.constexpr):
    """Stores P + Q at the folded latitudes ``o_h`` and P - Q at their mirrors."""
    b_low = (o_h <= H // 2)[:, None]
    b_high = ((o_h > 0) & (o_h < (H + 1) // 2))[:, None]
    p_low, p_high = p_chunk + (o_h * 2 * D)[:, None], p_chunk + ((H - o_h) * 2 * D)[:, None]
    tl.store(p_low + _columns(P), (b_p + b_q).to(p_chunk.dtype.element_ty), mask=b_low)
    tl.store(p_high + _columns(P), (b_p - b_q).to(p_chunk.dtype.element_ty), mask=b_high)


@triton.jit
def _load_rows(p_chunk, MR: tl.constexpr, rows, D: tl.constexpr, P: tl.constexpr):
    o_r = tl.arange(0, MR)[:, None]
    return tl.load(p_chunk + o_r * 2 * D + _columns(P), mask=o_r < rows, other=0.0)


@triton.jit
def _store_rows(p_chunk, b_rows, rows, D: tl.constexpr, P: tl.constexpr):
    o_r = tl.arange(0, b_rows.shape[0])[:, None]
    tl.store(p_chunk + o_r * 2 * D + _columns(P), b_rows.to(p_chunk.dtype.element_ty), mask=o_r < rows)


@triton.jit
def _transform(
    p_chunk, b_cos, b_sin, H: tl.constexpr, D: tl.constexpr, P: tl.constexpr, DT: tl.constexpr, PREC: tl.constexpr
):
    """Kept meridional modes [MR, 2P] of one chunk on a whole meridian, fp32."""
    b_even, b_odd = _fold(p_chunk, tl.arange(0, b_cos.shape[1]), H, D, P, DT)
    b_hat = tl.dot(b_cos, b_even, input_precision=PREC)
    return tl.dot(b_sin, b_odd, b_hat, input_precision=PREC)


@triton.jit
def _inverse(p_chunk, b_cos, b_sin, b_hat, H: tl.constexpr, D: tl.constexpr, P: tl.constexpr, PREC: tl.constexpr):
    """Stores one chunk at every latitude from its kept modes [MR, 2P]."""
    b_p = tl.dot(tl.trans(b_cos), b_hat, input_precision=PREC)
    b_q = tl.dot(tl.trans(b_sin), _times_i(b_hat, P, PREC), input_precision=PREC)
    _unfold(p_chunk, b_p, b_q, tl.arange(0, b_cos.shape[1]), H, D, P)


@triton.jit
def _weight(p_w, i, i_chunk, BLOCK: tl.constexpr, P: tl.constexpr, ADJOINT: tl.constexpr):
    """Tile of a packed weight [2 BLOCK, 2 BLOCK] from chunk i to ``i_chunk``, or of its transpose."""
    o_from = i * 2 * P + tl.arange(0, 2 * P)[:, None]
    o_to = i_chunk * 2 * P + _columns(P)
    if ADJOINT:
        return tl.load(p_w + o_to * 2 * BLOCK + o_from)
    return tl.load(p_w + o_from * 2 * BLOCK + o_to)


@triton.jit
def _linear(chunks, p_w, i_chunk, BLOCK: tl.constexpr, P: tl.constexpr, ADJOINT: tl.constexpr, PREC: tl.constexpr):
    """Chunk ``i_chunk`` of the product with a packed weight or its transpose, fp32."""
    b_out = tl.zeros(chunks[0].shape, tl.float32)
    for i in tl.static_range(BLOCK // P):
        b_w = _weight(p_w, i, i_chunk, BLOCK, P, ADJOINT).to(chunks[i].dtype)
        b_out = tl.dot(chunks[i], b_w, b_out, input_precision=PREC)
    return b_out


@triton.jit
def _bias(p_b, i_chunk, D: tl.constexpr, P: tl.constexpr):
    """One chunk of a bias [2, K, BLOCK]; ``p_b`` points at the real part of the block."""
    o_n = _columns(P)
    return tl.load(p_b + (o_n // P) * D + i_chunk * P + o_n % P).to(tl.float32)


@triton.jit
def _hidden(hat, i, p_w1, p_b1, D: tl.constexpr, BLOCK: tl.constexpr, P: tl.constexpr, PREC: tl.constexpr):
    b_hidden = _linear(hat, p_w1, i, BLOCK, P, False, PREC) + _bias(p_b1, i, D, P)
    return tl.maximum(b_hidden, 0.0).to(hat[0].dtype)


@triton.jit
def _output(hidden, i, p_w2, p_b2, D: tl.constexpr, BLOCK: tl.constexpr, P: tl.constexpr, PREC: tl.constexpr):
    return _linear(hidden, p_w2, i, BLOCK, P, False, PREC) + _bias(p_b2, i, D, P)


@triton.jit
def fused_forward(
    p_z,
    p_out,
    p_cos,
    p_sin,
    p_w1,
    p_b1,
    p_w2,
    p_b2,
    threshold,
    F,
    H: tl.constexpr,
    D: tl.constexpr,
    BLOCK: tl.constexpr,
    P: tl.constexpr,
    MR: tl.constexpr,
    MH: tl.constexpr,
    DT: tl.constexpr,
    PREC: tl.constexpr,
):
    """DFT, block MLP, softshrink and inverse of one (zonal wavenumber, block, sample); grid (F, K, B)."""
    i_block = tl.program_id(1)
    i_meridian = tl.program_id(2).to(tl.int64) * F + tl.program_id(0)
    o_meridian = i_meridian * H * 2 * D + i_block * 2 * BLOCK
    p_w1, p_w2 = p_w1 + i_block * 4 * BLOCK * BLOCK, p_w2 + i_block * 4 * BLOCK * BLOCK
    p_b1, p_b2 = p_b1 + i_block * BLOCK, p_b2 + i_block * BLOCK
    o_table = tl.arange(0, MR)[:, None] * MH + tl.arange(0, MH)[None, :]
    b_cos, b_sin = tl.load(p_cos + o_table), tl.load(p_sin + o_table)
    hat = ()
    for i in tl.static_range(BLOCK // P):
        hat += (_transform(p_z + o_meridian + i * 2 * P, b_cos, b_sin, H, D, P, DT, PREC).to(DT),)
    hidden = ()
    for i in tl.static_range(BLOCK // P):
        hidden += (_hidden(hat, i, p_w1, p_b1, D, BLOCK, P, PREC),)
    for i in tl.static_range(BLOCK // P):
        b_s = _softshrink(_output(hidden, i, p_w2, p_b2, D, BLOCK, P, PREC), threshold).to(DT)
        _inverse(p_out + o_meridian + i * 2 * P, b_cos, b_sin, b_s, H, D, P, PREC)


@triton.jit
def fused_backward(
    p_z,
    p_g,
    p_dz,
    p_hat,
    p_hidden,
    p_dhidden,
    p_dout,
    p_cos,
    p_sin,
    p_w1,
    p_b1,
    p_w2,
    p_b2,
    threshold,
    F,
    R,
    H: tl.constexpr,
    D: tl.constexpr,
    BLOCK: tl.constexpr,
    P: tl.constexpr,
    MR: tl.constexpr,
    MH: tl.constexpr,
    DT: tl.constexpr,
    GT: tl.constexpr,
    PREC: tl.constexpr,
):
    """Adjoint of ``fused_forward``: z and the gradient g of its output give dz and the operands of dw1, dw2.

    To spare registers, the tables are loaded anew for each of the three phases, and the hidden layer is read back
    from memory after a barrier.
    """
    i_block = tl.program_id(1)
    i_meridian = tl.program_id(2).to(tl.int64) * F + tl.program_id(0)
    o_meridian = i_meridian * H * 2 * D + i_block * 2 * BLOCK
    o_rows = i_meridian * R * 2 * D + i_block * 2 * BLOCK
    p_w1, p_w2 = p_w1 + i_block * 4 * BLOCK * BLOCK, p_w2 + i_block * 4 * BLOCK * BLOCK
    p_b1, p_b2 = p_b1 + i_block * BLOCK, p_b2 + i_block * BLOCK
    o_table = tl.arange(0, MR)[:, None] * MH + tl.arange(0, MH)[None, :]

    b_cos, b_sin = tl.load(p_cos + o_table), tl.load(p_sin + o_table)
    hat = ()
    for i in tl.static_range(BLOCK // P):
        b_hat = _transform(p_z + o_meridian + i * 2 * P, b_cos, b_sin, H, D, P, DT, PREC).to(DT)
        _store_rows(p_hat + o_rows + i * 2 * P, b_hat, R, D, P)
        hat += (b_hat,)
    hidden = ()
    for i in tl.static_range(BLOCK // P):
        b_hidden = _hidden(hat, i, p_w1, p_b1, D, BLOCK, P, PREC)
        _store_rows(p_hidden + o_rows + i * 2 * P, b_hidden, R, D, P)
        hidden += (b_hidden,)

    b_cos, b_sin = tl.load(p_cos + o_table).to(GT), tl.load(p_sin + o_table).to(GT)
    dout = ()
    for i in tl.static_range(BLOCK // P):
        b_kept = tl.abs(_output(hidden, i, p_w2, p_b2, D, BLOCK, P, PREC)) > threshold
        b_dout = _transform(p_g + o_meridian + i * 2 * P, b_cos, b_sin, H, D, P, GT, PREC)
        b_dout = tl.where(b_kept, b_dout, 0.0).to(GT)
        _store_rows(p_dout + o_rows + i * 2 * P, b_dout, R, D, P)
        dout += (b_dout,)

    tl.debug_barrier()
    dhidden = ()
    for i in tl.static_range(BLOCK // P):
        b_active = _load_rows(p_hidden + o_rows + i * 2 * P, MR, R, D, P) > 0.0
        b_dhidden = tl.where(b_active, _linear(dout, p_w2, i, BLOCK, P, True, PREC), 0.0).to(GT)
        _store_rows(p_dhidden + o_rows + i * 2 * P, b_dhidden, R, D, P)
        dhidden += (b_dhidden,)

    b_cos, b_sin = tl.load(p_cos + o_table).to(GT), tl.load(p_sin + o_table).to(GT)
    for i in tl.static_range(BLOCK // P):
        b_dhat = _linear(dhidden, p_w1, i, BLOCK, P, True, PREC).to(GT)
        _inverse(p_dz + o_meridian + i * 2 * P, b_cos, b_sin, b_dhat, H, D, P, PREC)


@triton.jit
def transform(
    p_z,
    p_hat,
    p_cos,
    p_sin,
    R,
    H: tl.constexpr,
    D: tl.constexpr,
    P: tl.constexpr,
    PART: tl.constexpr,
    MH: tl.constexpr,
    TILE_R: tl.constexpr,
    TILE_H: tl.constexpr,
    DT: tl.constexpr,
    PREC: tl.constexpr,
):
    """Kept meridional modes of any number of latitudes; grid (B F, D/P, row tiles)."""
    i_meridian = tl.program_id(0).to(tl.int64)
    p_chunk = p_z + i_meridian * H * 2 * D + tl.program_id(1) * 2 * P
    o_r = tl.program_id(2) * TILE_R + tl.arange(0, TILE_R)
    b_hat = tl.zeros((TILE_R, 2 * P), tl.float32)
    for i_h in range(0, H // 2 + 1, TILE_H):
        o_h = i_h + tl.arange(0, TILE_H)
        o_table = o_r[:, None] * MH + o_h[None, :]
        b_even, b_odd = _fold(p_chunk, o_h, H, D, P, DT)
        b_hat = tl.dot(tl.load(p_cos + o_table).to(DT), b_even, b_hat, input_precision=PREC)
        b_hat = tl.dot(tl.load(p_sin + o_table).to(DT), b_odd, b_hat, input_precision=PREC)
    p_rows = p_hat + (i_meridian * R + o_r)[:, None] * 2 * D + _row_chunk(tl.program_id(1), P, PART)
    tl.store(p_rows + _row_columns(P, PART), b_hat.to(p_hat.dtype.element_ty), mask=(o_r < R)[:, None])


@triton.jit
def inverse(
    p_hat,
    p_z,
    p_cos,
    p_sin,
    R,
    H: tl.constexpr,
    D: tl.constexpr,
    P: tl.constexpr,
    PART: tl.constexpr,
    MH: tl.constexpr,
    TILE_H: tl.constexpr,
    TILE_R: tl.constexpr,
    DT: tl.constexpr,
    PREC: tl.constexpr,
):
    """Any number of latitudes from their kept modes; grid (B F, D/P, folded latitude tiles)."""
    i_meridian = tl.program_id(0).to(tl.int64)
    p_rows = p_hat + i_meridian * R * 2 * D + _row_chunk(tl.program_id(1), P, PART)
    o_h = tl.program_id(2) * TILE_H + tl.arange(0, TILE_H)
    b_p, b_q = tl.zeros((TILE_H, 2 * P), tl.float32), tl.zeros((TILE_H, 2 * P), tl.float32)
    o_swapped, b_sign = _swapped(P, PART)
    for i_r in range(0, R, TILE_R):
        o_r = i_r + tl.arange(0, TILE_R)
        p_row = p_rows + (o_r * 2 * D)[:, None]
        b_kept = (o_r < R)[:, None]
        b_s = tl.load(p_row + _row_columns(P, PART), mask=b_kept, other=0.0).to(DT)
        b_is = tl.load(p_row[:, :, None] + o_swapped, mask=b_kept[:, :, None], other=0.0) * -b_sign
        b_is = tl.reshape(b_is.to(DT), (TILE_R, 2 * P))
        o_table = o_r[None, :] * MH + o_h[:, None]
        b_p = tl.dot(tl.load(p_cos + o_table).to(DT), b_s, b_p, input_precision=PREC)
        b_q = tl.dot(tl.load(p_sin + o_table).to(DT), b_is, b_q, input_precision=PREC)
    _unfold(p_z + i_meridian * H * 2 * D + tl.program_id(1) * 2 * P, b_p, b_q, o_h, H, D, P)


@triton.jit
def layer(
    p_in,
    p_w,
    p_b,
    p_other,
    p_out,
    threshold,
    rows,
    D: tl.constexpr,
    BLOCK: tl.constexpr,
    P: tl.constexpr,
    TILE_R: tl.constexpr,
    EPILOGUE: tl.constexpr,
    PREC: tl.constexpr,
):
    """One layer of the block MLP, or its adjoint, on rows of modes; grid (row tiles, K, chunks).

    EPILOGUE: ``relu`` and ``shrink`` finish a layer; ``kept`` keeps ``other`` where shrink would give nonzero;
    ``active`` is the adjoint of a layer, kept where ``other`` is positive; ``adjoint`` is a bare adjoint.
    """
    i_block, i_chunk = tl.program_id(1), tl.program_id(2)
    i_row = tl.program_id(0).to(tl.int64) * TILE_R
    o_rows = i_row * 2 * D + i_block * 2 * BLOCK
    o_chunk = o_rows + i_chunk * 2 * P
    ADJOINT: tl.constexpr = EPILOGUE == "active" or EPILOGUE == "adjoint"
    b_out = tl.zeros((TILE_R, 2 * P), tl.float32)
    for i in range(0, BLOCK // P):
        b_in = _load_rows(p_in + o_rows + i * 2 * P, TILE_R, rows - i_row, D, P)
        b_w = _weight(p_w + i_block * 4 * BLOCK * BLOCK, i, i_chunk, BLOCK, P, ADJOINT).to(b_in.dtype)
        b_out = tl.dot(b_in, b_w, b_out, input_precision=PREC)
    if not ADJOINT:
        b_out += _bias(p_b + i_block * BLOCK, i_chunk, D, P)
    if EPILOGUE == "relu":
        b_out = tl.maximum(b_out, 0.0)
    elif EPILOGUE == "shrink":
        b_out = _softshrink(b_out, threshold)
    elif EPILOGUE == "kept":
        b_other = _load_rows(p_other + o_chunk, TILE_R, rows - i_row, D, P).to(tl.float32)
        b_out = tl.where(tl.abs(b_out) > threshold, b_other, 0.0)
    elif EPILOGUE == "active":
        b_other = _load_rows(p_other + o_chunk, TILE_R, rows - i_row, D, P)
        b_out = tl.where(b_other > 0.0, b_out, 0.0)
    _store_rows(p_out + o_chunk, b_out, rows - i_row, D, P)


@triton.jit
def weight_gradient(
    p_in,
    p_dout,
    p_dw,
    p_db,
    rows,
    rows_per_split,
    D: tl.constexpr,
    BLOCK: tl.constexpr,
    P: tl.constexpr,
    MR: tl.constexpr,
    GT: tl.constexpr,
    PREC: tl.constexpr,
):
    """One chunk pair of in' dout, and the column sums of dout, over one share of the rows; grid (K, pairs, splits).

    Partial sums [splits, K, 2 BLOCK, 2 BLOCK] and [splits, K, 2 BLOCK], so that no order of arrival matters.
    """
    i_block, i_split = tl.program_id(0), tl.program_id(2)
    i_in, i_out = tl.program_id(1) // (BLOCK // P), tl.program_id(1) % (BLOCK // P)
    p_in += i_block * 2 * BLOCK + i_in * 2 * P
    p_dout += i_block * 2 * BLOCK + i_out * 2 * P
    b_dw = tl.zeros((2 * P, 2 * P), tl.float32)
    b_db = tl.zeros((2 * P,), tl.float32)
    for i in range(0, rows_per_split, MR):
        i_row = i_split.to(tl.int64) * rows_per_split + i
        b_in = _load_rows(p_in + i_row * 2 * D, MR, rows - i_row, D, P).to(GT)
        b_dout = _load_rows(p_dout + i_row * 2 * D, MR, rows - i_row, D, P)
        b_dw = tl.dot(tl.trans(b_in), b_dout, b_dw, input_precision=PREC)
        b_db += tl.sum(b_dout.to(tl.float32), 0)
    i_partial = i_split * tl.num_programs(0) + i_block
    o_in = (i_in * 2 * P + tl.arange(0, 2 * P))[:, None]
    o_out = i_out * 2 * P + _columns(P)
    tl.store(p_dw + i_partial * 4 * BLOCK * BLOCK + o_in * 2 * BLOCK + o_out, b_dw)
    if i_in == 0:
        tl.store(p_db + i_partial * 2 * BLOCK + i_out * 2 * P + tl.arange(0, 2 * P), b_db)
