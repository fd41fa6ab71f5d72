"""The two operators that have kernels of their own, against what they are defined to compute."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fourcast.distributed import choose_device
from fourcast.doctor.cache import cache_folder, way_out
from fourcast.doctor.finding import FAILED, OK, POOR, Finding, isolated
from fourcast.kernels import reference
from fourcast.kernels.dispatch import choose
from fourcast.kernels.fft_conv import fft_conv
from fourcast.kernels.modes import Modes
from fourcast.kernels.spectral import spectral_mixing

SHAPE, BLOCKS = (1, 32, 64, 256), 8
SEQUENCES = (2, 32, 1024)
GATES = {"fp32": 2e-6, "fp16": 2e-3}
"""Relative errors (L2) that the operators' tests allow in each precision."""
PRECISIONS = {"triton": ("fp32", "fp16"), "torch": ("fp32",)}
"""Plain torch computes in the type of its input, whatever the precision."""
REPEATS = 10
MIXING, CONVOLUTION = "spectral mixing", "long convolution"


def kernels(device: str) -> list[dict[str, Any]]:
    """Both operators on ``device``, each as a finding."""
    own = choose_device(device, 0)
    remedy = way_out(cache_folder(os.environ))
    found = isolated(MIXING, partial(mixing, own), remedy) + isolated(CONVOLUTION, partial(convolution, own), remedy)
    return [asdict(finding) for finding in found]


def mixing(device: torch.device) -> list[Finding]:
    """AFNO's spectral mixing against the reference in float64."""
    torch.manual_seed(0)
    D = SHAPE[-1]
    block = D // BLOCKS
    x, norm = torch.randn(SHAPE), (1 + 0.1 * torch.randn(D), 0.1 * torch.randn(D))
    inputs = [x, *norm]
    for _ in range(2):
        inputs += [torch.randn(2, BLOCKS, block, block) / block**0.5, 0.1 * torch.randn(2, BLOCKS, block)]
    expected = reference.spectral_mixing(*(t.double() for t in inputs), modes=Modes())
    here = [t.to(device) for t in inputs]
    path = choose(here[0], block)
    runs = {kind: partial(spectral_mixing, *here, modes=Modes(), precision=kind) for kind in PRECISIONS[path]}
    return [judged(MIXING, runs, expected, f"{path} on {device.type}")]


def convolution(device: torch.device) -> list[Finding]:
    """The circular convolution of sequences with kernels as long against its definition, by FFT in float64."""
    torch.manual_seed(0)
    u_BDL, k_DL = torch.randn(SEQUENCES), torch.randn(SEQUENCES[1:]) / SEQUENCES[-1] ** 0.5
    expected = torch.fft.irfft(torch.fft.rfft(u_BDL.double()) * torch.fft.rfft(k_DL.double()))
    u, k = u_BDL.to(device), k_DL.to(device)
    path = choose(u, 16)
    runs = {kind: partial(fft_conv, u, k, precision=kind) for kind in PRECISIONS[path]}
    return [judged(CONVOLUTION, runs, expected, f"{path} on {device.type}")]


def judged(name: str, runs: Mapping[str, Callable[[], Tensor]], expected: Tensor, path: str) -> Finding:
    """The errors of an operator in each precision, and its time in the last one."""
    began = time.perf_counter()
    errors = {precision: relative(run(), expected) for precision, run in runs.items()}
    first = time.perf_counter() - began
    milliseconds = _milliseconds(list(runs.values())[-1])
    words = ", ".join(f"{error:.0e} in {precision}" for precision, error in errors.items())
    figures = {f"error_{precision}": error for precision, error in errors.items()}
    figures |= {"ms": round(milliseconds, 3), "first_s": round(first, 2)}
    found = f"{path}: error {words}; {milliseconds:.3g} ms, {first:.1f} s to prepare"
    if any(not error < GATES[precision] for precision, error in errors.items()):
        gates = ", ".join(f"{GATES[precision]:.0e} in {precision}" for precision in errors)
        return Finding(name, FAILED, f"{found}; allowed are {gates}", way_out(cache_folder(os.environ)), figures)
    if path == "torch on cuda":
        return Finding(name, POOR, found, "unset FOURCAST_KERNELS; see torch and triton above", figures)
    return Finding(name, OK, found, "", figures)


def relative(found: Tensor, expected: Tensor) -> float:
    """Relative L2 distance."""
    return float((found.double().cpu() - expected).norm() / expected.norm())


def _milliseconds(run: Callable[[], Tensor]) -> float:
    began = time.perf_counter()
    for _ in range(REPEATS):
        out = run()
    if out.is_cuda:
        torch.cuda.synchronize(out.device)
    return 1000 * (time.perf_counter() - began) / REPEATS
