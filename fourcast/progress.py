"""Progress on the terminal: one line that is rewritten, or a few plain lines where output goes to a file."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], total: int, label: str) -> Iterator[T]:
    """Yield ``items`` and report how many of ``total`` are done and the time left, on standard error."""
    start = time.monotonic()
    live = sys.stderr.isatty()
    shown = start
    every = 0.2 if live else 15.0
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - shown >= every or done == total:
            shown = now
            left = (now - start) / done * (total - done)
            share, speed = 100 * done // max(total, 1), pace(done / max(now - start, 1e-9))
            line = f"  {label} {done}/{total} ({share} %), {speed}, {duration(left)} left"
            if done == total:
                line = f"  {label} {done}/{total}, took {duration(now - start)}"
            print(f"\r\033[K{line}" if live else line, end="" if live and done < total else "\n", file=sys.stderr)


def pace(per_second: float) -> str:
    """How fast it goes: ``12 a second``, ``3.5 a minute``, ``0.4 an hour``."""
    unit, rate = next(
        (unit, rate)
        for unit, rate in (("a second", per_second), ("a minute", 60 * per_second), ("an hour", 3600 * per_second))
        if rate >= 1 or unit == "an hour"
    )
    return f"{rate:.2g} {unit}" if rate < 10 else f"{rate:.0f} {unit}"


def duration(seconds: float) -> str:
    """A span of time as people say it: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
