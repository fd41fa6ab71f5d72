import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mixer_cases import relative
from torch import Tensor

from fourcast.kernels import monarch
from fourcast.kernels.monarch import ALL, Frequencies, Plan, Problem

CAPABILITIES = (8, 9, 10)
POWERS = [1 << i for i in range(8, 23)]


def problem(length: int, kernel: int | None = None, causal: bool = False, **changes) -> Problem:
    """Half-precision sequences as the published benchmark has them: 64 of them, two gates."""
    return Problem(64, length, kernel or length, causal, 2, 2, 2, ALL)._replace(**changes)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    length, causal = draw(st.integers(16, 1 << 22)), draw(st.booleans())
    kernel = draw(st.one_of(st.just(length), st.integers(1, length)))
    comb, period = draw(st.sampled_from([1.0, 0.3, 0.5])), draw(st.sampled_from([16, 32, 64, 128]))
    frequencies = Frequencies(draw(st.sampled_from([1.0, 0.25, 0.6])), comb, period)
    if not causal and (length < monarch.SHORTEST or length & (length - 1)):
        frequencies = ALL  # a pattern that only a transform of this very length could skip
    bytes_of = draw(st.sampled_from([2, 4]))
    return Problem(
        draw(st.integers(1, 100)), length, kernel, causal, bytes_of, bytes_of, draw(st.integers(0, 2)), frequencies
    )


@settings(max_examples=400, deadline=None)
@given(problems(), st.sampled_from(CAPABILITIES))
def test_every_plan_is_sound(problem: Problem, capability: int):
    machine = monarch.machine_of(capability)
    found = list(monarch.plans(problem, machine))
    assert found
    for plan in found:
        check_transform(plan, machine)
        check_cover(plan, problem)
        assert monarch.seconds(plan, problem, machine) > 0
    best = monarch.choose(problem, capability)
    assert monarch.seconds(best, problem, machine) == min(monarch.seconds(plan, problem, machine) for plan in found)


def check_transform(plan: Plan, machine: monarch.Machine) -> None:
    """The length is the product of digits that the kernels can multiply with."""
    assert plan.length == math.prod(plan.digits) == plan.outer * math.prod(plan.inner)
    assert len(plan.inner) in (2, 3)
    assert set(plan.inner) <= set(monarch.INNER if len(plan.inner) == 2 else monarch.THREE)
    assert plan.outer == 1 if plan.fused else plan.outer in monarch.OUTER
    if len(plan.inner) == 2:
        assert math.prod(plan.inner) <= machine.two


def check_cover(plan: Plan, problem: Problem) -> None:
    """Segments give every place of the result, each from numbers that do not wrap round within its transform."""
    assert plan.step >= 1
    assert (plan.segments - 1) * plan.step < problem.length <= plan.segments * plan.step
    alone = problem.exact and plan.length == problem.length
    assert plan.segments == 1 if alone else plan.step + problem.kernel - 1 <= plan.length
    if plan.segments > 1:
        assert plan.step % 16 == 0 or plan.step < 16


def test_every_length_has_a_plan():
    lengths = {16, 17, 100, 255, 256, 257, 4095, 4096, 4097, 100_003, (1 << 22) - 1, *POWERS}
    for length in lengths:
        for capability in CAPABILITIES:
            for size in (2, 4):
                for causal in (False, True):
                    whole = problem(length, causal=causal, operand_bytes=size, field_bytes=size)
                    assert monarch.choose(whole, capability).length >= min(length, monarch.SHORTEST)


def test_unknown_capabilities_take_the_nearest_machine():
    machines = [monarch.machine_of(capability) for capability in (7, 8, 9, 10, 12)]
    assert machines == [monarch.MACHINES[capability] for capability in (8, 8, 9, 10, 10)]


@pytest.mark.parametrize(
    ("lengths", "order"), [((256, 512, 1024, 2048), 2), ((4096, 8192, 16_384), 3), (POWERS[POWERS.index(65_536) :], 4)]
)
def test_order_grows_with_length(lengths: tuple[int, ...], order: int):
    for length in lengths:
        plan = monarch.choose(problem(length), 9)
        assert len(plan.digits) == order
        assert plan.fused == (length <= 16_384)


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("causal", [False, True])
def test_longer_takes_longer(capability: int, size: int, causal: bool):
    machine = monarch.machine_of(capability)
    problems = [problem(n, causal=causal, operand_bytes=size, field_bytes=size) for n in POWERS]
    times = [monarch.seconds(monarch.choose(p, capability), p, machine) for p in problems]
    assert all(later > 1.5 * earlier for earlier, later in pairwise(times))


def test_operations_by_hand():
    # 1024 = 64 x 16, nothing skipped. A complex product of f x f by f x m is 8 f f m operations: the first digit takes
    # 8 * 64 * 1024 there and as many back, the second 8 * 16 * 1024 each way.
    plan = Plan((64, 16), True, 1024, 1)
    assert monarch.stage_operations(plan, problem(1024)) == [16 * 64 * 1024, 16 * 16 * 1024]
    # Of 500 causal numbers in rows of 16, 32 rows are not zero; of the result, too, 32 rows are wanted.
    half = Plan((64, 16), True, 500, 1)
    assert monarch.used_rows(half, problem(500, causal=True)) == (32, 32)
    assert monarch.stage_operations(half, problem(500, causal=True)) == [16 * 64 * 512, 16 * 16 * 1024]
    # A comb of period 16 keeps 0 ... 3 and 13 ... 15, 7 in 16. Of a first digit of 32 these are 14, in a tile of 16:
    # half of the first products, and of all that follow.
    comb = problem(8192, frequencies=Frequencies(comb=0.5, period=16))
    assert len(monarch.first_kept(Plan((32, 16, 16), True, 8192, 1), comb)) == 14
    operations = monarch.stage_operations(Plan((32, 16, 16), True, 8192, 1), comb)
    assert operations == [16 * 16 * 8192, 16 * 16 * 8192 // 2, 16 * 16 * 8192 // 2]


def test_seconds_by_hand():
    # 512 = 32 x 16 on a machine that does an operation, and moves a byte, in a second. A program makes two such
    # transforms at once: 64 rows meet the last digit. Operations: 16 * 32 * 512 and 16 * 16 * 512 a pair.
    machine = monarch.Machine(1.0, 0.5, 1.0, 1.0, (2048, 2048), 2048)
    plan = Plan((32, 16), True, 512, 1)
    work = 2 * 16 * 32 * 512 + 16 * 16 * 512  # the first with 32 rows, at half the rate
    shared = 2 * 4 * (2 * 2 * 512)  # two stages; written and read, there and back; complex, two bytes each
    memory = 2 * 2 * 512 * 4  # a pair of u, two gates and the result
    assert monarch.seconds(plan, problem(512), machine) == 32 * (work + shared + memory) + 2 * 2 * 512


def least(p: Problem, capability: int) -> float:
    return monarch.seconds(monarch.choose(p, capability), p, monarch.machine_of(capability))


@pytest.mark.parametrize("length", [1024, 4096, 16_384, 262_144])
def test_what_is_skipped_costs_less(length: int):
    dense = least(problem(length), 9)
    quarter = least(problem(length, frequencies=Frequencies(low_pass=0.25)), 9)
    both = least(problem(length, frequencies=Frequencies(0.5, 0.5)), 9)
    assert both < 0.9 * dense
    assert both < quarter < dense


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("length", POWERS)
def test_less_to_do_is_never_slower(capability: int, length: int):
    dense = least(problem(length), capability)
    assert least(problem(length, max(1, length // 16)), capability) <= dense
    for frequencies in (Frequencies(low_pass=0.25), Frequencies(0.5, 0.5)):
        assert least(problem(length, frequencies=frequencies), capability) <= dense


def transform(x: Tensor, digits: tuple[int, ...]) -> Tensor:
    """[N] → its orthonormal spectrum by digits, [f0, f1, ...]: the chain of stages as the module's docstring has it."""
    z, left = x.reshape(1, -1), len(x)
    for f in digits:
        every, left = list(range(f)), left // f
        matrix, turn = (
            torch.complex(*t) for t in (monarch.dft_matrix(f, every), monarch.twiddles(f * left, every, left))
        )
        z = (matrix @ z.reshape(-1, f, left) * turn).reshape(-1, left)
    return z.reshape(digits)


@pytest.mark.parametrize("digits", [(16, 16), (16, 64), (64, 16), (16, 32, 16), (32, 16, 64), (16, 16, 16, 32)])
def test_stages_are_the_fourier_transform(digits: tuple[int, ...]):
    torch.manual_seed(0)
    x = torch.randn(math.prod(digits), dtype=torch.complex128)
    found = torch.view_as_real(transform(x, digits))
    expected = torch.fft.fft(x, norm="ortho")
    assert relative(found, torch.view_as_real(monarch.to_digits(expected[None], digits)[0])) < 1e-14
    assert relative(found, torch.view_as_real(monarch.to_digits(expected.conj_physical()[None], digits)[0])) > 1


def test_tables_of_four_by_hand():
    # Rows 1 and 3 of the orthonormal DFT matrix: 1, -i, -1, i and its conjugate, over 2.
    real, imag = 2 * monarch.dft_matrix(4, [1, 3])
    assert torch.allclose(real, torch.tensor([[1, 0, -1, 0], [1, 0, -1, 0]]).double(), atol=1e-15)
    assert torch.allclose(imag, torch.tensor([[0, -1, 0, 1], [0, 1, 0, -1]]).double(), atol=1e-15)
    # exp(-2 pi i r m / 8) for r = 2: 1, -i, -1.
    real, imag = monarch.twiddles(8, [2], 3)
    assert torch.allclose(real, torch.tensor([[1, 0, -1]]).double(), atol=1e-15)
    assert torch.allclose(imag, torch.tensor([[0, -1, 0]]).double(), atol=1e-15)


def test_digits_of_twelve_by_hand():
    # k = k0 + 3 k1: the digit k0 runs fastest along the spectrum.
    by_digits = monarch.to_digits(torch.arange(12)[None], (3, 4))
    assert by_digits[0].tolist() == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]


@pytest.mark.parametrize("digits", [(3, 4), (2, 3, 4), (2, 3, 2, 5)])
def test_digits_come_back(digits: tuple[int, ...]):
    spectrum = torch.arange(2 * math.prod(digits)).reshape(2, -1)
    by_digits = monarch.to_digits(spectrum, digits)
    assert by_digits.shape == (2, *digits)
    assert torch.equal(monarch.from_digits(by_digits), spectrum)


def test_masks_by_hand():
    def passed(frequencies: Frequencies, length: int) -> list[int]:
        return frequencies.mask(length).nonzero().flatten().tolist()

    assert passed(ALL, 6) == list(range(6))
    assert passed(Frequencies(low_pass=0.5), 8) == [0, 1, 7]  # |k| < 2
    assert passed(Frequencies(low_pass=0.6), 10) == [0, 1, 2, 8, 9]  # |k| < 3
    assert passed(Frequencies(comb=0.25, period=16), 32) == [0, 1, 15, 16, 17, 31]  # less than 2 from 0, 16, 32
    assert passed(Frequencies(0.5, 0.25, 16), 64) == [0, 1, 15, 49, 63]  # |k| < 16 of those


PATTERNS = [
    Frequencies(low_pass=low_pass, comb=comb, period=32) for low_pass in (1.0, 0.25, 0.3) for comb in (1.0, 0.5, 0.1)
]


@pytest.mark.parametrize("frequencies", PATTERNS)
@pytest.mark.parametrize("digits", [(64, 16), (32, 16, 16), (16, 32), (128, 16, 32)])
def test_what_passes_is_symmetric_and_lies_in_kept_digits(frequencies: Frequencies, digits: tuple[int, ...]):
    length = math.prod(digits)
    passed = frequencies.mask(length)
    assert torch.equal(passed[1:], passed[1:].flip(0))
    assert passed[0]
    plan, p = Plan(digits, True, length, 1), problem(length, frequencies=frequencies)
    by_digits = monarch.to_digits(passed[None], digits)[0]
    first, last = monarch.first_kept(plan, p), monarch.last_kept(plan, p)
    rows, columns = by_digits.flatten(1).any(1), by_digits.flatten(0, -2).any(0)
    assert set(rows.nonzero().flatten().tolist()) <= set(first)
    assert set(columns.nonzero().flatten().tolist()) <= set(last)
    assert len(first) < digits[0] or frequencies.comb == 1 or digits[0] % 32
    assert len(last) < digits[-1] or frequencies.low_pass == 1


@given(st.integers(1, 5000))
def test_padded_is_the_least_tile(n: int):
    side = monarch.padded(n)
    assert side >= max(16, n)
    assert side & (side - 1) == 0
    assert side == 16 or side < 2 * n
