"""Claims: one process at a task, nobody waits for the dead, and failures are said once."""

import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fourcast.data.tasks import MOST_FAILURES, Outcome, attend, claim, claim_path, failure_path
from fourcast.errors import InputError


@dataclass
class Note:
    """A task that leaves a file, or fails."""

    folder: Path
    name: str
    error: Exception | None = None
    words: str = "a note"
    runs: list[int] = field(default_factory=list)

    def is_done(self) -> bool:
        return (self.folder / f"{self.name}.done").exists()

    def run(self) -> None:
        self.runs.append(os.getpid())
        assert claim_path(self.folder, self.name).read_text() == f"{socket.gethostname()} {os.getpid()}"
        if self.error is not None:
            raise self.error
        (self.folder / f"{self.name}.done").touch()


def test_each_task_is_done_once_and_told_once(tmp_path: Path) -> None:
    notes = [Note(tmp_path, name) for name in "abc"]
    (tmp_path / "b.done").touch()
    assert list(attend(notes, tmp_path)) == [Outcome("a"), Outcome("b"), Outcome("c")]
    assert [len(note.runs) for note in notes] == [1, 0, 1]
    assert not list((tmp_path / "claims").iterdir())


def test_a_task_of_somebody_else_is_waited_for(tmp_path: Path) -> None:
    note, other = Note(tmp_path, "a"), Note(tmp_path, "b")
    assert claim(tmp_path, "a")
    assert not claim(tmp_path, "a")
    threading.Timer(0.3, (tmp_path / "a.done").touch).start()
    assert list(attend([note, other], tmp_path)) == [Outcome("b"), Outcome("a")]
    assert note.runs == []


@pytest.mark.parametrize("kind", ["dead", "untouched", "nameless"])
def test_a_claim_that_nobody_stands_behind_is_taken_over(tmp_path: Path, kind: str) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    owner = {"dead": f"{socket.gethostname()} {dead.stdout}", "untouched": "elsewhere 1", "nameless": ""}[kind]
    path = claim_path(tmp_path, "a")
    path.parent.mkdir()
    path.write_text(owner)
    if kind != "dead":
        assert not claim(tmp_path, "a")
        os.utime(path, (time.time() - 1000,) * 2)
    note = Note(tmp_path, "a")
    assert list(attend([note], tmp_path)) == [Outcome("a")]
    assert note.runs == [os.getpid()]


def test_a_failure_is_told_kept_and_not_repeated(tmp_path: Path) -> None:
    bad, good = Note(tmp_path, "bad", InputError("no good")), Note(tmp_path, "good")
    assert list(attend([bad, good], tmp_path)) == [Outcome("bad", "a note: no good", input=True), Outcome("good")]
    assert failure_path(tmp_path, "bad").read_text() == "a note: no good\n"
    assert list(attend([bad, good], tmp_path)) == [Outcome("good")]
    assert len(bad.runs) == 1


def test_what_ails_all_ends_early(tmp_path: Path) -> None:
    bad = [Note(tmp_path, str(i), InputError("no good")) for i in range(10)]
    assert len(list(attend(bad, tmp_path))) == MOST_FAILURES
    full = [Note(tmp_path, f"full{i}", OSError("disk full")) for i in range(10)]
    assert list(attend(full, tmp_path)) == [Outcome("full0", "a note: disk full", input=False)]
    with pytest.raises(ZeroDivisionError):
        list(attend([Note(tmp_path, "defect", ZeroDivisionError())], tmp_path))
    assert not list((tmp_path / "claims").iterdir())
