"""What the names and shapes of published weights imply."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fourcast.config import ModelConfig
from fourcast.errors import InputError
from fourcast.mixer_config import AFNOConfig
from fourcast.models.build import build_network
from fourcast.models.precipitation import PrecipitationNet
from fourcast.models.pretrained import interpret

CONFIG = ModelConfig(patch_size=2, embed_dim=12, depth=3, mixer=AFNOConfig(num_blocks=3), mlp_ratio=2.5)


def weights() -> dict[str, Tensor]:
    return dict(build_network(CONFIG, (3, 2), (8, 16)).state_dict())


def test_the_architecture_is_read_from_shapes() -> None:
    found = interpret(weights(), None, 1.0)
    assert (found.kind, found.in_channels, found.out_channels, found.grid_shape) == ("forecast", 3, 2, (8, 16))
    assert found.model == CONFIG


@pytest.mark.parametrize("key", ["model_state", "state_dict", "model", None])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module.", "module._orig_mod.module."])
def test_wrappers_are_undone(key: str | None, prefix: str) -> None:
    plain = weights()
    wrapped: dict[str, Any] = {prefix + name: value for name, value in plain.items()}
    wrapped |= {"n_averaged": torch.tensor(7), f"{prefix}device_buffer": torch.empty(0), 5: torch.ones(1)}
    loaded = wrapped if key is None else {"iters": 10, key: wrapped, "optimizer_state_dict": {}}
    assert set(interpret(loaded, None, 1.0).tensors) == set(plain)


def test_a_missing_last_norm_is_supplied() -> None:
    tensors = {name: value for name, value in weights().items() if not name.startswith("norm.")}
    found = interpret(tensors, None, 1.0)
    build_network(found.model, (3, 2), found.grid_shape).load_state_dict(found.tensors)


def test_precipitation_is_told_by_its_convolution() -> None:
    model = PrecipitationNet(build_network(CONFIG, (3, 1), (8, 16)))
    found = interpret(dict(model.state_dict()), None, 0.5)
    assert (found.kind, found.out_channels, found.grid_shape) == ("precipitation", 1, (8, 16))
    assert isinstance(found.model.mixer, AFNOConfig)
    assert found.model.mixer.modes.hard_thresholding_fraction == 0.5
    model.load_state_dict(found.tensors)


def test_grids_other_than_one_to_two_are_named_by_the_user() -> None:
    tensors = dict(build_network(CONFIG, (3, 2), (8, 12)).state_dict())
    with pytest.raises(InputError, match=r"24 tokens are no grid of shape 1:2; pass image_size="):
        interpret(tensors, None, 1.0)
    assert interpret(tensors, [8, 12], 1.0).grid_shape == (8, 12)
    with pytest.raises(InputError, match=r"image_size=\[8, 16\] makes 32 patches, the weights have 24"):
        interpret(tensors, [8, 16], 1.0)


def test_other_networks_are_refused() -> None:
    with pytest.raises(InputError, match="not FourCastNet's AFNO weights: pos_embed"):
        interpret({"state_dict": {"layer.weight": torch.ones(2, 2)}}, None, 1.0)
    with pytest.raises(InputError, match="not among 0 tensors"):
        interpret({"epoch": 3}, None, 1.0)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("pos_embed", (32, 12)),
        ("patch_embed.proj.weight", (12, 3, 2)),
        ("blocks.0.filter.w1", (2, 12, 4)),
        ("blocks.0.mlp.fc1.weight", (30,)),
        ("head.weight", (0, 12)),
    ],
)
def test_shapes_of_other_rank_are_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=f"{name} has shape"):
        interpret(weights() | {name: torch.zeros(shape)}, None, 1.0)


def test_a_hidden_size_factor_is_refused() -> None:
    with pytest.raises(InputError, match="hidden_size_factor"):
        interpret(weights() | {"blocks.0.filter.w1": torch.zeros(2, 3, 4, 8)}, None, 1.0)
