"""Running test files in Triton's interpreter: in a process of its own, since it is chosen before triton is imported."""

import os
import re
import subprocess
import sys
from pathlib import Path

RUN = """
import os, sys, pytest
status = pytest.main(sys.argv[1:])
sys.stdout.flush()
os._exit(status)  # with the verdict, and without tearing down Python: native libraries have crashed in that
"""


def run_in_the_interpreter(file: Path, marker: str = "not slow", passed: str = r"\d+ passed") -> None:
    """Run the tests of ``file`` under ``marker``; they must pass, and pytest's last words match ``passed``."""
    environment = os.environ | {"TRITON_INTERPRET": "1", "FOURCAST_KERNELS": "triton"}
    command = [sys.executable, "-c", RUN, "--noconftest", "-m", marker, str(file)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(passed, run.stdout)
