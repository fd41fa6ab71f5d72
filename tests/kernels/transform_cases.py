"""Grids, rules and measures shared by the tests of the transforms."""

import torch
from mixer_cases import relative
from torch import Tensor

from fourcast.kernels import reference
from fourcast.kernels.modes import KeptModes, Modes
from fourcast.kernels.transforms import irdft2, rdft2

GRIDS = [(7, 9), (15, 31), (16, 18), (12, 16), (1, 1)]
LOW = Modes("lowpass", meridional_fraction=0.5, zonal_fraction=0.4)
ONE_ROW = Modes("lowpass", meridional_fraction=0.01)
RULES = [Modes(), Modes("full"), Modes(hard_thresholding_fraction=0.6), LOW, ONE_ROW]


def rules(height: int) -> list[Modes]:
    return RULES if height > 1 else RULES[:2]


def as_complex(z_BFRPD: Tensor) -> Tensor:
    """The same modes as reference.py has them, complex [B, R, F, D]."""
    return torch.complex(*z_BFRPD.unbind(3)).transpose(1, 2)


def as_real(z_BRFD: Tensor) -> Tensor:
    return torch.stack([z_BRFD.real, z_BRFD.imag], 3).transpose(1, 2)


def expected_modes(x_BHWD: Tensor, modes: Modes) -> Tensor:
    kept = modes.keep(*x_BHWD.shape[1:3])
    return as_real(reference.select_modes(reference.forward_transform(x_BHWD), kept))


def expected_field(z_BFRPD: Tensor, modes: Modes, shape: tuple[int, int]) -> Tensor:
    placed = reference.place_modes(as_complex(z_BFRPD), modes.keep(*shape), shape[1])
    return reference.inverse_transform(placed, shape[1])


def random_modes(kept: KeptModes, batch: int, dim: int) -> Tensor:
    return torch.randn(batch, kept.zonal, kept.row_count, 2, dim, dtype=torch.float64)


def check_against_torch_fft(shape: tuple[int, int, int, int], modes: Modes, precision: str, device: str) -> None:
    """Both transforms and their gradients on the Triton kernels, against torch.fft in float64."""
    torch.manual_seed(0)
    gate = {"fp32": 2e-6, "fp16": 2e-3}[precision]
    gradient_gate = 1.5e-2 if (device, precision) == ("cuda", "fp16") else gate  # bfloat16, but in the interpreter
    grid = (shape[1], shape[2])
    x = torch.randn(shape, dtype=torch.float64)
    z = random_modes(modes.keep(*grid), shape[0], shape[3])
    cases = (
        (x, lambda t: rdft2(t, modes, precision=precision), lambda t: expected_modes(t, modes)),
        (z, lambda t: irdft2(t, modes, grid, precision=precision), lambda t: expected_field(t, modes, grid)),
    )
    for values, transform, truth in cases:
        found_leaf = values.float().to(device).requires_grad_()
        leaf = found_leaf.detach().double().cpu().requires_grad_()
        found, expected = transform(found_leaf), truth(leaf)
        assert found.dtype == torch.float32
        assert found.is_contiguous()
        assert relative(found.cpu(), expected) < gate
        grad_out = torch.randn(found.shape)
        [gradient] = torch.autograd.grad(found, found_leaf, grad_out.to(device))
        [expected_gradient] = torch.autograd.grad(expected, leaf, grad_out.double())
        assert relative(gradient.cpu(), expected_gradient) < gradient_gate
