"""The Triton path of the long convolution in Triton's interpreter; ``test_fft_conv`` runs this in a process of its own.

The interpreter must be chosen before triton is imported. It computes bfloat16 products wrongly and rounds to bfloat16
towards zero: products are in float16 or float32 here.
"""

import os

import pytest
import torch
from fft_conv_checks import (
    BOTH,
    GATES,
    Case,
    by_fft,
    check_same_bits_twice,
    check_single_outputs,
    check_values_and_gradients,
    convolved,
    prepared,
    truth,
)
from mixer_cases import relative
from spectral_checks import poisoned

from fourcast.kernels import fft_conv_triton, monarch
from fourcast.kernels.fft_conv import fft_conv
from fourcast.kernels.monarch import Frequencies, Plan

assert os.environ["TRITON_INTERPRET"] == "1"
assert os.environ["FOURCAST_KERNELS"] == "triton"
__all__ = ["poisoned"]

SIZES = [
    (Case(3, 2, 16, 16), "fp16"),
    (Case(3, 2, 100, 100), "fp32"),
    (Case(3, 2, 100, 130, True), "fp16"),
    (Case(3, 1, 257, 257), "fp16"),
    (Case(5, 2, 256, 256), "fp32"),
    (Case(3, 2, 500, 60), "bf16"),
    (Case(2, 1, 509, 509), "fp32"),
    (Case(1, 2, 1000, 1000, True), "fp16"),
    (Case(3, 1, 1024, 1024), "bf16"),
]
PATTERNS = [
    Frequencies(low_pass=0.25),
    Frequencies(low_pass=0.3),
    Frequencies(comb=0.5, period=16),
    Frequencies(0.5, 0.5),
    Frequencies(0.37, 0.4, 64),
]
TWO, THREE, LONGER = (16, 16), (16, 16, 16), (32, 16, 16)
"""Digits of transforms of 256, 4096 and 8192."""


def plan(digits: tuple[int, ...], fused: bool, step: int, segments: int = 1) -> Plan:
    return Plan(digits, fused, step, segments)


PLANS = {
    "three digits": (Case(3, 1, 4096, 4096), plan(THREE, True, 4096)),
    "three digits, half of the rows skipped": (Case(1, 2, 2000, 2000, True), plan(THREE, True, 2000)),
    "three digits, wrapped round": (Case(2, 1, 2003, 2003), plan(THREE, True, 2003)),
    "segments": (Case(3, 2, 500, 30), plan(TWO, True, 224, 3)),
    "causal segments": (Case(3, 2, 700, 30, True), plan(TWO, True, 224, 4)),
    "odd segments": (Case(1, 2, 601, 30, True), plan(TWO, True, 224, 3)),
    "apart": (Case(1, 1, 4096, 4096), plan(THREE, False, 4096)),
    "apart, wrapped round": (Case(2, 1, 1009, 1009), plan(THREE, False, 1009)),
    "apart, half of the rows skipped": (Case(1, 1, 4000, 4000, True), plan(LONGER, False, 4000)),
    "apart, segments": (Case(1, 1, 7000, 700), plan(THREE, False, 3392, 3)),
    "apart, causal segments": (Case(1, 1, 7000, 700, True), plan(THREE, False, 3392, 3)),
}


def slow(*values: object) -> object:
    """A case that takes seconds, for the slow suite."""
    return pytest.param(*values, marks=pytest.mark.slow)


QUICK_APART = "apart, wrapped round"
"""The way through with the first digit apart that the default suite takes."""


@pytest.fixture
def planned(monkeypatch):
    """Takes the plan that is to be used."""

    def use(plan: Plan) -> None:
        monkeypatch.setattr(monarch, "choose", lambda problem, capability: plan)

    return use


@pytest.mark.parametrize(("case", "kind"), SIZES)
def test_values_and_every_gradient(poisoned, case: Case, kind: str):
    check_values_and_gradients(case, kind)


@pytest.mark.parametrize(
    "name", [name if name == QUICK_APART or PLANS[name][1].fused else slow(name) for name in PLANS]
)
def test_every_way_through(poisoned, planned, name: str):
    case, chosen = PLANS[name]
    planned(chosen)
    check_values_and_gradients(case, "fp32", convolution=by_fft)


@pytest.mark.parametrize(("name", "kind"), [("three digits", "fp16"), slow("apart", "fp16"), ("odd segments", "bf16")])
def test_every_way_through_in_half_precision(poisoned, planned, name: str, kind: str):
    case, chosen = PLANS[name]
    planned(chosen)
    check_values_and_gradients(case, kind, convolution=by_fft)


@pytest.mark.parametrize(
    ("name", "gates"),
    [
        ("causal segments", ()),
        ("causal segments", BOTH[:1]),
        ("causal segments", BOTH[1:]),
        slow("apart, wrapped round", BOTH[:1]),
    ],
)
def test_gates_may_be_absent(poisoned, planned, name: str, gates: tuple[str, ...]):
    case, chosen = PLANS[name]
    planned(chosen)
    check_values_and_gradients(case._replace(gates=gates), "fp32", convolution=by_fft)


@pytest.mark.parametrize("frequencies", PATTERNS)
@pytest.mark.parametrize("causal", [slow(False), True])
def test_patterns_with_two_digits(poisoned, frequencies: Frequencies, causal: bool):
    check_values_and_gradients(Case(3, 2, 512, 400, causal, frequencies), "fp32")


@pytest.mark.slow
@pytest.mark.parametrize("frequencies", PATTERNS)
def test_patterns_with_three_digits(poisoned, planned, frequencies: Frequencies):
    planned(plan(LONGER, True, 3000))
    check_values_and_gradients(Case(1, 1, 3000, 3000, True, frequencies), "fp32", convolution=by_fft)


@pytest.mark.slow
@pytest.mark.parametrize("frequencies", [Frequencies(0.3), Frequencies(0.37, 0.4, 64), Frequencies(0.5, 0.5)])
def test_patterns_with_the_first_digit_apart(poisoned, planned, frequencies: Frequencies):
    planned(plan(LONGER, False, 3000))
    check_values_and_gradients(Case(1, 1, 3000, 3000, True, frequencies, ()), "fp32", convolution=by_fft)


@pytest.mark.parametrize(
    "case",
    [
        Case(3, 2, 100, 100, frequencies=Frequencies(0.5)),
        Case(3, 2, 480, 200, frequencies=Frequencies(0.6, 0.5)),
        Case(3, 2, 100, 100, True, Frequencies(comb=0.5)),
        Case(3, 2, 60, 90, True, Frequencies(0.5, 0.3, 128)),
    ],
)
def test_patterns_that_no_transform_can_skip(poisoned, case: Case):
    check_values_and_gradients(case, "fp32")


@pytest.mark.slow
def test_channels_and_pairs_in_groups(monkeypatch, poisoned, planned):
    case, chosen = Case(3, 3, 1000, 1000, True, gates=()), plan(THREE, False, 1000)
    planned(chosen)
    monkeypatch.setattr(fft_conv_triton, "WORKSPACE_BYTES", 2 * (2 * 4096 * 4))  # two channels of one pair
    check_values_and_gradients(case, "fp32", convolution=by_fft)


@pytest.mark.parametrize("name", ["segments", slow(QUICK_APART)])
def test_channels_in_groups_of_what_a_launch_takes(monkeypatch, poisoned, planned, name: str):
    case, chosen = PLANS[name]
    planned(chosen)
    monkeypatch.setattr(fft_conv_triton, "GRID", 2 * (1 if chosen.fused else 16))
    check_values_and_gradients(case._replace(batch=1, dim=3, gates=()), "fp32", convolution=by_fft)


@pytest.mark.parametrize(
    ("name", "programs"), [("causal segments", 1), slow("causal segments", 6), slow("apart, segments", 1)]
)
def test_pairs_summed_by_few_programs(monkeypatch, poisoned, planned, name: str, programs: int):
    case, chosen = PLANS[name]
    planned(chosen)
    monkeypatch.setattr(fft_conv_triton, "PROGRAMS", programs)
    check_values_and_gradients(case._replace(batch=7 if chosen.fused else 2, gates=()), "fp32", convolution=by_fft)


@pytest.mark.parametrize("name", ["causal segments", slow("three digits"), slow(QUICK_APART)])
def test_same_bits_twice(planned, name: str):
    case, chosen = PLANS[name]
    planned(chosen)
    check_same_bits_twice(case, "fp16")


def test_lengths_that_the_kernels_do_not_take_go_to_torch():
    u, k = torch.randn(2, 3, 15), torch.randn(3, 4)
    expected = truth({"u_BDL": u.double(), "k_DK": k.double()}, Case(2, 3, 15, 4))
    assert relative(fft_conv(u, k), expected) < GATES["fp32"]


def test_numbers_of_a_weak_field_do_not_drown():
    leaves, exact, _ = prepared(Case(2, 1, 512, 512), "fp16")
    leaves["u_BDL"] = (1e-3 * leaves["u_BDL"]).detach()
    exact["u_BDL"] = leaves["u_BDL"].double()
    case = Case(2, 1, 512, 512)
    assert relative(convolved(leaves, case, "fp16"), truth(exact, case)) < GATES["fp16"]


def test_broken_results_exceed_the_gates(monkeypatch, planned):
    case, chosen = PLANS["causal segments"]
    leaves, exact, _ = prepared(case, "fp16")
    expected = truth(exact, case)

    def result() -> torch.Tensor:
        fft_conv_triton.setup_for.cache_clear()
        return convolved(leaves, case, "fp16")

    planned(chosen)
    assert relative(result(), expected) < GATES["fp16"]
    broken = {}
    planned(chosen._replace(segments=3))
    broken["a segment is missing"] = torch.nan_to_num(result())
    planned(chosen._replace(step=chosen.step + 16))
    broken["segments longer than the kernel leaves them"] = result()
    planned(chosen)
    for name in ("dft_matrix", "twiddles"):
        table = getattr(monarch, name)
        with monkeypatch.context() as patched:
            patched.setattr(monarch, name, lambda *sizes, table=table: table(*sizes) * torch.tensor([[[1]], [[-1]]]))
            broken[f"conjugated {name}"] = result()
    fft_conv_triton.setup_for.cache_clear()
    for name, found in broken.items():
        assert relative(found, expected) > 3 * GATES["bf16"], name


@pytest.mark.slow
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [16_384, 65_536])
def test_long_sequences(poisoned, length: int, causal: bool):
    check_values_and_gradients(Case(1, 1, length, length, causal), "fp16", convolution=by_fft)


@pytest.mark.slow
def test_a_long_first_digit(poisoned, planned):
    planned(plan((64, 16, 16), False, 16_384))
    check_values_and_gradients(Case(3, 2, 16_384, 16_384), "bf16", convolution=by_fft)
    comb = Frequencies(0.37, 0.4, 64)
    check_values_and_gradients(Case(2, 1, 16_384, 300, frequencies=comb), "fp32", convolution=by_fft)


@pytest.mark.slow
def test_order_four(poisoned, planned):
    planned(plan((16, 16, 16, 16), False, 65_536))
    check_values_and_gradients(Case(2, 1, 65_536, 65_536), "fp32", convolution=by_fft)


@pytest.mark.slow
def test_a_quarter_of_a_million(poisoned):
    case = Case(1, 1, 262_144, 262_144, gates=())
    check_single_outputs(case, "fp16")
