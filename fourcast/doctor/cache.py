"""Triton's cache of compiled kernels: whether it can be written, and whether what is in it is whole. No torch."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

from fourcast.doctor.disk import writable
from fourcast.doctor.finding import FAILED, OK, POOR, Finding

NAME = "kernel cache"
MOST = 4000
"""Entries that are looked at."""


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where Triton keeps compiled kernels: TRITON_CACHE_DIR, else .triton/cache in TRITON_HOME or the home."""
    if environ.get("TRITON_CACHE_DIR"):
        return Path(environ["TRITON_CACHE_DIR"])
    home = environ.get("TRITON_HOME") or environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111
    return Path(home) / ".triton" / "cache"


def cache_finding(folder: Path, on_gpu: bool, most: int = MOST) -> Finding:
    """Whether kernels can be kept in ``folder``, and the first ``most`` of those that are there are whole.

    Without a GPU nothing but the doctor compiles kernels, and a cache that cannot be used does no harm.
    """
    bad = FAILED if on_gpu else POOR
    found = writable(NAME, folder, "export TRITON_CACHE_DIR=/tmp/triton")
    if found.status == FAILED:
        return replace(found, status=bad)
    entries = list(islice(_entries(folder), most))
    broken = [entry for entry in entries if not whole(entry)]
    if not broken:
        return Finding(NAME, OK, found.found + (f"; {len(entries)} kernels in it" if entries else ""))
    words = f"{len(broken)} of {len(entries)} kernels are broken, the first in {broken[0]}"
    return Finding(NAME, FAILED, words, f"rm -r {folder}: kernels are compiled anew when they are needed")


def _entries(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else iter(())


def whole(entry: Path) -> bool:
    """Whether no file of a compiled kernel is empty, and those in JSON can be read."""
    return all(_whole_file(path) for path in entry.iterdir() if path.is_file())


def _whole_file(path: Path) -> bool:
    if path.stat().st_size == 0:
        return False
    if path.suffix != ".json":
        return True
    try:
        json.loads(path.read_bytes())
    except ValueError:  # of JSON, and of bytes that are no text
        return False
    return True
