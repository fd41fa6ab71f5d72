"""What a training leaves to read: JSON lines, TensorBoard, and a line on the terminal now and then."""

import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any

from fourcast.files import whole_file
from fourcast.progress import duration


class TrainingLog:
    """Writes RUN/log.jsonl and RUN/tensorboard; going on from ``start``, what was logged after it is dropped."""

    def __init__(self, run: Path, start: int, steps: int, tensorboard: bool) -> None:
        self.path = run / "log.jsonl"
        self.start, self.steps = start, steps
        self.began = time.monotonic()
        _keep_until(self.path, start)
        self.writer = _tensorboard(run / "tensorboard", start) if tensorboard else None

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record values of ``step`` (counted from 1 once done)."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            if self.writer is not None:
                self.writer.add_scalar(name, value, step)

    def say(self, step: int, text: str) -> None:
        """A line with the position and the time left."""
        left = (time.monotonic() - self.began) / max(step - self.start, 1) * (self.steps - step)
        print(f"  step {step}/{self.steps}  {text}  {duration(left)} left", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Flush what is still held."""
        if self.writer is not None:
            self.writer.close()


def _keep_until(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
    with whole_file(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError):
        return float("inf")  # the last line of a killed run may be cut


def _tensorboard(directory: Path, start: int) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        print("  no TensorBoard log: pip install fourcast[trackers], or tensorboard=false", file=sys.stderr)
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(directory, purge_step=start)
