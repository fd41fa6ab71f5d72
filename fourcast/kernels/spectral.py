"""AFNO's spectral token mixing as one differentiable operator, on tensor cores or in plain torch.

``fourcast::spectral_mixing`` and its backward are opaque to the compiler, so torch.compile, CUDA graphs, activation
checkpointing, DDP and FSDP see two ordinary operators with real tensors in and out.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from fourcast.kernels import dense
from fourcast.kernels.dense import Parameters
from fourcast.kernels.dispatch import choose
from fourcast.kernels.modes import KeptModes, Modes

OPERANDS = {"fp16": torch.float16, "fp32": torch.float32}


class Call(NamedTuple):
    """The plain numbers of a call, as the operators' schemas carry them."""

    zonal: int
    first_row: int
    row_count: int
    threshold: float

    def kept(self, x_BHWD: Tensor) -> KeptModes:
        return KeptModes(self.zonal, self.first_row, self.row_count, x_BHWD.shape[1])


@torch.library.custom_op("fourcast::spectral_mixing", mutates_args=())
def spectral_mixing_op(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    zonal: int,
    first_row: int,
    row_count: int,
    threshold: float,
    eps: float,
    precision: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    kept = Call(zonal, first_row, row_count, threshold).kept(x)
    p = Parameters(norm_weight, norm_bias, w1, b1, w2, b2)
    with torch.autocast(x.device.type, enabled=False), torch.cuda.device_of(x):
        if choose(x, w1.shape[-1]) == "triton":
            from fourcast.kernels import spectral_triton

            return spectral_triton.forward(x.contiguous(), p, kept, eps, threshold, OPERANDS[precision])
        return dense.forward(x.contiguous(), p, kept, eps, threshold)


@spectral_mixing_op.register_fake
def _(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    zonal: int,
    first_row: int,
    row_count: int,
    threshold: float,
    eps: float,
    precision: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    kept, out = Call(zonal, first_row, row_count, threshold).kept(x), x.new_empty(x.shape)
    if choose(x, w1.shape[-1]) == "triton":
        from fourcast.kernels import spectral_triton

        return out, *spectral_triton.empty_saved(x, kept, OPERANDS[precision])
    return out, *dense.empty_saved(x, w1.shape[-1], kept)


@torch.library.custom_op("fourcast::spectral_mixing_backward", mutates_args=())
def spectral_mixing_backward_op(
    grad_out: Tensor,
    x: Tensor,
    z: Tensor,
    mean: Tensor,
    rstd: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    zonal: int,
    first_row: int,
    row_count: int,
    threshold: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    kept = Call(zonal, first_row, row_count, threshold).kept(x)
    p = Parameters(norm_weight, norm_bias, w1, b1, w2, b2)
    with torch.autocast(x.device.type, enabled=False), torch.cuda.device_of(x):
        if choose(x, w1.shape[-1]) == "triton":
            from fourcast.kernels import spectral_triton

            return spectral_triton.backward(grad_out.contiguous(), x.contiguous(), z, mean, rstd, p, kept, threshold)
        dx, *dp = dense.backward(grad_out.contiguous(), x.contiguous(), z, mean, rstd, p, kept, threshold)
        return dx, *Parameters(*dp)


@spectral_mixing_backward_op.register_fake
def _(
    grad_out: Tensor,
    x: Tensor,
    z: Tensor,
    mean: Tensor,
    rstd: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    zonal: int,
    first_row: int,
    row_count: int,
    threshold: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    dp = Parameters(*(t.new_empty(t.shape) for t in (norm_weight, norm_bias, w1, b1, w2, b2)))
    return x.new_empty(x.shape), *dp


def setup_context(ctx: FunctionCtx, inputs: tuple, output: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    x, *parameters = inputs[:7]
    ctx.save_for_backward(x, *output[1:], *parameters)
    ctx.call = Call(*inputs[7:11])  # type: ignore[attr-defined]
    ctx.set_materialize_grads(False)


def differentiate(ctx: FunctionCtx, grad_out: Tensor | None, *unused: None) -> tuple[Tensor | None, ...]:
    if grad_out is None:
        return (None,) * 13
    gradients = spectral_mixing_backward_op(grad_out, *ctx.saved_tensors, *ctx.call)  # type: ignore[attr-defined]
    return *gradients, *(None,) * 6


spectral_mixing_op.register_autograd(differentiate, setup_context=setup_context)


def check(x_BHWD: Tensor, p: Parameters) -> None:
    if x_BHWD.dim() != 4 or not x_BHWD.is_floating_point():
        raise ValueError(
            f"spectral_mixing: x must be floating point [batch, height, width, channels]; found "
            f"{str(x_BHWD.dtype).removeprefix('torch.')} {list(x_BHWD.shape)}"
        )
    D = x_BHWD.shape[3]
    block = p.w1.shape[-1]
    weight = (2, D // block, block, block)
    expected = ((D,), (D,), weight, weight[:3], weight, weight[:3])
    for name, t, shape in zip(p._fields, p, expected, strict=True):
        if t.shape != shape:
            raise ValueError(
                f"spectral_mixing: {name} must have shape {list(shape)} for {D} channels in blocks of {block}; "
                f"found {list(t.shape)}"
            )


def operand_precision(x_BHWD: Tensor, precision: str | None) -> str:
    if precision is not None and precision not in OPERANDS:
        raise ValueError(f"precision must be fp16, fp32 or None; found {precision!r}")
    if precision is not None:
        return precision
    exact = x_BHWD.dtype == torch.float32 and not torch.is_autocast_enabled(x_BHWD.device.type)
    return "fp32" if exact and not tf32_allowed() else "fp16"


@torch.compiler.assume_constant_result
def tf32_allowed() -> bool:
    """A compiled model is guarded by this setting, so the answer holds for as long as the compiled code does."""
    return torch.get_float32_matmul_precision() != "highest"


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
    precision: str | None = None,
) -> Tensor:
    """``irfft2(softshrink(MLP(rfft2(y)))) + y + x`` with ``y = LayerNorm(x)``, in x's type.

    The front half of an AFNO block as FourCastNet has it (arXiv 2202.11214), on the kept ``modes`` only. Shapes: x
    [B, H, W, D]; norm_weight, norm_bias [D]; w1, w2 [2, K, D/K, D/K]; b1, b2 [2, K, D/K], real part first.
    Differentiable once in x and every parameter. ValueError where shapes disagree or no mode is left.

    ``precision`` of the products inside the GPU kernels: ``fp16`` with fp32 sums, ``fp32`` (three TF32 passes), or
    None for fp32 where x is float32 outside autocast and torch.get_float32_matmul_precision() is "highest", else
    fp16. Plain torch computes in x's type, at least float32.
    """
    p = Parameters(norm_weight, norm_bias, w1, b1, w2, b2)
    check(x_BHWD, p)
    kept = modes.keep(int(x_BHWD.shape[1]), int(x_BHWD.shape[2]))
    call = Call(kept.zonal, kept.first_row, kept.row_count, sparsity_threshold)
    return spectral_mixing_op(x_BHWD, *p, *call, eps, operand_precision(x_BHWD, precision))[0]
