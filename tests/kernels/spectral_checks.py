"""Checks of the Triton path of spectral mixing against the reference, in the interpreter and on a GPU alike."""

import pytest
import torch
from mixer_cases import cast, gradients, mixer_inputs, relative
from torch import Tensor

from fourcast.kernels import reference, spectral
from fourcast.kernels.modes import Modes

OUTPUT_GATES = {"fp32": 2e-6, "fp16": 2e-3, "bf16": 1.5e-2}
GRADIENT_GATES = {"fp32": 2e-6, "fp16": 3e-2, "bf16": 5e-2}  # mostly units that rounding switches on or off
DECIDED_GATES = {"fp32": 2e-6, "fp16": 3e-3, "bf16": 1.5e-2}  # no unit near its switch
ROUNDED_GATE = 1.5e-2  # likewise, with gradients in bfloat16 on a GPU
FIELD_TYPES = {"fp32": torch.float32, "fp16": torch.float32, "bf16": torch.bfloat16}


@pytest.fixture
def poisoned(monkeypatch):
    """Fresh memory holds NaN, so whatever a kernel leaves unwritten shows."""

    def poison(make):
        def made(*args, **kwargs):
            out = make(*args, **kwargs)
            return out.fill_(float("nan")) if out.is_floating_point() else out

        return made

    monkeypatch.setattr(torch, "empty_like", poison(torch.empty_like))
    monkeypatch.setattr(torch.Tensor, "new_empty", poison(torch.Tensor.new_empty))


def prepared(
    shape, blocks: int, spectrum: str, kind: str, device: str, decided: bool = False
) -> tuple[dict, dict, Tensor]:
    """Inputs of the kernels, the same numbers in float64, and a gradient of the output.

    ``decided``: biases far from zero switch every unit clearly on or off, so that rounding flips none.
    """
    truth = mixer_inputs(shape, blocks, spectrum)
    if decided:
        truth |= {name: 0.3 * truth[name] for name in ("w1", "w2")}
        truth |= {name: 5 * truth[name].sign() for name in ("b1", "b2")}
    inputs = cast(truth, torch.float32)
    inputs["x_BHWD"] = truth["x_BHWD"].detach().to(FIELD_TYPES[kind]).requires_grad_()
    inputs = {name: t.detach().to(device).requires_grad_() for name, t in inputs.items()}
    grad_out = torch.randn(shape).to(device, FIELD_TYPES[kind])
    return inputs, cast(inputs, torch.float64), grad_out


def mix(inputs: dict, kind: str, modes: Modes) -> Tensor:
    return spectral.spectral_mixing(**inputs, modes=modes, precision="fp32" if kind == "fp32" else "fp16")


def check_values_and_gradients(
    shape, blocks: int, modes: Modes, spectrum: str, kind: str, device: str, decided: bool = False
) -> None:
    inputs, truth, grad_out = prepared(shape, blocks, spectrum, kind, device, decided)
    expected = reference.spectral_mixing(**truth, modes=modes)
    found = mix(inputs, kind, modes)
    assert found.dtype == inputs["x_BHWD"].dtype
    assert found.is_contiguous()
    assert relative(found, expected) < OUTPUT_GATES[kind]
    expected_gradients = gradients(expected, truth, grad_out.double())
    gate = (DECIDED_GATES if decided else GRADIENT_GATES)[kind]
    if device == "cuda" and kind == "fp16":
        gate = max(gate, ROUNDED_GATE)
    for name, gradient in gradients(found, inputs, grad_out).items():
        assert gradient.dtype == inputs[name].dtype
        error = relative(gradient, expected_gradients[name])
        assert error < gate, f"gradient of {name}: {error:.1e}"


def check_same_bits_twice(shape, blocks: int, kind: str, device: str) -> None:
    inputs, _, grad_out = prepared(shape, blocks, "white", kind, device)
    first, second = (mix(inputs, kind, Modes()) for _ in range(2))
    assert torch.equal(first, second)
    twice = zip(gradients(first, inputs, grad_out).items(), gradients(second, inputs, grad_out).values(), strict=True)
    for (name, gradient), again in twice:
        assert torch.equal(gradient, again), name


def upper_band(field_BHWD: Tensor, modes: Modes) -> Tensor:
    """The upper half of the kept zonal wavenumbers."""
    kept = modes.keep(*field_BHWD.shape[1:3])
    return torch.fft.rfft(field_BHWD.double(), dim=2)[:, :, kept.zonal // 2 : kept.zonal]


def published_autocast(inputs: dict, modes: Modes) -> Tensor:
    """The mixer as published, under bfloat16 autocast: transforms in float32, matrix products in bfloat16."""

    def product(t: Tensor, w: Tensor) -> Tensor:
        return torch.einsum("...bi,bio->...bo", t.bfloat16(), w.bfloat16()).float()

    x, weight, bias, w1, b1, w2, b2 = (t.detach() for t in inputs.values())
    H, W, D = x.shape[1:]
    kept = modes.keep(H, W)
    y = torch.nn.functional.layer_norm(x, (D,), weight, bias, 1e-6)
    z = reference.select_modes(reference.forward_transform(y), kept).unflatten(-1, w1.shape[1:3])
    h_re = torch.relu(product(z.real, w1[0]) - product(z.imag, w1[1]) + b1[0])
    h_im = torch.relu(product(z.imag, w1[0]) + product(z.real, w1[1]) + b1[1])
    o_re = product(h_re, w2[0]) - product(h_im, w2[1]) + b2[0]
    o_im = product(h_im, w2[0]) + product(h_re, w2[1]) + b2[1]
    s = torch.complex(*(torch.nn.functional.softshrink(o, 0.01) for o in (o_re, o_im))).flatten(-2)
    return reference.inverse_transform(reference.place_modes(s, kept, W), W) + y + x


def check_upper_band(shape, blocks: int, device: str) -> None:
    """Small scales of a red field, which low precision drowns first, are no worse than the published mixer's."""
    modes = Modes("full")
    inputs, truth, _ = prepared(shape, blocks, "red", "fp16", device)
    expected = upper_band(reference.spectral_mixing(**truth, modes=modes), modes)
    found = (mix(inputs, "fp16", modes), published_autocast(inputs, modes))
    error, published_error = ((upper_band(out, modes) - expected).norm() for out in found)
    assert error < 1.5 * published_error
