"""Operators against what they are defined to compute, as the doctor judges them."""

import json

import torch

from fourcast.doctor import kernels


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
    assert "rm -r" in wrong.remedy
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
    assert "rm -r" in convolution["remedy"]
