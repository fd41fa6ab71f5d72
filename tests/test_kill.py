"""kill −9 at any moment leaves nothing that looks finished and is not, and a rerun ends as if nothing had happened."""

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import torch
from tiny import forecast_config, model_config, train_config

from fourcast.checkpoint import load_model, load_tensors, training_checkpoints
from fourcast.config import EnsembleConfig, ForecastConfig, TrainConfig
from fourcast.files import read_json
from fourcast.forecast.ensemble import forecast
from fourcast.train.loop import train

# The server imports torch once and has no threads, so that a child starts at once and is a clean process of its own.
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["fourcast.train.loop", "fourcast.forecast.ensemble"])
DEADLINE = 120.0

DEFAULT = [(1, 0.0), (4, 0.013)]
MANY = [(count, delay) for count in (0, 2, 5, 9) for delay in (0.0, 0.007, 0.021, 0.04)]
MOMENTS = [pytest.param(DEFAULT, id="two"), pytest.param(MANY, id="many", marks=pytest.mark.slow)]
"""(how many finished things to wait for, how many seconds longer) for every kill."""


Job = Callable[[Any], Any]


def start(job: Job, config: TrainConfig | ForecastConfig) -> Any:
    process = FORKSERVER.Process(target=job, args=(config,))
    process.start()
    return process


def finish(job: Job, config: TrainConfig | ForecastConfig) -> None:
    process = start(job, config)
    process.join(DEADLINE)
    assert process.exitcode == 0


def killed(job: Job, config: TrainConfig | ForecastConfig, pattern: str, moment: tuple[int, float]) -> bool:
    """Start ``job`` and kill it once ``moment`` has come; False where it was done before."""
    count, delay = moment
    process, limit = start(job, config), time.monotonic() + DEADLINE
    while process.is_alive() and len(list(Path(config.output).glob(pattern))) < count:
        assert time.monotonic() < limit
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    process.join()
    return bool(process.exitcode == -9)


def finished(run: Path, pattern: str) -> list[Path]:
    return [path for path in run.rglob(pattern) if ".partial" not in str(path.relative_to(run))]


@pytest.fixture
def training(tiny_store: Path, tmp_path: Path) -> TrainConfig:
    model = model_config(drop_rate=0.2)
    return train_config(tiny_store, tmp_path / "killed", steps=16, model=model, checkpoint_every=1, validate_every=4)


@pytest.mark.parametrize("moments", MOMENTS)
def test_training(training: TrainConfig, tmp_path: Path, moments: list[tuple[int, float]]) -> None:
    undisturbed, run = tmp_path / "undisturbed", Path(training.output)
    finish(train, replace(training, output=str(undisturbed)))
    kills = 0
    for moment in moments:
        kills += killed(train, training, "checkpoints/step_*[0-9]", moment)
        for path in training_checkpoints(run):
            assert load_tensors(path / "training.pt")["position"]["step"] == int(path.name[-2:])
            load_model(path)
        for path in finished(run, "*.json"):
            read_json(path)
        if (run / "best.json").exists():
            load_model(run)
    assert kills
    finish(train, training)
    for name in ("checkpoints/step_00000016/weights.pt", "checkpoints/step_00000014/weights.pt"):
        expected, found = load_tensors(undisturbed / name), load_tensors(run / name)
        assert [key for key in expected if not torch.equal(expected[key], found[key])] == []
    assert read_json(run / "best.json") == read_json(undisturbed / "best.json")
    assert (run / "log.jsonl").read_text() == (undisturbed / "log.jsonl").read_text()


def fields(path: Path) -> dict[str, np.ndarray]:
    with netCDF4.Dataset(path) as file:
        return {name: np.asarray(file[name][:]) for name in file.variables}


@pytest.mark.parametrize("moments", MOMENTS)
def test_forecasting(tiny_run: Path, tiny_store: Path, tmp_path: Path, moments: list[tuple[int, float]]) -> None:
    given = forecast_config(tiny_run, tiny_store, tmp_path / "killed", lead_hours=120)
    config = replace(given, init_times=["2026-08-05", "2026-08-06"], ensemble=EnsembleConfig(size=8, batch_size=3))
    undisturbed, run = tmp_path / "undisturbed", Path(config.output)
    finish(forecast, replace(config, output=str(undisturbed)))
    expected = {path.relative_to(undisturbed): fields(path) for path in undisturbed.rglob("*.nc")}
    assert len(expected) == 16
    kills = 0
    for moment in moments:
        kills += killed(forecast, config, "*/member_*.nc", moment)
        for path in finished(run, "*.nc"):
            assert fields(path).keys() == expected[path.relative_to(run)].keys()
        for path in finished(run, "*.json"):
            read_json(path)
    assert kills
    finish(forecast, config)
    assert {path.relative_to(run) for path in finished(run, "*.nc")} == set(expected)
    for name, values in expected.items():
        found = fields(run / name)
        assert [key for key in values if not np.array_equal(values[key], found[key], equal_nan=True)] == [], name
