"""Times, periods and shares of work as people write them in a configuration."""

from typing import Any

import numpy as np

from fourcast.errors import InputError


def parse_time(key: str, text: Any) -> np.datetime64:
    """An ISO 8601 time in UTC, to the hour: ``2026-08-10`` or ``2026-08-10T12``."""
    written = str(text).replace(" ", "T").removesuffix("Z")
    try:
        time = np.datetime64(written if len(written) >= len("2026-08-10") else "NaT")
    except ValueError:
        time = np.datetime64("NaT")
    hour = time.astype("datetime64[h]")
    if np.isnat(time) or hour != time:
        raise InputError(f"{key} must be a UTC time to the hour such as 2026-08-10T12, found {text!r}")
    return hour


def parse_part(text: str | None) -> tuple[int, int]:
    """``part=2/8`` → (1, 8): the place of a share of the work, from 0, and the number of shares; null is all of it."""
    if text is None:
        return 0, 1
    place, _, count = text.partition("/")
    if not (place.isdigit() and count.isdigit() and 1 <= int(place) <= int(count)):
        raise InputError(f"part must be a share such as 2/8, from 1/8 to 8/8, found {text!r}")
    return int(place) - 1, int(count)


def check_period(prefix: str, start: str | None, end: str | None) -> None:
    """Raise InputError where a period is unreadable or ends before it starts."""
    first = None if start is None else parse_time(f"{prefix}start", start)
    last = None if end is None else last_hour(f"{prefix}end", end)
    if first is not None and last is not None and last < first:
        raise InputError(f"{prefix}end ({end}) lies before {prefix}start ({start})")


def within(times: np.ndarray, start: str | None, end: str | None) -> np.ndarray:
    """Which ``times`` lie in the period [start, end]; an end without an hour means that whole day."""
    chosen = np.ones(len(times), dtype=bool)
    if start is not None:
        chosen &= times >= parse_time("start", start)
    if end is not None:
        chosen &= times <= last_hour("end", end)
    return chosen


def last_hour(key: str, end: str) -> np.datetime64:
    """The last hour that an end means: of that whole day where it names no hour."""
    hour = parse_time(key, end)
    return hour + 23 if len(str(end)) <= len("2026-08-10") else hour
