"""Trackers: programs that show how trainings go. log.jsonl holds all they are given and needs none of them.

A tracker works in a thread of its own, so that a slow network holds up no step, and its failures end no training.
"""

import importlib.util
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from fourcast.config import TrainConfig
from fourcast.errors import InputError

PATIENCE = 60.0
"""Seconds that the end of a training waits for a tracker to catch up."""
EXTRAS = {"tensorboard": "trackers", "wandb": "wandb", "mlflow": "mlflow"}
"""Which extra of this package installs each."""


class Tracker(Protocol):
    """Where scalars and pictures go."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record values of ``step``."""

    def pictures(self, step: int, folder: Path) -> None:
        """Record the PNG files of ``folder``."""

    def close(self, finished: bool) -> None:
        """Hand over what is still held; ``finished``: the training came to its last step."""


class TensorBoard:
    """Events in RUN/tensorboard; those after ``start`` are marked as void."""

    def __init__(self, run: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(run / "tensorboard", purge_step=start + 1)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """See ``Tracker``."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def pictures(self, step: int, folder: Path) -> None:
        """See ``Tracker``."""
        import numpy as np
        from PIL import Image

        for file in sorted(folder.glob("*.png")):
            with Image.open(file) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            self.writer.add_image(f"validation/{file.stem}", pixels, step, dataformats="HWC")
        self.writer.flush()

    def close(self, finished: bool) -> None:
        """See ``Tracker``."""
        self.writer.close()


class Wandb:
    """A run on Weights & Biases, whose id RUN/wandb_id keeps; WANDB_PROJECT and WANDB_MODE are heeded.

    A step counts as a value like others: W&B's own count never goes back, as a training does that is resumed.
    """

    def __init__(self, run: Path, start: int, config: TrainConfig) -> None:
        import wandb

        self.picture = wandb.Image
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "fourcast"),
            name=os.environ.get("WANDB_NAME", run.name),
            id=_identity(run / "wandb_id", start, lambda: uuid.uuid4().hex[:12]),
            resume="allow",
            dir=run,
            config=asdict(config),
        )
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """See ``Tracker``."""
        self.run.log({"step": step, **values})

    def pictures(self, step: int, folder: Path) -> None:
        """See ``Tracker``."""
        shown = {f"validation/{file.stem}": self.picture(str(file)) for file in sorted(folder.glob("*.png"))}
        self.run.log({"step": step, **shown})

    def close(self, finished: bool) -> None:
        """See ``Tracker``."""
        self.run.finish(exit_code=0 if finished else 1)


class MLflow:
    """A run on the MLflow server of MLFLOW_TRACKING_URI, whose id RUN/mlflow_id keeps."""

    def __init__(self, run: Path, start: int, config: TrainConfig) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self.metric, self.client = Metric, MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "fourcast")
        fresh = start == 0 or not (run / "mlflow_id").exists()
        self.id = _identity(run / "mlflow_id", start, lambda: self._create(name, run.name))
        if fresh:
            params = [Param(key, str(value)[:500]) for key, value in _flat(asdict(config)).items()]
            for first in range(0, len(params), 100):  # the server takes no more at once
                self.client.log_batch(self.id, params=params[first : first + 100])
        else:
            self.client.update_run(self.id, status="RUNNING")

    def _create(self, experiment: str, name: str) -> str:
        found = self.client.get_experiment_by_name(experiment)
        number = self.client.create_experiment(experiment) if found is None else found.experiment_id
        return str(self.client.create_run(number, run_name=name).info.run_id)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """See ``Tracker``."""
        now = time.time_ns() // 1_000_000
        self.client.log_batch(self.id, metrics=[self.metric(key, value, now, step) for key, value in values.items()])

    def pictures(self, step: int, folder: Path) -> None:
        """See ``Tracker``."""
        self.client.log_artifacts(self.id, str(folder), f"validation/{folder.name}")

    def close(self, finished: bool) -> None:
        """See ``Tracker``."""
        self.client.set_terminated(self.id, "FINISHED" if finished else "KILLED")


class Background:
    """Hands a tracker its work in a thread of its own; from its first failure on, which is said, it gets none."""

    def __init__(self, name: str, tracker: Tracker, say: Callable[[str], None]) -> None:
        self.name, self.tracker, self.say = name, tracker, say
        self.work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """See ``Tracker``."""
        self.work.put(lambda: self.tracker.scalars(step, values))

    def pictures(self, step: int, folder: Path) -> None:
        """See ``Tracker``."""
        self.work.put(lambda: self.tracker.pictures(step, folder))

    def close(self, finished: bool) -> None:
        """See ``Tracker``."""
        self.work.put(lambda: self.tracker.close(finished))
        self.work.put(None)
        self.thread.join(PATIENCE)
        if self.thread.is_alive():
            self.say(f"  {self.name} did not take all within {PATIENCE:.0f} s; log.jsonl has everything")

    def _run(self) -> None:
        while (act := self.work.get()) is not None:
            try:
                act()
            except Exception as error:  # a tracker may fail in any way; training goes on without it
                self.say(f"  {self.name} failed and gets no more: {reason(error)}; log.jsonl has everything")
                return


def require_trackers(config: TrainConfig) -> None:
    """Raise InputError where a tracker is asked for that is not installed; TensorBoard, the default, may be missing."""
    for name in config.trackers or []:
        if name != "tensorboard" and importlib.util.find_spec(name) is None:
            raise InputError(
                f"trackers={name} needs {name}, which is not installed: pip install 'fourcast[{EXTRAS[name]}]', or "
                "leave it out of trackers"
            )


def open_trackers(run: Path, start: int, config: TrainConfig, say: Callable[[str], None]) -> list[Background]:
    """The trackers of ``config``, for a training that goes on from step ``start``.

    One that cannot begin stops a new training with an InputError; a training that is resumed, as after a night's
    preemption, goes on without it.
    """
    require_trackers(config)
    opened = []
    for name in config.trackers or []:
        if importlib.util.find_spec(name) is None:
            say("  no TensorBoard log: pip install 'fourcast[trackers]', or pass trackers=null")
            continue
        try:
            opened.append(Background(name, _open(name, run, start, config), say))
        except Exception as error:  # as above
            if start == 0:
                raise InputError(f"{name} cannot begin: {reason(error)}; {_way_out(name)}") from error
            say(f"  {name} cannot go on: {reason(error)}; log.jsonl has everything")
    return opened


def _open(name: str, run: Path, start: int, config: TrainConfig) -> Tracker:
    if name == "tensorboard":
        return TensorBoard(run, start)
    return Wandb(run, start, config) if name == "wandb" else MLflow(run, start, config)


def _way_out(name: str) -> str:
    variable = {"wandb": "set WANDB_MODE=offline, ", "mlflow": "set MLFLOW_TRACKING_URI, "}.get(name, "")
    return f"{variable}leave {name} out of trackers, or mend it"


def _identity(file: Path, start: int, make: Callable[[], str]) -> str:
    """What ``file`` says of the run that goes on from ``start``; a new one's identity is made, and kept there."""
    if start == 0 or not file.exists():
        file.write_text(make() + "\n", encoding="utf-8")
    return file.read_text(encoding="utf-8").strip()


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their full names, as in ``data.stride``."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        nested = isinstance(value, dict) and value
        flat |= _flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return flat


def reason(error: BaseException) -> str:
    """The first line of what an error says."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
