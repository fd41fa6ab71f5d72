"""The log of a training survives kills and resumption."""

import json
from pathlib import Path

import pytest

from fourcast.train.log import TrainingLog


def lines(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_going_on_drops_what_was_logged_after_the_checkpoint(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path, 0, 10, tensorboard=False)
    for step in (2, 4, 6):
        log.scalars(step, {"loss": 1.0 / step})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')
    log = TrainingLog(tmp_path, 4, 10, tensorboard=False)
    log.scalars(6, {"loss": 0.5})
    log.close()
    assert lines(tmp_path) == [{"step": 2, "loss": 0.5}, {"step": 4, "loss": 0.25}, {"step": 6, "loss": 0.5}]


def test_the_terminal_shows_position_and_time_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TrainingLog(tmp_path, 0, 10, tensorboard=False).say(4, "loss 0.5")
    assert capsys.readouterr().err == "  step 4/10  loss 0.5  0 s left\n"


def test_tensorboard_gets_the_same_values(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = TrainingLog(tmp_path, 0, 10, tensorboard=True)
    log.scalars(2, {"loss": 0.75})
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(2, 0.75)]


def test_without_tensorboard_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    TrainingLog(tmp_path, 0, 10, tensorboard=True).scalars(1, {"loss": 1.0})
    assert "no TensorBoard log: pip install fourcast[trackers]" in capsys.readouterr().err
    assert lines(tmp_path) == [{"step": 1, "loss": 1.0}]
