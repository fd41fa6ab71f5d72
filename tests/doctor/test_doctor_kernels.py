"""What the doctor asks of torch: operators against what they are defined to compute, GPUs, speeds."""

import json
import os

import torch

from fourcast.doctor import kernels, torch_facts
from fourcast.doctor.cache import cache_folder
from fourcast.doctor.training import speed_finding


def test_both_operators_are_right_here(monkeypatch):
    monkeypatch.setattr(kernels, "SHAPE", (1, 6, 10, 32))
    monkeypatch.setattr(kernels, "BLOCKS", 2)
    found = kernels.kernels("cpu")
    assert [(one["name"], one["status"]) for one in found] == [("spectral mixing", "ok"), ("long convolution", "ok")]
    assert all(0 < one["figures"]["error_fp32"] < 2e-6 for one in found)
    assert "torch on cpu" in found[0]["found"]
    json.dumps(found)


def test_an_operator_that_is_wrong_fails_with_a_way_out():
    expected = torch.linspace(-1, 1, 7, dtype=torch.float64)
    wrong = kernels.judged("long convolution", {"fp32": lambda: 1.001 * expected}, expected, "triton on cuda")
    assert wrong.status == "failed"
    assert "allowed are 2e-06 in fp32" in wrong.found
    assert f"mv {cache_folder(os.environ)} " in wrong.remedy
    assert "FOURCAST_KERNELS=torch" in wrong.remedy
    broken = kernels.judged("x", {"fp32": lambda: expected * float("nan")}, expected, "triton on cuda")
    assert broken.status == "failed"


def test_a_gpu_without_its_kernels_is_poor():
    expected = torch.ones(3, dtype=torch.float64)
    found = kernels.judged("spectral mixing", {"fp32": lambda: expected.float()}, expected, "torch on cuda")
    assert (found.status, "FOURCAST_KERNELS" in found.remedy) == ("poor", True)


def test_an_operator_that_raises_leaves_the_other(monkeypatch):
    def breaks(*arguments: object, **named: object) -> torch.Tensor:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(kernels, "SHAPE", (1, 6, 10, 32))
    monkeypatch.setattr(kernels, "BLOCKS", 2)
    monkeypatch.setattr(kernels, "fft_conv", breaks)
    mixing, convolution = kernels.kernels("cpu")
    assert mixing["status"] == "ok"
    assert convolution["status"] == "failed"
    assert "illegal memory access" in convolution["found"]
    assert "see gpu, torch and triton above" in convolution["remedy"]


def test_a_gpu_that_raises_is_a_complaint_and_torch_is_loaded(monkeypatch):
    def name(index: int) -> str:
        if index == 1:
            raise RuntimeError("CUDA error:  uncorrectable ECC error\nencountered")
        return "NVIDIA H200"

    monkeypatch.setattr("torch.version.cuda", "13.0")
    monkeypatch.setattr("torch.cuda.init", lambda: None)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_name", name)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda index: (9, 0))
    assert torch_facts._gpus() == ([("NVIDIA H200", (9, 0))], "CUDA error: uncorrectable ECC error encountered")


def test_one_slow_gpu_is_named():
    rates = {"fp32": 50.0, "bf16": 700.0}
    found = speed_finding(rates, "cuda", [700.0, 480.0, 690.0])
    assert (found.status, found.figures["tflops_bf16_gpu1"]) == ("poor", 480.0)
    assert found.found.startswith("GPU 1 480 TFLOP/s in bf16, where the fastest does 700; 50 TFLOP/s in fp32")
    assert "nvidia-smi" in found.remedy
    assert speed_finding(rates, "cuda", [700.0, 491.0]).status == "ok"
    assert speed_finding({"fp32": 0.1}, "cpu", []).status == "ok"
