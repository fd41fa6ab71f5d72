"""Progress on the terminal: one line that is rewritten, or a few plain lines where output goes to a file."""

import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class StatusLine:
    """A line on standard error that says how far a job is: rewritten on a terminal, elsewhere printed now and then.

    ``say`` puts other lines above it; any thread may. plain_seconds: between two lines where there is no terminal.
    """

    def __init__(self, plain_seconds: float = 15.0) -> None:
        self.live = sys.stderr.isatty()
        self.every = 0.2 if self.live else plain_seconds
        self.shown = time.monotonic()
        self.text = ""
        self.lock = threading.Lock()

    def due(self) -> bool:
        """Whether it is time to show something again."""
        return time.monotonic() - self.shown >= self.every

    def show(self, text: str) -> None:
        """Say ``text`` instead of what the line said before."""
        self.shown = time.monotonic()
        with self.lock:
            self.text = self._fitting(text) if self.live else ""
            self._write(self.text if self.live else f"{text}\n")

    def say(self, text: str) -> None:
        """Print ``text`` as a line that stays."""
        with self.lock:
            self._write(f"{text}\n{self.text}")

    def end(self, text: str = "") -> None:
        """Let ``text`` stay as the last line, or nothing."""
        with self.lock:
            self.text = ""
            self._write(f"{text}\n" if text else "")

    def _write(self, text: str) -> None:
        print(f"\r\033[K{text}" if self.live else text, end="", file=sys.stderr, flush=True)

    @staticmethod
    def _fitting(text: str) -> str:
        """As much of ``text`` as fits on one line of the terminal, for a wrapped one could not be rewritten."""
        return text[: shutil.get_terminal_size().columns - 1]


def progress(items: Iterable[T], total: int, label: str) -> Iterator[T]:
    """Yield ``items`` and report how many of ``total`` are done and the time left, on standard error."""
    start = time.monotonic()
    line = StatusLine()
    for done, item in enumerate(items, 1):
        yield item
        elapsed = time.monotonic() - start
        if done == total:
            line.end(f"  {label} {done}/{total}, took {duration(elapsed)}")
        elif line.due():
            left = elapsed / done * (total - done)
            share, speed = 100 * done // max(total, 1), pace(done / max(elapsed, 1e-9))
            line.show(f"  {label} {done}/{total} ({share} %), {speed}, {duration(left)} left")


def pace(per_second: float, what: str = "") -> str:
    """How fast it goes: ``12 a second``, ``3.5 a minute``, ``0.4 an hour``; of ``what``: ``12 steps a second``."""
    unit, rate = next(
        (unit, rate)
        for unit, rate in (("a second", per_second), ("a minute", 60 * per_second), ("an hour", 3600 * per_second))
        if rate >= 1 or unit == "an hour"
    )
    number = f"{rate:.2g}" if rate < 10 else f"{rate:.0f}"
    return " ".join(word for word in (number, what, unit) if word)


def duration(seconds: float) -> str:
    """A span of time as people say it: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def gigabytes(count: float) -> str:
    """``1.23 GB``; small numbers in MB."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
