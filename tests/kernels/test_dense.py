import pytest
import torch
from mixer_cases import NAMES, cast, gradients, mixer_inputs, relative

from fourcast.kernels import dense, dft, reference
from fourcast.kernels.modes import Modes

GATES = {torch.float64: 1e-12, torch.float32: 2e-6}
CASES = [
    ((2, 15, 31, 16), Modes("fourcastnet")),
    ((3, 16, 32, 16), Modes("full")),
    ((1, 12, 24, 16), Modes("fourcastnet", hard_thresholding_fraction=0.5)),
    ((2, 12, 24, 16), Modes("lowpass", meridional_fraction=0.5, zonal_fraction=0.4)),
    ((1, 45, 90, 8), Modes("fourcastnet")),
    ((1, 1, 1, 8), Modes("full")),
]


@pytest.mark.parametrize(("shape", "modes"), CASES)
@pytest.mark.parametrize("spectrum", ["white", "red"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_values_and_every_gradient_are_those_of_the_reference(shape, modes, spectrum, dtype):
    truth = mixer_inputs(shape, 2, spectrum)
    inputs = cast(truth, dtype)
    grad_out = torch.randn(shape, dtype=torch.float64)
    expected = reference.spectral_mixing(**truth, modes=modes)
    found = dense.spectral_mixing(**inputs, modes=modes)
    assert relative(found, expected) < GATES[dtype]
    expected_gradients = gradients(expected, truth, grad_out)
    for name, gradient in gradients(found, inputs, grad_out.to(dtype)).items():
        error = relative(gradient, expected_gradients[name])
        assert error < 100 * GATES[dtype], f"gradient of {name}: {error:.1e}"


@pytest.mark.parametrize("chunk_bytes", [1, 20_000])
def test_chunks_do_not_change_the_result(monkeypatch, chunk_bytes: int):
    inputs = mixer_inputs((3, 12, 24, 8), 2)
    grad_out = torch.randn(3, 12, 24, 8, dtype=torch.float64)
    whole = dense.spectral_mixing(**inputs, modes=Modes())
    whole_gradients = gradients(whole, inputs, grad_out)
    monkeypatch.setattr(dense, "chunk_bytes", lambda device_type: chunk_bytes)
    chunked = dense.spectral_mixing(**inputs, modes=Modes())
    assert relative(chunked, whole) < GATES[torch.float64]
    for name, gradient in gradients(chunked, inputs, grad_out).items():
        assert relative(gradient, whole_gradients[name]) < GATES[torch.float64], name


def test_gradients_are_those_of_finite_differences():
    inputs = tuple(mixer_inputs((1, 4, 6, 4), 2).values())
    assert torch.autograd.gradcheck(lambda *t: dense.spectral_mixing(*t, modes=Modes()), inputs)


def broken_results(monkeypatch) -> dict[str, torch.Tensor]:
    inputs = mixer_inputs((1, 12, 24, 8), 2)
    results = {
        "no spectral branch": dense.spectral_mixing(**(inputs | {"w2": inputs["w2"] * 0}), modes=Modes()),
        "one zonal mode too many": dense.spectral_mixing(**inputs, modes=Modes("lowpass", zonal_fraction=7 / 12)),
        "all zonal modes": dense.spectral_mixing(**inputs, modes=Modes("full")),
    }
    tables = dft.zonal_stacked

    def conjugated(width: int, zonal: int) -> tuple[torch.Tensor, ...]:
        sign = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat_interleave(zonal)[:, None]
        return tuple(table * sign for table in tables(width, zonal))

    monkeypatch.setattr(dft, "zonal_stacked", conjugated)
    dense.cached_tables.cache_clear()
    results["conjugated zonal tables"] = dense.spectral_mixing(**inputs, modes=Modes())
    monkeypatch.undo()
    dense.cached_tables.cache_clear()
    return results


def test_broken_results_exceed_every_gate(monkeypatch):
    inputs = mixer_inputs((1, 12, 24, 8), 2)
    expected = reference.spectral_mixing(**inputs, modes=Modes())
    assert relative(dense.spectral_mixing(**inputs, modes=Modes()), expected) < GATES[torch.float64]
    assert relative(torch.zeros_like(expected), expected) > 0.1
    for name, result in broken_results(monkeypatch).items():
        assert relative(result, expected) > 0.02, name


def test_nothing_but_the_compact_spectrum_and_row_statistics_is_saved():
    B, H, W, D = 2, 12, 24, 8
    inputs = cast(mixer_inputs((B, H, W, D), 2), torch.float32)
    given = {t.data_ptr() for t in inputs.values()}
    saved: list[torch.Tensor] = []

    def pack(t: torch.Tensor) -> torch.Tensor:
        saved.append(t)
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        dense.spectral_mixing(**inputs, modes=Modes())
    extra = sum(t.numel() for t in saved if t.data_ptr() not in given)
    assert extra == 2 * B * H * 7 * D + 2 * B * H * W


def test_room_for_what_is_saved_has_its_shapes_and_types():
    inputs = mixer_inputs((2, 12, 24, 8), 2)
    x, *parameters = cast(inputs, torch.bfloat16).values()
    kept = Modes(hard_thresholding_fraction=0.5).keep(12, 24)
    out, *saved = dense.forward(x, dense.Parameters(*parameters), kept, 1e-6, 0.01)
    room = dense.empty_saved(x, 4, kept)
    assert [(t.shape, t.dtype) for t in saved] == [(t.shape, t.dtype) for t in room]
    assert saved[0].shape == (2, 2, 3, 6, 8)
    assert out.dtype == torch.bfloat16


def test_half_precision_input_and_parameters():
    truth = mixer_inputs((2, 15, 31, 16), 2)
    inputs = cast(truth, torch.bfloat16)
    rounded = cast(inputs, torch.float64)
    grad_out = torch.randn(2, 15, 31, 16).bfloat16()
    found = dense.spectral_mixing(**inputs, modes=Modes())
    expected = reference.spectral_mixing(**rounded, modes=Modes())
    assert relative(found, expected) < 4e-3
    expected_gradients = gradients(expected, rounded, grad_out.double())
    for name, gradient in gradients(found, inputs, grad_out).items():
        assert gradient.dtype == torch.bfloat16
        assert relative(gradient, expected_gradients[name]) < 4e-3, name


def test_strided_input_and_expanded_gradient():
    inputs = mixer_inputs((2, 12, 24, 8), 2)
    strided = inputs["x_BHWD"].detach().permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1).requires_grad_()
    expected = gradients(reference.spectral_mixing(**inputs, modes=Modes()).sum(), inputs, torch.tensor(1.0))
    others = inputs | {"x_BHWD": strided}
    found = gradients(dense.spectral_mixing(**others, modes=Modes()).sum(), others, torch.tensor(1.0))
    for name in NAMES:
        assert relative(found[name], expected[name]) < GATES[torch.float64], name


def test_autocast_does_not_reach_inside():
    inputs = cast(mixer_inputs((1, 12, 24, 8), 2), torch.float32)
    expected = dense.spectral_mixing(**inputs, modes=Modes())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = dense.spectral_mixing(**inputs, modes=Modes())
        found.sum().backward()
    assert torch.equal(found, expected)


def test_trains_after_inference_built_the_tables():
    dense.cached_tables.cache_clear()
    inputs = mixer_inputs((1, 12, 24, 8), 2)
    with torch.inference_mode():
        inferred = dense.spectral_mixing(**inputs, modes=Modes())
    out = dense.spectral_mixing(**inputs, modes=Modes())
    out.sum().backward()
    assert torch.equal(out, inferred)
    assert inputs["w1"].grad.norm() > 0


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiles_as_one_graph(backend: str):
    inputs = cast(mixer_inputs((2, 15, 31, 8), 2), torch.float32)
    compiled = torch.compile(dense.spectral_mixing, fullgraph=True, dynamic=False, backend=backend)
    grad_out = torch.randn(2, 15, 31, 8)
    expected, found = (mix(**inputs, modes=Modes()) for mix in (dense.spectral_mixing, compiled))
    assert relative(found, expected) < GATES[torch.float32]
    expected_gradients = gradients(expected, inputs, grad_out)
    for name, gradient in gradients(found, inputs, grad_out).items():
        assert relative(gradient, expected_gradients[name]) < 100 * GATES[torch.float32], name
