"""The Fourier transforms of spectral mixing as differentiable operators: a field to its kept modes, and back.

``fourcast::rdft2`` and ``fourcast::irdft2`` carry a flag ``weighted``. With A the orthonormal real 2-D DFT on the kept
modes and w how often each zonal wavenumber counts in a real field (1 for the mean and Nyquist, else 2), they are

                 plain    weighted
    rdft2        A x      w A x
    irdft2       Aᵀ z     Aᵀ w z

so that each is the adjoint of the other with the same flag, which makes both differentiable any number of times, and
the weighted irdft2 inverts the plain rdft2. Both are opaque to the compiler, as spectral mixing is.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from fourcast.kernels import dense
from fourcast.kernels.dispatch import choose
from fourcast.kernels.modes import KeptModes, Modes
from fourcast.kernels.spectral import operand_precision


def on_triton(t: Tensor, dtype: torch.dtype) -> bool:
    """Whether the transform of ``t`` to a result of ``dtype`` runs on the Triton kernels."""
    return dtype != torch.float64 and choose(t, t.shape[-1]) == "triton"


@torch.library.custom_op("fourcast::rdft2", mutates_args=())
def rdft2_op(
    x: Tensor,
    zonal: int,
    first_row: int,
    row_count: int,
    height: int,
    width: int,
    weighted: bool,
    precision: str,
    dtype: torch.dtype,
) -> Tensor:
    kept = KeptModes(zonal, first_row, row_count, height)
    with torch.autocast(x.device.type, enabled=False), torch.cuda.device_of(x):
        if on_triton(x, dtype):
            from fourcast.kernels import spectral_triton

            return spectral_triton.rdft2(x.contiguous(), kept, weighted, precision, dtype)
        return dense.rdft2(x, kept, weighted, dtype)


@rdft2_op.register_fake
def _(
    x: Tensor,
    zonal: int,
    first_row: int,
    row_count: int,
    height: int,
    width: int,
    weighted: bool,
    precision: str,
    dtype: torch.dtype,
) -> Tensor:
    return x.new_empty(x.shape[0], zonal, row_count, 2, x.shape[3], dtype=dtype)


@torch.library.custom_op("fourcast::irdft2", mutates_args=())
def irdft2_op(
    z: Tensor,
    zonal: int,
    first_row: int,
    row_count: int,
    height: int,
    width: int,
    weighted: bool,
    precision: str,
    dtype: torch.dtype,
) -> Tensor:
    kept = KeptModes(zonal, first_row, row_count, height)
    with torch.autocast(z.device.type, enabled=False), torch.cuda.device_of(z):
        if on_triton(z, dtype):
            from fourcast.kernels import spectral_triton

            return spectral_triton.irdft2(z.contiguous(), kept, width, weighted, precision, dtype)
        return dense.irdft2(z, kept, width, weighted, dtype)


@irdft2_op.register_fake
def _(
    z: Tensor,
    zonal: int,
    first_row: int,
    row_count: int,
    height: int,
    width: int,
    weighted: bool,
    precision: str,
    dtype: torch.dtype,
) -> Tensor:
    return z.new_empty(z.shape[0], height, width, z.shape[4], dtype=dtype)


def setup_context(ctx: FunctionCtx, inputs: tuple, output: Tensor) -> None:
    t, *sizes, weighted, precision, _ = inputs
    # Gradients have no bound: float16 would lose the smallest of them.
    backward_precision = "bf16" if precision == "fp16" else precision
    ctx.call = (*sizes, weighted, backward_precision, t.dtype)  # type: ignore[attr-defined]


def differentiate_rdft2(ctx: FunctionCtx, dz: Tensor) -> tuple[Tensor | None, ...]:
    return irdft2_op(dz, *ctx.call), *(None,) * 8  # type: ignore[attr-defined]


def differentiate_irdft2(ctx: FunctionCtx, dx: Tensor) -> tuple[Tensor | None, ...]:
    return rdft2_op(dx, *ctx.call), *(None,) * 8  # type: ignore[attr-defined]


rdft2_op.register_autograd(differentiate_rdft2, setup_context=setup_context)
irdft2_op.register_autograd(differentiate_irdft2, setup_context=setup_context)


def check_field(x_BHWD: Tensor) -> None:
    if x_BHWD.dim() != 4 or not x_BHWD.is_floating_point():
        raise ValueError(
            f"rdft2: x must be floating point [batch, height, width, channels]; found "
            f"{str(x_BHWD.dtype).removeprefix('torch.')} {list(x_BHWD.shape)}"
        )


def check_modes(z_BFRPD: Tensor, kept: KeptModes, width: int) -> None:
    expected = (kept.zonal, kept.row_count, 2)
    if z_BFRPD.dim() != 5 or not z_BFRPD.is_floating_point() or z_BFRPD.shape[1:4] != expected:
        raise ValueError(
            f"irdft2: z must be floating point [batch, {', '.join(map(str, expected))}, channels] for the modes kept "
            f"on {kept.height} x {width}; found {str(z_BFRPD.dtype).removeprefix('torch.')} {list(z_BFRPD.shape)}"
        )


def rdft2(x_BHWD: Tensor, modes: Modes, *, precision: str | None = None) -> Tensor:
    """The kept modes of real fields, z [B, F, R, 2, D]: real parts at index 0 of the fourth axis, imaginary at 1.

        z[f, r] = Σ_hw x[h, w] exp(-2πi (k_r h / H + f w / W)) / √(H W)

    for the zonal wavenumbers f = 0 ... F - 1 and the R rows k_r of ``modes.keep(H, W)``, in the order of its ``rows``.
    The spectrum is float64 for float64 and float32 for every other type: sums are made in float32 on every path, and
    gradients of a float16 spectrum would underflow. Differentiable any number of times. ValueError where x is not a
    batch of fields or no mode is left.

    ``precision`` of the products inside the GPU kernels: ``fp16`` with fp32 sums (bfloat16 for gradients), ``fp32``
    (three TF32 passes), or None for fp32 where x is float32 outside autocast and
    torch.get_float32_matmul_precision() is "highest", else fp16. In fp16, √W max|x| must stay below 65504, as that of
    normalised fields does. Plain torch computes in x's type, at least float32.
    """
    check_field(x_BHWD)
    height, width = int(x_BHWD.shape[1]), int(x_BHWD.shape[2])
    dtype = torch.promote_types(x_BHWD.dtype, torch.float32)
    kept = modes.keep(height, width)
    return rdft2_op(x_BHWD, *kept, width, False, operand_precision(x_BHWD, precision), dtype)


def irdft2(
    z_BFRPD: Tensor,
    modes: Modes,
    shape: tuple[int, int],
    *,
    dtype: torch.dtype | None = None,
    precision: str | None = None,
) -> Tensor:
    """The fields x [B, H, W, D] of modes as ``rdft2`` lays them out, on a grid of ``shape`` (H, W).

    Inverse along latitude, then complex to real along longitude, where the imaginary parts of the zonal mean and of
    the zonal Nyquist mode drop out; modes that are not kept are zero. Inverts ``rdft2`` on the fields that have no
    others. The result has z's type, or ``dtype``. Differentiable any number of times. ValueError where z does not fit
    the modes kept on this grid.

    ``precision`` as in ``rdft2``; None is fp16 for fields of a 16-bit ``dtype``, too. In fp16, √(2 H) max|z| must
    stay below 65504.
    """
    height, width = map(int, shape)
    kept = modes.keep(height, width)
    check_modes(z_BFRPD, kept, width)
    if precision is None and dtype is not None and dtype.itemsize == 2:
        precision = "fp16"
    precision = operand_precision(z_BFRPD, precision)
    return irdft2_op(z_BFRPD, *kept, width, True, precision, dtype or z_BFRPD.dtype)
