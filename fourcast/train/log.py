"""What a training leaves to read: JSON lines, a line on the terminal, and whatever trackers make of it."""

import json
import math
import statistics
import time
from collections import deque
from pathlib import Path

from fourcast.config import TrainConfig
from fourcast.files import whole_file
from fourcast.progress import StatusLine, duration, pace
from fourcast.train.trackers import open_trackers

RECENT = 100
"""Over how many steps the pace is taken."""
PLAIN_SECONDS = 60.0
"""Between two lines of progress where there is no terminal."""
BAR = 20
"""Characters of the bar on a terminal."""


class TrainingLog:
    """Writes RUN/log.jsonl and shows where a training stands; of the first process only.

    A training that goes on from ``start`` drops what was logged after it. InputError where a tracker of ``config`` is
    not installed or cannot begin; one that fails later is left behind with a word.
    """

    def __init__(self, run: Path, start: int, config: TrainConfig) -> None:
        self.path = run / "log.jsonl"
        self.start, self.done, self.steps, self.batch_size = start, start, config.steps, config.batch_size
        self.began = self.last = time.monotonic()
        self.intervals: deque[float] = deque(maxlen=RECENT)
        self.line = StatusLine(PLAIN_SECONDS)
        _keep_until(self.path, start)
        self.trackers = open_trackers(run, start, config, self.line.say)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record values of ``step`` (counted from 1 once done); what is not finite is null in log.jsonl."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **finite}) + "\n")
        for tracker in self.trackers:
            tracker.scalars(step, values)

    def progress(self, step: int, loss: float) -> None:
        """Show, where it is time to, that ``step`` is done with ``loss``; call it once after every step."""
        now = time.monotonic()
        self.intervals.append(now - self.last)
        self.done, self.last = step, now
        if self.line.due():
            bar = f"[{'=' * (BAR * step // self.steps):{BAR}}] " if self.line.live else ""
            self.line.show(f"  {bar}step {step}/{self.steps}  loss {loss:.4g}  {self._left(step)}  {self._pace()}")

    def say(self, step: int, text: str) -> None:
        """A line with the position and the time left, which stays on the terminal."""
        self.line.say(f"  step {step}/{self.steps}  {text}  {self._left(step)}")

    def pictures(self, step: int, folder: Path) -> None:
        """Give the PNG files in ``folder`` to the trackers."""
        for tracker in self.trackers:
            tracker.pictures(step, folder)

    def close(self) -> None:
        """Hand over what is still held; call it however the training ends."""
        self.line.end()
        for tracker in self.trackers:
            tracker.close(self.done >= self.steps)

    def _pace(self) -> str:
        """Steps and samples a second of late; a pause, as for validation, does not count."""
        longest = 10 * statistics.median(self.intervals)
        rate = 1 / max(statistics.fmean(t for t in self.intervals if t <= longest), 1e-9)
        return f"{pace(rate, 'steps')}, {pace(rate * self.batch_size, 'samples')}"

    def _left(self, step: int) -> str:
        """The time left, pauses included."""
        left = (time.monotonic() - self.began) / max(step - self.start, 1) * (self.steps - step)
        return f"{duration(left)} left"


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
