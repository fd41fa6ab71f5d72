"""Pieces of work that are done once, by whichever process comes first, with nothing between processes but files.

A process claims a task by a file that names host and process, and touches it while it works. A claim whose process is
no more, or that nobody has touched for minutes, is taken over. Should two processes do one task all the same, no harm
is done: tasks are idempotent, and what they write appears whole.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fourcast.errors import InputError
from fourcast.files import is_running

TOUCH_SECONDS = 15.0
STALE_SECONDS = 120.0
NAMELESS_SECONDS = 2.0
"""So long a claim may be without a name: between creating and writing its file."""
POLL_SECONDS = 0.1
MOST_FAILURES = 3
"""After so many refused tasks a process gives up: what ails three parts ails them all."""


class Task(Protocol):
    """Something to do once."""

    @property
    def name(self) -> str:
        """A name that is good as a file's."""

    @property
    def words(self) -> str:
        """What it is, in a message."""

    def is_done(self) -> bool:
        """Whether its result is there."""

    def run(self) -> None:
        """Do it."""


@dataclass(frozen=True)
class Outcome:
    """A task that is done, by whoever, or the error that it failed with here (input: one that the user can mend)."""

    task: str
    error: str | None = None
    input: bool = False


def attend(tasks: Sequence[Task], folder: Path) -> Iterator[Outcome]:
    """Do those ``tasks`` that no other process does, wait for the others, and yield the outcome of each.

    Claims and failures are kept in ``folder``. Ends early after MOST_FAILURES, or the first failure of the system.
    """
    waiting, failures = list(tasks), 0
    while waiting:
        settled: list[Task] = []
        for task in waiting:
            if task.is_done():
                yield Outcome(task.name)
            elif failure_path(folder, task.name).exists():
                pass
            elif claim(folder, task.name):
                outcome = _run(task, folder)
                yield outcome
                failures += outcome.error is not None
                if failures == MOST_FAILURES or (outcome.error and not outcome.input):
                    return
            else:
                continue
            settled.append(task)
        waiting = [task for task in waiting if task not in settled]
        if waiting and not settled:
            time.sleep(POLL_SECONDS)


def _run(task: Task, folder: Path) -> Outcome:
    """Do a claimed task and give the claim back."""
    try:
        with _touching(claim_path(folder, task.name)):
            if not task.is_done():
                task.run()
    except (InputError, OSError, MemoryError) as error:
        text = f"{task.words}: {error or type(error).__name__}"
        with suppress(OSError):
            failure_path(folder, task.name).parent.mkdir(parents=True, exist_ok=True)
            failure_path(folder, task.name).write_text(text + "\n", encoding="utf-8")
        return Outcome(task.name, text, isinstance(error, InputError))
    finally:
        claim_path(folder, task.name).unlink(missing_ok=True)
    return Outcome(task.name)


def claim_path(folder: Path, name: str) -> Path:
    """The file that says who is at a task."""
    return folder / "claims" / name


def failure_path(folder: Path, name: str) -> Path:
    """The file that says why a task failed."""
    return folder / "failures" / name


def claim(folder: Path, name: str) -> bool:
    """Claim a task for this process; False where another one is at it."""
    path = claim_path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and _is_stale(path):
        path.unlink(missing_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(f"{socket.gethostname()} {os.getpid()}")
    except FileExistsError:
        return False
    return True


def _is_stale(path: Path) -> bool:
    try:
        age, owner = time.time() - path.stat().st_mtime, path.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return False
    if len(owner) != 2:
        return age > NAMELESS_SECONDS
    return age > STALE_SECONDS or (owner[0] == socket.gethostname() and not is_running(int(owner[1])))


@contextmanager
def _touching(path: Path) -> Iterator[None]:
    """Show that somebody is at it, again and again."""
    done = threading.Event()

    def touch() -> None:
        while not done.wait(TOUCH_SECONDS):
            with suppress(OSError):
                path.touch()

    thread = threading.Thread(target=touch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
