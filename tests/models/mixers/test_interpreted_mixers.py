"""The mixers on the Triton kernels, in a process of their own: the interpreter is chosen before triton is imported."""

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


def test_mixers_in_the_interpreter() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1", "FOURCAST_KERNELS": "triton"}
    command = [sys.executable, "-c", RUN, "--noconftest", str(Path(__file__).with_name("interpreted_mixers.py"))]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"8 passed", run.stdout)
