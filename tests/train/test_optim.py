"""Optimizer groups and the learning-rate schedule."""

import math

import pytest
import torch

from fourcast.config import ModelConfig, OptimConfig
from fourcast.mixer_config import MIXERS, AFNOConfig
from fourcast.models.build import build_model
from fourcast.train.optim import build_optimizer, learning_rate


def test_warm_up_then_a_cosine_to_zero() -> None:
    config = OptimConfig(learning_rate=8.0, warmup_steps=4)
    rates = [learning_rate(config, step, 12) for step in range(12)]
    assert rates[:5] == [2.0, 4.0, 6.0, 8.0, 8.0]
    assert rates[8] == pytest.approx(4.0)  # half-way down
    assert rates[11] == pytest.approx(4 * (1 + math.cos(math.pi * 7 / 8)))
    assert learning_rate(config, 12, 12) == pytest.approx(0.0)
    assert learning_rate(OptimConfig(learning_rate=3.0), 0, 10) == 3.0


def test_weight_decay_acts_on_matrices_only() -> None:
    config = ModelConfig(patch_size=2, embed_dim=8, depth=1, mixer=AFNOConfig(num_blocks=2), target="residual")
    model = build_model(config, (2, 2), (8, 16), torch.ones(2))
    names = {id(parameter): name.removeprefix("network.") for name, parameter in model.named_parameters()}
    optimizer = build_optimizer(model, OptimConfig(weight_decay=0.1))
    decayed, plain = ({names[id(p)] for p in group["params"]} for group in optimizer.param_groups)
    assert decayed == {
        "patch_embed.proj.weight", "head.weight", "blocks.0.filter.w1", "blocks.0.filter.w2",
        "blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc2.weight",
    }  # fmt: skip
    assert decayed | plain == set(names.values())
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]


@pytest.mark.parametrize(("mixer", "expected"), [
    ("fno", {"weight", "skip.weight"}),
    ("gfnet", {"weight"}),
    ("aff", {"w1", "w2"}),
    ("ffc", {
        "local_to_all.weight", "global_to_local.weight", "global_to_global.enter.0.weight",
        "global_to_global.fourier.linear.weight", "global_to_global.local_fourier.linear.weight",
        "global_to_global.leave.weight",
    }),
    ("parc", {"height.meta_kernel", "width.meta_kernel"}),
    ("long_conv", set()),
    ("none", set()),
])  # fmt: skip
def test_of_a_mixer_only_what_multiplies_decays(mixer: str, expected: set[str]) -> None:
    config = ModelConfig(patch_size=2, embed_dim=16, depth=1, mixer=MIXERS[mixer]())
    model = build_model(config, (2, 2), (8, 16))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed = {names[id(p)] for p in build_optimizer(model, OptimConfig()).param_groups[0]["params"]}
    prefix = "blocks.0.filter."
    assert {name.removeprefix(prefix) for name in decayed if name.startswith(prefix)} == expected
