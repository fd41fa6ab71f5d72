"""Triton's cache of compiled kernels: whether it can be written, and whether what is in it is whole. No torch."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

from fourcast.doctor.disk import folder, writable
from fourcast.doctor.finding import FAILED, OK, POOR, Finding

NAME = "kernel cache"
MOST = 4000
"""Folders that are looked at."""


def cache_folder(environ: Mapping[str, str]) -> Path | None:
    """Where Triton keeps compiled kernels: TRITON_CACHE_DIR, else .triton/cache in TRITON_HOME or the home, if any."""
    if environ.get("TRITON_CACHE_DIR"):
        return Path(environ["TRITON_CACHE_DIR"])
    home = environ.get("TRITON_HOME") or environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111
    return None if home == "~" else Path(home) / ".triton" / "cache"


def elsewhere(cache: Path | None) -> str:
    """How to keep kernels in another place; nobody else may write there, as they are loaded and run."""
    if cache and cache.is_relative_to("/tmp"):
        return "docker run --tmpfs /tmp:exec, or export TRITON_CACHE_DIR=$(mktemp -d -p DIR), DIR on another disk"
    return "export TRITON_CACHE_DIR=$(mktemp -d)"


def way_out(cache: Path | None) -> str:
    """What to do about kernels that do not work."""
    otherwise = "export FOURCAST_KERNELS=torch"
    return f"see gpu, torch and triton above; else {moved(cache)}, or {otherwise}" if cache else otherwise


def moved(cache: Path) -> str:
    """The command that takes a cache out of use and loses nothing."""
    return f"mv {cache} {cache}.broken"


def cache_finding(cache: Path | None, on_gpu: bool, most: int = MOST) -> Finding:
    """Whether kernels can be kept in ``cache`` and run from there, and those in its first ``most`` folders are whole.

    Without a GPU nothing but the doctor compiles kernels, and a cache that cannot be used does no harm.
    """
    bad = FAILED if on_gpu else POOR
    if cache is None:
        return Finding(NAME, bad, "there is no home, where kernels are kept", elsewhere(cache))
    found = writable(NAME, cache, elsewhere(cache))
    if found.status == FAILED:
        return replace(found, status=bad)
    there = folder(cache).there
    if os.statvfs(there).f_flag & os.ST_NOEXEC:
        remedy = "export TRITON_CACHE_DIR=DIR on another disk; docker run --tmpfs /tmp:exec"
        return Finding(NAME, bad, f"{there} is on a disk mounted noexec: no kernel can be loaded from it", remedy)
    entries = [path for path in islice(_folders(cache), most) if any(path.glob("*.json"))]
    broken = [entry for entry in entries if not whole(entry)]
    if not broken:
        return Finding(NAME, OK, found.found + (f"; {len(entries)} kernels in it" if entries else ""))
    words = f"{len(broken)} of {len(entries)} kernels are broken, the first in {broken[0]}"
    return Finding(NAME, bad, words, f"{moved(cache)}: kernels are compiled anew when they are needed")


def _folders(cache: Path) -> Iterator[Path]:
    return (path for path in cache.iterdir() if path.is_dir()) if cache.is_dir() else iter(())


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
