import subprocess
import sys
from pathlib import Path

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
    direct,
    prepared,
    truth,
)
from interpreter import run_in_the_interpreter
from mixer_cases import gradients, relative
from spectral_checks import poisoned

from fourcast.kernels import fft_conv_torch
from fourcast.kernels.fft_conv import fft_conv, fft_conv_backward_op, fft_conv_op, fft_conv_stream
from fourcast.kernels.monarch import ALL, Frequencies

__all__ = ["poisoned"]
HERE = Path(__file__).parent
LENGTHS = (16, 100, 257, 1000, 1024, 4096, 8191, 16384)
PATTERNS = [
    Case(3, 2, 1024, 1024, frequencies=Frequencies(low_pass=0.25)),
    Case(3, 2, 1024, 40, frequencies=Frequencies(comb=0.5)),
    Case(3, 2, 512, 512, frequencies=Frequencies(0.37, 0.4, 16)),
    Case(3, 2, 100, 100, frequencies=Frequencies(0.5)),
    Case(3, 2, 96, 50, frequencies=Frequencies(0.7, 0.5)),
    Case(3, 2, 500, 300, True, Frequencies(0.5, 0.5)),
    Case(3, 2, 100, 100, True, Frequencies(1.0, 0.3, 128)),
    Case(3, 2, 100, 300, True, Frequencies(0.5)),
]


def small(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Two sequences of three channels, 20 long, and kernels of 7."""
    _, inputs, _ = prepared(Case(2, 3, 20, 7), "fp32")
    return {name: t.detach().to(dtype).requires_grad_() for name, t in inputs.items()}


def test_three_numbers_by_hand():
    # y[n] = 1 u[n] + 10 u[n-1], where u = 1, 2, 3: what comes before 1 is 3, or nothing.
    u, k = torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[1.0, 10.0]])
    assert torch.allclose(fft_conv(u, k), torch.tensor([31.0, 12.0, 23.0]))
    assert torch.allclose(fft_conv(u, k, causal=True), torch.tensor([1.0, 12.0, 23.0]))
    gated = fft_conv(u, k, pre_gate=torch.tensor([[[0.0, 1.0, 1.0]]]), post_gate=torch.tensor([[[1.0, 1.0, 2.0]]]))
    assert torch.allclose(gated, torch.tensor([30.0, 2.0, 46.0]))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("causal", [False, True])
def test_values_and_every_gradient(length: int, causal: bool):
    check_values_and_gradients(Case(3, 1 if length > 5000 else 3, length, length, causal), "fp32")


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", ["fp32", "fp16", "bf16"])
def test_kernels_shorter_than_the_sequence(length: int, causal: bool, kind: str):
    check_values_and_gradients(Case(3, 2, length, length // 16 + 3, causal), kind)


@pytest.mark.parametrize("case", PATTERNS)
@pytest.mark.parametrize("kind", ["fp32", "fp16", "bf16"])
def test_patterns_of_frequencies_filter_the_kernel(case: Case, kind: str):
    check_values_and_gradients(case, kind)


@pytest.mark.parametrize("gates", [(), BOTH[:1], BOTH[1:]])
@pytest.mark.parametrize("causal", [False, True])
def test_gates_may_be_absent(gates: tuple[str, ...], causal: bool):
    check_values_and_gradients(Case(3, 2, 100, 30, causal, gates=gates), "fp32")


def test_a_causal_kernel_longer_than_the_sequence():
    case = Case(3, 2, 50, 80, True)
    check_values_and_gradients(case, "fp32")
    leaves, _, grad_out = prepared(case, "fp32")
    gradient = gradients(convolved(leaves, case), leaves, grad_out)["k_DK"]
    assert gradient.shape == (2, 80)
    assert not gradient[:, 50:].any()


def test_channels_in_groups_are_the_same_as_at_once(monkeypatch):
    monkeypatch.setattr(fft_conv_torch, "GROUP_BYTES", 4 * 3 * 100 * 4)
    check_values_and_gradients(Case(3, 5, 100, 100), "fp32")
    check_values_and_gradients(Case(3, 5, 100, 60, True, Frequencies(0.5, 0.5)), "fp32")


@pytest.mark.slow
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [65_536, 262_144, 1_048_576, 4_194_304])
def test_long_sequences(length: int, causal: bool):
    case = Case(2, 1, length, length, causal)
    gate = 1e-5 if length == 1_048_576 else None  # of 2^20 and 2^21 float32 numbers, MKL's transform alone errs by 4e-6
    check_values_and_gradients(case, "fp32", convolution=by_fft, gate=gate)
    check_single_outputs(case, "fp32")


def test_the_transform_that_long_tests_compare_with_is_the_sum():
    for case in (Case(2, 2, 257, 100), Case(2, 2, 257, 257, True), Case(2, 2, 64, 30, True, Frequencies(0.5, 0.5))):
        _, exact, _ = prepared(case, "fp32")
        assert relative(truth(exact, case, by_fft), truth(exact, case)) < 1e-12


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("frequencies", [ALL, Frequencies(0.5, 0.5, 16)])
def test_gradients_are_those_of_finite_differences(causal: bool, frequencies: Frequencies):
    case = Case(2, 2, 16, 5, causal, frequencies)
    _, inputs, _ = prepared(case, "fp32")

    def convolve(*tensors: torch.Tensor) -> torch.Tensor:
        return convolved(dict(zip(inputs, tensors, strict=True)), case)

    assert torch.autograd.gradcheck(convolve, tuple(inputs.values()))


@pytest.mark.parametrize("gates", [(), BOTH])
def test_operators_keep_their_contracts(gates: tuple[str, ...]):
    inputs = small()
    tensors = (inputs["u_BDL"], inputs["k_DK"], *(inputs[name] if name in gates else None for name in BOTH))
    settings = (True, 1.0, 1.0, 32, "fp32")
    torch.library.opcheck(fft_conv_op, (*tensors, *settings))
    constants = tuple(None if t is None else t.detach() for t in tensors)
    torch.library.opcheck(fft_conv_backward_op, (torch.randn(2, 3, 20), *constants, *settings))
    transposed = tuple(None if t is None else t.mT.contiguous().mT for t in constants)
    torch.library.opcheck(fft_conv_backward_op, (torch.randn(2, 3, 20), *transposed, *settings))


def gated_twice(u_BDL: torch.Tensor, k_DK: torch.Tensor, **gates: torch.Tensor) -> torch.Tensor:
    return 2 * fft_conv(u_BDL, k_DK, **gates, causal=True)


@pytest.mark.parametrize(
    ("backend", "dynamic"),
    [("aot_eager", False), ("aot_eager", True), pytest.param("inductor", False, marks=pytest.mark.slow)],
)
def test_compiled_is_eager(backend: str, dynamic: bool):
    torch.compiler.reset()
    inputs, grad_out = small(), torch.randn(2, 3, 20)
    compiled = torch.compile(gated_twice, fullgraph=True, dynamic=dynamic, backend=backend)
    expected, found = gated_twice(**inputs), compiled(**inputs)
    assert torch.equal(found, expected)
    expected_gradients = gradients(expected, inputs, grad_out)
    for name, gradient in gradients(found, inputs, grad_out).items():
        assert torch.equal(gradient, expected_gradients[name]), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_output_and_gradients_keep_their_types(dtype: torch.dtype):
    inputs = small() | {"u_BDL": small(dtype)["u_BDL"], "post_gate": small(torch.float64)["post_gate"]}
    out = fft_conv(**inputs)
    assert out.dtype == dtype
    for name, gradient in gradients(out, inputs, torch.ones_like(out)).items():
        assert gradient.dtype == inputs[name].dtype


def test_autocast_changes_neither_type_nor_value():
    inputs = small()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = fft_conv(**inputs)
    assert torch.equal(out, fft_conv(**inputs))


def test_strided_input_and_expanded_gradient():
    inputs = small()
    expected = gradients(fft_conv(**inputs).sum(), inputs, torch.tensor(1.0))
    strided = {name: t.detach().mT.contiguous().mT.requires_grad_() for name, t in inputs.items()}
    assert not strided["u_BDL"].is_contiguous()
    out = fft_conv(**strided)
    assert out.is_contiguous()
    for name, gradient in gradients(out.sum(), strided, torch.tensor(1.0)).items():
        assert relative(gradient, expected[name]) < GATES["fp32"], name


def test_only_what_is_of_interest_is_differentiated():
    inputs = {name: t.detach().requires_grad_(name == "k_DK") for name, t in small().items()}
    fft_conv(**inputs).sum().backward()
    assert inputs["k_DK"].grad is not None
    assert all(inputs[name].grad is None for name in ("u_BDL", *BOTH))


def test_checkpointing_gives_the_same_gradients():
    inputs, grad_out = small(), torch.randn(2, 3, 20)
    again = torch.utils.checkpoint.checkpoint(gated_twice, **inputs, use_reentrant=False)
    expected = gradients(gated_twice(**inputs), inputs, grad_out)
    for name, gradient in gradients(again, inputs, grad_out).items():
        assert torch.equal(gradient, expected[name]), name


@pytest.mark.parametrize("frequencies", [ALL, Frequencies(0.5, 0.5)])
def test_a_shift_of_the_sequence_shifts_the_circular_result(frequencies: Frequencies):
    u, k = torch.randn(2, 3, 320).double(), torch.randn(3, 100).double()
    y, shifted = fft_conv(u, k, frequencies=frequencies), fft_conv(u.roll(37, -1), k, frequencies=frequencies)
    assert relative(shifted, y.roll(37, -1)) < 1e-13


@pytest.mark.parametrize("causal", [False, True])
def test_a_single_one_delays_the_sequence(causal: bool):
    u, k = torch.randn(2, 3, 101).double(), torch.zeros(3, 40).double()
    k[0, 0] = k[1, 1] = k[2, 39] = 1
    y = fft_conv(u, k, causal=causal)
    for channel, delay in enumerate((0, 1, 39)):
        expected = u[:, channel].roll(delay, -1)
        if causal:
            expected[:, :delay] = 0
        assert relative(y[:, channel], expected) < 1e-13


def test_a_wave_that_does_not_pass_is_gone_and_one_that_passes_stays():
    n = torch.arange(256).double()
    k = torch.zeros(1, 256).double()
    k[0, 0] = 1
    for wavenumber, gain in ((31, 1), (32, 0), (100, 0)):
        wave = torch.cos(2 * torch.pi / 256 * wavenumber * n).view(1, 1, -1)
        assert (fft_conv(wave, k, frequencies=Frequencies(low_pass=0.25)) - gain * wave).norm() < 1e-12
    for wavenumber, gain in ((64, 1), (71, 1), (72, 0), (88, 0), (89, 1)):
        wave = torch.cos(2 * torch.pi / 256 * wavenumber * n).view(1, 1, -1)
        assert (fft_conv(wave, k, frequencies=Frequencies(comb=0.5)) - gain * wave).norm() < 1e-12


@pytest.mark.parametrize("sizes", [(50, 1, 30, 119), (3, 4, 5, 6, 182), (200,), (1,) * 200])
def test_a_stream_of_pieces_is_one_call(sizes: tuple[int, ...]):
    u, k = torch.randn(2, 3, 200).double(), torch.randn(3, 40).double()
    pieces = list(fft_conv_stream(u.split(sizes, -1), k))
    assert tuple(piece.shape[-1] for piece in pieces) == sizes
    assert relative(torch.cat(pieces, -1), fft_conv(u, k, causal=True)) < 1e-13


def test_a_stream_keeps_no_more_than_the_kernel_reaches(monkeypatch):
    lengths = []
    original = fft_conv_torch.forward
    monkeypatch.setattr(fft_conv_torch, "forward", lambda s, *rest: lengths.append(s.u.shape[-1]) or original(s, *rest))
    for _ in fft_conv_stream((torch.randn(1, 1, 10) for _ in range(50)), torch.randn(1, 8)):
        pass
    assert lengths == [10] + [17] * 49


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({"u_BDL": torch.zeros(3, 20)}, {}, r"u must be floating point \[batch, channels, length\].*float32 \[3"),
        ({"u_BDL": torch.zeros(2, 3, 20).int()}, {}, r"u must be floating point .*; found int32 \[2, 3, 20\]"),
        ({"u_BDL": torch.zeros(2, 3, 0)}, {}, r"u must be .*; found .*\[2, 3, 0\]"),
        ({"k_DK": torch.zeros(2, 7)}, {}, r"k must be \[3, kernel length\] for u \[2, 3, 20\]; found \[2, 7\]"),
        ({"k_DK": torch.zeros(3)}, {}, r"k must be \[3, kernel length\] .* found \[3\]"),
        ({"k_DK": torch.zeros(3, 0)}, {}, r"k must be \[3, kernel length\] .* found \[3, 0\]"),
        ({"k_DK": torch.zeros(3, 21)}, {}, r"circular kernel must not be longer than the sequence; found 21 > 20"),
        ({"pre_gate": torch.zeros(2, 3, 1)}, {}, r"pre_gate must have u's shape \[2, 3, 20\]; found \[2, 3, 1\]"),
        ({"post_gate": torch.zeros(3, 20)}, {}, r"post_gate must have u's shape \[2, 3, 20\]; found \[3, 20\]"),
        ({}, {"frequencies": Frequencies(0.0)}, r"low_pass and comb must lie in \(0, 1\]; found 0.0 and 1.0"),
        ({}, {"frequencies": Frequencies(1.0, 1.5)}, r"low_pass and comb must lie in \(0, 1\]; found 1.0 and 1.5"),
        ({}, {"frequencies": Frequencies(comb=0.5)}, r"period must be .* divide the transform's length 20; found 32"),
        ({}, {"frequencies": Frequencies(comb=0.5, period=8), "causal": True}, r"16, 32, 64 or 128 .* 256; found 8"),
        ({}, {"precision": "tf32"}, r"precision must be fp16, bf16, fp32 or None; found 'tf32'"),
    ],
)
def test_wrong_input_is_refused_by_name(change: dict, settings: dict, message: str):
    with pytest.raises(ValueError, match="fft_conv: .*" + message):
        fft_conv(**(small() | change), **settings)


def test_broken_results_exceed_the_gates():
    case = Case(3, 2, 257, 100)
    leaves, exact, _ = prepared(case, "fp32")
    expected = truth(exact, case)
    u, k, pre, post = (exact[name].detach() for name in ("u_BDL", "k_DK", *BOTH))
    spectrum, kernel = torch.fft.rfft(u * pre), torch.fft.rfft(k, 257)
    late = torch.nn.functional.pad(k, (1, 0))
    broken = {
        "zero": torch.zeros_like(expected),
        "conjugated kernel": post * torch.fft.irfft(spectrum * kernel.conj(), 257),
        "ungated before": post * direct(u, k, False),
        "ungated after": direct(u * pre, k, False),
        "causal": post * direct(u * pre, k, True),
        "one place late": post * direct(u * pre, late, False),
        "without the last number of the kernel": post * direct(u * pre, k[:, :-1], False),
        "without a twentieth of the sequence": torch.cat([expected[..., :244], 0 * expected[..., 244:]], -1),
    }
    assert relative(convolved(leaves, case), expected) < GATES["fp32"]
    for name, result in broken.items():
        assert relative(result, expected) > 3 * GATES["bf16"], name


def test_the_module_needs_no_triton():
    code = "import sys; sys.modules['triton'] = None; import fourcast.kernels.fft_conv"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_kernels_in_the_interpreter():
    run_in_the_interpreter(HERE / "interpreted_fft_conv.py")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_kernels_on_long_sequences_in_the_interpreter():
    run_in_the_interpreter(HERE / "interpreted_fft_conv.py", "slow")


@pytest.mark.gpu
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", list(GATES))
@pytest.mark.parametrize("length", LENGTHS)
def test_values_and_every_gradient_on_a_gpu(poisoned, length: int, causal: bool, kind: str):
    check_values_and_gradients(Case(5, 3, length, length, causal), kind, "cuda", by_fft)
    check_values_and_gradients(Case(5, 3, length, length // 16 + 3, causal, gates=()), kind, "cuda", by_fft)


@pytest.mark.gpu
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", list(GATES))
@pytest.mark.parametrize("length", [32_768, 65_536, 100_003, 262_144, 1_048_576, 4_194_304])
def test_long_sequences_on_a_gpu(poisoned, length: int, causal: bool, kind: str):
    case = Case(3, 2, length, length, causal)
    check_values_and_gradients(case, kind, "cuda", by_fft)
    check_single_outputs(case, kind, "cuda")
    check_values_and_gradients(Case(3, 2, length, length // 64, causal), kind, "cuda", by_fft)


@pytest.mark.gpu
@pytest.mark.parametrize("case", [*PATTERNS, Case(3, 2, 65_536, 65_536, frequencies=Frequencies(0.5, 0.5))])
@pytest.mark.parametrize("kind", list(GATES))
def test_patterns_on_a_gpu(poisoned, case: Case, kind: str):
    check_values_and_gradients(case, kind, "cuda", by_fft)


@pytest.mark.gpu
@pytest.mark.parametrize("gates", [(), BOTH[:1], BOTH[1:], BOTH])
def test_many_sequences_on_a_gpu(poisoned, gates: tuple[str, ...]):
    check_values_and_gradients(Case(65, 200, 500, 500, True, gates=gates), "fp16", "cuda", by_fft)


@pytest.mark.gpu
@pytest.mark.parametrize("length", [1000, 8192, 65_536])
@pytest.mark.parametrize("kind", ["fp32", "fp16"])
def test_same_bits_twice_on_a_gpu(length: int, kind: str):
    check_same_bits_twice(Case(16, 8, length, length), kind, "cuda")
    check_same_bits_twice(Case(16, 8, length, length, True), kind, "cuda")


@pytest.mark.gpu
def test_compiled_is_eager_on_a_gpu():
    inputs = {name: t.detach().half().cuda().requires_grad_() for name, t in small().items()}
    expected, found = gated_twice(**inputs), torch.compile(gated_twice, fullgraph=True)(**inputs)
    assert torch.equal(found, expected)
    expected_gradients = gradients(expected, inputs, torch.ones_like(expected))
    for name, gradient in gradients(found, inputs, torch.ones_like(found)).items():
        assert torch.equal(gradient, expected_gradients[name]), name


@pytest.mark.gpu
def test_a_captured_graph_replays_on_new_input():
    inputs = {name: t.detach().cuda() for name, t in prepared(Case(4, 8, 1000, 1000), "fp16")[0].items()}
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        fft_conv(**inputs)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        out = fft_conv(**inputs)
    inputs["u_BDL"].normal_()
    graph.replay()
    assert torch.equal(out, fft_conv(**inputs))
