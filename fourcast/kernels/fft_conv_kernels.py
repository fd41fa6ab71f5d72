"""Triton kernels of the long convolution: sequences in, sequences or spectra out, transforms as tensor-core products.

Two real sequences a, b of one channel travel as one complex sequence a + ib: with a real kernel k, the convolution is
(k * a) + i (k * b), and nothing has to be disentangled. A tile in registers is [first digit, pairs, the other digits].

Letters: N length of a transform, N0 N1 N2 its digits (N1 = 1 where there are two), M = N1 N2 what follows the first
digit, IN and OUT rows of the first digit that are read and wanted, K0 and K2 kept values of the first and last digit in
the spectrum (padded to tiles), P pairs of one program. Tables and spectra hold real parts, then imaginary parts.
"""

# mypy: disable-error-code="no-untyped-def,assignment,no-redef,arg-type"
# Inside a kernel a name has the types of the device language, which mypy does not know.

import triton
import triton.language as tl


@triton.jit
def places(n, start, L, N, step, reach, VIEW: tl.constexpr, CIRCULAR: tl.constexpr):
    """Which place of its sequence each place n of a transform stands for, and whether it stands for one.

    here: the segment alone. past: and the kernel's reach before it, at the transform's end, which wraps round to
    before its beginning. future: and the kernel's reach behind it.
    """
    place = n
    taken = n < step
    if VIEW == "past":
        place = tl.where(n < step, n, n - N)
        taken = taken | (n >= N - reach)
    if VIEW == "future":
        taken = n < step + reach
    place += start
    if CIRCULAR and VIEW != "here":
        place = tl.where(place < 0, place + L, tl.where(place >= L, place - L, place))
    return place, taken & (place >= 0) & (place < L)


@triton.jit
def read(x, gate, n, q, d, D, L, N, step, reach, segments, sequences, VIEW: tl.constexpr, CIRCULAR: tl.constexpr):
    """Sequences q of channel d by the places n of a transform, times the gate where there is one, fp32."""
    place, taken = places(n, q % segments * step, L, N, step, reach, VIEW, CIRCULAR)
    at = ((q // segments).to(tl.int64) * D + d) * L + place
    taken = taken & (q < sequences)
    value = tl.load(x + at, mask=taken, other=0.0).to(tl.float32)
    if gate is not None:
        value *= tl.load(gate + at, mask=taken, other=0.0).to(tl.float32)
    return value


@triton.jit
def write(value, out, factor, n, q, d, D, L, step, segments, sequences):
    """Adjoint of ``read`` with the view "here"."""
    place = n + q % segments * step
    at = ((q // segments).to(tl.int64) * D + d) * L + place
    taken = (n < step) & (place < L) & (q < sequences)
    if factor is not None:
        value *= tl.load(factor + at, mask=taken, other=0.0).to(tl.float32)
    tl.store(out + at, value.to(out.dtype.element_ty), mask=taken)


@triton.jit
def left(fr, fi, xr, xi, PREC: tl.constexpr):
    """Complex product of a table with a tile."""
    re = tl.dot(-fi, xi, tl.dot(fr, xr, input_precision=PREC), input_precision=PREC)
    im = tl.dot(fi, xr, tl.dot(fr, xi, input_precision=PREC), input_precision=PREC)
    return re, im


@triton.jit
def right(xr, xi, fr, fi, PREC: tl.constexpr):
    """Complex product of a tile with a table."""
    re = tl.dot(xi, -fi, tl.dot(xr, fr, input_precision=PREC), input_precision=PREC)
    im = tl.dot(xr, fi, tl.dot(xi, fr, input_precision=PREC), input_precision=PREC)
    return re, im


@triton.jit
def turn(xr, xi, wr, wi):
    """Complex product, number by number."""
    return xr * wr - xi * wi, xr * wi + xi * wr


@triton.jit
def table(p, rows, columns, ROW: tl.constexpr, SIZE: tl.constexpr):
    """Real and imaginary parts of a table at rows x columns."""
    at = rows * ROW + columns
    return tl.load(p + at), tl.load(p + SIZE + at)


@triton.jit
def analyse(
    xr, xi, first, turn0, middle, turn1, last,
    IN: tl.constexpr, P: tl.constexpr, N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr,
    K0: tl.constexpr, K2: tl.constexpr, DT: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """Transform of [IN, P M]: the kept spectrum, fp32. [K0 P, K2], or with three digits [N1 K0, K2]."""
    M: tl.constexpr = N1 * N2
    k0 = tl.arange(0, K0)
    m = tl.arange(0, M)
    fr, fi = table(first, k0[:, None], tl.arange(0, IN)[None], N0, K0 * N0)
    xr, xi = left(fr, fi, xr.to(DT), xi.to(DT), PREC)
    wr, wi = table(turn0, k0[:, None], m[None], M, K0 * M)
    wr, wi = wr.to(tl.float32)[:, None], wi.to(tl.float32)[:, None]
    xr, xi = turn(tl.reshape(xr, [K0, P, M]), tl.reshape(xi, [K0, P, M]), wr, wi)
    if N1 > 1:
        xr, xi = xr.to(DT), xi.to(DT)
        xr = tl.reshape(tl.permute(tl.reshape(xr, [K0, N1, N2]), 1, 0, 2), [N1, K0 * N2])
        xi = tl.reshape(tl.permute(tl.reshape(xi, [K0, N1, N2]), 1, 0, 2), [N1, K0 * N2])
        k1 = tl.arange(0, N1)
        fr, fi = table(middle, k1[:, None], k1[None], N1, N1 * N1)
        xr, xi = left(fr, fi, xr, xi, PREC)
        wr, wi = table(turn1, k1[:, None], tl.arange(0, N2)[None], N2, N1 * N2)
        wr, wi = wr.to(tl.float32)[:, None], wi.to(tl.float32)[:, None]
        xr, xi = turn(tl.reshape(xr, [N1, K0, N2]), tl.reshape(xi, [N1, K0, N2]), wr, wi)
    R: tl.constexpr = K0 * P * N1
    fr, fi = table(last, tl.arange(0, K2)[None], tl.arange(0, N2)[:, None], N2, K2 * N2)
    return right(tl.reshape(xr, [R, N2]).to(DT), tl.reshape(xi, [R, N2]).to(DT), fr, fi, PREC)


@triton.jit
def synthesise(
    xr, xi, first, turn0, middle, turn1, last,
    OUT: tl.constexpr, P: tl.constexpr, N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr,
    K0: tl.constexpr, K2: tl.constexpr, DT: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """Inverse of ``analyse``: the wanted rows of the first digit, [OUT, P M], fp32."""
    M: tl.constexpr = N1 * N2
    k0 = tl.arange(0, K0)
    m = tl.arange(0, M)
    fr, fi = table(last, tl.arange(0, K2)[:, None], tl.arange(0, N2)[None], N2, K2 * N2)
    xr, xi = right(xr.to(DT), xi.to(DT), fr, -fi, PREC)
    if N1 > 1:
        k1 = tl.arange(0, N1)
        wr, wi = table(turn1, k1[:, None], tl.arange(0, N2)[None], N2, N1 * N2)
        wr, wi = wr.to(tl.float32)[:, None], -wi.to(tl.float32)[:, None]
        xr, xi = turn(tl.reshape(xr, [N1, K0, N2]), tl.reshape(xi, [N1, K0, N2]), wr, wi)
        fr, fi = table(middle, k1[:, None], k1[None], N1, N1 * N1)
        xr, xi = tl.reshape(xr, [N1, K0 * N2]).to(DT), tl.reshape(xi, [N1, K0 * N2]).to(DT)
        xr, xi = left(fr, -fi, xr, xi, PREC)
        xr = tl.permute(tl.reshape(xr, [N1, K0, N2]), 1, 0, 2)
        xi = tl.permute(tl.reshape(xi, [N1, K0, N2]), 1, 0, 2)
    wr, wi = table(turn0, k0[:, None], m[None], M, K0 * M)
    wr, wi = wr.to(tl.float32)[:, None], -wi.to(tl.float32)[:, None]
    xr, xi = turn(tl.reshape(xr, [K0, P, M]), tl.reshape(xi, [K0, P, M]), wr, wi)
    fr, fi = table(first, k0[None], tl.arange(0, OUT)[:, None], N0, K0 * N0)
    xr, xi = tl.reshape(xr, [K0, P * M]).to(DT), tl.reshape(xi, [K0, P * M]).to(DT)
    return left(fr, -fi, xr, xi, PREC)


@triton.jit
def spectrum_places(P: tl.constexpr, N1: tl.constexpr, K0: tl.constexpr, K2: tl.constexpr):
    """Where the numbers of ``analyse``'s result lie in a channel's spectrum [K0, N1, K2]."""
    r = tl.arange(0, K0 * P * N1)
    if N1 > 1:
        row = r % K0 * N1 + r // K0
    else:
        row = r // P
    return row[:, None] * K2 + tl.arange(0, K2)[None]


@triton.jit
def times_kernel(
    xr, xi, kernel, d, CONJUGATE: tl.constexpr,
    P: tl.constexpr, N1: tl.constexpr, K0: tl.constexpr, K2: tl.constexpr,
):  # fmt: skip
    """The product with the spectrum of channel d's kernel, [D, 2, K0, N1, K2], or with its conjugate."""
    SIZE: tl.constexpr = K0 * N1 * K2
    at = d.to(tl.int64) * (2 * SIZE) + spectrum_places(P, N1, K0, K2)
    kr = tl.load(kernel + at).to(tl.float32)
    ki = tl.load(kernel + SIZE + at).to(tl.float32)
    return turn(xr, xi, kr, -ki if CONJUGATE else ki)


@triton.jit
def convolve(
    u, pre, kernel, out, post, out2, post2, first, turn0, middle, turn1, last,
    D, L, step, reach, segments, sequences,
    VIEW: tl.constexpr, CIRCULAR: tl.constexpr, CONJUGATE: tl.constexpr,
    IN: tl.constexpr, OUT: tl.constexpr, P: tl.constexpr, N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr,
    K0: tl.constexpr, K2: tl.constexpr, DT: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """All of it for P pairs of one channel: out = post * (k * (pre u)), and out2 the same with post2."""
    M: tl.constexpr = N1 * N2
    d = tl.program_id(1)
    q = 2 * (tl.program_id(0) * P + tl.arange(0, P))[None, :, None]
    m = tl.arange(0, M)[None, None]
    n = tl.arange(0, IN)[:, None, None] * M + m
    xr = read(u, pre, n, q, d, D, L, N0 * M, step, reach, segments, sequences, VIEW, CIRCULAR)
    xi = read(u, pre, n, q + 1, d, D, L, N0 * M, step, reach, segments, sequences, VIEW, CIRCULAR)
    xr, xi = tl.reshape(xr, [IN, P * M]), tl.reshape(xi, [IN, P * M])
    xr, xi = analyse(xr, xi, first, turn0, middle, turn1, last, IN, P, N0, N1, N2, K0, K2, DT, PREC)
    xr, xi = times_kernel(xr, xi, kernel, d, CONJUGATE, P, N1, K0, K2)
    xr, xi = synthesise(xr, xi, first, turn0, middle, turn1, last, OUT, P, N0, N1, N2, K0, K2, DT, PREC)
    xr, xi = tl.reshape(xr, [OUT, P, M]), tl.reshape(xi, [OUT, P, M])
    n = tl.arange(0, OUT)[:, None, None] * M + m
    write(xr, out, post, n, q, d, D, L, step, segments, sequences)
    write(xi, out, post, n, q + 1, d, D, L, step, segments, sequences)
    if out2 is not None:
        write(xr, out2, post2, n, q, d, D, L, step, segments, sequences)
        write(xi, out2, post2, n, q + 1, d, D, L, step, segments, sequences)


@triton.jit
def correlate(
    u, pre, dy, post, out, first, turn0, middle, turn1, last,
    group, D, L, step, reach, segments, sequences, share,
    VIEW: tl.constexpr, CIRCULAR: tl.constexpr,
    IN: tl.constexpr, OUT: tl.constexpr, P: tl.constexpr, N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr,
    K0: tl.constexpr, K2: tl.constexpr, DT: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """Sum over a share of one channel's pairs of conj(F(pre u)) F(post dy): the gradient of the kernel's spectrum."""
    M: tl.constexpr = N1 * N2
    d = tl.program_id(1)
    m = tl.arange(0, M)[None, None]
    n_in = tl.arange(0, IN)[:, None, None] * M + m
    n_out = tl.arange(0, OUT)[:, None, None] * M + m
    sr = tl.zeros([K0 * P * N1, K2], tl.float32)
    si = tl.zeros([K0 * P * N1, K2], tl.float32)
    i = tl.program_id(0) * share
    end = i + share
    while i < end:  # not for: on Blackwell, sums that a for loop keeps in tensor memory do not fit there
        q = 2 * (i + tl.arange(0, P))[None, :, None]
        xr = read(u, pre, n_in, q, d, D, L, N0 * M, step, reach, segments, sequences, VIEW, CIRCULAR)
        xi = read(u, pre, n_in, q + 1, d, D, L, N0 * M, step, reach, segments, sequences, VIEW, CIRCULAR)
        xr, xi = tl.reshape(xr, [IN, P * M]), tl.reshape(xi, [IN, P * M])
        xr, xi = analyse(xr, xi, first, turn0, middle, turn1, last, IN, P, N0, N1, N2, K0, K2, DT, PREC)
        gr = read(dy, post, n_out, q, d, D, L, N0 * M, step, reach, segments, sequences, "here", CIRCULAR)
        gi = read(dy, post, n_out, q + 1, d, D, L, N0 * M, step, reach, segments, sequences, "here", CIRCULAR)
        gr, gi = tl.reshape(gr, [OUT, P * M]), tl.reshape(gi, [OUT, P * M])
        gr, gi = analyse(gr, gi, first, turn0, middle, turn1, last, OUT, P, N0, N1, N2, K0, K2, DT, PREC)
        gr, gi = turn(gr, gi, xr, -xi)
        sr += gr
        si += gi
        i += P
    write_sum(sr, si, out, d, group, P, N1, K0, K2)


@triton.jit
def write_sum(sr, si, out, d, D, P: tl.constexpr, N1: tl.constexpr, K0: tl.constexpr, K2: tl.constexpr):
    """Store a program's share of the gradient of a kernel's spectrum, [shares, D, 2, K0, N1, K2], fp32."""
    SIZE: tl.constexpr = K0 * N1 * K2
    if P > 1:
        sr = tl.sum(tl.reshape(sr, [K0, P, K2]), 1)
        si = tl.sum(tl.reshape(si, [K0, P, K2]), 1)
    at = (tl.program_id(0).to(tl.int64) * D + d) * (2 * SIZE) + spectrum_places(1, N1, K0, K2)
    tl.store(out + at, sr)
    tl.store(out + SIZE + at, si)


@triton.jit
def read_spectrum(z, n, pair, pairs, d, D, N: tl.constexpr):
    """Complex rows [pairs, D, 2, N] at places n."""
    at = (pair.to(tl.int64) * D + d) * (2 * N) + n
    return tl.load(z + at, mask=pair < pairs, other=0.0), tl.load(z + N + at, mask=pair < pairs, other=0.0)


@triton.jit
def convolve_rows(
    z, kernel, first, turn0, middle, turn1, last, D, pairs, CONJUGATE: tl.constexpr,
    P: tl.constexpr, N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr,
    K0: tl.constexpr, K2: tl.constexpr, DT: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """Circular convolution of complex rows z [pairs, D, 2, N0 N1 N2], in place."""
    M: tl.constexpr = N1 * N2
    d = tl.program_id(1)
    pair = (tl.program_id(0) * P + tl.arange(0, P))[None, :, None]
    n = tl.arange(0, N0)[:, None, None] * M + tl.arange(0, M)[None, None]
    xr, xi = read_spectrum(z, n, pair, pairs, d, D, N0 * M)
    xr, xi = tl.reshape(xr, [N0, P * M]), tl.reshape(xi, [N0, P * M])
    xr, xi = analyse(xr, xi, first, turn0, middle, turn1, last, N0, P, N0, N1, N2, K0, K2, DT, PREC)
    xr, xi = times_kernel(xr, xi, kernel, d, CONJUGATE, P, N1, K0, K2)
    xr, xi = synthesise(xr, xi, first, turn0, middle, turn1, last, N0, P, N0, N1, N2, K0, K2, DT, PREC)
    at = (pair.to(tl.int64) * D + d) * (2 * N0 * M) + n
    tl.store(z + at, tl.reshape(xr, [N0, P, M]).to(z.dtype.element_ty), mask=pair < pairs)
    tl.store(z + N0 * M + at, tl.reshape(xi, [N0, P, M]).to(z.dtype.element_ty), mask=pair < pairs)


@triton.jit
def correlate_rows(
    z, g, out, first, turn0, middle, turn1, last, D, pairs, share,
    P: tl.constexpr, N0: tl.constexpr, N1: tl.constexpr, N2: tl.constexpr,
    K0: tl.constexpr, K2: tl.constexpr, DT: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """Sum over a share of the pairs of conj(F z) F g, for complex rows z, g [pairs, D, 2, N0 N1 N2]."""
    M: tl.constexpr = N1 * N2
    d = tl.program_id(1)
    n = tl.arange(0, N0)[:, None, None] * M + tl.arange(0, M)[None, None]
    sr = tl.zeros([K0 * P * N1, K2], tl.float32)
    si = tl.zeros([K0 * P * N1, K2], tl.float32)
    i = tl.program_id(0) * share
    end = i + share
    while i < end:  # as in correlate
        pair = (i + tl.arange(0, P))[None, :, None]
        xr, xi = read_spectrum(z, n, pair, pairs, d, D, N0 * M)
        xr, xi = tl.reshape(xr, [N0, P * M]), tl.reshape(xi, [N0, P * M])
        xr, xi = analyse(xr, xi, first, turn0, middle, turn1, last, N0, P, N0, N1, N2, K0, K2, DT, PREC)
        gr, gi = read_spectrum(g, n, pair, pairs, d, D, N0 * M)
        gr, gi = tl.reshape(gr, [N0, P * M]), tl.reshape(gi, [N0, P * M])
        gr, gi = analyse(gr, gi, first, turn0, middle, turn1, last, N0, P, N0, N1, N2, K0, K2, DT, PREC)
        gr, gi = turn(gr, gi, xr, -xi)
        sr += gr
        si += gi
        i += P
    write_sum(sr, si, out, d, D, P, N1, K0, K2)


@triton.jit
def outer_turn(coarse, fine, k, column, ROW: tl.constexpr, K: tl.constexpr, TILE: tl.constexpr):
    """exp(-2 pi i k m / N) for rows k and the columns m of a tile, from its first column and the place in the tile."""
    ar, ai = table(coarse, k[:, None], column, ROW, K * ROW)
    br, bi = table(fine, k[:, None], tl.arange(0, TILE)[None], TILE, K * TILE)
    return turn(ar, ai, br, bi)


@triton.jit
def outer_analyse(
    u, pre, z, first, coarse, fine, group, pair0, D, L, step, reach, segments, sequences,
    VIEW: tl.constexpr, CIRCULAR: tl.constexpr, IN: tl.constexpr, N0: tl.constexpr, M: tl.constexpr, K0: tl.constexpr,
    TILE_K: tl.constexpr, TILE_N: tl.constexpr, TILE_M: tl.constexpr, DT: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """First stage of a transform too long for one program: pairs of sequences → rows z [pairs, group, K0, 2, M].

    Pairs from pair0 on, and a group of the D channels.
    """
    d = tl.program_id(0) % group
    q = 2 * (pair0 + tl.program_id(0) // group) + tl.zeros([1, 1], tl.int32)
    k = tl.program_id(2) * TILE_K + tl.arange(0, TILE_K)
    m = tl.program_id(1) * TILE_M + tl.arange(0, TILE_M)
    ar = tl.zeros([TILE_K, TILE_M], tl.float32)
    ai = tl.zeros([TILE_K, TILE_M], tl.float32)
    for i in range(0, IN, TILE_N):
        n0 = i + tl.arange(0, TILE_N)
        n = n0[:, None] * M + m[None]
        xr = read(u, pre, n, q, d, D, L, N0 * M, step, reach, segments, sequences, VIEW, CIRCULAR).to(DT)
        xi = read(u, pre, n, q + 1, d, D, L, N0 * M, step, reach, segments, sequences, VIEW, CIRCULAR).to(DT)
        fr, fi = table(first, k[:, None], n0[None], N0, K0 * N0)
        xr, xi = left(fr, fi, xr, xi, PREC)
        ar += xr
        ai += xi
    wr, wi = outer_turn(coarse, fine, k, tl.program_id(1), M // TILE_M, K0, TILE_M)
    ar, ai = turn(ar, ai, wr, wi)
    at = (tl.program_id(0).to(tl.int64) * K0 + k[:, None]) * (2 * M) + m[None]
    tl.store(z + at, ar.to(z.dtype.element_ty))
    tl.store(z + M + at, ai.to(z.dtype.element_ty))


@triton.jit
def outer_synthesise(
    z, out, post, out2, post2, first, coarse, fine, group, pair0, D, L, step, segments, sequences,
    N0: tl.constexpr, M: tl.constexpr, K0: tl.constexpr,
    TILE_K: tl.constexpr, TILE_N: tl.constexpr, TILE_M: tl.constexpr, DT: tl.constexpr, PREC: tl.constexpr,
):  # fmt: skip
    """Inverse of ``outer_analyse`` on the wanted rows of the first digit, with the gates of the result."""
    d = tl.program_id(0) % group
    q = 2 * (pair0 + tl.program_id(0) // group) + tl.zeros([1, 1], tl.int32)
    n0 = tl.program_id(2) * TILE_N + tl.arange(0, TILE_N)
    m = tl.program_id(1) * TILE_M + tl.arange(0, TILE_M)
    ar = tl.zeros([TILE_N, TILE_M], tl.float32)
    ai = tl.zeros([TILE_N, TILE_M], tl.float32)
    for i in range(0, K0, TILE_K):
        k = i + tl.arange(0, TILE_K)
        at = (tl.program_id(0).to(tl.int64) * K0 + k[:, None]) * (2 * M) + m[None]
        xr, xi = tl.load(z + at).to(tl.float32), tl.load(z + M + at).to(tl.float32)
        wr, wi = outer_turn(coarse, fine, k, tl.program_id(1), M // TILE_M, K0, TILE_M)
        xr, xi = turn(xr, xi, wr, -wi)
        fr, fi = table(first, k[None], n0[:, None], N0, K0 * N0)
        xr, xi = left(fr, -fi, xr.to(DT), xi.to(DT), PREC)
        ar += xr
        ai += xi
    n = n0[:, None] * M + m[None]
    write(ar, out, post, n, q, d, D, L, step, segments, sequences)
    write(ai, out, post, n, q + 1, d, D, L, step, segments, sequences)
    if out2 is not None:
        write(ar, out2, post2, n, q, d, D, L, step, segments, sequences)
        write(ai, out2, post2, n, q + 1, d, D, L, step, segments, sequences)
