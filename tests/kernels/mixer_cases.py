"""Inputs and measures shared by the tests of spectral mixing."""

import numpy as np
import torch
from torch import Tensor

NAMES = ("x_BHWD", "norm_weight", "norm_bias", "w1", "b1", "w2", "b2")


def red_field(*shape: int) -> Tensor:
    """Fields [B, H, W, D] whose amplitude falls as the square of the wavenumber, as weather does."""
    B, H, W, D = shape
    ky, kx = torch.fft.fftfreq(H) * H, torch.fft.rfftfreq(W) * W
    amplitude = (1 + torch.hypot(ky[:, None], kx[None])) ** -2.0
    noise = torch.randn(B, H, W // 2 + 1, D, dtype=torch.complex128)
    x = torch.from_numpy(np.fft.irfft2((noise * amplitude[..., None]).numpy(), s=(H, W), axes=(1, 2)))
    return x / x.std()


def mixer_inputs(shape: tuple[int, int, int, int], blocks: int, spectrum: str = "white") -> dict[str, Tensor]:
    """Leaves in float64, scaled so that the spectral branch is as large as the residual."""
    torch.manual_seed(0)
    dim = shape[-1]
    block = dim // blocks
    x = torch.randn(*shape, dtype=torch.float64) if spectrum == "white" else red_field(*shape)
    values = (
        x,
        1 + 0.1 * torch.randn(dim),
        0.1 * torch.randn(dim),
        torch.randn(2, blocks, block, block) / block**0.5,
        0.1 * torch.randn(2, blocks, block),
        torch.randn(2, blocks, block, block) / block**0.5,
        0.1 * torch.randn(2, blocks, block),
    )
    return {name: value.double().requires_grad_() for name, value in zip(NAMES, values, strict=True)}


def cast(inputs: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: value.detach().to(dtype).requires_grad_() for name, value in inputs.items()}


def relative(found: Tensor, expected: Tensor) -> float:
    """Relative L2 distance; infinite where a number is not finite."""
    error = (found.double() - expected.double()).norm() / expected.double().norm()
    return error.item() if torch.isfinite(error) else float("inf")


def gradients(out: Tensor, inputs: dict[str, Tensor], grad_out: Tensor) -> dict[str, Tensor]:
    return dict(zip(inputs, torch.autograd.grad(out, tuple(inputs.values()), grad_out), strict=True))
