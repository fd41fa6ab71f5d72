"""How the command line starts: what it imports before it knows what to do, and how long that takes."""

import statistics
import subprocess
import sys

import pytest

from fourcast.cli import VERBS

WITHOUT_TORCH = ("doctor", "simulate", "fetch", "ingest", "inspect", "verify", "report")
"""The verbs that run where torch is not installed; doctor then says so."""


def python(code: str) -> str:
    """What a new interpreter prints for ``code``."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


HELP = """
import sys
before = set(sys.modules)
sys.argv = ["fourcast", "{argument}"]
from fourcast.cli import main
main()
roots = {{name.split(".")[0] for name in set(sys.modules) - before}}
print("beyond Python:", sorted(roots - sys.stdlib_module_names), "slow:", sorted({{"asyncio", "logging"}} & roots))
"""


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_imports_nothing_but_python_and_fourcast(argument: str) -> None:
    assert python(HELP.format(argument=argument)).endswith("beyond Python: ['fourcast'] slow: []\n")


def test_help_takes_less_than_half_a_second_of_a_processor() -> None:
    code = """import sys; sys.argv = ["fourcast", "--help"]; from fourcast.cli import main; main()
import time; print(time.process_time())"""
    assert statistics.median(float(python(code).split()[-1]) for _ in range(5)) < 0.5


COMPOSE = """
import contextlib, io, sys
from fourcast.cli import main
for words in {commands}:
    sys.argv = ["fourcast", *words]
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        main()
    assert "hydra" in sys.modules and len(said.getvalue()) > 20, (words, said.getvalue())
print(sorted({{"torch", "triton", "xarray", "zarr", "netCDF4", "matplotlib", "pandas"}} & set(sys.modules)))
"""


def test_showing_a_configuration_imports_neither_torch_nor_what_reads_data() -> None:
    commands = [("train", "--cfg", "job"), ("verify", "--cfg", "job")]
    assert python(COMPOSE.format(commands=commands)) == "[]\n"


@pytest.mark.slow
def test_no_verb_imports_them_to_show_its_keys() -> None:
    commands = [(verb, *flags) for verb in VERBS for flags in (("--cfg", "job"), ("--help",))]
    assert python(COMPOSE.format(commands=commands)) == "[]\n"


def test_verbs_that_run_no_model_start_where_torch_is_not_installed() -> None:
    code = f"""import sys, importlib; sys.modules["torch"] = None; sys.modules["triton"] = None
from fourcast.cli import VERBS
for verb in {WITHOUT_TORCH}:
    module, function, _ = VERBS[verb]
    print(verb, callable(getattr(importlib.import_module(module), function)))"""
    assert python(code) == "".join(f"{verb} True\n" for verb in WITHOUT_TORCH)
