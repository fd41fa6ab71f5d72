import math

import numpy as np
import pytest
import torch
from mixer_cases import mixer_inputs, relative
from torch import Tensor
from torch.nn.functional import layer_norm

from fourcast.kernels.modes import Modes
from fourcast.kernels.reference import forward_transform, inverse_transform, place_modes, select_modes, spectral_mixing

GATE = 1e-13


def wave(H: int, W: int, ky: int, kx: int) -> Tensor:
    phase = ky * torch.arange(H).double()[:, None] / H + kx * torch.arange(W).double()[None] / W
    return torch.cos(2 * math.pi * phase)[None, :, :, None]


def filtered(y: Tensor, modes: Modes) -> Tensor:
    kept = modes.keep(*y.shape[1:3])
    return inverse_transform(place_modes(select_modes(forward_transform(y), kept), kept, y.shape[2]), y.shape[2])


@pytest.mark.parametrize("shape", [(2, 7, 9, 3), (1, 6, 150, 32), (1, 140, 8, 32)])
def test_forward_transform_is_that_of_numpy(shape: tuple[int, int, int, int]):
    x = torch.randn(shape, dtype=torch.float64)
    expected = torch.from_numpy(np.fft.rfft2(x.numpy(), axes=(1, 2), norm="ortho"))
    assert (forward_transform(x) - expected).norm() < GATE * expected.norm()


@pytest.mark.parametrize(
    ("modes", "ky", "kx", "kept"),
    [
        (Modes("fourcastnet"), 2, 6, True),
        (Modes("fourcastnet"), 2, 7, False),
        (Modes("full"), 2, 12, True),
        (Modes("fourcastnet", hard_thresholding_fraction=0.5), 5, 1, True),
        (Modes("fourcastnet", hard_thresholding_fraction=0.5), 1, 1, False),
        (Modes("lowpass", meridional_fraction=0.5), -3, 5, True),
        (Modes("lowpass", meridional_fraction=0.5), 4, 5, False),
    ],
)
def test_one_wave_passes_or_is_dropped_whole(modes: Modes, ky: int, kx: int, kept: bool):
    y = wave(12, 24, ky, kx)
    expected = y if kept else torch.zeros_like(y)
    assert (filtered(y, modes) - expected).norm() < GATE * y.norm()


@pytest.mark.parametrize("column", [0, 12])
def test_zonal_mean_and_nyquist_of_the_inverse_are_real(column: int):
    H, W = 6, 24
    spectrum = torch.zeros(1, H, W // 2 + 1, 1, dtype=torch.complex128)
    spectrum[0, 1, column, 0] = 1 + 2j
    # Re[(1 + 2i) exp(2 pi i h / H)] / sqrt(H W), alternating along longitude at Nyquist.
    h = 2 * math.pi * torch.arange(H).double() / H
    sign = torch.ones(W) if column == 0 else 1 - 2 * (torch.arange(W) % 2)
    expected = (torch.cos(h) - 2 * torch.sin(h))[:, None] * sign / math.sqrt(H * W)
    assert relative(inverse_transform(spectrum, W)[0, :, :, 0], expected) < GATE


def test_zero_weights_leave_the_double_skip():
    inputs = mixer_inputs((2, 15, 31, 8), 2)
    zeroed = {name: torch.zeros_like(t) if name[0] in "wb" else t for name, t in inputs.items()}
    x = inputs["x_BHWD"]
    y = layer_norm(x, (8,), inputs["norm_weight"], inputs["norm_bias"], 1e-6)
    assert relative(spectral_mixing(**zeroed, modes=Modes()), x + y) < GATE


@pytest.mark.parametrize("modes", [Modes("full"), Modes("lowpass", meridional_fraction=0.5, zonal_fraction=0.5)])
def test_an_identity_mlp_filters_and_nothing_else(modes: Modes):
    inputs = mixer_inputs((1, 12, 24, 8), 2)
    eye = torch.stack([torch.eye(4), torch.zeros(4, 4)])[:, None].expand(-1, 2, -1, -1).double()
    lift = torch.full((2, 2, 4), 100.0).double()  # above any |z|, so that ReLU is linear
    out = spectral_mixing(
        inputs["x_BHWD"], inputs["norm_weight"], inputs["norm_bias"], eye, lift, eye, -lift,
        modes=modes, sparsity_threshold=0.0,
    )  # fmt: skip
    y = layer_norm(inputs["x_BHWD"], (8,), inputs["norm_weight"], inputs["norm_bias"], 1e-6)
    assert relative(out - inputs["x_BHWD"] - y, filtered(y, modes)) < 1e-12


def published(inputs: dict[str, Tensor], fraction: float) -> np.ndarray:
    """The published layer by double sums and slices, in NumPy."""
    x, weight, bias, w1, b1, w2, b2 = (t.detach().numpy() for t in inputs.values())
    w1, b1, w2, b2 = (re + 1j * im for re, im in (w1, b1, w2, b2))
    B, H, W, D = x.shape
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * weight + bias
    h, w = np.arange(H), np.arange(W)
    along_h = np.exp(-2j * np.pi * np.outer(h, h) / H) / np.sqrt(H)
    along_w = np.exp(-2j * np.pi * np.outer(np.arange(W // 2 + 1), w) / W) / np.sqrt(W)
    z = np.einsum("rh,fw,bhwd->brfd", along_h, along_w, y).reshape(B, H, W // 2 + 1, *w1.shape[:2])
    total = H // 2 + 1
    kept = int(total * fraction)
    box = (slice(None), slice(total - kept, total + kept), slice(None, kept))
    hidden = np.einsum("brfki,kio->brfko", z[box], w1) + b1
    hidden = np.maximum(hidden.real, 0) + 1j * np.maximum(hidden.imag, 0)
    o = np.einsum("brfki,kio->brfko", hidden, w2) + b2
    s = np.zeros_like(z)
    s[box] = shrink(o.real) + 1j * shrink(o.imag)
    s = np.einsum("rh,brfd->bhfd", along_h.conj(), s.reshape(B, H, W // 2 + 1, D))
    twice = np.where((np.arange(W // 2 + 1) == 0) | (2 * np.arange(W // 2 + 1) == W), 1, 2)
    return np.einsum("f,fw,bhfd->bhwd", twice, along_w.conj(), s).real + y + x


def shrink(v: np.ndarray) -> np.ndarray:
    return np.sign(v) * np.maximum(np.abs(v) - 0.01, 0)


@pytest.mark.parametrize("shape", [(2, 6, 8, 4), (1, 5, 9, 4), (1, 8, 6, 4)])
@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_equals_the_published_layer(shape: tuple[int, int, int, int], fraction: float):
    inputs = mixer_inputs(shape, 2)
    found = spectral_mixing(**inputs, modes=Modes("fourcastnet", fraction))
    assert relative(found.detach(), torch.from_numpy(published(inputs, fraction))) < GATE
    wrong = spectral_mixing(**inputs, modes=Modes("full"))
    assert relative(wrong.detach(), torch.from_numpy(published(inputs, 0.5))) > 0.1


def test_gradients_are_those_of_finite_differences():
    inputs = mixer_inputs((1, 4, 6, 4), 2)
    assert torch.autograd.gradcheck(
        lambda *t: spectral_mixing(*t, modes=Modes()), tuple(inputs.values()), fast_mode=True
    )


def test_half_precision_is_computed_in_float32():
    inputs = mixer_inputs((1, 6, 8, 4), 2)
    x = inputs["x_BHWD"].detach().bfloat16()
    found = spectral_mixing(**(inputs | {"x_BHWD": x}), modes=Modes())
    assert found.dtype == torch.bfloat16
    assert relative(found, spectral_mixing(**(inputs | {"x_BHWD": x.double()}), modes=Modes())) < 4e-3
