"""The diagnostic precipitation model."""

import math

import pytest
import torch

from fourcast.config import ModelConfig
from fourcast.mixer_config import AFNOConfig
from fourcast.models.build import build_network
from fourcast.models.precipitation import PrecipitationNet, log_precipitation, precipitation


def build(seed: int = 0) -> PrecipitationNet:
    torch.manual_seed(seed)
    config = ModelConfig(patch_size=2, embed_dim=8, depth=1, mixer=AFNOConfig(num_blocks=2))
    model = PrecipitationNet(build_network(config, (3, 1), (8, 16))).eval()
    torch.nn.init.zeros_(model.backbone.pos_embed)
    return model


def test_one_field_that_is_never_negative() -> None:
    model = build()
    torch.nn.init.zeros_(model.conv.bias)
    y = model(torch.randn(2, 3, 8, 16))
    assert y.shape == (2, 1, 8, 16)
    assert (y >= 0).all()
    assert (y == 0).any()


def test_the_convolution_is_periodic_in_longitude_and_ends_at_the_poles() -> None:
    model = build()
    torch.nn.init.zeros_(model.conv.bias)
    model.conv.weight.data = torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 0]])[None, None]
    x = torch.randn(1, 3, 8, 16)
    inside = model.backbone(x)[0, 0]
    # The neighbour to the west, across the date line, plus the neighbour to the north, nothing beyond the pole.
    north = torch.cat([torch.zeros(1, 16), inside[:-1]])
    torch.testing.assert_close(model(x)[0, 0], (inside.roll(1, dims=1) + north).relu())


def test_published_names() -> None:
    names = set(build().state_dict())
    assert {"conv.weight", "conv.bias", "backbone.pos_embed", "backbone.head.weight"} <= names
    assert all(name.startswith(("backbone.", "conv.")) for name in names)


@pytest.mark.parametrize("seed", range(5))
def test_a_new_model_rains_and_every_weight_can_learn(seed: int) -> None:
    model = build(seed)
    y = model(torch.randn(2, 3, 8, 16))
    assert (y > 0).all()
    y.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_the_logarithm_by_hand() -> None:
    # log(1 + 0) = 0; log(1 + 1e-5 / 1e-5) = log 2; log(1 + 1e-3 / 1e-5) = log 101; what rounding made negative is 0.
    metres = torch.tensor([0.0, 1e-5, 1e-3, -1e-9])
    logarithm = log_precipitation(metres)
    torch.testing.assert_close(logarithm, torch.tensor([0.0, math.log(2), math.log(101), 0.0]))
    torch.testing.assert_close(precipitation(logarithm), metres.clamp(min=0))
    assert log_precipitation(torch.tensor([torch.nan])).isnan().all()
