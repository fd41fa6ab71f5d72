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
from fourcast.train.optim import build_optimizer
from fourcast.train.run import fingerprint, prune, resume, save

PROCESS = Process(0, 1, torch.device("cpu"))


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return train_config(tmp_path / "store.zarr", tmp_path / "run")


def save_step(run: Path, step: int, **scores: float) -> torch.nn.Module:
    torch.manual_seed(step)
    model = build(CARD)
    optimizer = build_optimizer(model, TrainConfig(output=str(run)).optim)
    model(torch.ones(1, 2, 8, 16)).sum().backward()
    optimizer.step()
    save(run, CARD, model, optimizer, {"step": step, **scores})
    return model


def begin(config: TrainConfig) -> tuple[int, torch.nn.Module]:
    model = build(CARD)
    optimizer = build_optimizer(model, config.optim)
    return resume(Path(config.output), config, CARD, (model, optimizer), PROCESS), model


def test_a_run_starts_at_zero_and_goes_on_from_its_newest_checkpoint(config: TrainConfig) -> None:
    assert begin(config)[0] == 0
    assert read_json(Path(config.output) / "config.json")["config"] == asdict(config)
    save_step(Path(config.output), 2)
    saved = save_step(Path(config.output), 4)
    step, model = begin(config)
    assert step == 4
    for name, value in saved.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_only_the_same_training_goes_on(config: TrainConfig) -> None:
    begin(config)
    save_step(Path(config.output), 2)
    with pytest.raises(InputError, match="holds a training of another configuration"):
        begin(replace(config, seed=1))
    with pytest.raises(InputError, match="already holds a training; resume=true goes on"):
        begin(replace(config, resume=False))
    (Path(config.output) / "config.json").unlink()
    with pytest.raises(InputError, match=r"config.json is not readable"):
        begin(config)


def test_a_file_is_no_run(config: TrainConfig) -> None:
    Path(config.output).write_text("years of work")
    with pytest.raises(InputError, match="run is a file; choose another output="):
        begin(config)


def test_the_fingerprint_covers_what_shapes_the_result(config: TrainConfig) -> None:
    free: list[dict[str, Any]] = [
        {"output": "elsewhere"}, {"device": "cuda"}, {"log_every": 7}, {"keep_checkpoints": 9}, {"tensorboard": True},
        {"checkpoint_every": 5},
        {"data": replace(config.data, memory_gb=0.0, workers=2, loader="processes", prefetch=5)},
    ]  # fmt: skip
    bound: list[dict[str, Any]] = [
        {"seed": 1}, {"steps": 7}, {"batch_size": 8}, {"loss": "area_mse"}, {"precision": "bf16"},
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
