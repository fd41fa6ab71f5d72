"""The Triton path of the transforms in Triton's interpreter; ``test_transforms`` runs this in a process of its own.

The interpreter must be chosen before triton is imported, and computes bfloat16 products wrongly; gradients are in
float16 here.
"""

import os

import pytest
import torch
from mixer_cases import relative
from spectral_checks import poisoned
from transform_cases import LOW, ONE_ROW, check_against_torch_fft, expected_field, expected_modes

from fourcast.kernels import dft, spectral_triton
from fourcast.kernels.modes import Modes
from fourcast.kernels.transforms import irdft2, rdft2

assert os.environ["TRITON_INTERPRET"] == "1"
assert os.environ["FOURCAST_KERNELS"] == "triton"
__all__ = ["poisoned"]

CASES = [
    ((2, 7, 9, 32), Modes("full")),
    ((1, 12, 16, 48), Modes()),
    ((1, 15, 31, 16), LOW),
    ((1, 16, 18, 64), Modes(hard_thresholding_fraction=0.6)),
    ((1, 4, 12, 96), ONE_ROW),
]
SEVERAL_TILES = [(1, 130, 1, 16), (1, 1, 140, 16)]


@pytest.mark.parametrize(("shape", "modes"), CASES)
def test_values_and_gradients(poisoned, shape, modes):
    check_against_torch_fft(shape, modes, "fp32", "cpu")


@pytest.mark.parametrize(
    ("shape", "modes"), [CASES[0], *(pytest.param(*case, marks=pytest.mark.slow) for case in CASES[1:])]
)
def test_values_and_gradients_in_half_precision(poisoned, shape, modes):
    check_against_torch_fft(shape, modes, "fp16", "cpu")


@pytest.mark.slow
@pytest.mark.parametrize("shape", SEVERAL_TILES)
def test_axes_of_several_tiles(poisoned, shape):
    check_against_torch_fft(shape, Modes("full"), "fp32", "cpu")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_fields_in_half_precision(poisoned, dtype: torch.dtype):
    torch.manual_seed(0)
    x = torch.randn(1, 12, 16, 32).to(dtype).requires_grad_()
    z = rdft2(x, Modes())
    assert z.dtype == torch.float32
    truth = expected_modes(x.detach().double(), Modes())
    assert relative(z, truth) < 2e-3
    back = irdft2(z, Modes(), (12, 16), dtype=dtype)
    assert back.dtype == dtype
    assert relative(back, expected_field(truth, Modes(), (12, 16))) < {torch.float16: 2e-3, torch.bfloat16: 8e-3}[dtype]
    [gradient] = torch.autograd.grad(back.sum(), x)
    assert gradient.dtype == dtype
    assert gradient.isfinite().all()


def test_broken_results_exceed_the_gates(monkeypatch):
    torch.manual_seed(0)
    x = torch.randn(1, 7, 9, 16)
    expected = expected_modes(x.double(), Modes())
    tables = dft.meridional_rows
    monkeypatch.setattr(dft, "meridional_rows", lambda *sizes: (tables(*sizes)[0], -tables(*sizes)[1]))
    spectral_triton.setup.cache_clear()
    conjugated = rdft2(x, Modes())
    monkeypatch.undo()
    spectral_triton.setup.cache_clear()
    assert relative(rdft2(x, Modes()), expected) < 2e-6
    assert relative(conjugated, expected) > 0.1
