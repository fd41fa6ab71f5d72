"""Convolution by transforms as matrix products: how a length is split into short transforms, and what that costs.

A transform of N = f0 f1 ... numbers is a chain of short ones (Gentleman & Sande 1966; as structured matrices, Dao et
al., Monarch, arXiv 2204.00595; on tensor cores, Fu et al., FlashFFTConv, arXiv 2311.05908). With the place n read
most significant digit first and the frequency k least significant digit first,

    n = n0 N/f0 + n1 N/(f0 f1) + ...        k = k0 + f0 (k1 + f1 (k2 + ...))

stage i multiplies digit i by the f_i x f_i DFT matrix and turns the result by exp(-2 pi i k_i m / N_i), N_i being the
length that is left and m the place in what follows. No digit is reversed: the kernel's spectrum is laid out as
[f0, f1, ...] instead. A frequency whose first or last digit is not kept costs no product.
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

SHORTEST = 256
"""Least length of a transform on tensor cores, whose products have sides of at least 16."""


class Frequencies(NamedTuple):
    """Which frequencies of a transform of N pass. The default passes all.

    low_pass: those with |k| < low_pass N / 2. comb: those less than comb * period / 2 away from a multiple of
    period, a power of two from 16 to 128 that divides N. Both sets are symmetric, so that real stays real.
    """

    low_pass: float = 1.0
    comb: float = 1.0
    period: int = 32

    @property
    def all(self) -> bool:
        return self.low_pass == 1 and self.comb == 1

    def mask(self, length: int) -> Tensor:
        """Which k = 0 ... N-1 pass, bool [N]."""
        k = torch.arange(length)
        passed = torch.ones(length, dtype=torch.bool)
        if self.low_pass < 1:
            passed &= torch.minimum(k, length - k) < self.low_pass * length / 2
        if self.comb < 1:
            residue = k % self.period
            passed &= torch.minimum(residue, self.period - residue) < self.comb * self.period / 2
        return passed


ALL = Frequencies()


def transform_length(length: int, kernel: int, causal: bool) -> int:
    """The N whose frequencies a pattern speaks of: the sequence itself where circular, else the power of two from
    SHORTEST up that holds sequence and kernel without wrapping round."""
    return max(SHORTEST, 1 << (length + kernel - 2).bit_length()) if causal else length


class Machine(NamedTuple):
    """What the cost model knows of a GPU. Rates are per second; only their ratios matter to the choice."""

    tensor: float  # operations of dense 16-bit matrix products with at least WIDE rows
    narrow: float  # the same with fewer rows
    memory: float  # bytes of main memory
    shared: float  # bytes of shared memory, all multiprocessors together
    fused: tuple[int, int]  # longest transform of a program, operands of 2 and of 4 bytes
    two: int  # longest that a program makes of two short transforms


WIDE = 64
"""Rows from which the warp-group instructions of Hopper and its successors serve."""

MACHINES = {
    8: Machine(234e12, 234e12, 1.35e12, 9.5e12, (2048, 2048), 2048),
    9: Machine(790e12, 490e12, 4.3e12, 31e12, (16384, 4096), 16384),
    10: Machine(1800e12, 1100e12, 7.0e12, 36e12, (8192, 2048), 2048),
}
"""By major compute capability. Rates: A100 as in FlashFFTConv's table of constants; H200 as dense products and copies
reach it, its older instructions 0.62 of that; B200 in proportion to its data sheet, not measured. Lengths: what
compiles without spilling many registers or exhausting tensor memory."""

INNER = (16, 32, 64, 128)
"""Short transforms inside a program. Below 16 tensor cores idle; above 128 the matrix outgrows shared memory."""
OUTER = (16, 32, 64, 128, 256, 512, 1024)
"""Short transforms that are a pass through memory of their own."""
THREE = (16, 32)
"""Short transforms of a program that makes three: more of them do not fit registers."""
PROGRAM = 1024
"""Complex numbers that one program holds at least: several pairs where sequences are short."""


class Problem(NamedTuple):
    """What a plan depends on. Sizes of u [batch, any, length] and of the kernel; bytes of a number in products and in
    memory; how many gates are read beside u."""

    batch: int
    length: int
    kernel: int
    causal: bool
    operand_bytes: int
    field_bytes: int
    gates: int
    frequencies: Frequencies

    @property
    def exact(self) -> bool:
        """Whether the sequence is a circle that a transform of just its length serves."""
        return not self.causal and self.length >= SHORTEST and self.length & (self.length - 1) == 0


class Plan(NamedTuple):
    """Circular transforms of N = prod(digits) over segments of the sequence.

    digits: lengths of the stages. fused: one program makes them all, else the first is a pass through memory of its
    own. step: places of the result that a transform gives. segments: how many transforms cover the sequence.
    """

    digits: tuple[int, ...]
    fused: bool
    step: int
    segments: int

    @property
    def length(self) -> int:
        return math.prod(self.digits)

    @property
    def outer(self) -> int:
        return 1 if self.fused else self.digits[0]

    @property
    def inner(self) -> tuple[int, ...]:
        return self.digits if self.fused else self.digits[1:]


@lru_cache
def choose(problem: Problem, capability: int) -> Plan:
    """The plan that takes least time by ``seconds`` on a GPU of that major compute capability."""
    machine = machine_of(capability)
    return min(plans(problem, machine), key=lambda plan: seconds(plan, problem, machine))


def machine_of(capability: int) -> Machine:
    return MACHINES.get(capability, MACHINES[min(max(capability, min(MACHINES)), max(MACHINES))])


def plans(problem: Problem, machine: Machine) -> Iterator[Plan]:
    """Every way there is."""
    for n in lengths(problem):
        step, segments = segmentation(n, problem)
        most = max(machine.fused[problem.operand_bytes // 4], n // OUTER[-1])
        ways = [(d, True) for d in inner_digits(n, machine.two)] if n <= most else []
        ways += [((f, *d), False) for f in OUTER if n // f <= most < n for d in inner_digits(n // f, machine.two)]
        yield from (Plan(digits, fused, step, segments) for digits, fused in ways)


def inner_digits(n: int, two: int) -> Iterator[tuple[int, ...]]:
    """Two or three short transforms that make one of n in one program; two of them up to a length of ``two``."""
    if n <= two:
        yield from ((a, n // a) for a in INNER if n // a in INNER)
    yield from ((a, b, n // (a * b)) for a in THREE for b in THREE if n // (a * b) in THREE)


def lengths(problem: Problem) -> list[int]:
    """Lengths of transform to consider: powers of two, of which a kernel takes no more than about half."""
    if not problem.frequencies.all:
        return [transform_length(problem.length, problem.kernel, problem.causal)]
    whole = problem.length if problem.exact else max(SHORTEST, 1 << (problem.length + problem.kernel - 2).bit_length())
    least = min(whole, max(SHORTEST, 1 << problem.kernel.bit_length()))
    return [1 << i for i in range(least.bit_length() - 1, whole.bit_length())]


def segmentation(n: int, problem: Problem) -> tuple[int, int]:
    """Places of the result from a transform of n, the kernel's reach before them being read again; and how many."""
    if problem.exact and n == problem.length:
        return n, 1
    step = min(problem.length, n - problem.kernel + 1)
    if step < problem.length and step >= 16:
        step = step // 16 * 16  # segments begin where whole vectors do
    return step, -(-problem.length // step)


def seconds(plan: Plan, problem: Problem, machine: Machine) -> float:
    """Time of one channel by FlashFFTConv's cost model (section 3.2 there): products, what they pass through shared
    memory and what a pass moves in main memory, added up, since a program that fills a multiprocessor waits for each.
    """
    pairs = -(-problem.batch * plan.segments // 2)
    rates = [(machine.tensor if rows >= WIDE else machine.narrow) for rows in product_rows(plan, problem)]
    works = [work / rate for work, rate in zip(stage_operations(plan, problem), rates, strict=True)]
    spectrum = 2 * problem.operand_bytes * plan.length * padded(len(first_kept(plan, problem))) / plan.digits[0]
    shared = 4 * spectrum / machine.shared  # written and read on the way there and back
    field = 2 * problem.field_bytes * (plan.step * (2 + problem.gates) + plan.length - plan.step)
    moved = field if plan.fused else field + 4 * spectrum
    return pairs * (sum(works) + len(works) * shared + moved / machine.memory) + spectrum / machine.memory


def stage_operations(plan: Plan, problem: Problem) -> list[float]:
    """Operations of each stage for a pair of sequences, there and back, without what the plan skips."""
    n, digits = plan.length, plan.digits
    rows_in, rows_out = (rows * n / digits[0] for rows in used_rows(plan, problem))
    first, last = padded(len(first_kept(plan, problem))), padded(len(last_kept(plan, problem)))
    share = first / digits[0]
    operations = [8 * first * (rows_in + rows_out)]
    operations += [16 * share * n * digit for digit in digits[1:-1]]
    return [*operations, 16 * share * n * last]


def product_rows(plan: Plan, problem: Problem) -> list[int]:
    """Rows of each stage's product: the digit itself, but in a program's last stage all that come before it."""
    last = max(PROGRAM, plan.length // plan.outer) // plan.digits[-1]
    return [padded(len(first_kept(plan, problem))), *plan.digits[1:-1], last]


def used_rows(plan: Plan, problem: Problem) -> tuple[int, int]:
    """First-digit rows that hold anything but zeros before the first stage, and that are wanted after the last."""
    row = plan.length // plan.digits[0]
    wanted = -(-plan.step // row)
    read = plan.digits[0] if plan.segments > 1 or not (problem.causal or problem.exact) else wanted
    return read, wanted


def first_kept(plan: Plan, problem: Problem) -> list[int]:
    """Kept values of the first digit: all residues, or those of a comb whose period divides the digit."""
    _, comb, period = problem.frequencies
    pattern = Frequencies(1.0, comb if plan.digits[0] % period == 0 else 1.0, period)
    return pattern.mask(plan.digits[0]).nonzero().flatten().tolist()


def last_kept(plan: Plan, problem: Problem) -> list[int]:
    """Kept values of the last digit: all bands of N over it, or those that hold what low_pass lets through."""
    f, half = plan.digits[-1], math.ceil(problem.frequencies.low_pass * plan.digits[-1] / 2)
    return [r for r in range(f) if r < half or r >= f - half]


def padded(n: int) -> int:
    """The side of a tile that holds n: a power of two, at least 16."""
    return max(16, 1 << (n - 1).bit_length())


def dft_matrix(n: int, rows: list[int]) -> Tensor:
    """The given rows of the orthonormal DFT matrix, [2, rows, n]: real and imaginary parts, float64."""
    return turns(torch.outer(torch.tensor(rows), torch.arange(n)), n) / math.sqrt(n)


def twiddles(n: int, rows: list[int], columns: int) -> Tensor:
    """exp(-2 pi i r m / n) for the given r and m = 0 ... columns - 1, [2, rows, columns], float64."""
    return turns(torch.outer(torch.tensor(rows), torch.arange(columns)), n)


def turns(products: Tensor, n: int) -> Tensor:
    theta = products.remainder(n).double() * (2 * math.pi / n)
    return torch.stack([theta.cos(), -theta.sin()])


def to_digits(spectrum: Tensor, digits: tuple[int, ...]) -> Tensor:
    """A spectrum [D, N] by digits of its frequency, [D, f0, f1, ...]."""
    return spectrum.unflatten(1, digits[::-1]).permute(0, *range(len(digits), 0, -1))


def from_digits(spectrum: Tensor) -> Tensor:
    """Inverse of ``to_digits``: [D, f0, f1, ...] → [D, N]."""
    return spectrum.permute(0, *range(spectrum.dim() - 1, 0, -1)).flatten(1)
