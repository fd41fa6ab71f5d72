"""Disks of a test's own, mounted in a namespace of its own: small, or read-only."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from fourcast.doctor import disk
from fourcast.doctor.cache import cache_finding
folder = Path(sys.argv[1])
found = [disk.writable("output", folder, "pass output=DIR"), disk.space(folder), *disk.speeds(folder)]
found += [cache_finding(folder, True)]
print(json.dumps([[f.name, f.status, f.found, f.remedy] for f in found]))
"""


def on_a_disk_of_its_own(folder: Path, options: str, before: str = "true") -> subprocess.CompletedProcess[str]:
    """What the checks of disks say of a tmpfs mounted on ``folder`` with ``options``, after a command in it.

    The last lines of what is printed are the files left there. Skips where nothing may be mounted.
    """
    folder.mkdir()
    mount = 'mount -t tmpfs -o "$2" tmpfs "$1" || exit 99; cd "$1"; '
    script = mount + before + '; cd /; "$3" -c "$4" "$1"; ls -A "$1"'
    command = ["sh", "-c", script, "sh", str(folder), options, sys.executable, PROGRAM]
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    run = subprocess.run(["unshare", "-Urm", *command], capture_output=True, text=True, timeout=60, check=False)
    if run.returncode in (1, 99) and not run.stdout:
        pytest.skip("needs the right to mount a disk")
    assert run.returncode == 0, run.stderr
    return run
