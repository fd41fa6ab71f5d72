"""Several ranks do what one process does."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from ranks_job import Torchrun, finish
from tiny import forecast_config, model_config, tensors_of, train_config

from fourcast.checkpoint import training_checkpoints
from fourcast.config import EnsembleConfig, TrainConfig
from fourcast.forecast import open_ensemble
from fourcast.forecast.ensemble import forecast
from fourcast.train_config import OptimConfig, ParallelConfig, RolloutConfig

STEPS = 20
LAST = f"checkpoints/step_{STEPS:08d}"


def training(store: Path, output: Path, strategy: str = "ddp") -> TrainConfig:
    """All that might differ among ranks: average, rollout of growing length, clipping, a residual's buffer."""
    return train_config(
        store, output, steps=STEPS, log_every=1, checkpoint_every=5, keep_checkpoints=100, validate_every=10,
        validation_samples=5, model=model_config(target="residual"), rollout=RolloutConfig({0: 1, 10: 2}),
        optim=OptimConfig(learning_rate=2e-3, gradient_clip=0.1, ema_decay=0.9),
        parallel=ParallelConfig(strategy, shard_processes=2),
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same training alone, on two ranks by torchrun, and a forecast alone and by torchrun."""
    folder = tmp_path_factory.mktemp("ranks")
    on_two = [training(tiny_store, folder / strategy, strategy) for strategy in ("ddp", "fsdp")]
    given = forecast_config(folder / "ddp", tiny_store, folder / "forecast", init_times=["2026-08-05", "2026-08-06"])
    forecasting = replace(given, ensemble=EnsembleConfig(size=5, batch_size=2, exact=True))
    on_ranks = replace(forecasting, output=str(folder / "forecast_ranks"))
    with Torchrun(folder / "torchrun", [*on_two, on_ranks]) as torchrun:
        finish(training(tiny_store, folder / "alone"), 1)
        assert torchrun.errors() == ""
    forecast(forecasting)
    return {path.name: path for path in folder.iterdir()}


def losses(run: Path) -> list[float]:
    """The training losses of all steps, then the validation losses."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line[key] for key in ("loss", "validation_loss") for line in lines if key in line]


def distances(run: Path, other: Path) -> dict[str, float]:
    """How far the weights and their average are from those of ``other``, in relation to these."""
    expected, found = tensors_of(other / LAST, ""), tensors_of(run / LAST, "")
    assert expected.keys() == found.keys()
    norms = {name: value.double().norm() for name, value in expected.items() if not name.startswith("optimizer.")}
    return {name: float((found[name] - expected[name]).double().norm() / norm) for name, norm in norms.items()}


def assert_agree(run: Path, other: Path) -> None:
    """Equal up to rounding: losses of every step and validation, weights, average."""
    expected = losses(other)
    assert len(expected) == STEPS + 2
    assert losses(run) == pytest.approx(expected, rel=1e-5)
    assert max(distances(run, other).values()) < 1e-5


@pytest.mark.parametrize("run", ["ddp", "fsdp"])
def test_ranks_train_as_one(runs: dict[str, Path], run: str) -> None:
    assert_agree(runs[run], runs["alone"])


@pytest.mark.slow
def test_four_ranks_of_which_two_share_a_model_train_as_one(
    runs: dict[str, Path], tiny_store: Path, tmp_path: Path
) -> None:
    finish(training(tiny_store, tmp_path / "hybrid", "hybrid"), 4)
    assert_agree(tmp_path / "hybrid", runs["alone"])


def test_the_training_is_one_that_could_differ(runs: dict[str, Path]) -> None:
    """Gradients are clipped, the model learns, and its average is another than its weights."""
    lines = [json.loads(line) for line in (runs["alone"] / "log.jsonl").read_text().splitlines()]
    assert min(line["gradient_norm"] for line in lines if "gradient_norm" in line) > 0.1
    tensors = tensors_of(runs["alone"] / LAST, "")
    weights, average = (tensors[f"{kind}.network.head.weight"] for kind in ("model", "average"))
    assert (weights - average).norm() > 1e-3 * weights.norm()
    first = tensors_of(runs["alone"] / "checkpoints/step_00000005")["network.head.weight"]
    assert (weights - first).norm() > 1e-2 * weights.norm()


def test_ranks_share_the_members_and_make_the_same_files(runs: dict[str, Path]) -> None:
    alone, found = open_ensemble(runs["forecast"]), open_ensemble(runs["forecast_ranks"])
    assert found.sizes["number"] == 5
    assert found.load().equals(alone.load())


def resumed(run: Path, output: Path, step: int) -> Path:
    """A copy of ``run`` that ends with the checkpoint of ``step``."""
    shutil.copytree(run, output, dirs_exist_ok=True)
    (output / "best.json").unlink()
    for checkpoint in training_checkpoints(output):
        if int(checkpoint.name[-8:]) > step:
            shutil.rmtree(checkpoint)
    return output


CHANGES = [
    pytest.param("ddp", [(10, "fsdp", 2), (15, "ddp", 1)], id="two sharded one", marks=pytest.mark.slow),
    pytest.param("ddp", [(5, "ddp", 4), (15, "ddp", 1)], id="two four one", marks=pytest.mark.slow),
    pytest.param("fsdp", [(5, "ddp", 2), (10, "hybrid", 4), (15, "fsdp", 2)], id="all", marks=pytest.mark.slow),
]
"""What a training begins as, and (after which step, strategy, ranks) it goes on as."""


@pytest.mark.parametrize(("begun", "changes"), CHANGES)
def test_a_training_goes_on_with_other_ranks(
    runs: dict[str, Path], tiny_store: Path, tmp_path: Path, begun: str, changes: list[tuple[int, str, int]]
) -> None:
    run = runs[begun]
    for number, (step, strategy, count) in enumerate(changes):
        run = resumed(run, tmp_path / str(number), step)
        finish(training(tiny_store, run, strategy), count)
    assert_agree(run, runs["alone"])


@pytest.mark.slow
def test_four_ranks_train_as_one(runs: dict[str, Path], tiny_store: Path, tmp_path: Path) -> None:
    found = [training(tiny_store, tmp_path / strategy, strategy) for strategy in ("ddp", "fsdp")]
    with Torchrun(tmp_path / "torchrun", found, 4) as torchrun:
        assert torchrun.errors() == ""
    for config in found:
        assert_agree(Path(config.output), runs["alone"])


@pytest.mark.slow
def test_a_batch_that_ranks_cannot_share_stops_all(tiny_store: Path, tmp_path: Path) -> None:
    with Torchrun(tmp_path / "torchrun", [train_config(tiny_store, tmp_path / "run", batch_size=3)]) as torchrun:
        assert "batch_size=3 cannot be divided among 2 ranks; choose a multiple" in torchrun.errors()
