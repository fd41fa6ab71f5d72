"""The mixers on the Triton kernels, in a process of their own: the interpreter is chosen before triton is imported."""

from pathlib import Path

import pytest
from interpreter import run_in_the_interpreter

FILE = Path(__file__).with_name("interpreted_mixers.py")


def test_mixers_in_the_interpreter() -> None:
    run_in_the_interpreter(FILE, passed="7 passed, 1 deselected")


@pytest.mark.slow
def test_the_longest_of_them_in_the_interpreter() -> None:
    run_in_the_interpreter(FILE, "slow", passed="1 passed")
