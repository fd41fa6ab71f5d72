"""Long convolution in Triton, host side: plan, tables, spectrum of the kernel, launches of forward and backward.

Backward keeps the inputs alone. With G = F(post dy), U = F(pre u) and K the kernel's spectrum, all gradients are
convolutions again: that of pre u is F⁻¹(conj(K) G), which gives du and the first gate's in one launch; the second
gate's is dy (k * (pre u)); and dk is the inverse transform of the sum over the batch of conj(U) G.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
import triton.language as tl
from torch import Tensor

from fourcast.kernels import fft_conv_kernels as kernels
from fourcast.kernels import monarch
from fourcast.kernels.fft_conv_torch import Sequences
from fourcast.kernels.monarch import ALL, Frequencies, Plan, Problem, padded
from fourcast.kernels.spectral_triton import TRITON_TYPE, capability

PROGRAMS = 528
"""Programs that keep a large GPU busy: the pairs of a channel are summed in as many shares as that takes."""
WORKSPACE_BYTES = 256 << 20
"""Of spectra between passes; what needs more goes in groups of channels and of pairs."""
GRID = 65535
"""Most programs along the second axis of a launch, where channels are."""
TILE = 64
"""Places of the later digits in one program of an outer pass."""


class Sizes(NamedTuple):
    """Compile-time sizes of the transform inside a program, by the kernels' names."""

    P: int
    N0: int
    N1: int
    N2: int
    K0: int
    K2: int
    DT: tl.dtype
    PREC: str


@dataclass(frozen=True, eq=False)
class Setup:
    """What depends on sizes and types only. Tables as the kernels take them; outer ones only where a pass is apart."""

    plan: Plan
    problem: Problem
    operand: torch.dtype
    kept: tuple[list[int], ...]  # values of each digit
    some: tuple[Tensor | None, Tensor | None]  # those of the first and the last, None where all are kept
    sizes: Sizes
    inner: tuple[Tensor | None, ...]  # first, turn0, middle, turn1, last
    outer: tuple[Tensor, ...]  # first, coarse, fine
    warps: int

    @property
    def sequences(self) -> tuple[int, int]:
        """Segments of a sequence, and of all sequences of a channel."""
        return self.plan.segments, self.problem.batch * self.plan.segments

    @property
    def pairs(self) -> int:
        return -(-self.sequences[1] // 2)

    @property
    def rows(self) -> tuple[int, int]:
        """Rows of the first digit, in whole tiles, that are read and that are wanted."""
        read, wanted = monarch.used_rows(self.plan, self.problem)
        return padded(read), padded(wanted)

    @property
    def stage(self) -> tuple[int, int, int]:
        """Of the outer stage: its length, the length of what follows, and kept values in whole tiles."""
        outer = self.plan.outer
        return outer, self.plan.length // outer, 1 if self.plan.fused else padded(len(self.kept[0]))

    @property
    def whole(self) -> bool:
        """Whether one transform sees all that its result depends on, at its own places."""
        return self.plan.segments == 1 and (self.problem.causal or self.problem.exact)

    @property
    def extent(self) -> tuple[int, int, int]:
        """Length of a sequence, step of a segment, and the kernel's reach beyond it."""
        return self.problem.length, self.plan.step, 0 if self.whole else self.problem.kernel - 1

    def view(self, reach: str) -> str:
        """How a transform is laid on the sequence where the kernel reaches into past or future."""
        return "here" if self.whole else reach


def forward(s: Sequences, causal: bool, frequencies: Frequencies, operand: torch.dtype) -> Tensor:
    """post_gate * (k * (pre_gate u)), contiguous, in u's type."""
    s, frequencies = fitted(contiguous(s), causal, frequencies, operand)
    setup = prepare(s, causal, frequencies, operand)
    y = torch.empty_like(s.u)
    for channels, spectrum in spectra(setup, s.k):
        convolve(setup, (s.u, s.pre_gate), spectrum, channels, [(y, s.post_gate)])
    return y


def backward(
    dy: Tensor, s: Sequences, causal: bool, frequencies: Frequencies, operand: torch.dtype
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Gradients of u, k and the gates, in their types; None for a gate that is not there."""
    given, dy = contiguous(s), dy.contiguous()
    s, inside = fitted(given, causal, frequencies, operand)
    setup = prepare(s, causal, inside, operand)
    du = torch.empty_like(s.u)
    dpre, dpost = (None if gate is None else torch.empty_like(gate) for gate in (s.pre_gate, s.post_gate))
    dk = s.k.new_empty(s.k.shape, dtype=torch.float32)
    before = [(du, s.pre_gate)] if dpre is None else [(du, s.pre_gate), (dpre, s.u)]
    for channels, spectrum in spectra(setup, s.k):
        convolve(setup, (dy, s.post_gate), spectrum, channels, before, conjugate=True)
        if dpost is not None:
            convolve(setup, (s.u, s.pre_gate), spectrum, channels, [(dpost, dy)])
        dspectrum = correlate(setup, (s.u, s.pre_gate), (dy, s.post_gate), channels)
        dk[channels] = kernel_gradient(setup, dspectrum)
    if inside != frequencies:
        dk = filtered(dk, s.u.shape[-1], frequencies)[:, : given.k.shape[1]]
    return du, dk.to(given.k.dtype), dpre, dpost


def contiguous(s: Sequences) -> Sequences:
    return Sequences(*(None if t is None else t.contiguous() for t in s))  # type: ignore[arg-type]


def fitted(s: Sequences, causal: bool, frequencies: Frequencies, operand: torch.dtype) -> tuple[Sequences, Frequencies]:
    """The same convolution where a transform has the pattern's length, else with the pattern put into the kernel."""
    if frequencies.all or causal or problem_of(s, causal, frequencies, operand).exact:
        return s, frequencies
    return s._replace(k=filtered(s.k.float(), s.u.shape[-1], frequencies)), ALL


def filtered(k: Tensor, n: int, frequencies: Frequencies) -> Tensor:
    """Kernels [D, K] as ones of length n whose spectrum holds the given frequencies alone; its own adjoint."""
    return torch.fft.irfft(torch.fft.rfft(k, n) * passing(frequencies, n, k.device)[: n // 2 + 1], n)


@lru_cache
def passing(frequencies: Frequencies, n: int, device: torch.device) -> Tensor:
    """``frequencies.mask`` on the device, put there once: a copy from the host would wait for all launches before."""
    return frequencies.mask(n).to(device)


def prepare(s: Sequences, causal: bool, frequencies: Frequencies, operand: torch.dtype) -> Setup:
    problem = problem_of(s, causal, frequencies, operand)
    return setup_for(problem, monarch.choose(problem, capability(s.u.device)), operand, s.u.device)


def problem_of(s: Sequences, causal: bool, frequencies: Frequencies, operand: torch.dtype) -> Problem:
    gates = sum(gate is not None for gate in s[2:])
    B, _, L = s.u.shape
    return Problem(B, L, s.k.shape[1], causal, operand.itemsize, s.u.itemsize, gates, frequencies)


@lru_cache
def setup_for(problem: Problem, plan: Plan, operand: torch.dtype, device: torch.device) -> Setup:
    kept = [list(range(digit)) for digit in plan.digits]
    kept[0], kept[-1] = monarch.first_kept(plan, problem), monarch.last_kept(plan, problem)
    if len(plan.inner) == 2:
        (n0, n2), n1 = plan.inner, 1
    else:
        n0, n1, n2 = plan.inner
    first, last = kept[-len(plan.inner)], kept[-1]
    n, pairs = n0 * n1 * n2, -(-problem.batch * plan.segments // 2)
    sizes = Sizes(
        P=min(max(1, monarch.PROGRAM // n), 1 << (pairs - 1).bit_length()) if n1 == 1 else 1,
        N0=n0, N1=n1, N2=n2, K0=padded(len(first)), K2=padded(len(last)),
        DT=TRITON_TYPE[operand], PREC="ieee" if operand.itemsize == 2 else "tf32x3",
    )  # fmt: skip

    def put(table: Tensor, rows: int, dtype: torch.dtype = operand) -> Tensor:
        room = table.new_zeros(2, rows, table.shape[2])
        room[:, : table.shape[1]] = table
        return room.to(device, dtype)

    turn0 = put(monarch.twiddles(n, first, n1 * n2), sizes.K0)
    middle = turn1 = None
    if n1 > 1:
        every = list(range(n1))
        middle, turn1 = put(monarch.dft_matrix(n1, every), n1), put(monarch.twiddles(n1 * n2, every, n2), n1)
    ends = put(monarch.dft_matrix(n0, first), sizes.K0), put(monarch.dft_matrix(n2, last), sizes.K2)
    outer: tuple[Tensor, ...] = ()
    if not plan.fused:
        rows, N = padded(len(kept[0])), plan.length
        coarse = monarch.turns(torch.outer(torch.tensor(kept[0]), torch.arange(0, n, TILE)), N)
        fine = monarch.twiddles(N, kept[0], TILE)
        matrix = put(monarch.dft_matrix(plan.outer, kept[0]), rows)
        outer = matrix, put(coarse, rows, torch.float32), put(fine, rows, torch.float32)
    inner = (ends[0], turn0, middle, turn1, ends[1])
    some = [None if len(kept[i]) == plan.digits[i] else torch.tensor(kept[i], device=device) for i in (0, -1)]
    return Setup(
        plan, problem, operand, tuple(kept), (some[0], some[1]), sizes, inner, outer,
        warps(sizes, operand, capability(device)),
    )  # fmt: skip


def warps(sizes: Sizes, operand: torch.dtype, major: int) -> int:
    """Warps of a program: as few as give its tile the registers it needs, by cross-compilation."""
    numbers = sizes.P * sizes.N0 * sizes.N1 * sizes.N2 * operand.itemsize // 2
    if numbers <= 2048:
        return 4
    return 16 if numbers == 8192 and operand.itemsize == 2 and major == 9 else 8


def spectra(setup: Setup, k: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Groups of channels with the spectra of their kernels, as ``times_kernel`` takes them, in operand type."""
    group = min(len(k), GRID // setup.stage[2])
    if not setup.plan.fused:
        group = max(1, min(group, WORKSPACE_BYTES // workspace(setup)))
    for d0 in range(0, len(k), group):
        channels = slice(d0, min(d0 + group, len(k)))
        yield channels, kernel_spectrum(setup, k[channels])


def workspace(setup: Setup) -> int:
    """Bytes between passes for one pair of one channel."""
    _, M, K0 = setup.stage
    return 2 * K0 * M * setup.operand.itemsize


def kernel_spectrum(setup: Setup, k: Tensor) -> Tensor:
    """[D (kept outer digits), 2, K0, N1, K2]: the kept part of the kernels' spectra, padded to whole tiles."""
    N, problem, sizes = setup.plan.length, setup.problem, setup.sizes
    full = torch.fft.fft(k.float(), N)
    if not problem.frequencies.all:
        full = full * passing(problem.frequencies, N, k.device)
    digits = monarch.to_digits(full, setup.plan.digits)
    for axis, kept in zip((1, digits.dim() - 1), setup.some, strict=True):
        digits = digits if kept is None else digits.index_select(axis, kept)
    digits = digits.reshape(len(k), -1, len(setup.kept[-len(setup.plan.inner)]), sizes.N1, len(setup.kept[-1]))
    out = k.new_zeros(len(k), setup.stage[2], 2, sizes.K0, sizes.N1, sizes.K2, dtype=setup.operand)
    _, there, rows, _, columns = digits.shape
    out[:, :there, 0, :rows, :, :columns], out[:, :there, 1, :rows, :, :columns] = digits.real, digits.imag
    return out


def kernel_gradient(setup: Setup, dspectrum: Tensor) -> Tensor:
    """Adjoint of ``kernel_spectrum``, with the scale of orthonormal transforms: [D, kernel length], fp32."""
    plan, problem, kept = setup.plan, setup.problem, setup.kept
    there = len(kept[0]) if not plan.fused else 1
    first, last = len(kept[-len(plan.inner)]), len(kept[-1])
    part = dspectrum[:, :there, :, :first, :, :last].movedim(2, -1).contiguous()
    part = torch.view_as_complex(part).reshape(len(part), *(len(values) for values in kept))
    for axis, values, size in zip((1, part.dim() - 1), setup.some, (plan.digits[0], plan.digits[-1]), strict=True):
        if values is not None:
            room = part.new_zeros(*part.shape[:axis], size, *part.shape[axis + 1 :])
            part = room.index_copy_(axis, values, part)
    spectrum = monarch.from_digits(part)
    if not problem.frequencies.all:
        spectrum = spectrum * passing(problem.frequencies, plan.length, part.device)
    return torch.fft.ifft(spectrum, norm="forward").real[:, : problem.kernel]


Gated = tuple[Tensor, Tensor | None]
"""Sequences [B, D, L] and what they are multiplied by, if anything."""


class Group(NamedTuple):
    """Channels and pairs that one launch works on."""

    channels: int
    pair0: int
    pairs: int


def convolve(
    setup: Setup, given: Gated, spectrum: Tensor, channels: slice, wanted: list[Gated], conjugate: bool = False
) -> None:
    """Convolve ``given`` into one or two ``wanted``, each times its factor."""
    outs = [t for pair in wanted for t in of_channels(pair, channels)] + [None, None]
    given, D = of_channels(given, channels), given[0].shape[1]
    sizes, count = setup.sizes._asdict(), len(spectrum)
    length, step, reach = setup.extent
    view, circular = setup.view("future" if conjugate else "past"), not setup.problem.causal
    if setup.plan.fused:
        kernels.convolve[(-(-setup.pairs // setup.sizes.P), count)](
            *given, spectrum, *outs[:4], *setup.inner, D, length, step, reach, *setup.sequences,
            view, circular, conjugate, *setup.rows, **sizes, num_warps=setup.warps,
        )  # fmt: skip
        return
    N0, M, K0 = setup.stage
    tile = min(32 if setup.operand.itemsize == 4 and K0 > 64 else 64, setup.rows[1])  # Blackwell's tensor memory
    for group in groups(setup, count):
        z = analysed(setup, given, group, D, view)
        kernels.convolve_rows[(-(-group.pairs // setup.sizes.P), count * K0)](
            z, spectrum, *setup.inner, count * K0, group.pairs, conjugate, **sizes, num_warps=setup.warps
        )
        kernels.outer_synthesise[(group.pairs * count, M // TILE, setup.rows[1] // tile)](
            z, *outs[:4], *setup.outer, count, group.pair0, D, length, step, *setup.sequences,
            N0, M, K0, min(64, K0), tile, TILE, setup.sizes.DT, setup.sizes.PREC, num_warps=4, num_stages=2,
        )  # fmt: skip


def analysed(setup: Setup, given: Gated, group: Group, D: int, view: str) -> Tensor:
    """The outer stage: rows [pairs, channels, K0, 2, M] for the transforms of a program."""
    N0, M, K0 = setup.stage
    rows = setup.rows[1 if view == "here" else 0]
    z = given[0].new_empty(group.pairs, group.channels, K0, 2, M, dtype=setup.operand)
    kernels.outer_analyse[(group.pairs * group.channels, M // TILE, K0 // min(64, K0))](
        *given, z, *setup.outer, group.channels, group.pair0, D, *setup.extent, *setup.sequences,
        view, not setup.problem.causal, rows, N0, M, K0, min(64, K0), min(32, rows), TILE,
        setup.sizes.DT, setup.sizes.PREC, num_warps=4, num_stages=2,
    )  # fmt: skip
    return z


def correlate(setup: Setup, u: Gated, dy: Gated, channels: slice) -> Tensor:
    """Gradient of ``kernel_spectrum``, in its shape and fp32: the sum over the batch of conj(F u) F dy."""
    sizes, count, D = setup.sizes, channels.stop - channels.start, u[0].shape[1]
    u, dy, view = of_channels(u, channels), of_channels(dy, channels), setup.view("past")
    shape = (count, setup.stage[2], 2, sizes.K0, sizes.N1, sizes.K2)

    def shared(pairs: int) -> tuple[int, Tensor]:
        rows = shape[0] * shape[1]
        share = -(-pairs // (sizes.P * max(1, PROGRAMS // rows))) * sizes.P
        return share, u[0].new_empty(-(-pairs // share), *shape, dtype=torch.float32)

    if setup.plan.fused:
        share, out = shared(setup.pairs)
        kernels.correlate[(len(out), count)](
            *u, *dy, out, *setup.inner, count, D, *setup.extent, *setup.sequences, share,
            view, not setup.problem.causal, *setup.rows, **sizes._asdict(), num_warps=setup.warps, num_stages=1,
        )  # fmt: skip
        return out.sum(0)
    total = u[0].new_zeros(shape, dtype=torch.float32)
    for group in groups(setup, count):
        z, g = analysed(setup, u, group, D, view), analysed(setup, dy, group, D, "here")
        share, out = shared(group.pairs)
        kernels.correlate_rows[(len(out), count * shape[1])](
            z, g, out, *setup.inner, count * shape[1], group.pairs, share, **sizes._asdict(),
            num_warps=setup.warps, num_stages=1,
        )  # fmt: skip
        total += out.sum(0)
    return total


def groups(setup: Setup, channels: int) -> Iterator[Group]:
    """All pairs of so many channels, in groups that fit the workspace."""
    most = max(1, WORKSPACE_BYTES // (channels * workspace(setup)))
    for pair0 in range(0, setup.pairs, most):
        yield Group(channels, pair0, min(most, setup.pairs - pair0))


def of_channels(gated: Gated, channels: slice) -> Gated:
    """From the group's first channel on; the kernels take the rest from strides."""
    x, factor = gated
    return x[:, channels.start :], None if factor is None else factor[:, channels.start :]
