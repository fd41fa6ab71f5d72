import importlib.util
import logging
from types import SimpleNamespace

import pytest
import torch

from fourcast.kernels import dispatch
from fourcast.kernels.dispatch import choose


def on_gpu(dtype: torch.dtype = torch.bfloat16) -> SimpleNamespace:
    return SimpleNamespace(device=torch.device("cuda", 0), dtype=dtype)


@pytest.fixture(autouse=True)
def hopper(monkeypatch):
    """A GPU that can run everything, no override, and no warning given yet."""
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    dispatch.warn_once.cache_clear()


def test_cpu_takes_torch_in_silence(caplog):
    assert choose(torch.zeros(1), 96) == "torch"
    assert not caplog.records


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_gpu_takes_triton_in_silence(caplog, dtype: torch.dtype):
    assert choose(on_gpu(dtype), 96) == "triton"
    assert not caplog.records


def lose_triton(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def turing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))


def rocm(monkeypatch):
    monkeypatch.setattr(torch.version, "hip", "6.4")


@pytest.mark.parametrize(
    ("change", "dtype", "block", "reason"),
    [
        (lose_triton, torch.bfloat16, 96, "the package triton is not installed"),
        (turing, torch.bfloat16, 96, "Some GPU is older than compute capability 8.0"),
        (rocm, torch.bfloat16, 96, "this torch is built for ROCm"),
        (None, torch.float64, 96, "the input is float64"),
        (None, torch.bfloat16, 24, "blocks of a multiple of 16 channels and these have 24"),
    ],
)
def test_a_gpu_that_loses_the_fast_path_says_why_once(monkeypatch, caplog, change, dtype, block, reason):
    if change is not None:
        change(monkeypatch)
    assert [choose(on_gpu(dtype), block) for _ in range(3)] == ["torch"] * 3
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert reason in record.getMessage()


def test_each_reason_is_given(caplog):
    choose(on_gpu(torch.float64), 96)
    choose(on_gpu(), 24)
    assert len(caplog.records) == 2


@pytest.mark.parametrize("path", ["triton", "torch"])
def test_environment_overrides_every_device(monkeypatch, path: str):
    monkeypatch.setenv(dispatch.VARIABLE, path)
    assert choose(torch.zeros(1), 96) == path
    assert choose(on_gpu(), 96) == path


def test_unknown_override_is_refused(monkeypatch):
    monkeypatch.setenv(dispatch.VARIABLE, "cuda")
    with pytest.raises(ValueError, match="FOURCAST_KERNELS must be triton or torch, or be unset; found 'cuda'"):
        choose(torch.zeros(1), 96)
