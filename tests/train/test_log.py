"""The log of a training survives kills, resumption and trackers that fail."""

import json
import sys
import threading
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fourcast.config import TrainConfig
from fourcast.errors import InputError
from fourcast.train.log import TrainingLog
from fourcast.train.trackers import require_trackers

Calls = list[tuple[Any, ...]]


def settings(trackers: str | None = None) -> TrainConfig:
    return TrainConfig(steps=10, batch_size=4, trackers=trackers)


def lines(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def picture(folder: Path) -> Path:
    pillow = pytest.importorskip("PIL.Image")
    folder.mkdir(parents=True)
    pillow.fromarray(np.full((2, 3, 3), 7, np.uint8)).save(folder / "map.png")
    return folder


def install(monkeypatch: pytest.MonkeyPatch, name: str, **contents: Any) -> None:
    """Put a stand-in for module ``name`` where it will be imported from."""
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    for key, value in contents.items():
        setattr(module, key, value)
    monkeypatch.setitem(sys.modules, name, module)


def test_going_on_drops_what_was_logged_after_the_checkpoint(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path, 0, settings())
    for step in (2, 4, 6):
        log.scalars(step, {"loss": 1.0 / step})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')
    log = TrainingLog(tmp_path, 4, settings())
    log.scalars(6, {"loss": 0.5})
    log.close()
    assert lines(tmp_path) == [{"step": 2, "loss": 0.5}, {"step": 4, "loss": 0.25}, {"step": 6, "loss": 0.5}]


def test_what_is_not_finite_is_null(tmp_path: Path) -> None:
    TrainingLog(tmp_path, 0, settings()).scalars(1, {"acc": float("nan"), "loss": float("inf"), "rmse": 2.0})
    assert lines(tmp_path) == [{"step": 1, "acc": None, "loss": None, "rmse": 2.0}]


def test_the_terminal_shows_position_and_time_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TrainingLog(tmp_path, 0, settings()).say(4, "loss 0.5")
    assert capsys.readouterr().err == "  step 4/10  loss 0.5  0 s left\n"


def shown(monkeypatch: pytest.MonkeyPatch, run: Path, seconds: list[float]) -> None:
    """Steps that take ``seconds``, starting from step 2, by a clock that only they move."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    log = TrainingLog(run, 2, settings())
    for step, interval in enumerate(seconds, 3):
        now[0] += interval
        log.progress(step, 0.25)
    log.close()


def test_progress_gives_the_pace_without_pauses_and_the_time_left_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Three steps of half a second and one with a validation: 2 steps a second; 61.5 s for 4 steps leave 61.5 s.
    shown(monkeypatch, tmp_path, [0.5, 0.5, 0.5, 60.0])
    assert capsys.readouterr().err == (
        "  step 6/10  loss 0.25  1 min 02 s left  2 steps a second, 8 samples a second\n"
    )


def test_on_a_terminal_a_line_is_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "51")
    shown(monkeypatch, tmp_path, [0.1, 0.1, 1.0])
    first, second, last = capsys.readouterr().err.split("\r\033[K")[1:]
    # 0.2 s go by between two lines; each ends one column before the edge.
    assert first == "  [========            ] step 4/10  loss 0.25  1 s"
    assert second == "  [==========          ] step 5/10  loss 0.25  2 s"
    assert last == ""


def test_tensorboard_gets_the_same_values_and_pictures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = TrainingLog(tmp_path, 0, settings("tensorboard"))
    for step in (2, 4, 6):
        log.scalars(step, {"loss": step / 8})
    log.pictures(4, picture(tmp_path / "validation/step_00000004"))
    log.close()
    log = TrainingLog(tmp_path, 4, settings("tensorboard"))
    log.scalars(6, {"loss": 0.5})
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(2, 0.25), (4, 0.5), (6, 0.5)]
    (image,) = events.Images("validation/map")
    assert (image.step, image.width, image.height) == (4, 3, 2)


def test_without_tensorboard_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    TrainingLog(tmp_path, 0, settings("tensorboard")).scalars(1, {"loss": 1.0})
    assert "no TensorBoard log: pip install 'fourcast[trackers]'" in capsys.readouterr().err
    assert lines(tmp_path) == [{"step": 1, "loss": 1.0}]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_other_trackers_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=rf"trackers={name} needs {name}, .* pip install 'fourcast\[{name}\]'"):
        TrainingLog(tmp_path, 0, settings(name))
    require_trackers(settings("tensorboard"))


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What Weights & Biases is told."""
    calls: Calls = []

    def init(**settings: Any) -> SimpleNamespace:
        calls.append(("init", settings))
        return SimpleNamespace(
            define_metric=lambda *args, **kwargs: calls.append(("define", *args, kwargs)),
            log=lambda values: calls.append(("log", values)),
            finish=lambda exit_code: calls.append(("finish", exit_code)),
        )

    install(monkeypatch, "wandb", init=init, Image=lambda path: Path(path).name)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return calls


def test_wandb_goes_on_with_the_run_it_began(tmp_path: Path, wandb: Calls) -> None:
    log = TrainingLog(tmp_path, 0, settings("wandb"))
    log.scalars(2, {"loss": 0.5})
    log.pictures(2, picture(tmp_path / "pictures"))
    log.close()
    assert [call for call in wandb if call[0] == "log"] == [
        ("log", {"step": 2, "loss": 0.5}), ("log", {"step": 2, "validation/map": "map.png"})
    ]  # fmt: skip
    assert ("define", "*", {"step_metric": "step"}) in wandb
    assert wandb[-1] == ("finish", 1)  # step 10 was not reached
    log = TrainingLog(tmp_path, 2, settings("wandb"))
    log.progress(10, 0.5)
    log.close()
    assert wandb[-1] == ("finish", 0)
    TrainingLog(tmp_path, 0, settings("wandb")).close()
    first, second, anew = (call[1] for call in wandb if call[0] == "init")
    assert first["config"]["batch_size"] == 4
    assert (first["project"], first["resume"]) == ("fourcast", "allow")
    assert first["id"] == second["id"] != anew["id"]


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What an MLflow server is told."""
    calls: Calls = []

    class Client:
        def __getattr__(self, name: str) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                calls.append((name, *args, kwargs))
                info = SimpleNamespace(run_id=f"run{len(calls)}")
                return {"create_experiment": "7", "create_run": SimpleNamespace(info=info)}.get(name)

            return call

    install(monkeypatch, "mlflow", MlflowClient=Client)
    install(monkeypatch, "mlflow.entities", Metric=lambda *args: args, Param=lambda *args: args)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    return calls


def test_mlflow_goes_on_with_the_run_it_began(tmp_path: Path, mlflow: Calls) -> None:
    log = TrainingLog(tmp_path, 0, settings("mlflow"))
    log.scalars(2, {"loss": 0.5})
    log.pictures(2, tmp_path / "step_00000002")
    log.close()
    number = (tmp_path / "mlflow_id").read_text().strip()
    assert ("create_run", "7", {"run_name": tmp_path.name}) in mlflow
    batches = [call[-1] for call in mlflow if call[:2] == ("log_batch", number)]
    params = dict(param for batch in batches for param in batch.get("params", []))
    assert (params["batch_size"], params["model.mixer.num_blocks"]) == ("4", "8")
    assert all(len(batch.get("params", [])) <= 100 for batch in batches)
    (key, value, _, step), = batches[-1]["metrics"]  # fmt: skip
    assert (key, value, step) == ("loss", 0.5, 2)
    assert mlflow[-2:] == [
        ("log_artifacts", number, str(tmp_path / "step_00000002"), "validation/step_00000002", {}),
        ("set_terminated", number, "KILLED", {}),
    ]
    del mlflow[:]
    log = TrainingLog(tmp_path, 2, settings("mlflow"))
    log.progress(10, 0.5)
    log.close()
    assert mlflow == [
        ("update_run", number, {"status": "RUNNING"}), ("set_terminated", number, "FINISHED", {})
    ]  # fmt: skip


def test_a_tracker_that_fails_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wandb: Calls
) -> None:
    log = TrainingLog(tmp_path, 0, settings("wandb"))
    log.trackers[0].tracker.run.log = lambda values: [][1]  # type: ignore[attr-defined]
    for step in (1, 2):
        log.scalars(step, {"loss": 0.5})
    log.close()
    said = "  wandb failed and gets no more: list index out of range; log.jsonl has everything\n"
    assert capsys.readouterr().err == said
    assert [entry["step"] for entry in lines(tmp_path)] == [1, 2]


def test_a_tracker_that_hangs_holds_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wandb: Calls
) -> None:
    monkeypatch.setattr("fourcast.train.trackers.PATIENCE", 0.01)
    released = threading.Event()
    log = TrainingLog(tmp_path, 0, settings("wandb"))
    log.trackers[0].tracker.run.log = lambda values: released.wait(60)  # type: ignore[attr-defined]
    for step in (1, 2):
        log.scalars(step, {"loss": 0.5})
    log.close()
    released.set()
    assert "wandb did not take all within 0 s; log.jsonl has everything" in capsys.readouterr().err
    assert [entry["step"] for entry in lines(tmp_path)] == [1, 2]


def test_a_tracker_that_cannot_begin_stops_a_new_training_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def init(**settings: Any) -> None:
        raise RuntimeError("No API key configured.")

    install(monkeypatch, "wandb", init=init, Image=None)
    with pytest.raises(InputError, match=r"wandb cannot begin: No API key configured\.; set WANDB_MODE=offline"):
        TrainingLog(tmp_path, 0, settings("wandb"))
    TrainingLog(tmp_path, 2, settings("wandb")).scalars(3, {"loss": 0.5})
    assert "wandb cannot go on: No API key configured." in capsys.readouterr().err
    assert [entry["step"] for entry in lines(tmp_path)] == [3]
