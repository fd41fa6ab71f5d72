"""Every mixer: its formula in float64, its types, its gradients, its symmetries and what breaks them."""

import pytest
import torch
from mixer_twins import twin
from torch import Tensor, nn

from fourcast.errors import InputError
from fourcast.kernels.modes import Modes
from fourcast.kernels.reference import forward_transform, inverse_transform
from fourcast.mixer_config import (
    MIXERS,
    AFFConfig,
    AFNOConfig,
    FFCConfig,
    FNOConfig,
    GFNetConfig,
    LongConvConfig,
    MixerConfig,
    ModesConfig,
    NoneConfig,
    ParCConfig,
)
from fourcast.models.build import MIXERS as CLASSES
from fourcast.models.build import build_mixer
from fourcast.models.mixers.mixer import Mixer

LOW = ModesConfig("lowpass", zonal_fraction=0.6, meridional_fraction=0.6)
FULL = ModesConfig("full")
SHAPES = [(6, 10), (8, 16), (5, 12), (7, 9)]
VARIANTS = [
    AFNOConfig(num_blocks=2, sparsity_threshold=0.1),
    AFNOConfig(num_blocks=1, sparsity_threshold=0.1, modes=ModesConfig(hard_thresholding_fraction=0.6)),
    FNOConfig(num_blocks=4, modes=LOW),
    FNOConfig(num_blocks=1, modes=FULL),
    GFNetConfig(),
    GFNetConfig(modes=LOW),
    AFFConfig(num_blocks=2, sparsity_threshold=0.1),
    AFFConfig(num_blocks=8, sparsity_threshold=0.0, modes=LOW),
    FFCConfig(local_fourier_unit=False),
    FFCConfig(global_ratio=0.25, local_fourier_unit=False),
    ParCConfig(),
    ParCConfig(meta_resolution=[4, 13]),
    ParCConfig(meta_resolution=[1, 2]),
    LongConvConfig(squash=0.1),
    LongConvConfig(squash=0.1, smooth_width=5, causal=True),
    LongConvConfig(squash=0.05, smooth_width=3),
    NoneConfig(),
]
"""Suits any shape; the local Fourier unit, which wants even ones, is tested apart."""


def label(value: object) -> str | None:
    return value.name if isinstance(value, MixerConfig) else None


def relative(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm())


def made(config: MixerConfig, shape: tuple[int, int], dim: int = 16) -> Mixer:
    """A mixer outside training, its parameters and running statistics far from where they start."""
    torch.manual_seed(3)
    mixer = build_mixer(config, dim, shape).double().eval()
    for parameter in mixer.parameters():
        nn.init.normal_(parameter, std=0.3)
    for module in mixer.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return mixer


def tokens(shape: tuple[int, int], batch: int = 2, dim: int = 16) -> Tensor:
    return torch.randn(batch, *shape, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def test_every_configuration_has_its_class() -> None:
    assert CLASSES.keys() == set(MIXERS.values())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("config", VARIANTS, ids=label)
def test_the_formula(config: MixerConfig, shape: tuple[int, int]) -> None:
    mixer, y = made(config, shape), tokens(shape)
    found = mixer(y)
    assert found.shape == y.shape
    assert found.dtype == torch.float64
    assert relative(found, twin(config, mixer.state_dict(), y)) < 1e-12


@pytest.mark.parametrize("shape", [(6, 10), (8, 16), (2, 4)])
def test_the_formula_of_the_local_fourier_unit(shape: tuple[int, int]) -> None:
    mixer, y = made(FFCConfig(), shape), tokens(shape)
    found, expected = mixer(y), twin(FFCConfig(), mixer.state_dict(), y)
    assert relative(found, expected) < 1e-12
    for parameter in mixer.global_to_global.local_fourier.parameters():
        nn.init.zeros_(parameter)
    assert relative(mixer(y), expected) > 0.01


@pytest.mark.parametrize("config", [*VARIANTS, FFCConfig()], ids=label)
def test_the_residual_is_x_plus_the_mixed_norm(config: MixerConfig) -> None:
    """For AFNO: the fused operator and the composed one are the same."""
    mixer, x = made(config, (6, 10)), tokens((6, 10))
    norm = nn.LayerNorm(16, eps=1e-6).double()
    nn.init.normal_(norm.weight, 1.0, 0.3)
    nn.init.normal_(norm.bias, std=0.3)
    assert relative(mixer.residual(x, norm), x + mixer(norm(x))) < 1e-12


def test_afno_fused_and_composed_have_the_same_gradients() -> None:
    mixer, x, norm = made(VARIANTS[0], (6, 10)), tokens((6, 10)).requires_grad_(), nn.LayerNorm(16, eps=1e-6).double()
    leaves = [x, *mixer.parameters(), *norm.parameters()]
    weights = tokens((6, 10)).sin()
    fused = torch.autograd.grad((mixer.residual(x, norm) * weights).sum(), leaves)
    composed = torch.autograd.grad(((x + mixer(norm(x))) * weights).sum(), leaves)
    assert max(relative(a, b) for a, b in zip(fused, composed, strict=True)) < 1e-11


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("config", [*VARIANTS, FFCConfig()], ids=label)
def test_lower_precisions_stay_near(config: MixerConfig, dtype: torch.dtype) -> None:
    """float32, and bfloat16 by autocast, within the gates of their rounding; gradients alike, none of them dead."""
    exact, low, y = made(config, (8, 16)), made(config, (8, 16)).float(), tokens((8, 16)).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        found = low(y.float())
    assert found.dtype == torch.float32
    assert relative(found, exact(y)) < (2e-6 if dtype == torch.float32 else 1.5e-2)
    weights = y.detach().cos()
    (exact(y) * weights).sum().backward()
    (found * weights).sum().backward()
    gate = 2e-5 if dtype == torch.float32 else 0.1
    for (name, p), q in zip(exact.named_parameters(), low.parameters(), strict=True):
        assert p.grad is not None, name
        assert p.grad.any(), name
        assert relative(q.grad, p.grad) < gate, name


@pytest.mark.parametrize("name", MIXERS)
def test_as_configured_every_parameter_learns(name: str) -> None:
    torch.manual_seed(0)
    mixer, y = build_mixer(MIXERS[name](), 32, (8, 16)), torch.randn(2, 8, 16, 32, requires_grad=True)
    out = mixer(y)
    (out * torch.randn(out.shape)).sum().backward()
    for parameter in [y, *mixer.parameters()]:
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert parameter.grad.any()


@pytest.mark.parametrize("config", [*VARIANTS, FFCConfig()], ids=label)
def test_gradients_are_those_of_the_formula(config: MixerConfig) -> None:
    shape = (4, 6)
    mixer, y, weights = made(config, shape), tokens(shape).requires_grad_(), tokens(shape).sin()
    names = [name for name, _ in mixer.named_parameters()]
    found = torch.autograd.grad((mixer(y) * weights).sum(), [y, *mixer.parameters()])
    state = {name: value.clone().requires_grad_(name in names) for name, value in mixer.state_dict().items()}
    expected = torch.autograd.grad((twin(config, state, y) * weights).sum(), [y, *(state[name] for name in names)])
    for name, a, b in zip(["y", *names], found, expected, strict=True):
        assert relative(a, b) < 1e-10, name


def rolled(mixer: Mixer, y: Tensor, axis: int, by: int) -> float:
    """How far rolling the tokens is from rolling the result, of the part that depends on them."""
    constant = mixer(torch.zeros_like(y))
    before = mixer(y.roll(by, axis)) - constant
    return relative(before, (mixer(y) - constant).roll(by, axis))


COMMUTING = [
    FNOConfig(num_blocks=2, modes=LOW), FNOConfig(modes=FULL), GFNetConfig(), GFNetConfig(modes=LOW),
    GFNetConfig(modes=ModesConfig()), ParCConfig(), NoneConfig(),
]  # fmt: skip


@pytest.mark.parametrize("shape", [(8, 16), (7, 9)])
@pytest.mark.parametrize("config", COMMUTING, ids=label)
def test_linear_filters_commute_with_rolls_of_either_axis(config: MixerConfig, shape: tuple[int, int]) -> None:
    mixer, y = made(config, shape), tokens(shape)
    assert rolled(mixer, y, 2, 3) < 1e-12
    assert rolled(mixer, y, 1, 2) < 1e-12


def test_parc_knows_where_it_is_along_its_axis_only() -> None:
    mixer, y = made(ParCConfig(), (8, 16)), tokens((8, 16))
    difference = mixer(y.roll(3, 2)) - mixer(y).roll(3, 2)
    assert difference[..., :8].norm() < 1e-12 * mixer(y).norm()
    assert difference[..., 8:].norm() > 0.1 * mixer(y).norm()


@pytest.mark.parametrize("config", [
    AFNOConfig(num_blocks=2), AFFConfig(num_blocks=2), FFCConfig(), FFCConfig(local_fourier_unit=False),
    LongConvConfig(), LongConvConfig(causal=True),
], ids=label)  # fmt: skip
def test_the_others_do_not_commute_with_longitude_rolls(config: MixerConfig) -> None:
    """ReLU and softshrink see phases, quarters have edges, and a row of the sequence runs into the next."""
    assert rolled(made(config, (8, 16)), tokens((8, 16)), 2, 3) > 1e-4


def test_ffc_without_its_global_branch_commutes_with_longitude_rolls_but_feels_the_poles() -> None:
    mixer, y = made(FFCConfig(), (8, 16)), tokens((8, 16))
    nn.init.zeros_(mixer.global_to_global.leave.weight)
    assert rolled(mixer, y, 2, 3) < 1e-12
    assert rolled(mixer, y, 1, 2) > 0.01


def test_a_circular_long_convolution_commutes_with_rolls_of_the_sequence() -> None:
    mixer, y = made(LongConvConfig(), (8, 16)), tokens((8, 16))
    assert rolled(mixer, y, 1, 3) < 1e-12
    along = y.flatten(1, 2).roll(5, 1).view(y.shape)
    assert relative(mixer(along), mixer(y).flatten(1, 2).roll(5, 1).view(y.shape)) < 1e-12


def test_a_causal_long_convolution_is_blind_to_what_follows() -> None:
    mixer, y = made(LongConvConfig(causal=True), (8, 16)), tokens((8, 16))
    changed = y.clone()
    changed[:, 4, 7] += 1.0
    difference = (mixer(changed) - mixer(y)).flatten(1, 2).norm(dim=(0, 2))
    assert difference[: 4 * 16 + 7].max() < 1e-12
    assert difference[4 * 16 + 7 :].min() > 1e-3


def test_modes_that_are_not_kept_pass_nothing() -> None:
    kept = Modes(**vars(LOW)).keep(8, 16)
    y = tokens((8, 16))
    high = forward_transform(y)
    high[:, :, : kept.zonal] = 0
    only_high = inverse_transform(high, 16)
    gfnet, fno = made(GFNetConfig(modes=LOW), (8, 16)), made(FNOConfig(modes=LOW), (8, 16))
    assert gfnet(only_high).norm() < 1e-12 * gfnet(y).norm()
    assert relative(fno(only_high), fno.skip(only_high)) < 1e-12


@pytest.mark.parametrize("name", MIXERS)
def test_outside_training_the_same_comes_out_twice(name: str) -> None:
    mixer, y = made(MIXERS[name](), (8, 16)), tokens((8, 16))
    assert torch.equal(mixer(y), mixer(y))
    mixer.train()
    varies = {"long_conv": "kernel dropout", "ffc": "batch statistics"}
    assert torch.equal(mixer(y), mixer.eval()(y)) != (name in varies)


def test_kernel_dropout_drops_places_and_keeps_the_mean() -> None:
    mixer = build_mixer(LongConvConfig(kernel_dropout=0.25, squash=0.0), 64, (8, 16)).train()
    torch.manual_seed(0)
    kernel = mixer.regularised_kernel()
    dropped = kernel == 0
    # Standard error of a share of 0.25 over 8192 places is 0.005.
    assert dropped.float().mean().item() == pytest.approx(0.25, abs=0.02)
    torch.testing.assert_close(kernel[~dropped], mixer.kernel[~dropped] / 0.75)


def test_squash_draws_the_kernel_to_zero_by_its_width() -> None:
    mixer = build_mixer(LongConvConfig(squash=0.5), 1, (1, 5)).eval()
    mixer.kernel.data = torch.tensor([[-1.0, -0.5, 0.25, 0.75, 2.0]])
    assert mixer.regularised_kernel().tolist() == [[-0.5, 0.0, 0.0, 0.25, 1.5]]


def test_batch_norm_of_ffc_takes_all_tokens_and_remembers() -> None:
    mixer, y = made(FFCConfig(), (8, 16)), tokens((8, 16))
    enter = mixer.train().global_to_global.enter
    out = enter[1].norm(enter[0](y[..., 8:]).flatten(0, -2))
    torch.testing.assert_close(out.mean(0), enter[1].norm.bias)
    torch.testing.assert_close(out.std(0, unbiased=False), enter[1].norm.weight.abs(), rtol=1e-3, atol=0)
    before = enter[1].norm.running_mean.clone()
    mixer(y)
    assert not torch.equal(enter[1].norm.running_mean, before)


def test_published_beginnings() -> None:
    torch.manual_seed(0)
    gfnet, long_conv = build_mixer(GFNetConfig(), 64, (8, 16)), build_mixer(LongConvConfig(), 64, (8, 16))
    fno, parc = build_mixer(FNOConfig(num_blocks=4), 64, (8, 16)), build_mixer(ParCConfig(), 64, (8, 16))
    assert gfnet.weight.shape == (9, 8, 2, 64)
    assert gfnet.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert long_conv.kernel.std().item() == pytest.approx(0.002, rel=0.05)
    assert fno.weight.shape == (2, 5, 5, 4, 16, 16)
    assert 0 <= fno.weight.min() < fno.weight.max() <= 1 / 16**2
    assert fno.weight.mean().item() == pytest.approx(0.5 / 16**2, rel=0.05)
    assert parc.width.meta_kernel.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize(("config", "parameters"), [
    (AFNOConfig(num_blocks=4), 4 * 32**2 // 4 + 4 * 32),
    (AFFConfig(num_blocks=4), 4 * 32**2 // 4 + 4 * 32),
    (FNOConfig(num_blocks=4), 2 * 25 * 32**2 // 4 + 32**2 + 32),
    (GFNetConfig(), 2 * 72 * 32),
    (FFCConfig(), 27 * 32**2 // 4 + 3 * 32**2 // 4 + 2 * (8 + 16 + 16)),
    (ParCConfig(meta_resolution=[4, 20]), 32 * 24 + 32),
    (LongConvConfig(), 32 * 128 + 32),
    (NoneConfig(), 0),
], ids=label)  # fmt: skip
def test_parameters_are_as_many_as_the_docstring_says(config: MixerConfig, parameters: int) -> None:
    assert sum(p.numel() for p in build_mixer(config, 32, (8, 16)).parameters()) == parameters


@pytest.mark.parametrize("config", [*VARIANTS[::2], FFCConfig()], ids=label)
def test_the_compiler_takes_every_mixer_whole(config: MixerConfig) -> None:
    mixer, y = made(config, (4, 6)), tokens((4, 6))
    compiled = torch.compile(mixer, fullgraph=True, backend="aot_eager")
    assert relative(compiled(y), mixer(y)) < 1e-12


def test_what_does_not_suit_the_tokens_is_named() -> None:
    for shape in ((5, 12), (6, 9)):
        with pytest.raises(InputError, match=r"model.mixer.local_fourier_unit=true needs an even .*=false"):
            build_mixer(FFCConfig(), 16, shape)
    with pytest.raises(InputError, match=r"model.mixer.smooth_width=25 exceeds the 4×6 tokens"):
        build_mixer(LongConvConfig(smooth_width=25), 16, (4, 6))
    for config in (FNOConfig, AFFConfig, GFNetConfig):
        with pytest.raises(InputError, match=r"model.mixer.modes.zonal_fraction belongs to policy 'lowpass'"):
            build_mixer(config(modes=ModesConfig("full", zonal_fraction=0.5)), 16, (8, 16))
