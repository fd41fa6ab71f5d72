import subprocess
import sys
from pathlib import Path

import pytest
import torch
from interpreter import run_in_the_interpreter
from mixer_cases import NAMES, cast, gradients, mixer_inputs, relative
from spectral_checks import check_same_bits_twice, check_upper_band, check_values_and_gradients, poisoned

from fourcast.kernels import dense, spectral
from fourcast.kernels.modes import Modes
from fourcast.kernels.spectral import spectral_mixing

__all__ = ["poisoned"]
HERE = Path(__file__).parent


def mixed_by_default(*tensors: torch.Tensor) -> torch.Tensor:
    return spectral_mixing(*tensors, modes=Modes())


def small(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    return cast(mixer_inputs((2, 4, 6, 8), 2), dtype)


def test_kernels_in_the_interpreter():
    run_in_the_interpreter(HERE / "interpreted_spectral.py")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_kernels_on_larger_grids_in_the_interpreter():
    run_in_the_interpreter(HERE / "interpreted_spectral.py", "slow")


def test_gradients_are_those_of_finite_differences():
    inputs = tuple(t.detach().requires_grad_() for t in mixer_inputs((1, 4, 6, 4), 2).values())
    assert torch.autograd.gradcheck(mixed_by_default, inputs)


def test_operators_keep_their_contracts():
    inputs = tuple(small().values())
    kept = Modes().keep(4, 6)
    call = (kept.zonal, kept.first_row, kept.row_count, 0.01)
    torch.library.opcheck(spectral.spectral_mixing_op, (*inputs, *call, 1e-6, "fp32"))
    constants = tuple(t.detach() for t in inputs)
    out, *saved = spectral.spectral_mixing_op(*constants, *call, 1e-6, "fp32")
    torch.library.opcheck(spectral.spectral_mixing_backward_op, (out, constants[0], *saved, *constants[1:], *call))


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_is_eager(dynamic: bool):
    torch.compiler.reset()
    inputs, grad_out = small(), torch.randn(2, 4, 6, 8)
    compiled = torch.compile(lambda *t: 2 * mixed_by_default(*t), fullgraph=True, dynamic=dynamic, backend="aot_eager")
    expected, found = 2 * mixed_by_default(*inputs.values()), compiled(*inputs.values())
    assert torch.equal(found, expected)
    expected_gradients = gradients(expected, inputs, grad_out)
    for name, gradient in gradients(found, inputs, grad_out).items():
        assert torch.equal(gradient, expected_gradients[name]), name


@pytest.mark.slow
def test_compiled_by_inductor_is_eager():
    inputs = small()
    compiled = torch.compile(mixed_by_default, fullgraph=True)
    assert torch.equal(compiled(*inputs.values()), mixed_by_default(*inputs.values()))


def test_checkpointing_gives_the_same_gradients():
    inputs, grad_out = small(), torch.randn(2, 4, 6, 8)
    again = torch.utils.checkpoint.checkpoint(mixed_by_default, *inputs.values(), use_reentrant=False)
    expected = gradients(mixed_by_default(*inputs.values()), inputs, grad_out)
    for name, gradient in gradients(again, inputs, grad_out).items():
        assert torch.equal(gradient, expected[name]), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_output_and_gradients_keep_their_types(dtype: torch.dtype):
    inputs = small() | {"x_BHWD": small(dtype)["x_BHWD"]}
    out = mixed_by_default(*inputs.values())
    assert out.dtype == dtype
    for name, gradient in gradients(out, inputs, torch.ones_like(out)).items():
        assert gradient.dtype == inputs[name].dtype


def test_autocast_changes_neither_type_nor_value():
    inputs = small()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = mixed_by_default(*inputs.values())
    assert torch.equal(out, mixed_by_default(*inputs.values()))


def test_precision_follows_type_autocast_and_the_global_setting(monkeypatch):
    x = torch.zeros(1)
    assert spectral.operand_precision(x, None) == "fp32"
    assert spectral.operand_precision(x.bfloat16(), None) == "fp16"
    assert spectral.operand_precision(x.bfloat16(), "fp32") == "fp32"
    with torch.autocast("cpu"):
        assert spectral.operand_precision(x, None) == "fp16"
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    assert spectral.operand_precision(x, None) == "fp16"


def test_strided_input_and_expanded_gradient():
    inputs = small()
    strided = inputs["x_BHWD"].detach().permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1).requires_grad_()
    others = inputs | {"x_BHWD": strided}
    expected = gradients(dense.spectral_mixing(**inputs, modes=Modes()).sum(), inputs, torch.tensor(1.0))
    out = mixed_by_default(*others.values())
    assert out.is_contiguous()
    for name, gradient in gradients(out.sum(), others, torch.tensor(1.0)).items():
        assert relative(gradient, expected[name]) < 2e-6, name


def test_only_the_output_of_interest_is_differentiated():
    inputs = small()
    frozen = {name: t.detach().requires_grad_(name == "x_BHWD") for name, t in inputs.items()}
    mixed_by_default(*frozen.values()).sum().backward()
    assert frozen["x_BHWD"].grad is not None
    assert all(frozen[name].grad is None for name in NAMES[1:])


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("x_BHWD", (4, 6, 8), r"x must be floating point \[batch, height, width, channels\]; found float32 \[4"),
        ("norm_weight", (4,), r"norm_weight must have shape \[8\] for 8 channels in blocks of 4; found \[4\]"),
        ("w2", (2, 2, 4, 3), r"w2 must have shape \[2, 2, 4, 4\] for 8 channels in blocks of 4"),
        ("b1", (2, 8), r"b1 must have shape \[2, 2, 4\]"),
    ],
)
def test_wrong_shapes_are_refused_by_name(name: str, shape: tuple[int, ...], message: str):
    with pytest.raises(ValueError, match=message):
        spectral_mixing(**(small() | {name: torch.zeros(shape)}), modes=Modes())


def test_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision must be fp16, fp32 or None; found 'bf16'"):
        spectral_mixing(**small(), modes=Modes(), precision="bf16")


def test_the_module_needs_no_triton():
    code = "import sys; sys.modules['triton'] = None; import fourcast.kernels.spectral"
    subprocess.run([sys.executable, "-c", code], check=True)


SHAPES = [
    ((1, 90, 180, 768), 8),
    ((2, 60, 120, 768), 8),
    ((4, 45, 90, 384), 8),
    ((8, 32, 64, 256), 8),
    ((8, 16, 32, 128), 1),
    ((3, 15, 31, 128), 8),
    ((1, 121, 240, 512), 8),
    ((1, 180, 360, 256), 2),
]
POLICIES = [
    Modes(),
    Modes("full"),
    Modes(hard_thresholding_fraction=0.5),
    Modes("lowpass", meridional_fraction=0.5, zonal_fraction=0.5),
]


@pytest.mark.gpu
@pytest.mark.parametrize(("shape", "blocks"), SHAPES)
@pytest.mark.parametrize("modes", POLICIES)
@pytest.mark.parametrize("spectrum", ["white", "red"])
@pytest.mark.parametrize("kind", ["fp32", "fp16", "bf16"])
def test_values_and_every_gradient_on_a_gpu(poisoned, shape, blocks, modes, spectrum, kind):
    check_values_and_gradients(shape, blocks, modes, spectrum, kind, "cuda", decided=kind != "fp32")
    if modes in POLICIES[:2] and shape[3] // blocks == 96:
        check_values_and_gradients(shape, blocks, modes, spectrum, kind, "cuda")


@pytest.mark.gpu
def test_small_scales_of_a_red_field_on_a_gpu():
    check_upper_band((1, 90, 180, 768), 8, "cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["fp32", "fp16"])
def test_same_bits_twice_on_a_gpu(kind: str):
    check_same_bits_twice((2, 90, 180, 768), 8, kind, "cuda")


@pytest.mark.gpu
def test_a_captured_graph_replays_on_new_input():
    inputs = {name: t.detach().float().cuda() for name, t in mixer_inputs((1, 32, 64, 256), 8).items()}
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        mixed_by_default(*inputs.values())
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        out = mixed_by_default(*inputs.values())
    inputs["x_BHWD"].normal_()
    graph.replay()
    assert torch.equal(out, mixed_by_default(*inputs.values()))


@pytest.mark.gpu
def test_compiled_is_eager_on_a_gpu():
    leaves = mixer_inputs((1, 32, 64, 256), 8).items()
    inputs = {name: t.detach().bfloat16().cuda().requires_grad_() for name, t in leaves}
    compiled = torch.compile(mixed_by_default, fullgraph=True)
    expected, found = mixed_by_default(*inputs.values()), compiled(*inputs.values())
    assert torch.equal(found, expected)
    expected_gradients = gradients(expected, inputs, torch.ones_like(expected))
    for name, gradient in gradients(found, inputs, torch.ones_like(found)).items():
        assert torch.equal(gradient, expected_gradients[name]), name
