"""Files and directories appear whole or not at all."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fourcast.errors import InputError
from fourcast.files import partial_path, read_json, refuse_existing, whole_directory, whole_file, write_json


def interrupted(path: Path) -> None:
    """Write a file, and be stopped there."""
    path.write_text("new")
    raise KeyboardInterrupt


def test_a_file_appears_at_the_end_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    with whole_file(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as temporary:
        interrupted(temporary)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_a_directory_appears_at_the_end_only_and_replaces_the_old(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.mkdir()
    (path / "old").write_text("old")
    partial_path(path).mkdir()
    (partial_path(path) / "left over").write_text("from a killed run")
    with whole_directory(path) as temporary:
        (temporary / "new").write_text("new")
        assert (path / "old").exists()
    assert [p.name for p in path.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


def test_two_processes_never_write_into_each_others_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "member.nc"
    with whole_file(path) as ours:
        ours.write_text("ours, half")
        monkeypatch.setattr("os.getpid", lambda: 1)  # another process, and one that is running
        with whole_file(path) as theirs:
            theirs.write_text("theirs, whole")
        assert path.read_text() == "theirs, whole"
        assert ours.read_text() == "ours, half"
        ours.write_text("ours, whole")
    assert path.read_text() == "ours, whole"


def test_what_a_killed_process_left_is_removed_and_what_a_running_one_makes_is_not(tmp_path: Path) -> None:
    child, unreaped = (subprocess.Popen([sys.executable, "-c", "pass"]) for _ in range(2))
    child.wait()
    os.waitid(os.P_PID, unreaped.pid, os.WEXITED | os.WNOWAIT)
    mine = partial_path(tmp_path / "store")
    dead, over, running, elsewhere = (
        mine.with_name(mine.name.replace(f"{socket.gethostname()}-{os.getpid()}", owner))
        for owner in (
            f"{socket.gethostname()}-{child.pid}", f"{socket.gethostname()}-{unreaped.pid}",
            f"{socket.gethostname()}-1", f"otherhost-{child.pid}",
        )
    )  # fmt: skip
    for folder in (dead, over, running, elsewhere):
        folder.mkdir()
    with whole_directory(tmp_path / "store"):
        pass
    unreaped.wait()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["store", running.name, elsewhere.name])


def test_a_failure_leaves_the_old_directory_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_directory(path) as temporary:
        interrupted(temporary / "new")
    assert [p.name for p in path.iterdir()] == ["old"]
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


def test_existing_things_are_refused_unless_overwritten(tmp_path: Path) -> None:
    refuse_existing(tmp_path / "absent", overwrite=False)
    refuse_existing(tmp_path, overwrite=True)
    with pytest.raises(InputError, match="already exists; pass overwrite=true"):
        refuse_existing(tmp_path, overwrite=False)


def test_json(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"amplitude": 0.3, "members": [0, 1]})
    assert read_json(tmp_path / "a.json") == {"amplitude": 0.3, "members": [0, 1]}
    (tmp_path / "b.json").write_text("{broken")
    with pytest.raises(InputError, match=r"b\.json is not readable as JSON"):
        read_json(tmp_path / "b.json")
