"""Every mixer on the Triton kernels in Triton's interpreter; ``test_interpreted_mixers`` gives this its process."""

import os

import pytest
import torch
from mixer_twins import twin

from fourcast.mixer_config import MIXERS, AFFConfig, AFNOConfig, FFCConfig, FNOConfig, MixerConfig
from fourcast.models.build import build_mixer

assert os.environ["TRITON_INTERPRET"] == "1"
assert os.environ["FOURCAST_KERNELS"] == "triton"

CONFIGS: dict[str, MixerConfig] = {name: config() for name, config in MIXERS.items()} | {
    "afno": AFNOConfig(num_blocks=2),
    "aff": AFFConfig(num_blocks=2),
    "fno": FNOConfig(num_blocks=2),
    "ffc": FFCConfig(local_fourier_unit=False),
}


LONGEST = "long_conv"
"""Takes as long as all others together."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == LONGEST else name for name in MIXERS]
)
def test_values_and_gradients(name: str) -> None:
    torch.manual_seed(0)
    mixer = build_mixer(CONFIGS[name], 16, (4, 16)).eval()
    y, weights = torch.randn(1, 4, 16, 16, requires_grad=True), torch.randn(1, 4, 16, 16)
    state = {key: value.detach().double().requires_grad_() for key, value in mixer.state_dict().items()
             if value.is_floating_point()}  # fmt: skip
    exact = y.detach().double().requires_grad_()
    expected = twin(CONFIGS[name], state, exact)
    found = mixer(y)
    assert relative(found, expected) < 2e-6
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    assert relative(y.grad, exact.grad) < 1e-5
    for key, parameter in mixer.named_parameters():
        assert relative(parameter.grad, state[key].grad) < 1e-5, key


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm())
