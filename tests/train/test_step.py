"""One step by hand: what changes the weights, by how much, and what is skipped and named instead."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from tiny import CHANNELS, TIMES, model_config, tensors_of, train_config, waves, write_store
from torch import Tensor, nn

from fourcast.checkpoint import training_checkpoints
from fourcast.config import TrainConfig
from fourcast.distributed import Process
from fourcast.errors import InputError
from fourcast.mixer_config import FFCConfig
from fourcast.models.build import build_model
from fourcast.train.average import WeightAverage
from fourcast.train.learner import Learner, Position
from fourcast.train.loop import train
from fourcast.train.objective import Draw, Rollout
from fourcast.train.optim import Plateau
from fourcast.train.precision import LossScale
from fourcast.train.step import Batch, Stepper
from fourcast.train_config import OptimConfig

PROCESS = Process(0, 1, 0, 1, torch.device("cpu"))
FP16 = LossScale(4.0, dynamic=True)


class Scale(nn.Module):
    """The state times one weight."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW * self.factor


def squared(predictions: Tensor, targets: Tensor) -> Tensor:
    return ((predictions - targets) ** 2).mean()


def stepper(
    accumulate: int = 1, clip: float | None = None, loss: Callable[[Tensor, Tensor], Tensor] = squared
) -> Stepper:
    return Stepper(Rollout(CHANNELS, CHANNELS, loss, "fp32"), PROCESS, accumulate, clip)


def learner(model: nn.Module, scale: LossScale | None = None) -> Learner:
    """Plain gradient descent, so that a step is rate × gradient."""
    optimizer = torch.optim.SGD(model.parameters(), lr=123.0)
    return Learner(model, model, [optimizer], None, scale or LossScale(), Plateau(), Position())


def batch(*firsts: float, target: float = 0.0) -> Batch:
    """Samples whose first state is a number everywhere, and whose next is ``target``."""
    states = torch.full((len(firsts), 2, 2, 1, 1), target)
    states[:, 0] = torch.tensor(firsts)[:, None, None, None]
    return Batch(states, Draw(0, 0, range(len(firsts))))


def test_a_step_by_hand() -> None:
    # L = mean((2·1)², (2·3)²) = 20; dL/dw = mean(2·2·1, 2·2·9) = 20; w = 2 − 0.01 · 20.
    own = learner(Scale(2.0))
    outcome = stepper().step(own, batch(1.0, 3.0), 0.01, stop=False)
    assert (outcome.loss, outcome.gradient_norm, outcome.stop, outcome.finite) == (20.0, 20.0, False, True)
    assert own.model.factor.item() == pytest.approx(1.8)
    assert own.position == Position(step=1, updates=1, skipped=0, recent=[[20.0, 20.0]])
    assert stepper().step(own, batch(1.0), 0.01, stop=True).stop


def test_the_norm_is_that_before_clipping_and_the_step_that_after() -> None:
    own = learner(Scale(2.0))
    outcome = stepper(clip=0.5).step(own, batch(1.0, 3.0), 0.1, stop=False)
    assert outcome.gradient_norm == 20.0
    assert own.model.factor.item() == pytest.approx(2.0 - 0.1 * 0.5)
    small = learner(Scale(2.0))
    stepper(clip=100.0).step(small, batch(1.0, 3.0), 0.01, stop=False)
    assert small.model.factor.item() == pytest.approx(1.8)


@pytest.mark.parametrize(("accumulate", "parts"), [(2, [3, 2]), (3, [2, 2, 1]), (4, [2, 1, 1, 1]), (8, [1] * 5)])
def test_a_batch_in_parts_is_the_batch(accumulate: int, parts: list[int]) -> None:
    """Parts of unequal size count by their samples, and keep their places in the whole batch."""
    torch.manual_seed(0)
    states = torch.randn(5, 3, 2, 8, 16)
    whole, model = (build_model(model_config(), (2, 2), (8, 16)) for _ in range(2))
    model.load_state_dict(whole.state_dict())
    given = Batch(states, Draw(0, 0, range(10, 15)))
    assert [len(part.states_BSCHW) for part in given.parts(accumulate)] == parts
    assert [place for part in given.parts(accumulate) for place in part.draw.places] == list(range(10, 15))
    one = stepper().step(learner(whole), given, 0.5, stop=False)
    other = stepper(accumulate).step(learner(model), given, 0.5, stop=False)
    assert (other.loss, other.gradient_norm) == (pytest.approx(one.loss), pytest.approx(one.gradient_norm))
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_gradients_of_a_step_do_not_reach_the_next() -> None:
    own = learner(Scale(2.0))
    stepper().step(own, batch(1.0), 0.0, stop=False)
    assert stepper().step(own, batch(1.0), 0.0, stop=False).gradient_norm == 4.0


def test_a_scaled_loss_makes_the_same_step() -> None:
    own = learner(Scale(2.0), replace(FP16))
    outcome = stepper(clip=15.0).step(own, batch(1.0, 3.0), 0.01, stop=False)
    assert (outcome.loss, outcome.gradient_norm) == (20.0, 20.0)
    assert own.model.factor.item() == pytest.approx(2.0 - 0.01 * 15)
    assert (own.scale.value, own.scale.clean_steps) == (4.0, 1)


def huge(predictions: Tensor, _: Tensor) -> Tensor:
    """At a weight of 2, a loss of 1e38 and a gradient of 5e37: eight times that is no float32, four times that is."""
    return (predictions * 5e37).mean()


def test_fp16_that_overflows_lowers_the_scale_and_counts_for_nothing() -> None:
    own = learner(Scale(2.0), replace(FP16, value=8.0))
    outcomes = [stepper(loss=huge).step(own, batch(1.0), 0.0, stop=False) for _ in range(2)]
    assert [outcome.finite for outcome in outcomes] == [False, True]
    assert outcomes[0].loss == pytest.approx(1e38)
    assert own.scale.value == 4.0
    assert (own.position.step, own.position.updates, own.position.skipped) == (2, 1, 0)


def test_a_loss_that_is_not_finite_counts_whatever_the_scale() -> None:
    own = learner(Scale(2.0), replace(FP16))
    outcome = stepper().step(own, batch(math.nan), 0.1, stop=False)
    assert not outcome.finite
    assert own.position.skipped == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_changes_nothing_and_is_named(bad: float) -> None:
    own = learner(Scale(2.0))
    own.average = WeightAverage(own.model, 0.5)
    given = batch(1.0, 3.0)
    given.states_BSCHW[1, 1, 0, 0, 0] = bad
    for times in (1, 2):
        assert not stepper(clip=1.0).step(own, given, 0.1, stop=False).finite
        assert (own.position.step, own.position.updates, own.position.skipped) == (times, 0, times)
    assert own.model.factor.item() == own.average.tensors["factor"].item() == 2.0
    assert stepper().culprits(own, given) == "t2m of the analyses"
    stepper().step(own, batch(1.0), 0.0, stop=False)
    assert (own.position.updates, own.position.skipped) == (1, 0)


class Breaks(nn.Module):
    """Its second channel overflows at the second step."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW * torch.tensor([1.0, 1e25])[:, None, None]


def test_a_prediction_that_is_not_finite_is_named() -> None:
    own = learner(Scale(1.0))
    given = Batch(torch.ones(3, 3, 2, 1, 1), Draw(0, 0, range(3)))
    assert stepper(2).culprits(replace(own, parallel=Breaks()), given) == "z500 of the prediction"
    assert stepper().culprits(own, given) == "the gradient alone"


@pytest.mark.parametrize("bad", [math.nan, 1.0])
def test_running_statistics_are_gathered_from_good_batches_alone(bad: float) -> None:
    torch.manual_seed(0)
    model = build_model(model_config(mixer=FFCConfig()), (2, 2), (8, 16)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    states = torch.randn(2, 2, 2, 8, 16)
    states[0, 0, 0, 0, 0] = bad
    given = Batch(states, Draw(0, 0, range(2)))
    own = learner(model)
    stepper().step(own, given, 0.0, stop=False)
    after = {name: value.clone() for name, value in model.state_dict().items()}
    changed = {name.rpartition(".")[2] for name in before if not torch.equal(before[name], after[name])}
    assert changed == (set() if math.isnan(bad) else {"running_mean", "running_var", "num_batches_tracked"})
    stepper().culprits(own, given)
    assert all(torch.equal(after[name], value) for name, value in model.state_dict().items())


def test_recomputed_blocks_gather_running_statistics_once() -> None:
    found = []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = build_model(model_config(mixer=FFCConfig()), (2, 2), (8, 16)).train()
        model.blocks[0].recompute = recompute
        stepper(2).step(learner(model), Batch(torch.randn(3, 3, 2, 8, 16), Draw(0, 0, range(3))), 0.1, stop=False)
        found.append(model.state_dict())
    assert any(name.endswith("running_var") for name in found[0])
    assert all(torch.equal(found[1][name], value) for name, value in found[0].items())


def config_of(folder: Path, bad_times: slice, **changes: object) -> TrainConfig:
    """A training on waves of which some analyses, by position, lack one value of z500; 32 of 40 are trained on."""
    fields = waves()
    store = write_store(folder / "store.zarr", TIMES, fields)
    group = zarr.open_group(store, mode="r+")
    broken = fields.copy()
    broken[bad_times, 1, 3, 3] = np.nan
    group["fields"][:] = broken
    return train_config(store, folder / "run", **changes)


def log(run: Path) -> list[dict[str, float | None]]:
    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in (run / "log.jsonl").read_text().splitlines()]


def test_one_bad_analysis_among_many_is_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """31 windows of two: analysis 7 stands in two of them, which an epoch draws once each."""
    config = config_of(tmp_path, slice(7, 8), steps=31, batch_size=1, log_every=1, skip_limit=3)
    run = train(config)
    lines = log(run)
    assert len([line for line in lines if "loss" in line]) == 29
    assert len([line for line in lines if "skipped_in_a_row" in line]) == 2
    said = capsys.readouterr().err
    assert said.count("skipped, loss nan, gradient norm nan: z500 of the analyses is not finite") == 2
    position = json.loads((run / "checkpoints/step_00000031/position.json").read_text())["position"]
    assert (position["step"], position["updates"], position["skipped"]) == (31, 29, 0)
    assert all(torch.isfinite(value).all() for value in tensors_of(run / "checkpoints/step_00000031", "").values())


def test_nothing_but_bad_analyses_ends_the_training(tmp_path: Path) -> None:
    config = config_of(tmp_path, slice(0, 32), steps=20, skip_limit=4, log_every=1)
    with pytest.raises(InputError, match=r"4 steps in a row could not be used, up to step 4 .*: z500 of the analyses"):
        train(config)
    assert [line["skipped_in_a_row"] for line in log(Path(config.output))] == [1, 2, 3, 4]
    assert training_checkpoints(Path(config.output)) == []


def test_checkpoints_after_a_skip_hold_the_weights_of_before(tmp_path: Path) -> None:
    config = config_of(tmp_path, slice(0, 32), steps=2, skip_limit=4, optim=OptimConfig(ema_decay=0.9), seed=5)
    run = train(config)
    torch.manual_seed(5)
    fresh = build_model(config.model, (2, 2), (8, 16)).state_dict()
    for prefix in ("model.", "average."):
        kept = tensors_of(run / "checkpoints/step_00000002", prefix)
        assert all(torch.equal(value, fresh[name]) for name, value in kept.items())
