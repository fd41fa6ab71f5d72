import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from interpreter import run_in_the_interpreter
from mixer_cases import mixer_inputs, relative
from spectral_checks import poisoned
from torch import Tensor
from torch.nn.functional import layer_norm, softshrink
from transform_cases import (
    GRIDS,
    LOW,
    ONE_ROW,
    as_complex,
    as_real,
    check_against_torch_fft,
    expected_field,
    expected_modes,
    random_modes,
    rules,
)

from fourcast.kernels import dense, dft, reference, transforms
from fourcast.kernels.modes import Modes
from fourcast.kernels.transforms import irdft2, rdft2

__all__ = ["poisoned"]
GATE = 1e-13
HERE = Path(__file__).parent
CASES = [(shape, modes) for shape in GRIDS for modes in rules(shape[0])]


def field(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(*shape, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize(("shape", "modes"), CASES)
def test_float64_is_torch_fft(poisoned, shape, modes):
    x = field(2, *shape, 3)
    z = random_modes(modes.keep(*shape), 2, 3)
    assert relative(rdft2(x, modes), expected_modes(x, modes)) < GATE
    assert relative(irdft2(z, modes, shape), expected_field(z, modes, shape)) < GATE


@pytest.mark.parametrize("chunk_bytes", [1, 20_000])
def test_chunks_do_not_change_the_result(monkeypatch, chunk_bytes: int):
    monkeypatch.setattr(dense, "chunk_bytes", lambda device_type: chunk_bytes)
    x = field(3, 12, 24, 8)
    z = rdft2(x, Modes())
    assert relative(z, expected_modes(x, Modes())) < GATE
    assert relative(irdft2(z, Modes(), (12, 24)), expected_field(z, Modes(), (12, 24))) < GATE


def test_one_wave_has_one_mode():
    H, W, ky, kx = 12, 16, 3, 5
    phase = 2 * math.pi * (ky * torch.arange(H).double()[:, None] / H + kx * torch.arange(W).double() / W)
    z = rdft2(torch.sin(phase)[None, ..., None], Modes("full"))
    # sin = (exp(i) - exp(-i)) / 2i: -i/2 at (ky, kx), times H W terms over sqrt(H W).
    assert abs(z[0, kx, ky, 1, 0].item() + math.sqrt(H * W) / 2) < 1e-12
    assert abs(z.norm().item() - math.sqrt(H * W) / 2) < 1e-12


@pytest.mark.parametrize("shape", GRIDS)
def test_all_modes_lose_nothing(shape):
    x, kept = field(2, *shape, 3), Modes("full").keep(*shape)
    z = rdft2(x, Modes("full"))
    weights = dft.zonal_weights(shape[1], kept.zonal)
    energy = torch.einsum("f,bfrpd->", weights, z**2)
    assert abs(energy / (x**2).sum() - 1) < GATE
    assert relative(irdft2(z, Modes("full"), shape), x) < GATE


@pytest.mark.parametrize("shape", GRIDS[:-1])
@pytest.mark.parametrize("modes", [Modes(), LOW, ONE_ROW])
def test_a_field_of_kept_modes_only_comes_back(shape, modes):
    x = irdft2(rdft2(field(1, *shape, 2), modes), modes, shape)
    assert relative(irdft2(rdft2(x, modes), modes, shape), x) < GATE


@pytest.mark.parametrize("steps", [1, 5])
def test_a_roll_along_longitude_turns_the_phase(steps: int):
    x = field(1, 7, 9, 2)
    kept = LOW.keep(7, 9)
    turn = torch.exp(torch.arange(kept.zonal).double() * steps * -2j * math.pi / 9)
    expected = as_complex(rdft2(x, LOW)) * turn[:, None]
    assert relative(rdft2(x.roll(steps, 2), LOW), as_real(expected)) < GATE


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("shape", "modes"), [((7, 9), Modes("full")), ((12, 16), Modes()), ((16, 18), LOW)])
def test_gradient_is_the_adjoint(forward: bool, weighted: bool, shape, modes):
    kept = modes.keep(*shape)
    call = (*kept, shape[1], weighted, "fp32", torch.float64)
    x, z = field(2, *shape, 3), random_modes(kept, 2, 3)
    op, source, target = (transforms.rdft2_op, x, z) if forward else (transforms.irdft2_op, z, x)
    other = transforms.irdft2_op if forward else transforms.rdft2_op
    source.requires_grad_()
    left, right = (op(source, *call) * target).sum(), (source * other(target, *call)).sum()
    assert abs(left - right) < GATE * source.norm() * target.norm()
    [gradient] = torch.autograd.grad(left, source)
    assert relative(gradient, other(target, *call)) < GATE


@pytest.mark.parametrize(("shape", "modes"), [((5, 7), Modes("full")), ((4, 6), Modes())])
def test_gradients_are_those_of_finite_differences(shape, modes):
    x = field(1, *shape, 2).requires_grad_()
    z = random_modes(modes.keep(*shape), 1, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: rdft2(x, modes), x)
    assert torch.autograd.gradcheck(lambda z: irdft2(z, modes, shape), z)


def test_second_gradients_are_those_of_finite_differences():
    x = field(1, 4, 6, 2).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: irdft2(rdft2(x, Modes()) ** 3, Modes(), (4, 6)), x)


@pytest.mark.parametrize("modes", [Modes(), LOW])
def test_composed_they_are_the_mixer_of_the_reference(modes: Modes):
    inputs = mixer_inputs((2, 12, 16, 8), 2)
    inputs |= {"norm_weight": torch.ones(8).double(), "norm_bias": torch.zeros(8).double()}
    x, w1, b1, w2, b2 = (inputs[name] for name in ("x_BHWD", "w1", "b1", "w2", "b2"))
    y = layer_norm(x, (8,), eps=1e-6)
    o = reference.block_mlp(as_complex(rdft2(y, modes)), w1, b1, w2, b2)
    s = softshrink(as_real(o), 0.01)
    found = irdft2(s, modes, (12, 16)) + y + x
    expected = reference.spectral_mixing(**inputs, modes=modes)
    assert relative(found, expected) < GATE
    grad_out, leaves = field(2, 12, 16, 8), (x, w1, b1, w2, b2)
    pairs = zip(*(torch.autograd.grad(out, leaves, grad_out) for out in (found, expected)), strict=True)
    for gradient, expected_gradient in pairs:
        assert relative(gradient, expected_gradient) < 100 * GATE


def test_broken_results_exceed_the_gate():
    x = field(1, 12, 16, 2)
    expected = expected_modes(x, Modes())
    z = rdft2(x, Modes())
    back, truth = irdft2(z, Modes(), (12, 16)), expected_field(z, Modes(), (12, 16))
    sizes = (*Modes().keep(12, 16), 16)
    weighted = transforms.rdft2_op(x, *sizes, True, "fp32", torch.float64)
    plain = transforms.irdft2_op(z, *sizes, False, "fp32", torch.float64)
    assert max(relative(z, expected), relative(back, truth)) < GATE
    for name, found in {"zero": 0 * z, "conjugate": z * torch.tensor([1, -1])[:, None], "weighted": weighted}.items():
        assert relative(found, expected) > 0.1, name
    for name, found in {"zero": 0 * back, "plain": plain, "mirrored": back.flip(1)}.items():
        assert relative(found, truth) > 0.1, name


def test_operators_keep_their_contracts():
    x = field(2, 4, 6, 2, dtype=torch.float32).requires_grad_()
    call = (*Modes().keep(4, 6), 6, True, "fp32", torch.float32)
    torch.library.opcheck(transforms.rdft2_op, (x, *call))
    z = transforms.rdft2_op(x, *call).detach().requires_grad_()
    torch.library.opcheck(transforms.irdft2_op, (z, *call))


def low_passed(x: Tensor) -> Tensor:
    return 2 * irdft2(rdft2(x, LOW).sin(), LOW, x.shape[1:3], dtype=x.dtype)


@pytest.mark.parametrize(
    ("backend", "dynamic"),
    [("aot_eager", False), ("aot_eager", True), pytest.param("inductor", False, marks=pytest.mark.slow)],
)
def test_compiled_is_eager(backend: str, dynamic: bool):
    torch.compiler.reset()
    x, grad_out = field(2, 7, 9, 4, dtype=torch.float32).requires_grad_(), torch.randn(2, 7, 9, 4)
    compiled = torch.compile(low_passed, fullgraph=True, dynamic=dynamic, backend=backend)
    expected, found = low_passed(x), compiled(x)
    assert relative(found, expected) < 1e-6
    [expected_gradient], [gradient] = (torch.autograd.grad(out, x, grad_out) for out in (expected, found))
    assert relative(gradient, expected_gradient) < 1e-6


@pytest.mark.parametrize(
    ("dtype", "gate"), [(torch.float16, 2e-3), (torch.bfloat16, 8e-3), (torch.float32, 2e-6), (torch.float64, GATE)]
)
def test_types_of_results_and_gradients(dtype: torch.dtype, gate: float):
    x = field(2, 7, 9, 4, dtype=dtype).requires_grad_()
    z = rdft2(x, Modes())
    assert z.dtype == torch.promote_types(dtype, torch.float32)
    assert irdft2(z, Modes(), (7, 9)).dtype == z.dtype
    back = irdft2(z, Modes("fourcastnet"), (7, 9), dtype=dtype)
    assert back.dtype == dtype
    truth = expected_field(expected_modes(x.detach().double(), Modes()), Modes(), (7, 9))
    assert relative(back, truth) < gate
    [gradient] = torch.autograd.grad(back.sum(), x)
    assert gradient.dtype == dtype
    narrow = z.detach().to(dtype).requires_grad_()
    [gradient] = torch.autograd.grad(irdft2(narrow, Modes(), (7, 9)).sum(), narrow)
    assert gradient.dtype == dtype


def test_autocast_changes_neither_type_nor_value():
    x = field(1, 6, 8, 4, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = rdft2(x, Modes())
        back = irdft2(z, Modes(), (6, 8))
    assert torch.equal(z, rdft2(x, Modes()))
    assert torch.equal(back, irdft2(z, Modes(), (6, 8)))


def test_strided_input_and_expanded_gradient():
    strided = field(2, 4, 7, 9).permute(0, 2, 3, 1).requires_grad_()
    assert relative(rdft2(strided, LOW), expected_modes(strided, LOW)) < GATE
    [gradient] = torch.autograd.grad(rdft2(strided, LOW).sum(), strided)
    ones = torch.ones_like(rdft2(strided, LOW))
    expected = transforms.irdft2_op(ones, *LOW.keep(7, 9), 9, False, "fp32", torch.float64)
    assert relative(gradient, expected) < GATE


@pytest.mark.parametrize(
    ("dtype", "asked", "precision", "expected"),
    [
        (torch.float32, None, None, "fp32"),
        (torch.float32, torch.bfloat16, None, "fp16"),
        (torch.float32, torch.bfloat16, "fp32", "fp32"),
        (torch.float16, None, None, "fp16"),
    ],
)
def test_precision_of_the_inverse_follows_the_type_of_its_field(monkeypatch, dtype, asked, precision, expected):
    seen = []
    monkeypatch.setattr(transforms, "irdft2_op", lambda z, *call: seen.append(call[-2:]))
    z = torch.zeros(1, 3, 4, 2, 1, dtype=dtype)
    irdft2(z, Modes("full"), (4, 5), dtype=asked, precision=precision)
    assert seen == [(expected, asked or dtype)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rdft2(torch.zeros(4, 6, 2), Modes()), r"rdft2: x must be floating point \[batch, .* \[4, 6, 2\]"),
        (lambda: rdft2(torch.zeros(1, 4, 6, 2).int(), Modes()), r"found int32 \[1, 4, 6, 2\]"),
        (
            lambda: irdft2(torch.zeros(1, 3, 5, 2, 8), Modes(), (4, 6)),
            r"irdft2: z must be floating point \[batch, 3, 4, 2, channels\] for the modes kept on 4 x 6; found .* 5, 2",
        ),
        (lambda: irdft2(torch.zeros(3, 4, 2, 8), Modes(), (4, 6)), r"found float32 \[3, 4, 2, 8\]"),
        (lambda: rdft2(torch.zeros(1, 4, 6, 2), Modes(), precision="bf16"), "precision must be fp16, fp32 or None"),
    ],
)
def test_wrong_input_is_refused_by_name(call, message: str):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_module_needs_no_triton():
    code = "import sys; sys.modules['triton'] = None; import fourcast.kernels.transforms"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_kernels_in_the_interpreter():
    run_in_the_interpreter(HERE / "interpreted_transforms.py")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_kernels_on_long_axes_in_the_interpreter():
    run_in_the_interpreter(HERE / "interpreted_transforms.py", "slow")


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(90, 180, 768), (15, 31, 48), (32, 64, 256), (180, 360, 64)])
@pytest.mark.parametrize("modes", [Modes(), Modes("full"), LOW])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_values_and_gradients_on_a_gpu(poisoned, shape, modes, precision):
    check_against_torch_fft((2, *shape), modes, precision, "cuda")
