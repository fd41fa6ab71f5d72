"""Long convolution of many sequences by Fourier transforms, gated or not, as one differentiable operator.

``fourcast::fft_conv`` and its backward are opaque to the compiler, as the spectral mixing is. On NVIDIA GPUs the
transforms are matrix products on tensor cores in fused kernels (Fu et al., FlashFFTConv, arXiv 2311.05908, rebuilt
for any length); elsewhere torch.fft.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from fourcast.kernels import fft_conv_torch
from fourcast.kernels.dispatch import choose
from fourcast.kernels.fft_conv_torch import Sequences
from fourcast.kernels.monarch import ALL, Frequencies, transform_length

OPERANDS = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
PRECISIONS = {dtype: name for name, dtype in OPERANDS.items()}
TRITON_LENGTHS = (16, 1 << 22)


def on_triton(u: Tensor) -> bool:
    return TRITON_LENGTHS[0] <= u.shape[-1] <= TRITON_LENGTHS[1] and choose(u, 16) == "triton"


@torch.library.custom_op("fourcast::fft_conv", mutates_args=())
def fft_conv_op(
    u: Tensor,
    k: Tensor,
    pre_gate: Tensor | None,
    post_gate: Tensor | None,
    causal: bool,
    low_pass: float,
    comb: float,
    period: int,
    precision: str,
) -> Tensor:
    s, frequencies = Sequences(u, k, pre_gate, post_gate), Frequencies(low_pass, comb, period)
    with torch.autocast(u.device.type, enabled=False), torch.cuda.device_of(u):
        if on_triton(u):
            from fourcast.kernels import fft_conv_triton

            return fft_conv_triton.forward(s, causal, frequencies, OPERANDS[precision])
        return fft_conv_torch.forward(s, causal, frequencies)


@fft_conv_op.register_fake
def _(
    u: Tensor,
    k: Tensor,
    pre_gate: Tensor | None,
    post_gate: Tensor | None,
    causal: bool,
    low_pass: float,
    comb: float,
    period: int,
    precision: str,
) -> Tensor:
    return u.new_empty(u.shape)


@torch.library.custom_op("fourcast::fft_conv_backward", mutates_args=())
def fft_conv_backward_op(
    dy: Tensor,
    u: Tensor,
    k: Tensor,
    pre_gate: Tensor | None,
    post_gate: Tensor | None,
    causal: bool,
    low_pass: float,
    comb: float,
    period: int,
    precision: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    s, frequencies = Sequences(u, k, pre_gate, post_gate), Frequencies(low_pass, comb, period)
    with torch.autocast(u.device.type, enabled=False), torch.cuda.device_of(u):
        if on_triton(u):
            from fourcast.kernels import fft_conv_triton

            gradients = fft_conv_triton.backward(dy, s, causal, frequencies, OPERANDS[precision])
        else:
            gradients = fft_conv_torch.backward(dy, s, causal, frequencies)
    du, dk, dpre, dpost = (u.new_empty(0) if gradient is None else gradient for gradient in gradients)
    return du, dk, dpre, dpost


@fft_conv_backward_op.register_fake
def _(
    dy: Tensor,
    u: Tensor,
    k: Tensor,
    pre_gate: Tensor | None,
    post_gate: Tensor | None,
    causal: bool,
    low_pass: float,
    comb: float,
    period: int,
    precision: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dpre, dpost = (u.new_empty(0 if gate is None else gate.shape) for gate in (pre_gate, post_gate))
    return u.new_empty(u.shape), k.new_empty(k.shape), dpre, dpost


def setup_context(ctx: FunctionCtx, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.settings = inputs[4:]  # type: ignore[attr-defined]


def differentiate(ctx: FunctionCtx, dy: Tensor) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors  # type: ignore[attr-defined]
    gradients = fft_conv_backward_op(dy, *saved, *ctx.settings)  # type: ignore[attr-defined]
    present = (None if t is None else gradient for t, gradient in zip(saved, gradients, strict=True))
    return *present, *(None,) * 5


fft_conv_op.register_autograd(differentiate, setup_context=setup_context)


def check(s: Sequences, causal: bool, frequencies: Frequencies) -> None:
    u, k = s.u, s.k
    if u.dim() != 3 or not u.is_floating_point() or not u.numel():
        found = f"{str(u.dtype).removeprefix('torch.')} {list(u.shape)}"
        raise ValueError(f"fft_conv: u must be floating point [batch, channels, length], none of them 0; found {found}")
    _, D, L = u.shape
    if k.dim() != 2 or k.shape[0] != D or not k.shape[1]:
        raise ValueError(f"fft_conv: k must be [{D}, kernel length] for u {list(u.shape)}; found {list(k.shape)}")
    if k.shape[1] > L and not causal:
        raise ValueError(f"fft_conv: a circular kernel must not be longer than the sequence; found {k.shape[1]} > {L}")
    for name, gate in (("pre_gate", s.pre_gate), ("post_gate", s.post_gate)):
        if gate is not None and gate.shape != u.shape:
            raise ValueError(f"fft_conv: {name} must have u's shape {list(u.shape)}; found {list(gate.shape)}")
    check_frequencies(frequencies, transform_length(L, min(k.shape[1], L), causal))


def check_frequencies(frequencies: Frequencies, length: int) -> None:
    low_pass, comb, period = frequencies
    if not 0 < low_pass <= 1 or not 0 < comb <= 1:
        raise ValueError(f"fft_conv: low_pass and comb must lie in (0, 1]; found {low_pass} and {comb}")
    if comb < 1 and (period not in (16, 32, 64, 128) or length % period):
        raise ValueError(
            f"fft_conv: the comb's period must be 16, 32, 64 or 128 and divide the transform's length {length}; found "
            f"{period}"
        )


def fft_conv(
    u_BDL: Tensor,
    k_DK: Tensor,
    *,
    pre_gate: Tensor | None = None,
    post_gate: Tensor | None = None,
    causal: bool = False,
    frequencies: Frequencies = ALL,
    precision: str | None = None,
) -> Tensor:
    """``y[n] = post_gate[n] sum_j k[j] (pre_gate u)[n - j]`` for every sequence, in u's type: [B, D, L].

    Each channel has a kernel of its own, k [D, K]; places before the first are those at the end of the sequence, or
    zero where ``causal``. A kernel shorter than the sequence costs less (partial convolution); of a causal one longer
    than the sequence the rest is unused. ``frequencies``: the kernel's spectrum is zero elsewhere, and products with
    what is zero are not computed; the spectrum is that of the circular transform of ``transform_length``.
    Differentiable once in u, k and both gates; backward recomputes. ValueError where shapes disagree.

    ``precision`` of the products inside the GPU kernels, summed in fp32: fp16, bf16, fp32 (three TF32 passes), or None
    for u's own type. In fp16 the spectrum must stay below 65504: sqrt(N) max|u| and sum|k| times u bound it.
    """
    if precision is not None and precision not in OPERANDS:
        raise ValueError(f"fft_conv: precision must be fp16, bf16, fp32 or None; found {precision!r}")
    k = k_DK[:, : u_BDL.shape[-1]] if causal else k_DK
    check(Sequences(u_BDL, k, pre_gate, post_gate), causal, frequencies)
    chosen = precision or PRECISIONS.get(u_BDL.dtype, "fp32")
    return fft_conv_op(u_BDL, k, pre_gate, post_gate, causal, *frequencies, chosen)


def fft_conv_stream(chunks_BDL: Iterable[Tensor], k_DK: Tensor, *, precision: str | None = None) -> Iterator[Tensor]:
    """The causal convolution of one endless sequence that arrives in pieces [B, D, any length], piece by piece.

    What is kept between pieces is the last K - 1 places, whatever the length of the whole.
    """
    past: Tensor | None = None
    for chunk in chunks_BDL:
        known = chunk if past is None else torch.cat([past, chunk], -1)
        yield fft_conv(known, k_DK, causal=True, precision=precision)[..., -chunk.shape[-1] :]
        past = known[..., max(0, known.shape[-1] - k_DK.shape[1] + 1) :]
