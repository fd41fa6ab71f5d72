"""Two ranks do what one process does."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import forecast_config, model_config, train_config

from fourcast.checkpoint import load_tensors
from fourcast.config import EnsembleConfig, ForecastConfig, TrainConfig
from fourcast.forecast.ensemble import forecast
from fourcast.forecast.reader import open_run
from fourcast.train.loop import train

JOB = Path(__file__).with_name("ranks_job.py")


def torchrun(config: TrainConfig | ForecastConfig) -> subprocess.Popen[str]:
    """Start the job of ``config`` on two ranks."""
    pickled = Path(config.output).with_suffix(".pickle")
    pickled.write_bytes(pickle.dumps(config))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.Popen([*command, str(JOB), str(pickled)], stderr=subprocess.PIPE, text=True)


def errors(job: subprocess.Popen[str]) -> str:
    """What a job that has ended wrote to standard error, empty where it succeeded."""
    try:
        _, text = job.communicate(timeout=240)
    finally:
        job.terminate()
    return text if job.returncode else ""


def state(run: Path) -> dict[str, torch.Tensor]:
    tensors = load_tensors(run / "checkpoints/step_00000006/weights.pt")
    return {name: value.double() for name, value in tensors.items()}


@pytest.fixture(scope="module")
def runs(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same training and the same forecast, alone and on two ranks; rollout and buffers included."""
    folder = tmp_path_factory.mktemp("ranks")
    training = train_config(
        tiny_store, folder / "alone", model=model_config(target="residual"), rollout_steps=2, validate_every=3,
        validation_samples=5, log_every=2,
    )  # fmt: skip
    jobs = [torchrun(replace(training, output=str(folder / "ranks")))]
    train(training)
    forecasting = replace(
        forecast_config(folder / "alone", tiny_store, folder / "alone_forecast"),
        ensemble=EnsembleConfig(size=5, batch_size=2), init_times=["2026-08-05", "2026-08-06"],
    )  # fmt: skip
    jobs.append(torchrun(replace(forecasting, output=str(folder / "ranks_forecast"))))
    forecast(forecasting)
    assert [errors(job) for job in jobs] == ["", ""]
    return {path.name: path for path in folder.iterdir()}


def test_ranks_train_the_same_weights(runs: dict[str, Path]) -> None:
    alone, ranks = state(runs["alone"]), state(runs["ranks"])
    assert alone.keys() == ranks.keys()
    for name, value in alone.items():
        assert (ranks[name] - value).norm() <= 1e-5 * value.norm(), name


def test_ranks_log_and_validate_as_one(runs: dict[str, Path]) -> None:
    texts = [(runs[name] / "log.jsonl").read_text() for name in ("alone", "ranks")]
    alone, ranks = ([json.loads(line) for line in text.splitlines()] for text in texts)
    assert len(alone) == len(ranks)
    for first, second in zip(alone, ranks, strict=True):
        assert second == pytest.approx(first, rel=1e-4)
    assert len(list((runs["ranks"] / "checkpoints").iterdir())) == 2


def test_ranks_share_the_members_and_make_the_same_files(runs: dict[str, Path]) -> None:
    alone, ranks = open_run(runs["alone_forecast"]), open_run(runs["ranks_forecast"])
    assert ranks.sizes["number"] == 5
    assert ranks.load().equals(alone.load())


@pytest.mark.slow
def test_a_batch_that_ranks_cannot_share_stops_all(tiny_store: Path, tmp_path: Path) -> None:
    job = torchrun(train_config(tiny_store, tmp_path / "run", batch_size=3))
    assert "batch_size=3 cannot be divided among 2 ranks; choose a multiple" in errors(job)
