"""Files and directories that appear whole or not at all.

Work goes to a sibling whose name ends in ``.partial``; it takes the final name by an atomic rename once it is
complete and on disk. The sibling's name carries host and process, so that two processes that make the same thing
never write into each other's work. A killed process leaves at most ``.partial`` siblings, which no reader here opens
and which the next run on that host removes.
"""

import glob
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fourcast.errors import InputError

PARTIAL = ".partial"
STORE = "data/store.zarr"
"""Where a training store lies unless told otherwise."""


def partial_path(path: Path) -> Path:
    """The sibling under which this process makes ``path``."""
    return path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}{PARTIAL}")


def remove_abandoned(path: Path) -> None:
    """Delete what processes of this host that are no more left half-made of ``path``."""
    mark = f"{path.name}.{socket.gethostname()}-"
    for sibling in path.parent.glob(f"{glob.escape(mark)}*{PARTIAL}"):
        owner = sibling.name.removeprefix(mark).split(".")[0]
        if owner.isdigit() and (int(owner) == os.getpid() or not is_running(int(owner))):
            # Another process may be sweeping too.
            shutil.rmtree(sibling, ignore_errors=True) if sibling.is_dir() else sibling.unlink(missing_ok=True)


def is_running(process: int) -> bool:
    """Whether this host runs a process of this number; one that is over and not yet taken note of does not run."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # as somebody else, of whom more may be hidden
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # this is no Linux, or it is hidden from others
        return True
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


def refuse_existing(path: Path, overwrite: bool, remedy: str = "pass overwrite=true to replace it") -> None:
    """Raise InputError where ``path`` exists and may not be replaced."""
    if path.exists() and not overwrite:
        raise InputError(f"{path} already exists; {remedy}")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write; on success it becomes ``path``, on any exception it is removed."""
    temporary = partial_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path)
    try:
        yield temporary
        commit_file(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def commit_file(temporary: Path, path: Path) -> None:
    """Flush ``temporary`` to disk and give it its final name."""
    _flush(temporary)
    temporary.replace(path)


def _flush(path: Path) -> None:
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())


@contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """Yield an empty temporary directory; on success it becomes ``path``, replacing what was there.

    Where ``path`` exists it is moved aside first and removed last, so that a reader finds the old directory,
    for an instant none, or the new one, and never a mixture.
    """
    temporary = partial_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _flush(file)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    replaced = _moved_aside(path) if path.exists() else None
    temporary.rename(path)
    if replaced is not None:
        shutil.rmtree(replaced)


def remove_directory(path: Path) -> None:
    """Delete a directory; killed half-way, what is left of it no longer carries its name."""
    shutil.rmtree(_moved_aside(path))


def _moved_aside(path: Path) -> Path:
    temporary = partial_path(path)
    return path.rename(temporary.with_name(temporary.name.removesuffix(PARTIAL) + ".removed" + PARTIAL))


def sha256(*paths: Path) -> str:
    """The SHA-256 digest of a file, or of several one after the other, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file; InputError names the file where it is missing or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not readable as JSON ({error})") from error
