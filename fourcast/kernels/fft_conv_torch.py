"""Long convolution with torch.fft, forward and backward written out: CPUs, other accelerators, float64, any length.

Nothing is saved for backward beside the inputs. Channels go in groups, so that spectra take bounded memory.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from fourcast.kernels.monarch import Frequencies, transform_length

GROUP_BYTES = 64 << 20  # of one spectrum


class Sequences(NamedTuple):
    """What is convolved: u [B, D, L] with kernels k [D, K], and optional gates [B, D, L] before and after."""

    u: Tensor
    k: Tensor
    pre_gate: Tensor | None
    post_gate: Tensor | None

    def channels(self, d0: int, d1: int, dtype: torch.dtype) -> "Sequences":
        """Those of channels d0 ... d1 - 1 in another type."""
        u, k, pre, post = self
        gates = (None if gate is None else gate[:, d0:d1].to(dtype) for gate in (pre, post))
        return Sequences(u[:, d0:d1].to(dtype), k[d0:d1].to(dtype), *gates)


def forward(s: Sequences, causal: bool, frequencies: Frequencies) -> Tensor:
    """post_gate * (k * (pre_gate u)), contiguous, in u's type."""
    y = torch.empty(s.u.shape, dtype=s.u.dtype, device=s.u.device)
    for d0, d1, part in groups(s):
        n, _, spectrum = spectra(part, causal, frequencies)
        y[:, d0:d1] = gated(inverse(gated(part.u, part.pre_gate), spectrum, n), part.post_gate)
    return y


def backward(
    dy: Tensor, s: Sequences, causal: bool, frequencies: Frequencies
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Gradients of u, k and the gates, contiguous, in their types; None for a gate that is not there."""
    du, dk = (t.new_empty(t.shape) for t in s[:2])
    dpre, dpost = (None if gate is None else gate.new_empty(gate.shape) for gate in s[2:])
    for d0, d1, part in groups(s):
        n, passed, spectrum = spectra(part, causal, frequencies)
        x, g = gated(part.u, part.pre_gate), dy[:, d0:d1].to(part.u.dtype)
        if dpost is not None:
            dpost[:, d0:d1] = g * inverse(x, spectrum, n)
        # conj_physical: under a compiler's dispatch, the flag that conj() sets instead is not heeded
        X, G = (torch.fft.rfft(t, n) for t in (x, gated(g, part.post_gate)))
        dx = torch.fft.irfft(G * spectrum.conj_physical(), n)[..., : x.shape[-1]]
        du[:, d0:d1] = gated(dx, part.pre_gate)
        if dpre is not None:
            dpre[:, d0:d1] = dx * part.u
        dspectrum = (X.conj_physical() * G).sum(0)
        dk[d0:d1] = torch.fft.irfft(dspectrum if passed is None else dspectrum * passed, n)[..., : s.k.shape[1]]
    return du, dk, dpre, dpost


def groups(s: Sequences) -> Iterator[tuple[int, int, Sequences]]:
    """Channels in groups whose spectra keep to GROUP_BYTES, in at least float32."""
    B, D, L = s.u.shape
    dtype = torch.promote_types(torch.promote_types(s.u.dtype, s.k.dtype), torch.float32)
    step = max(1, GROUP_BYTES // (2 * B * L * dtype.itemsize))
    for d0 in range(0, D, step):
        d1 = min(d0 + step, D)
        yield d0, d1, s.channels(d0, d1, dtype)


def spectra(s: Sequences, causal: bool, frequencies: Frequencies) -> tuple[int, Tensor | None, Tensor]:
    """Length of the transform, which of its half spectrum passes (None: all), and the kernel's half spectrum."""
    L, K = s.u.shape[-1], s.k.shape[-1]
    if frequencies.all:
        n = fast_length(L + K - 1) if causal else L
        return n, None, torch.fft.rfft(s.k, n)
    n = transform_length(L, K, causal)
    passed = frequencies.mask(n)[: n // 2 + 1].to(s.k.device)
    return n, passed, torch.fft.rfft(s.k, n) * passed


def inverse(x: Tensor, spectrum: Tensor, n: int) -> Tensor:
    """The first numbers of the circular convolution of length n, as many as x has."""
    return torch.fft.irfft(torch.fft.rfft(x, n) * spectrum, n)[..., : x.shape[-1]]


def gated(x: Tensor, gate: Tensor | None) -> Tensor:
    return x if gate is None else x * gate


def fast_length(n: int) -> int:
    """The least 2^a 3^b 5^c that is at least n."""
    best = 1 << (n - 1).bit_length()
    five = 1
    while five < best:
        three = five
        while three < best:
            two = three << max(0, (-(-n // three) - 1).bit_length())
            best = min(best, two)
            three *= 3
        five *= 5
    return best
