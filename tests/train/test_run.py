"""The directory of a training: whose it is, which checkpoints stay, which is the best."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import CARD, train_config

from fourcast.checkpoint import build, training_checkpoints
from fourcast.config import DataConfig, TrainConfig
from fourcast.distributed import Process
from fourcast.errors import InputError
from fourcast.files import read_json, write_json
from fourcast.train.average import WeightAverage
from fourcast.train.learner import Learner, Position, materialise
from fourcast.train.optim import Plateau, build_optimizers
from fourcast.train.precision import LossScale
from fourcast.train.run import claim, fingerprint, prune, rate_newest, resume
from fourcast.train.saver import Saver
from fourcast.train_config import LossConfig, OptimConfig, ParallelConfig

PROCESS = Process(0, 1, 0, 1, torch.device("cpu"))


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return train_config(tmp_path / "store.zarr", tmp_path / "run")


def make_learner(step: int) -> Learner:
    torch.manual_seed(step)
    model = build(CARD)
    optimizers = build_optimizers(model, OptimConfig())
    materialise(optimizers[0])
    return Learner(
        model, model, optimizers, WeightAverage(model, 0.9), LossScale(2.0, 3, True),
        Plateau(0.5, 2, 0.25), Position(step),
    )  # fmt: skip


def save_step(run: Path, step: int, **scores: float) -> Learner:
    """Save a learner that has made one step of its own."""
    learner = make_learner(step)
    learner.model(torch.ones(1, 2, 8, 16)).sum().backward()
    learner.optimizers[0].step()
    learner.average.update(learner.model, 0)
    saver = Saver(run, CARD, PROCESS, 100, in_background=True)
    saver.save(learner.tensors(), learner.state(), scores)
    saver.finish()
    return learner


def begin(config: TrainConfig) -> Learner:
    learner = make_learner(0)
    found = claim(Path(config.output), config, CARD, PROCESS)
    if found is not None:
        resume(found, learner)
        rate_newest(found)
    return learner


def test_a_run_starts_at_zero_and_goes_on_from_its_newest_checkpoint(config: TrainConfig) -> None:
    assert begin(config).position.step == 0
    assert read_json(Path(config.output) / "config.json")["config"] == asdict(config)
    save_step(Path(config.output), 2)
    saved = save_step(Path(config.output), 4)
    found = begin(config)
    assert found.state() == saved.state()
    expected, tensors = saved.tensors(), found.tensors()
    assert expected.keys() == tensors.keys()
    assert [name for name, value in expected.items() if not torch.equal(tensors[name], value)] == []
    assert {name.partition(".")[0] for name in tensors} == {"model", "average", "optimizer"}


def test_what_is_saved_is_the_moment_it_was_asked_for(config: TrainConfig) -> None:
    """Training goes on while a checkpoint is written."""
    begin(config)
    learner = make_learner(3)
    before = learner.model.state_dict()["network.head.weight"].clone()
    saver = Saver(Path(config.output), CARD, PROCESS, 3, in_background=True)
    saver.save(learner.tensors(), learner.state(), {})
    with torch.no_grad():
        for parameter in learner.model.parameters():
            parameter.fill_(7.0)
    saver.finish()
    assert torch.equal(begin(config).model.state_dict()["network.head.weight"], before)


def test_only_the_same_training_goes_on(config: TrainConfig) -> None:
    begin(config)
    save_step(Path(config.output), 2)
    with pytest.raises(InputError, match="holds a training of another configuration"):
        begin(replace(config, seed=1))
    with pytest.raises(InputError, match="already holds a training; resume=true goes on"):
        begin(replace(config, resume=False))
    with pytest.raises(InputError, match="was begun on other data or from other weights, though by the same names"):
        claim(Path(config.output), config, replace(CARD, mean=[1.0, 2.0]), PROCESS)
    (Path(config.output) / "config.json").unlink()
    with pytest.raises(InputError, match=r"config.json is not readable"):
        begin(config)


def test_a_run_of_an_older_version_says_how_to_go_on(config: TrainConfig) -> None:
    begin(config)
    save_step(Path(config.output), 2)
    checkpoint = Path(config.output) / "checkpoints/step_00000002"
    (checkpoint / "tensors").rename(checkpoint / "weights.pt")
    with pytest.raises(InputError, match=r"begin a new run with start_from=.*step_00000002"):
        begin(config)


def test_a_file_is_no_run(config: TrainConfig) -> None:
    Path(config.output).write_text("years of work")
    with pytest.raises(InputError, match="run is a file; choose another output="):
        begin(config)


def test_the_fingerprint_covers_what_shapes_the_result(config: TrainConfig) -> None:
    free: list[dict[str, Any]] = [
        {"output": "elsewhere"}, {"device": "cuda"}, {"log_every": 7}, {"keep_checkpoints": 9}, {"trackers": ["wandb"]},
        {"checkpoint_every": 5}, {"async_checkpoints": False}, {"parallel": ParallelConfig("fsdp", accumulate=2)},
        {"data": replace(config.data, memory_gb=0.0, workers=2, loader="processes", prefetch=5)},
    ]  # fmt: skip
    bound: list[dict[str, Any]] = [
        {"seed": 1}, {"steps": 7}, {"batch_size": 8}, {"loss": LossConfig("area_mse")}, {"precision": "bf16"},
        {"data": DataConfig(store="other")}, {"model": replace(config.model, depth=2)},
        {"optim": replace(config.optim, learning_rate=1.0)},
    ]  # fmt: skip
    own = fingerprint(config, CARD)
    assert [change for change in free if fingerprint(replace(config, **change), CARD) != own] == []
    assert [change for change in bound if fingerprint(replace(config, **change), CARD) == own] == []
    assert fingerprint(config, replace(CARD, mean=[1.0, 2.0])) != own  # the store was ingested anew
    assert fingerprint(config, replace(CARD, provenance={"data": ["other.nc"]})) != own
    assert fingerprint(config, replace(CARD, provenance=CARD.provenance | {"torch": "99.0"})) == own


def test_the_best_is_the_lowest_validation_loss(tmp_path: Path) -> None:
    save_step(tmp_path, 1)
    assert not (tmp_path / "best.json").exists()
    for step, loss in ((2, 0.5), (3, 0.25), (4, 0.25), (5, 0.75)):
        save_step(tmp_path, step, validation_loss=loss)
    assert read_json(tmp_path / "best.json") == {"checkpoint": "step_00000003", "validation_loss": 0.25}


def test_a_best_that_a_kill_left_unnamed_is_named_on_resumption(config: TrainConfig) -> None:
    run = Path(config.output)
    begin(config)
    save_step(run, 2, validation_loss=0.5)
    save_step(run, 4, validation_loss=0.25)
    write_json(run / "best.json", {"checkpoint": "step_00000002", "validation_loss": 0.5})
    begin(config)
    assert read_json(run / "best.json")["checkpoint"] == "step_00000004"


def test_pruning_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    for step, loss in ((1, 0.5), (2, 0.1), (3, 0.5), (4, 0.5), (5, 0.5)):
        save_step(tmp_path, step, validation_loss=loss)
    prune(tmp_path, keep=2)
    assert [path.name[-1] for path in training_checkpoints(tmp_path)] == ["2", "4", "5"]
    prune(tmp_path, keep=5)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 3
