"""The plain network that benchmarks compare with computes what ours does, so that their speeds compare."""

import copy
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from fourcast.config import ModelConfig
from fourcast.mixer_config import AFNOConfig
from fourcast.models.build import build_network
from fourcast.train.loss import relative_l2

FILE = Path(__file__).parents[2] / "benchmarks/plain_fourcastnet.py"
# Patches of 2, so tokens in 4×8, 5×7 (odd), 9×3 (all zonal wavenumbers kept), and one row of 6.
GRIDS = [(8, 16), (10, 14), (18, 6), (2, 12)]


@pytest.fixture(scope="module")
def plain() -> ModuleType:
    """The benchmark's module, which is in no package."""
    spec = importlib.util.spec_from_file_location("plain_fourcastnet", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look for it
    spec.loader.exec_module(module)
    return module


def pair(plain: ModuleType, grid: tuple[int, int]) -> tuple[nn.Module, nn.Module]:
    """The plain network and ours with the same weights, spread enough for every part to count."""
    torch.manual_seed(0)
    config = ModelConfig(patch_size=2, embed_dim=12, depth=2, mixer=AFNOConfig(num_blocks=3))
    ours = build_network(config, (3, 3), grid)
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.3)
    theirs = plain.PlainFourCastNet(plain.Shape(grid, 3, 2, 12, 2, num_blocks=3))
    theirs.load_state_dict(ours.state_dict())
    return theirs, ours


def gradients_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: own.grad for name, own in model.named_parameters() if own.grad is not None}


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("grid", GRIDS)
def test_outputs_and_every_gradient_are_the_same(plain: ModuleType, grid: tuple[int, int]) -> None:
    theirs, ours = pair(plain, grid)
    x, target = torch.randn(2, 3, *grid), torch.randn(2, 3, *grid)
    expected, found = theirs(x), ours(x)
    assert relative(found, expected) < 1e-5
    plain.relative_l2(expected, target).backward()
    relative_l2(found, target).backward()
    expected_gradients, gradients = gradients_of(theirs), gradients_of(ours)
    assert gradients.keys() == expected_gradients.keys()  # none of the published norm, which is never called
    for name, gradient in gradients.items():
        assert relative(gradient, expected_gradients[name]) < 1e-4, name


def test_the_plain_filter_counts(plain: ModuleType) -> None:
    theirs, _ = pair(plain, (8, 16))
    x = torch.randn(1, 3, 8, 16)
    unfiltered = copy.deepcopy(theirs)
    for name, own in unfiltered.named_parameters():
        if ".filter." in name:
            nn.init.zeros_(own)
    assert relative(unfiltered(x), theirs(x)) > 0.01


def test_a_plain_step_lowers_the_loss(plain: ModuleType) -> None:
    theirs, _ = pair(plain, (8, 16))
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-3, weight_decay=0.0)
    x, target = torch.randn(2, 3, 8, 16), torch.randn(2, 3, 8, 16)
    losses = [float(plain.train_step(theirs, optimizer, x, target, "fp32")) for _ in range(5)]
    assert losses == sorted(losses, reverse=True)
