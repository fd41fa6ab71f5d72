"""The folders that are used, looked at in a process that a disk which does not answer may hold for ever."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from fourcast.doctor import disk
from fourcast.doctor.cache import cache_finding
from fourcast.doctor.finding import Finding, isolated

OTHERWISE = "pass output=DIR on another disk"


def output(folder: str) -> list[dict[str, Any]]:
    """Whether runs can be written, and how much of them."""
    where = Path(folder)
    return _told([disk.writable("output", where, OTHERWISE), *isolated("space", partial(_space, where))])


def _space(folder: Path) -> list[Finding]:
    return [disk.space(folder)]


def temporary(on_gpu: bool) -> list[dict[str, Any]]:
    """Whether there is a folder for temporary files."""
    return _told([disk.temporary_finding(on_gpu)])


def speeds(folder: str) -> list[dict[str, Any]]:
    """How fast the disk of runs is."""
    return _told(disk.speeds(Path(folder)))


def store(folder: str) -> list[dict[str, Any]]:
    """How fast a training store is read."""
    return _told([disk.store_speed(Path(folder))])


def cache(folder: str | None, on_gpu: bool, most: int) -> list[dict[str, Any]]:
    """Whether compiled kernels can be kept, and those that are kept are whole."""
    return _told([cache_finding(None if folder is None else Path(folder), on_gpu, most)])


def _told(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [asdict(finding) for finding in findings]
