"""The mixers on the Triton kernels, in a process of their own: the interpreter is chosen before triton is imported."""

from pathlib import Path

from interpreter import run_in_the_interpreter


def test_mixers_in_the_interpreter() -> None:
    run_in_the_interpreter(Path(__file__).with_name("interpreted_mixers.py"), passed="8 passed")
