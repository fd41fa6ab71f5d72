"""fourcast train: it learns, resumes bit for bit, and says what is wrong before or when it goes wrong."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import CHANNELS, GRID, TIMES, model_config, tensors_of, train_config, waves, write_store

from fourcast.checkpoint import find_checkpoint, load_card, training_checkpoints
from fourcast.config import DataConfig, TrainConfig
from fourcast.data.dataset import Span, Windows
from fourcast.data.series import open_series
from fourcast.errors import InputError
from fourcast.files import read_json
from fourcast.train.learner import Learner
from fourcast.train.loop import train
from fourcast.train.prepare import periods
from fourcast.train.step import Outcome, Stepper
from fourcast.train_config import LossConfig, OptimConfig, RolloutConfig


def log(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    return tensors_of(run / f"checkpoints/step_{step:08d}")


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_a_run_holds_what_it_says(tiny_run: Path, tiny_store: Path) -> None:
    assert {path.name for path in tiny_run.iterdir()} == {
        "config.json", "log.jsonl", "checkpoints", "best.json", "validation",
    }  # fmt: skip
    assert read_json(tiny_run / "best.json")["checkpoint"] == "step_00000006"
    card = load_card(tiny_run)
    assert (card.kind, card.channels, card.step_hours, card.synthetic) == ("forecast", list(CHANNELS), 6, True)
    assert card.grid.same_as(GRID)
    assert card.mean is not None
    assert card.mean[0] == pytest.approx(280.0, abs=0.1)
    assert card.provenance["train"] == [None, "2026-08-08"]
    assert [entry["step"] for entry in log(tiny_run)] == [6, 6]


def test_training_learns_the_waves_better_than_persistence(tiny_store: Path, tmp_path: Path) -> None:
    config = train_config(
        tiny_store, tmp_path / "run", steps=60, loss=LossConfig(name="area_mse"), model=model_config(target="residual"),
        optim=OptimConfig(learning_rate=1e-2, warmup_steps=5, gradient_clip=1.0),
    )  # fmt: skip
    last = log(train(config))[-1]
    assert last["validation_loss"] < 0.5 * last["persistence_loss"]
    # In units of the change over a step, area-weighted, persistence errs by 1.
    assert last["persistence_loss"] == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_resuming_ends_with_the_same_bits(tiny_store: Path, tmp_path: Path, dropout: float) -> None:
    runs = ("straight", "resumed")
    model = model_config(depth=2, drop_rate=dropout, drop_path_rate=dropout)
    straight = train_config(tiny_store, tmp_path / "straight", model=model, checkpoint_every=3, validate_every=2)
    train(straight)
    shutil.copytree(tmp_path / "straight", tmp_path / "resumed")
    for step in (4, 6):
        shutil.rmtree(tmp_path / f"resumed/checkpoints/step_{step:08d}")
    assert training_checkpoints(tmp_path / "resumed")[-1].name == "step_00000003"
    train(replace(straight, output=str(tmp_path / "resumed"), keep_checkpoints=5))
    assert_same(weights(tmp_path / "straight", 6), weights(tmp_path / "resumed", 6))
    first, second = (tensors_of(tmp_path / run / "checkpoints/step_00000006", "") for run in runs)
    assert any(name.startswith("optimizer.") for name in first)
    assert_same(first, second)
    first, second = (read_json(tmp_path / run / "checkpoints/step_00000006/position.json") for run in runs)
    assert first == second
    assert log(tmp_path / "straight") == log(tmp_path / "resumed")


def test_a_finished_training_is_left_alone(tiny_store: Path, tmp_path: Path) -> None:
    config = train_config(tiny_store, tmp_path / "run", steps=2)
    run = train(config)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.distcp")}
    train(config)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.distcp")} == before


def test_losses_are_means_over_the_steps_since_the_last_line(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step s has the loss s: the lines at 2, 4, 6 and 7 hold 1.5, 3.5, 5.5 and 7, checkpoints or none between."""

    def numbered(self: Stepper, learner: Learner, *_: object) -> Outcome:
        learner.position.step += 1
        learner.position.recent.append([float(learner.position.step), 1.0])
        return Outcome(float(learner.position.step), 1.0, False)

    monkeypatch.setattr(Stepper, "step", numbered)
    run = train(train_config(tiny_store, tmp_path / "run", steps=7, log_every=2, checkpoint_every=3))
    assert [(e["step"], e["loss"]) for e in log(run) if "loss" in e] == [(2, 1.5), (4, 3.5), (6, 5.5), (7, 7)]


def test_validation_may_come_before_the_first_line_of_the_log(tiny_store: Path, tmp_path: Path) -> None:
    run = train(train_config(tiny_store, tmp_path / "run", steps=2, log_every=50, validate_every=1))
    assert [entry["step"] for entry in log(run)] == [1, 2, 2]


@pytest.mark.parametrize(
    "data",
    [
        {"workers": 0},
        {"workers": 3, "prefetch": 1},
        pytest.param({"loader": "processes", "workers": 2}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_whoever_reads_the_weights_are_the_same(tiny_store: Path, tmp_path: Path, data: dict[str, Any]) -> None:
    config = train_config(tiny_store, tmp_path / "memory", steps=3)
    train(config)
    train(replace(config, output=str(tmp_path / "disk"), data=replace(config.data, memory_gb=0.0, **data)))
    assert_same(weights(tmp_path / "memory", 3), weights(tmp_path / "disk", 3))


def test_a_stride_makes_a_model_of_longer_steps(tiny_store: Path, tmp_path: Path) -> None:
    model, loss = model_config(target="residual"), LossConfig(name="area_mse")
    config = train_config(tiny_store, tmp_path / "run", steps=1, loss=loss, model=model)
    run = train(replace(config, data=replace(config.data, stride=3)))
    card = load_card(run)
    assert card.step_hours == 18
    # Waves of wavenumbers 1 and 2 that move by 67.5° in a step change by 2 sin(33.75°) and 2 sin(67.5°) of their size.
    assert card.step_scale == pytest.approx([1.1111, 1.8478], rel=1e-3)
    # In units of that change persistence errs by 1.
    assert log(run)[-1]["persistence_loss"] == pytest.approx(1.0, rel=0.01)


def test_stores_that_continue_each_other_are_trained_on_as_one(tmp_path: Path) -> None:
    fields = waves()
    halves = [
        write_store(tmp_path / name, TIMES[chosen], fields[chosen])
        for name, chosen in (("first", slice(0, 16)), ("second", slice(16, 40)))
    ]
    config = train_config(halves[0], tmp_path / "run", steps=2)
    run = train(replace(config, data=replace(config.data, store=[str(half) for half in halves])))
    # 32 times to 8 August, 31 windows of two, none of them lost between the stores.
    assert len(_train_windows(config, halves)) == 31
    assert load_card(run).mean == pytest.approx(open_series([str(halves[0])]).first.statistics.mean.tolist())


def _train_windows(config: TrainConfig, stores: list[Path]) -> Windows:
    series = open_series([str(store) for store in stores])
    return Windows(series, CHANNELS, config.data.train_periods, Span(), in_memory=True)


def test_several_training_periods_need_a_validation_period(tiny_store: Path) -> None:
    several = DataConfig(train_start=["2026-08-01", "2026-08-05"], train_end=["2026-08-02", "2026-08-06"])
    with pytest.raises(InputError, match=r"several training periods name data\.validation_start"):
        periods(several, open_series([str(tiny_store)]))
    training, held_out = periods(replace(several, validation_start="2026-08-08"), open_series([str(tiny_store)]))
    assert training == [("2026-08-01", "2026-08-02"), ("2026-08-05", "2026-08-06")]
    assert held_out == [("2026-08-08", None)]


def test_without_a_validation_period_the_last_tenth_is_held_out(tiny_store: Path) -> None:
    store = open_series([str(tiny_store)])  # 40 times from 1 August, every 6 h
    train_period, held_out = periods(DataConfig(store="s"), store)
    assert train_period == [(None, "2026-08-09T18")]  # 36 of them
    assert held_out == [("2026-08-10T00", None)]
    train_period, held_out = periods(DataConfig(store="s", train_end="2026-08-05"), store)  # 20 times
    assert train_period == [(None, "2026-08-05T06")]
    assert held_out == [("2026-08-05T12", "2026-08-05")]
    named = DataConfig(store="s", train_end="2026-08-08", validation_start="2026-08-09")
    assert periods(named, store) == ([(None, "2026-08-08")], [("2026-08-09", None)])


def test_training_on_the_validation_period_is_refused(tiny_store: Path, tmp_path: Path) -> None:
    data = DataConfig(store=str(tiny_store), train_end="2026-08-09", validation_start="2026-08-08")
    with pytest.raises(InputError, match=r"7 of 8 validation samples are trained on: end data\.train_end before"):
        train(replace(train_config(tiny_store, tmp_path / "run"), data=data))


def test_bf16_trains(tiny_store: Path, tmp_path: Path) -> None:
    run = train(train_config(tiny_store, tmp_path / "run", steps=2, precision="bf16", rollout=RolloutConfig(2)))
    assert all(np.isfinite(list(entry.values())).all() for entry in log(run))
    assert all(value.dtype == torch.float32 for value in weights(run, 2).values())


@pytest.mark.parametrize("validate_every", [1, 100])
def test_divergence_is_named_and_never_saved(tiny_store: Path, tmp_path: Path, validate_every: int) -> None:
    config = train_config(
        tiny_store, tmp_path / "run", steps=50, log_every=5, checkpoint_every=1, validate_every=validate_every,
        optim=OptimConfig(learning_rate=1e30), skip_limit=3,
    )  # fmt: skip
    named = r"3 steps in a row could not be used, up to step \d+ .*t2m.* of the prediction is not finite\); lower optim"
    with pytest.raises(InputError, match=named):
        train(config)
    kept = training_checkpoints(tmp_path / "run")
    assert kept
    assert all(torch.isfinite(value).all() for path in kept for value in tensors_of(path, "").values())


def test_old_checkpoints_go_and_the_best_stays(tiny_store: Path, tmp_path: Path) -> None:
    run = train(train_config(tiny_store, tmp_path / "run", checkpoint_every=1, validate_every=3, keep_checkpoints=2))
    kept = {path.name[-1] for path in (run / "checkpoints").iterdir()}
    best = find_checkpoint(run).name
    assert kept == {"5", "6"} | {best[-1]}
    lowest = min(entry["validation_loss"] for entry in log(run) if "validation_loss" in entry)
    assert read_json(run / "best.json")["validation_loss"] == lowest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": DataConfig(store="absent.zarr")}, "no store at absent.zarr"),
        ({"data": {"channels": ["msl"]}}, "has no channel msl; it holds t2m, z500"),
        ({"data": {"train_end": "2026-08-01T00"}}, "no 2 analyses 6 h apart in .* to 2026-08-01T00"),
        ({"data": {"validation_start": "2027-01-01"}}, "no 2 analyses 6 h apart in the period 2027-01-01"),
        ({"rollout": RolloutConfig(60)}, "no 61 analyses 6 h apart"),
        ({"model": model_config(patch_size=5)}, "model.patch_size=5 does not divide the 8×16 grid"),
        ({"device": "abacus"}, "device must be auto, cpu or cuda"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_written(
    tiny_store: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    config = train_config(tiny_store, tmp_path / "run")
    if isinstance(change.get("data"), dict):
        change = {"data": replace(config.data, **change["data"])}  # type: ignore[arg-type, dict-item]
    with pytest.raises(InputError, match=message):
        train(replace(config, **change))  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_a_channel_that_never_changes_is_refused(tmp_path: Path) -> None:
    fields = waves()
    fields[:, 1] = 3.0
    store = write_store(tmp_path / "store.zarr", TIMES, fields)
    with pytest.raises(InputError, match=r"z500 never changes; leave it out of data.channels"):
        train(train_config(store, tmp_path / "run"))
    config = train_config(store, tmp_path / "run", steps=1)
    run = train(replace(config, data=replace(config.data, channels=["t2m"])))
    assert load_card(run).channels == ["t2m"]
