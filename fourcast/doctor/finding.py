"""What a check found, and what to do about it."""

import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

OK, POOR, ABSENT, FAILED = "ok", "poor", "absent", "failed"
STATUSES = (OK, POOR, ABSENT, FAILED)


@dataclass(frozen=True)
class Finding:
    """What a check found.

    name: of the thing, the same from run to run. status: ok; poor: it works, but slowly or not for long; absent: not
    here, and not needed; failed: needed, and does not work. found: in words. remedy: what to do, "" where nothing.
    figures: numbers for machines, each with its unit in its name.
    """

    name: str
    status: str
    found: str
    remedy: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


class BreakdownError(RuntimeError):
    """A check in a process of its own that ended without a result; the message says how."""


UNEXPECTED = "FOURCAST_TRACEBACK=1 fourcast doctor tells more; please report it with this screen"


def learned(name: str, learn: Callable[[], T], otherwise: T, remedy: str = UNEXPECTED) -> tuple[T, list[Finding]]:
    """What ``learn`` returns; where it breaks down, ``otherwise`` and a failed finding that names what it raised."""
    try:
        return learn(), []
    except Exception as error:  # on a broken machine any check may raise anything, and the others must still be heard
        if os.environ.get("FOURCAST_TRACEBACK"):
            traceback.print_exc()
        return otherwise, [Finding(name, FAILED, described(error), remedy)]


def isolated(name: str, check: Callable[[], list[Finding]], remedy: str = UNEXPECTED) -> list[Finding]:
    """What ``check`` finds, or that it broke down itself."""
    nothing: list[Finding] = []
    found, broken = learned(name, check, nothing, remedy)
    return found + broken


def described(error: BaseException) -> str:
    """The type and the message of ``error`` in one line; of a process that broke down, how."""
    name = "" if isinstance(error, BreakdownError) else f"{type(error).__name__}: "
    return " ".join(f"{name}{error}".split())
