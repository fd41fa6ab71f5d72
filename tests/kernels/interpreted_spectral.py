"""The Triton path of spectral mixing in Triton's interpreter; ``test_spectral`` runs this in a process of its own.

The interpreter must be chosen before triton is imported, and computes bfloat16 products wrongly; gradients are in
float16 here.
"""

import os

import pytest
import torch
from mixer_cases import relative
from spectral_checks import (
    OUTPUT_GATES,
    check_same_bits_twice,
    check_upper_band,
    check_values_and_gradients,
    mix,
    poisoned,
    prepared,
)

from fourcast.kernels import dft, reference, spectral_triton
from fourcast.kernels.modes import Modes

assert os.environ["TRITON_INTERPRET"] == "1"
assert os.environ["FOURCAST_KERNELS"] == "triton"
__all__ = ["poisoned"]

HALF = Modes("fourcastnet", hard_thresholding_fraction=0.5)
LOW = Modes("lowpass", meridional_fraction=0.5, zonal_fraction=0.4)
SMALL = [
    ((1, 7, 9, 32), 2, Modes("full"), "white", "fp32"),
    ((2, 9, 10, 32), 2, Modes("full"), "red", "fp16"),
    ((1, 12, 16, 32), 1, HALF, "white", "fp16"),
    ((1, 8, 12, 32), 1, Modes(), "white", "bf16"),
]
LARGER = [
    ((2, 6, 8, 48), 1, Modes(), "red", "fp32", True),
    ((1, 8, 12, 48), 1, Modes(), "white", "fp16", True),
    ((1, 10, 12, 32), 1, LOW, "red", "fp16", True),
    ((1, 15, 31, 96), 1, Modes("full"), "white", "fp16", False),
    ((1, 90, 20, 96), 1, Modes(), "white", "fp16", False),
    ((1, 16, 32, 128), 1, HALF, "red", "bf16", False),
    ((1, 45, 90, 32), 1, Modes(), "red", "fp16", True),
    ((1, 6, 150, 32), 1, Modes("full"), "white", "fp16", True),
    ((1, 140, 8, 32), 1, Modes("full"), "white", "fp16", True),
    ((1, 70, 16, 32), 1, LOW, "red", "fp32", True),
]


@pytest.mark.parametrize(("shape", "blocks", "modes", "spectrum", "kind"), SMALL)
def test_values_and_every_gradient(poisoned, shape, blocks, modes, spectrum, kind):
    check_values_and_gradients(shape, blocks, modes, spectrum, kind, "cpu", decided=True)


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "blocks", "modes", "spectrum", "kind", "decided"), LARGER)
def test_values_and_every_gradient_on_larger_grids(poisoned, shape, blocks, modes, spectrum, kind, decided):
    check_values_and_gradients(shape, blocks, modes, spectrum, kind, "cpu", decided)


@pytest.mark.parametrize("modes", [Modes(), LOW])
def test_the_split_path_serves_where_one_does_not_fit(monkeypatch, poisoned, modes):
    monkeypatch.setattr(spectral_triton, "fused_limit", lambda device: (0, 0))
    check_values_and_gradients((1, 8, 12, 32), 1, modes, "white", "fp16", "cpu", decided=True)


def test_small_scales_of_a_red_field():
    check_upper_band((1, 12, 24, 32), 1, "cpu")


def test_same_bits_twice():
    check_same_bits_twice((1, 6, 8, 16), 1, "fp16", "cpu")


def test_broken_results_exceed_the_gates(monkeypatch):
    inputs, truth, _ = prepared((1, 8, 12, 16), 1, "white", "fp16", "cpu")
    expected = reference.spectral_mixing(**truth, modes=Modes())
    assert relative(mix(inputs, "fp16", Modes()), expected) < OUTPUT_GATES["fp16"]
    broken = {
        "zero output": torch.zeros_like(expected),
        "one zonal mode too few": mix(inputs, "fp16", Modes("lowpass", zonal_fraction=0.5)),
    }
    tables = dft.zonal_forward
    monkeypatch.setattr(dft, "zonal_forward", lambda *sizes: (tables(*sizes)[0], -tables(*sizes)[1]))
    spectral_triton.setup.cache_clear()
    broken["conjugated zonal table"] = mix(inputs, "fp16", Modes())
    spectral_triton.setup.cache_clear()
    for name, result in broken.items():
        assert relative(result, expected) > OUTPUT_GATES["bf16"], name
