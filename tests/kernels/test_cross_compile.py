"""The kernels compiled for GPUs that are not here: what the interpreter cannot know."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kernel_resources.py"
ELEMENTWISE = {"row_statistics", "norm_backward"}
BACKWARD = {"fused_backward ", "layer active", "layer adjoint"}
BACKWARD_STACK = 320  # bytes of one thread: some spilled registers are fine there; the worst is fp32 on the A100


def resources(chip: str, precision: str, shapes: list[str], lengths: list[int]) -> list[dict]:
    """In a process of its own, where no interpreter was chosen."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, str(SCRIPT), "--json", "--chips", chip, "--precisions", precision]
    command += ["--shapes", *shapes, "--lengths", *map(str, lengths)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def spilled(r: dict) -> int:
    """Bytes of one thread's stack, where it has all the registers a program of so many warps can give it."""
    return r["stack"] if r["registers"] >= min(255, 2048 // r["warps"]) else 0


def check_fit(found: list[dict]) -> None:
    """It runs, and on tensor cores: a product that a compiler cannot lay out is one that is not there."""
    for r in found:
        name = f"{r['kernel']} {r['variant']}"
        assert r["shared"] <= r["shared_limit"], name
        assert r["resident"] >= 1, name
        assert (r["tensor_core"] > 0) == (r["kernel"] not in ELEMENTWISE), name


def check_mixer(chip: str, shape: str, precision: str) -> set[str]:
    found = resources(chip, precision, [shape], [])
    check_fit(found)
    for r in found:
        name = f"{r['kernel']} {r['variant']}"
        assert spilled(r) <= (BACKWARD_STACK if name in BACKWARD else 0), name
    return {r["kernel"] for r in found}


def test_small_grid_on_hopper():
    found = check_mixer("H200", "32x64x256", "fp16")
    assert {"zonal_forward", "fused_forward", "fused_backward", "weight_gradient"} <= found


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["90x180x768", "32x64x256"])
@pytest.mark.parametrize("chip", ["A100", "H200", "B200"])
def test_every_chip(chip: str, shape: str):
    fused = "fused_forward" in check_mixer(chip, shape, "fp16")
    assert fused == (chip != "A100" or shape == "32x64x256")


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["90x180x768", "32x64x256"])
@pytest.mark.parametrize("chip", ["A100", "H200", "B200"])
def test_float32(chip: str, shape: str):
    assert "layer" in check_mixer(chip, shape, "fp32")


FORWARD = {"convolve", "convolve_rows", "outer_analyse", "outer_synthesise"}
LENGTHS = [256, 1024, 4096, 8192, 65_536]
MOST_SPILLED = {
    ("A100", "fp16"): (0, 0),
    ("A100", "fp32"): (32, 15_000),
    ("H200", "fp16"): (0, 400),
    ("H200", "fp32"): (200, 700),
    ("B200", "fp16"): (8, 100),
    ("B200", "fp32"): (80, 400),
}
"""Bytes of a thread's stack in kernels that forward and backward share, and in those of backward alone."""


def check_convolution(chip: str, precision: str, lengths: list[int]) -> set[str]:
    found = resources(chip, precision, [], lengths)
    check_fit(found)
    for r in found:
        most = MOST_SPILLED[chip, precision][r["kernel"] not in FORWARD]
        assert r["stack"] <= most, f"{r['kernel']} {r['variant']}: {r['stack']} bytes"
    return {r["kernel"] for r in found}


def test_long_convolution_on_hopper():
    assert check_convolution("H200", "fp16", [1024, 8192]) == {"convolve", "correlate"}


@pytest.mark.slow
@pytest.mark.parametrize(("chip", "precision"), MOST_SPILLED)
def test_long_convolution_on_every_chip(chip: str, precision: str):
    apart = {"outer_analyse", "convolve_rows", "outer_synthesise", "correlate_rows"}
    assert check_convolution(chip, precision, LENGTHS) == {"convolve", "correlate"} | apart


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("chip", ["A100", "H200", "B200"])
def test_longest_convolutions_fit_every_chip(chip: str, precision: str):
    check_fit(resources(chip, precision, [], [16_384, 1_048_576]))
