"""Inputs, truth and gates shared by the tests of the long convolution, in the interpreter and on a GPU alike."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from mixer_cases import gradients, relative
from torch import Tensor

from fourcast.kernels.fft_conv import fft_conv
from fourcast.kernels.monarch import ALL, Frequencies, transform_length

GATES = {"fp32": 2e-6, "fp16": 2e-3, "bf16": 1.5e-2, "bf16 products": 1.5e-2}
FIELD_TYPES = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "bf16 products": torch.bfloat16,
}
PRECISIONS = {"fp32": "fp32", "fp16": "fp16", "bf16": "fp16", "bf16 products": "bf16"}
BOTH = ("pre_gate", "post_gate")

Convolution = Callable[[Tensor, Tensor, bool], Tensor]


class Case(NamedTuple):
    """Sizes of u [batch, dim, length] and k [dim, kernel], and what is asked."""

    batch: int
    dim: int
    length: int
    kernel: int
    causal: bool = False
    frequencies: Frequencies = ALL
    gates: tuple[str, ...] = BOTH


class Direct(torch.autograd.Function):
    """y[n] = sum_j k[j] x[n - j] and its gradients, summed term by term."""

    @staticmethod
    def forward(ctx, x, k, causal):
        ctx.save_for_backward(x, k)
        ctx.causal = causal
        y, window = torch.zeros_like(x), with_past(x, k.shape[1], causal)
        for j, part in delays(x, k):
            y.addcmul_(window[..., part], k[:, j, None])
        return y

    @staticmethod
    def backward(ctx, dy):
        x, k = ctx.saved_tensors
        window, reach = with_past(x, k.shape[1], ctx.causal), k.shape[1] - 1
        dwindow, dk = torch.zeros_like(window), torch.zeros_like(k)
        for j, part in delays(x, k):
            dwindow[..., part].addcmul_(dy, k[:, j, None])
            dk[:, j] = (window[..., part] * dy).sum((0, 2))
        dx = dwindow[..., reach:].clone()
        if not ctx.causal:
            dx[..., x.shape[-1] - reach :] += dwindow[..., :reach]
        return dx, dk, None


def with_past(x: Tensor, kernel: int, causal: bool) -> Tensor:
    """x behind the kernel - 1 numbers that come before it."""
    past = x[..., x.shape[-1] - kernel + 1 :]
    if causal:
        past = x.new_zeros(*x.shape[:-1], kernel - 1)
    return torch.cat([past, x], -1)


def delays(x: Tensor, k: Tensor):
    """Every delay j, and where x delayed by it lies in ``with_past``."""
    length, kernel = x.shape[-1], k.shape[1]
    return ((j, slice(kernel - 1 - j, kernel - 1 - j + length)) for j in range(kernel))


direct: Convolution = Direct.apply


def by_fft(x: Tensor, k: Tensor, causal: bool) -> Tensor:
    """The same by Fourier transforms of any length, where sums take too long."""
    length = x.shape[-1]
    n = length + k.shape[1] - 1 if causal else length
    return torch.fft.irfft(torch.fft.rfft(x, n) * torch.fft.rfft(k, n), n)[..., :length]


def impulse_response(frequencies: Frequencies, n: int) -> Tensor:
    """Of the filter that lets these frequencies pass: an inverse discrete Fourier transform, term by term, [n]."""
    m, response = torch.arange(n), torch.zeros(n, dtype=torch.float64)
    for k in frequencies.mask(n).nonzero().flatten().tolist():
        response += torch.cos(2 * math.pi / n * (k * m % n).double())
    return response / n


def truth(inputs: dict[str, Tensor], case: Case, convolution: Convolution = direct) -> Tensor:
    """What fft_conv defines, in the type of the inputs; a pattern filters the kernel in the domain of time."""
    length, k = case.length, inputs["k_DK"][:, : case.length]
    x = inputs["u_BDL"] * inputs.get("pre_gate", 1)
    if case.frequencies.all:
        y = convolution(x, k, case.causal)
    else:
        n = transform_length(length, k.shape[1], case.causal)
        response = impulse_response(case.frequencies, n).to(k).repeat(len(k), 1)
        padded = torch.nn.functional.pad(k, (0, n - k.shape[1]))
        filtered = convolution(padded[None], response, False)[0]
        y = convolution(torch.nn.functional.pad(x, (0, n - length)), filtered, False)[..., :length]
    return y * inputs.get("post_gate", 1)


def prepared(case: Case, kind: str, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Leaves for the operation, the same numbers in float64 on the CPU, and a gradient of the result."""
    torch.manual_seed(0)
    shape, dtype = (case.batch, case.dim, case.length), FIELD_TYPES[kind]
    inputs = {name: torch.randn(shape).to(dtype) for name in ("u_BDL", *case.gates)}
    inputs["k_DK"] = torch.randn(case.dim, case.kernel) / case.kernel**0.5
    leaves = {name: t.to(device).requires_grad_() for name, t in inputs.items()}
    return leaves, {name: t.double().requires_grad_() for name, t in inputs.items()}, torch.randn(shape).to(dtype)


def convolved(inputs: dict[str, Tensor], case: Case, precision: str | None = None) -> Tensor:
    return fft_conv(**inputs, causal=case.causal, frequencies=case.frequencies, precision=precision)


def check_values_and_gradients(
    case: Case, kind: str, device: str = "cpu", convolution: Convolution = direct, gate: float | None = None
) -> None:
    gate = gate or GATES[kind]
    leaves, exact, grad_out = prepared(case, kind, device)
    found, expected = convolved(leaves, case, PRECISIONS[kind]), truth(exact, case, convolution)
    assert found.dtype == leaves["u_BDL"].dtype
    assert found.is_contiguous()
    error = relative(found.detach().cpu(), expected)
    assert error < gate, f"result: {error:.1e}"
    expected_gradients = gradients(expected, exact, grad_out.double())
    for name, gradient in gradients(found, leaves, grad_out.to(device)).items():
        assert gradient.dtype == leaves[name].dtype
        error = relative(gradient.cpu(), expected_gradients[name])
        assert error < gate, f"gradient of {name}: {error:.1e}"


def check_single_outputs(case: Case, kind: str, device: str = "cpu", count: int = 5) -> None:
    """A few numbers of a result too long for all of them: each the sum that defines it."""
    leaves, exact, _ = prepared(case, kind, device)
    with torch.no_grad():
        found = convolved(leaves, case, PRECISIONS[kind]).double().cpu()
        scale = found.square().mean().sqrt()
        for n in (0, 1, case.kernel - 1, case.length - 1, *torch.randint(case.length, (count,)).tolist()):
            places = n - torch.arange(case.kernel)
            x = (exact["u_BDL"] * exact.get("pre_gate", 1))[..., places % case.length]
            if case.causal:
                x = x * (places >= 0)
            expected = (x * exact["k_DK"]).sum(-1) * exact.get("post_gate", torch.ones(case.length))[..., n]
            assert (found[..., n] - expected).abs().max() < 10 * GATES[kind] * scale, n


def check_same_bits_twice(case: Case, kind: str, device: str = "cpu") -> None:
    leaves, _, grad_out = prepared(case, kind, device)
    first, second = (convolved(leaves, case, PRECISIONS[kind]) for _ in range(2))
    assert torch.equal(first, second)
    again = gradients(second, leaves, grad_out.to(device))
    for name, gradient in gradients(first, leaves, grad_out.to(device)).items():
        assert torch.equal(gradient, again[name]), name
