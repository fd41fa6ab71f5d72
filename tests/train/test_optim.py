"""Optimizer groups, Muon, the learning-rate schedules and the plateau."""

import json
import math
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributed import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.optim import AdamW, Muon
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

from fourcast.config import ModelConfig
from fourcast.errors import InputError
from fourcast.mixer_config import MIXERS
from fourcast.models.build import build_model
from fourcast.train.optim import Plateau, build_optimizers, learning_rate
from fourcast.train_config import OptimConfig

HIDDEN = {"blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc2.weight"}


def rates(steps: int, **changes: object) -> list[float]:
    """From step 0 to where the schedule ends, one after the last step."""
    config = OptimConfig(**changes)  # type: ignore[arg-type]
    return [learning_rate(config, step, steps) for step in range(steps + 1)]


def network(mixer: str = "afno", target: str = "direct") -> nn.Module:
    config = ModelConfig(patch_size=2, embed_dim=16, depth=1, mixer=MIXERS[mixer](), target=target)
    return build_model(config, (2, 2), (8, 16), torch.ones(2))


def names(model: nn.Module, parameters: list[nn.Parameter]) -> set[str]:
    known = {id(own): name.removeprefix("network.") for name, own in model.named_parameters()}
    return {known[id(own)] for own in parameters}


def test_warm_up_then_a_cosine_to_zero() -> None:
    found = rates(12, learning_rate=8.0, warmup_steps=4)
    assert found[:5] == [2.0, 4.0, 6.0, 8.0, 8.0]
    assert found[8] == pytest.approx(4.0)  # half-way down
    assert found[11] == pytest.approx(4 * (1 + math.cos(math.pi * 7 / 8)))
    assert found[12] == pytest.approx(0.0)
    assert learning_rate(OptimConfig(learning_rate=3.0), 0, 10) == 3.0


def test_a_cosine_ends_at_its_final_fraction() -> None:
    found = rates(10, learning_rate=8.0, warmup_steps=2, final_fraction=0.25)
    # from 8 down to 2: (8 + 2) / 2 half-way, 2 + 6 · (1 + cos(π / 4)) / 2 after a quarter
    assert found[:3] == [4.0, 8.0, 8.0]
    assert [found[4], found[6], found[10]] == pytest.approx([2 + 3 * (1 + math.sqrt(0.5)), 5.0, 2.0])


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_others_stay_at_the_peak_after_their_warm_up(schedule: str) -> None:
    assert rates(5, schedule=schedule, learning_rate=6.0, warmup_steps=3, final_fraction=0.5) == [2.0, 4.0] + 4 * [6.0]


def test_one_cycle_by_hand() -> None:
    found = rates(100, schedule="one_cycle", learning_rate=50.0, warmup_steps=7, final_fraction=0.01)
    # 50 / 25 = 2 at the start, 50 after 30 steps, 0.5 at the end, means of two of these half-way between them
    assert [found[0], found[15], found[30], found[65], found[100]] == pytest.approx([2.0, 26.0, 50.0, 25.25, 0.5])
    assert all(low < high for low, high in pairwise(found[:31]))
    assert all(high > low for high, low in pairwise(found[30:]))
    assert max(abs(a - b) for a, b in pairwise(found)) < 50 * math.pi / 2 / 30  # no jump anywhere


@pytest.mark.parametrize("steps", [10, 47])
def test_one_cycle_is_that_of_torch(steps: int) -> None:
    found = rates(steps, schedule="one_cycle", learning_rate=3.0, final_fraction=0.02)
    # torch's peak lies at pct_start · total_steps - 1, its end at total_steps - 1
    reference = OneCycleLR(
        AdamW([nn.Parameter(torch.zeros(1))]), max_lr=3.0, total_steps=steps + 1,
        pct_start=(0.3 * steps + 1) / (steps + 1), div_factor=25, final_div_factor=1 / (25 * 0.02),
    )  # fmt: skip
    expected = []
    for _ in range(steps + 1):
        expected.append(reference.get_last_lr()[0])
        reference.optimizer.step()
        if len(expected) <= steps:
            reference.step()
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["cosine", "constant", "one_cycle", "plateau"])
def test_a_training_of_one_step_has_a_learning_rate(schedule: str) -> None:
    expected = 1 / 25 if schedule == "one_cycle" else 1.0
    assert learning_rate(OptimConfig(schedule=schedule, learning_rate=1.0), 0, 1) == pytest.approx(expected)


def test_weight_decay_acts_on_matrices_only() -> None:
    model = network(target="residual")
    (optimizer,) = build_optimizers(model, OptimConfig(weight_decay=0.1, beta1=0.8, beta2=0.95))
    decayed, plain = (names(model, group["params"]) for group in optimizer.param_groups)
    assert decayed == {
        "patch_embed.proj.weight", "head.weight", "blocks.0.filter.w1", "blocks.0.filter.w2", *HIDDEN
    }  # fmt: skip
    assert decayed | plain == names(model, list(model.parameters()))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert optimizer.defaults["betas"] == (0.8, 0.95)


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
    model = network(mixer)
    (optimizer,) = build_optimizers(model, OptimConfig())
    prefix = "blocks.0.filter."
    found = names(model, optimizer.param_groups[0]["params"])
    assert {name.removeprefix(prefix) for name in found if name.startswith(prefix)} == expected


@pytest.mark.parametrize(("mixer", "more"), [
    ("afno", set()),
    ("fno", {"skip.weight"}),
    ("ffc", {
        f"global_to_global.{name}.weight" for name in ("enter.0", "fourier.linear", "local_fourier.linear", "leave")
    }),
    ("parc", set()),
    ("long_conv", set()),
])  # fmt: skip
def test_muon_takes_the_matrices_of_blocks_and_adamw_the_rest(mixer: str, more: set[str]) -> None:
    model = network(mixer, "residual")
    muon, adamw = build_optimizers(model, OptimConfig(name="muon", weight_decay=0.1, learning_rate=3e-3))
    assert isinstance(muon, Muon)
    assert isinstance(adamw, AdamW)
    matrices = names(model, [own for group in muon.param_groups for own in group["params"]])
    assert matrices == HIDDEN | {f"blocks.0.filter.{name}" for name in more}
    rest = [own for group in adamw.param_groups for own in group["params"]]
    assert names(model, rest) == names(model, list(model.parameters())) - matrices
    assert "head.weight" in names(model, adamw.param_groups[0]["params"])
    assert {group["lr"] for own in (muon, adamw) for group in own.param_groups} == {3e-3}
    assert muon.param_groups[0]["weight_decay"] == adamw.param_groups[0]["weight_decay"] == 0.1


def test_a_step_of_muon_is_as_large_as_one_of_adamw() -> None:
    torch.manual_seed(0)
    model = network()
    matrix = model.get_parameter("blocks.0.mlp.fc1.weight")
    before = matrix.detach().clone()
    matrix.grad = 1e-4 * torch.randn(64, 16)
    muon, _ = build_optimizers(model, OptimConfig(name="muon", learning_rate=0.5))
    muon.step()
    # Orthogonal columns of [64, 16] times 0.2 √64 · 0.5, but for lengths of 0.6 to 1.2 as Newton and Schulz leave them.
    lengths = torch.linalg.svdvals(matrix.detach() - before) / (0.2 * 8 * 0.5)
    assert lengths.min() > 0.6
    assert lengths.max() < 1.25
    size = (matrix.detach() - before).square().mean().sqrt().item()
    assert size == pytest.approx(0.2 * 0.5, rel=0.2)


def test_muon_is_refused_where_it_has_nothing_to_train() -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"this model has none that train; use optim\.name=adamw"):
        build_optimizers(model, OptimConfig(name="muon"))


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_frozen_parameters_are_left_out(name: str) -> None:
    model = network()
    frozen = {"head.weight", "blocks.0.mlp.fc1.weight", "pos_embed"}
    for each in frozen:
        model.get_parameter(each).requires_grad_(False)
    optimizers = build_optimizers(model, OptimConfig(name=name))
    trained = [own for optimizer in optimizers for group in optimizer.param_groups for own in group["params"]]
    assert names(model, trained) == names(model, list(model.parameters())) - frozen


def test_a_plateau_by_hand() -> None:
    config = OptimConfig(plateau_patience=2, plateau_factor=0.5)
    plateau, factors = Plateau(), []
    # better, the same, worse → halved; better, worse, better, worse, worse → halved; worse, worse → halved
    for loss in (4.0, 4.0, 5.0, 3.0, 3.5, 2.0, 2.5, 2.5, 2.2, 2.1):
        plateau.update(loss, config)
        factors.append(plateau.factor)
    assert factors == [1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]
    assert plateau == Plateau(best=2.0, waited=0, factor=0.125)


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_a_plateau_is_that_of_torch(patience: int) -> None:
    config = OptimConfig(plateau_patience=patience, plateau_factor=0.7)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = ReduceLROnPlateau(optimizer, factor=0.7, patience=patience - 1, threshold=0.0, eps=0.0)
    plateau, changes = Plateau(), set()
    for loss in torch.randint(1, 60, (80,), generator=torch.Generator().manual_seed(patience)).tolist():
        plateau.update(float(loss), config)
        plateau = Plateau(**json.loads(json.dumps(asdict(plateau))))
        reference.step(float(loss))
        assert plateau.factor == optimizer.param_groups[0]["lr"]
        changes.add(plateau.factor)
    assert len(changes) > 5


def whole(parameter: nn.Parameter) -> torch.Tensor:
    own = parameter.detach()
    return own.full_tensor() if isinstance(own, DTensor) else own.clone()


def sharded(rank: int, store: str) -> None:
    """In one of two processes: Muon on shards does what it does on whole matrices, and refuses what has no shards."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    config = OptimConfig(name="muon", learning_rate=0.02, weight_decay=0.1)
    changes = []
    for mesh in (None, init_device_mesh("cpu", (2,))):
        torch.manual_seed(0)
        model = nn.ModuleDict({"blocks": nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 6))})
        before = [own.detach().clone() for own in model.parameters()]
        if mesh is not None:
            fully_shard(model["blocks"], mesh=mesh, reshard_after_forward=True)
        optimizers = build_optimizers(model, config)
        for _ in range(3):
            model["blocks"](torch.randn(4, 5)).square().mean().backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
        after = [whole(own) for own in model.parameters()]
        changes.append([new - old for new, old in zip(after, before, strict=True)])
    for expected, found in zip(*changes, strict=True):
        torch.testing.assert_close(found, expected, rtol=0.05, atol=1e-3)  # Muon multiplies in bfloat16
    narrow = nn.ModuleDict({"blocks": nn.Sequential(nn.Linear(5, 1))})
    fully_shard(narrow["blocks"], mesh=init_device_mesh("cpu", (2,)))
    with pytest.raises(InputError, match=r"cannot spread blocks\.0\.weight, a matrix of 1 × 5, over 2 processes"):
        build_optimizers(narrow, config)
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_muon_trains_shards(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(sharded, (str(tmp_path / "store"),), nprocs=2)
