"""Which implementation of a kernel runs: decided here and nowhere else."""

import importlib.util
import logging
import os
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

Path = Literal["triton", "torch"]

VARIABLE = "FOURCAST_KERNELS"
TYPES = (torch.float16, torch.bfloat16, torch.float32)
BLOCK_MULTIPLE = 16  # smallest side of a tensor-core product of 16-bit numbers
CAPABILITY = (8, 0)

log = logging.getLogger(__name__)


def choose(x: Tensor, block: int) -> Path:
    """The path for an operator on ``x`` whose channels come in blocks of ``block``.

    Triton on NVIDIA GPUs that can run it, plain torch elsewhere. Where a GPU loses the fast path, a warning is
    logged once for each reason. FOURCAST_KERNELS=triton or torch overrides the choice.
    """
    forced = os.environ.get(VARIABLE, "")
    if forced in ("triton", "torch"):
        return forced  # type: ignore[return-value]
    if forced:
        raise ValueError(f"environment variable {VARIABLE} must be triton or torch, or be unset; found {forced!r}")
    if x.device.type != "cuda":
        return "torch"
    obstacle = why_not_triton(x.device, x.dtype, block)
    if obstacle is None:
        return "triton"
    warn_once(obstacle)
    return "torch"


def why_not_triton(device: torch.device, dtype: torch.dtype, block: int) -> str | None:
    """What keeps the Triton kernels from running on a CUDA device; None where they can."""
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    if torch.version.hip is not None:
        return "they are made for NVIDIA GPUs and this torch is built for ROCm"
    if torch.cuda.get_device_capability(device) < CAPABILITY:
        return f"{torch.cuda.get_device_name(device)} is older than compute capability {CAPABILITY[0]}.{CAPABILITY[1]}"
    if dtype not in TYPES:
        return f"they take float16, bfloat16 or float32 and the input is {str(dtype).removeprefix('torch.')}"
    if block % BLOCK_MULTIPLE:
        return f"they need blocks of a multiple of {BLOCK_MULTIPLE} channels and these have {block}"
    return None


@lru_cache
def warn_once(obstacle: str) -> None:
    log.warning("plain torch, which is slow, takes the place of the Triton kernels: %s", obstacle)
