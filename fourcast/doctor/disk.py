"""The disk under a folder: whether runs can be written there, how much fits, and how fast it is."""

import errno
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fourcast.doctor.finding import ABSENT, FAILED, OK, POOR, Finding
from fourcast.files import partial_path, remove_abandoned, whole_file

GB, MB = 1e9, 1e6
ROOMY = 5 * GB
BLOCK = 4 << 20
MOST, LEAST = 256 << 20, 64 << 20
"""Bytes written and read to measure a speed."""
SECONDS = 5.0
"""After which a slow disk is known to be one."""
SMALL_FILES = 16
SLOW_WRITE, SLOW_READ, SLOW_FILE = 50.0, 100.0, 50.0
"""MB/s, MB/s, and milliseconds a file."""
TRIAL = ".fourcast-doctor"


@dataclass(frozen=True)
class Folder:
    """A folder that is asked for, and the nearest one above it, or itself, that is there."""

    asked: Path
    there: Path


def folder(asked: Path) -> Folder:
    """``asked``, made absolute, and what of it exists."""
    asked = Path(os.path.abspath(asked))  # noqa: PTH100  resolve() would hide a link that leads nowhere
    there = next(path for path in (asked, *asked.parents) if os.path.lexists(path))
    return Folder(asked, there)


def writable(name: str, asked: Path, otherwise: str) -> Finding:
    """Whether files can be made whole in ``asked``; nothing stays there. ``otherwise``: another place to name."""
    place = folder(asked)
    try:
        if not place.there.is_dir():
            kind = "a link that leads nowhere" if not place.there.exists() else "a file"
            remedy = f"move {place.there} away, or {otherwise}"
            return Finding(name, FAILED, f"{place.asked} cannot be a folder: {place.there} is {kind}", remedy)
        with trial(place.there) as inside, whole_file(inside / "made" / "whole") as temporary:
            temporary.write_bytes(b"fourcast")
    except OSError as error:
        return Finding(name, FAILED, *obstacle(error, place, otherwise))
    words = f"{place.asked} can be written"
    if place.asked != place.there:
        words = f"{place.asked} is not there yet and can be made in {place.there}"
    return Finding(name, OK, words + kept(place.there))


@contextmanager
def trial(there: Path) -> Iterator[Path]:
    """A folder of its own in ``there``, gone afterwards; what a killed doctor left there is removed first."""
    own = there / TRIAL
    remove_abandoned(own)
    inside = partial_path(own)
    inside.mkdir()
    try:
        yield inside
    finally:
        shutil.rmtree(inside)


def obstacle(error: OSError, place: Folder, otherwise: str) -> tuple[str, str]:
    """What keeps files from being written, in words, and the ways out."""
    where = place.there
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = "your quota there is used up" if error.errno == errno.EDQUOT else "the disk is full, or out of inodes"
        return f"{where}: {what}", f"make room (df -h {where}; df -i {where}; quota), or {otherwise}"
    if error.errno == errno.EROFS:
        return f"{where} is on a disk mounted read-only", f"mount it for writing, without ro, or {otherwise}"
    if error.errno in (errno.EACCES, errno.EPERM):
        user, group = os.geteuid(), os.getegid()
        remedy = f"chown {user}:{group} {where}, run as its owner (docker run --user $(id -u):$(id -g)), or {otherwise}"
        return f"{where} may not be written by user {user}, group {group}", remedy
    return f"{where}: {os.strerror(error.errno or 0)}", f"see what dmesg and mount say of it, or {otherwise}"


def kept(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The kind of the file system under ``path``, and that what is on a container's own goes with it."""
    kind = file_system(path.resolve(), mounts.read_text() if mounts.exists() else "")
    warning = {"overlay": ", the container's own disk, which goes with it", "tmpfs": ", which is memory"}.get(kind, "")
    return f" ({kind}{warning})" if kind else ""


def file_system(path: Path, mountinfo: str) -> str:
    """The kind of the file system that holds ``path``, "" where Linux does not tell."""
    rows = [(line.split(" - ")[0].split()[4], line.split(" - ")[1].split()[0]) for line in mountinfo.splitlines()]
    holding = [(len(Path(point).parts), i, kind) for i, (point, kind) in enumerate(rows) if path.is_relative_to(point)]
    return max(holding)[2] if holding else ""


def temporary_finding(on_gpu: bool) -> Finding:
    """Whether there is a folder for temporary files, which Triton compiles in."""
    try:
        return Finding("temporary", OK, f"{tempfile.gettempdir()} can be written")
    except FileNotFoundError as error:
        remedy = "docker run --tmpfs /tmp:exec, or export TMPDIR=DIR"
        return Finding("temporary", FAILED if on_gpu else POOR, str(error.strerror or error), remedy)


def space(asked: Path, free: int | None = None) -> Finding:
    """How much the disk of ``asked`` has left."""
    there = folder(asked).there
    left = shutil.disk_usage(there).free if free is None else free
    figures = {"free_gb": round(left / GB, 3)}
    if left >= ROOMY:
        return Finding("space", OK, f"{left / GB:.0f} GB free", "", figures)
    remedy = f"make room on the disk of {there}, or pass output=DIR on another; fourcast plan says what trainings take"
    return Finding("space", POOR, f"{left / GB:.1f} GB free, which is soon used up", remedy, figures)


def speeds(asked: Path) -> list[Finding]:
    """How fast the disk of ``asked`` writes, reads and makes small files; nothing where it cannot be written."""
    if writable("", asked, "").status != OK:
        return []
    there = folder(asked).there
    room = shutil.disk_usage(there).free // 2
    if room < LEAST:
        return [Finding("speed", ABSENT, f"not measured: it would take {2 * LEAST / GB:.1f} GB of free space")]
    try:
        with trial(there) as inside:
            size, write = timed_write(inside / "large", min(MOST, room))
            read = timed_read([inside / "large"], size)
            return [speed_finding(write, read), latency_finding(timed_files(inside))]
    except OSError as error:
        return [Finding("speed", FAILED, *obstacle(error, folder(asked), "pass output=DIR on another disk"))]


def timed_write(path: Path, size: int) -> tuple[int, float]:
    """Bytes written, at most ``size`` and as many as a few seconds allow, and MB/s until they are on disk."""
    block, done, began = os.urandom(BLOCK), 0, time.perf_counter()
    with path.open("wb", buffering=0) as file:
        while done < size and time.perf_counter() - began < SECONDS:
            done += file.write(block)
        os.fsync(file.fileno())
    return done, done / MB / (time.perf_counter() - began)


def timed_read(paths: list[Path], size: int) -> float:
    """MB/s of reading up to ``size`` bytes from the beginning of ``paths`` on, from disk and not from memory."""
    done, began = 0, 0.0
    for path in paths:
        with path.open("rb", buffering=0) as file:
            if sys.platform == "linux":
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            began = began or time.perf_counter()
            while done < size and time.perf_counter() - began < SECONDS and (block := file.read(BLOCK)):
                done += len(block)
    return done / MB / max(time.perf_counter() - began, 1e-9)


def timed_files(inside: Path) -> float:
    """Milliseconds to make a small file whole."""
    began = time.perf_counter()
    for number in range(SMALL_FILES):
        with whole_file(inside / f"small{number}") as temporary:
            temporary.write_bytes(b"fourcast")
    return 1000 * (time.perf_counter() - began) / SMALL_FILES


def speed_finding(write: float, read: float) -> Finding:
    """Of megabytes a second."""
    found = f"writes {write:.0f} MB/s, reads {read:.0f} MB/s"
    figures = {"write_mb_s": round(write, 1), "read_mb_s": round(read, 1)}
    if write >= SLOW_WRITE and read >= SLOW_READ:
        return Finding("speed", OK, found, "", figures)
    return Finding("speed", POOR, found, "pass output=DIR on a disk of this machine or a parallel one", figures)


def latency_finding(milliseconds: float) -> Finding:
    """Of milliseconds a file."""
    found, figures = f"{milliseconds:.1f} ms each", {"file_ms": round(milliseconds, 2)}
    if milliseconds <= SLOW_FILE:
        return Finding("small files", OK, found, "", figures)
    remedy = "many files will take long: pass output=DIR on a disk of this machine, and copy when done"
    return Finding("small files", POOR, found, remedy, figures)


def store_speed(store: Path) -> Finding:
    """How fast the files of a training store are read; absent where there is none."""
    files = [path for path, _ in zip(shards(store), range(64), strict=False)]
    if not files:
        return Finding("store", ABSENT, f"no training store at {store}", "")
    read = timed_read(files, MOST)
    found, figures = f"{store}: reads {read:.0f} MB/s", {"read_mb_s": round(read, 1)}
    if read >= SLOW_READ:
        return Finding("store", OK, found, "", figures)
    remedy = "copy it to a disk of this machine, raise data.memory_gb to hold it in memory, or data.prefetch"
    return Finding("store", POOR, found, remedy, figures)


def shards(store: Path) -> Iterator[Path]:
    """The files of a store's fields, in no order."""
    for folder_name, _, names in os.walk(store / "fields"):
        yield from (Path(folder_name) / name for name in names if name != "zarr.json")
