"""The kernels compiled for GPUs that are not here: what the interpreter cannot know."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kernel_resources.py"
MOST_REGISTERS = 255  # of one thread; a stack below this is not of spilled registers
ELEMENTWISE = {"row_statistics", "norm_backward"}
BACKWARD = {"fused_backward ", "layer active", "layer adjoint"}
BACKWARD_STACK = 320  # bytes of one thread: some spilled registers are fine there; the worst is fp32 on the A100


def resources(chip: str, shape: str, precision: str) -> list[dict]:
    """In a process of its own, where no interpreter was chosen."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, str(SCRIPT), "--json", "--chips", chip, "--shapes", shape, "--precisions", precision]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def check(chip: str, shape: str, precision: str) -> set[str]:
    found = resources(chip, shape, precision)
    for r in found:
        name = f"{r['kernel']} {r['variant']}"
        assert r["shared"] <= r["shared_limit"], name
        spilled = r["stack"] if r["registers"] >= MOST_REGISTERS else 0
        assert spilled <= (BACKWARD_STACK if name in BACKWARD else 0), name
        assert r["resident"] >= 1, name
        assert (r["tensor_core"] > 0) == (r["kernel"] not in ELEMENTWISE), name
    return {r["kernel"] for r in found}


def test_small_grid_on_hopper():
    assert {"zonal_forward", "fused_forward", "fused_backward", "weight_gradient"} <= check("H200", "32x64x256", "fp16")


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["90x180x768", "32x64x256"])
@pytest.mark.parametrize("chip", ["A100", "H200", "B200"])
def test_every_chip(chip: str, shape: str):
    fused = "fused_forward" in check(chip, shape, "fp16")
    assert fused == (chip != "A100" or shape == "32x64x256")


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["90x180x768", "32x64x256"])
@pytest.mark.parametrize("chip", ["A100", "H200", "B200"])
def test_float32(chip: str, shape: str):
    assert "layer" in check(chip, shape, "fp32")
