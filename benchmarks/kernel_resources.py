"""What each Triton kernel of the spectral mixer needs on each chip, read off machine code; no GPU is used.

    python benchmarks/kernel_resources.py --output benchmarks/results/kernel_resources.md

The host code runs on meta tensors and every launch it would make is compiled for the chip instead. Registers,
stack (where spilled registers go) and shared memory come from cuobjdump, tensor-core instructions from PTX;
occupancy is their arithmetic. Floors are the least time of one pass by arithmetic or by memory traffic.
"""

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from fourcast.kernels import dft, spectral_triton
from fourcast.kernels.dense import Parameters
from fourcast.kernels.modes import KeptModes, Modes

CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
TENSOR_CORE = re.compile(r"\b(?:mma\.sync|wgmma\.mma_async|tcgen05\.mma)\b")
TYPE_NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
OPERANDS = {"fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class Chip:
    name: str
    capability: int
    shared_limit: int  # bytes for one program
    fused_limit: int  # of spectral_triton on this chip
    shared_total: int  # bytes on one multiprocessor
    tensor_rate: float  # dense fp16 operations a second, from the data sheet
    bandwidth: float  # bytes a second, from the data sheet


CHIPS = (
    Chip("A100", 80, 163 << 10, 32 * 96, 164 << 10, 312e12, 2.0e12),
    Chip("H200", 90, 227 << 10, 128 * 96, 228 << 10, 989e12, 4.8e12),
    Chip("B200", 100, 227 << 10, 128 * 96, 228 << 10, 2250e12, 8.0e12),
)


@dataclass(frozen=True)
class Launch:
    kernel: JITFunction
    arguments: dict[str, Any]
    options: dict[str, int]


@dataclass(frozen=True)
class Resources:
    chip: str
    shape: str
    precision: str
    kernel: str
    warps: int
    registers: int
    stack: int
    shared: int
    tensor_core: int
    programs_per_multiprocessor: int
    shared_limit: int


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """Launches made inside the block, which do not run."""
    launches = []

    def record(kernel: JITFunction, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        options = {name: kwargs.pop(name) for name in ("num_warps", "num_stages") if name in kwargs}
        launches.append(Launch(kernel, dict(zip(kernel.arg_names, args, strict=False)) | kwargs, options))

    with patch.object(JITFunction, "run", record):
        yield launches


def launches(chip: Chip, kept: KeptModes, width: int, dim: int, operand: torch.dtype) -> list[Launch]:
    """Every distinct launch of one forward and backward pass on bfloat16 fields (float32 in float32)."""
    field = torch.float32 if operand == torch.float32 else torch.bfloat16
    blocks, block = 8, dim // 8
    x = torch.empty(1, kept.height, width, dim, dtype=field, device="meta")
    w, b = (torch.empty(2, blocks, *shape, device="meta") for shape in ((block, block), (block,)))
    norm = torch.empty(dim, device="meta")
    p = Parameters(norm, norm, w, b, w, b)
    with recorded() as made, patch.object(spectral_triton, "fused_limit", lambda _: chip.fused_limit):
        out, *saved = spectral_triton.forward(x, p, kept, 1e-6, 0.01, operand)
        forward_count = len(made)
        spectral_triton.backward(out, x, *saved, p, kept, 0.01)
    return [*made[:forward_count], *made[forward_count:]]


def compile_for(launch: Launch, chip: Chip) -> Any:
    """The kernel as the launcher would specialise it: aligned pointers, divisible and unit integers."""
    signature, constants, attributes = {}, {}, {}
    for i, parameter in enumerate(launch.kernel.params):
        value = launch.arguments[parameter.name]
        if parameter.is_constexpr or value is None or (isinstance(value, int) and value == 1):
            signature[parameter.name], constants[(i,)] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name] = "*" + TYPE_NAMES[value.dtype]
            attributes[(i,)] = [["tt.divisibility", 16]]
        else:
            signature[parameter.name] = "fp32" if isinstance(value, float) else "i32"
            if isinstance(value, int) and value % 16 == 0:
                attributes[(i,)] = [["tt.divisibility", 16]]
    source = ASTSource(launch.kernel, signature, constants, attributes)
    return triton.compile(source, target=GPUTarget("cuda", chip.capability, 32), options=launch.options)


def resources(launch: Launch, chip: Chip, shape: str, precision: str) -> Resources:
    compiled = compile_for(launch, chip)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage = subprocess.run([CUOBJDUMP, "-res-usage", file.name], capture_output=True, text=True, check=True)
    registers, stack = (int(re.search(rf"{key}:(\d+)", usage.stdout)[1]) for key in ("REG", "STACK"))
    warps, shared = compiled.metadata.num_warps, compiled.metadata.shared
    return Resources(
        chip=chip.name, shape=shape, precision=precision, kernel=compiled.name, warps=warps, registers=registers,
        stack=stack, shared=shared, tensor_core=len(TENSOR_CORE.findall(compiled.asm["ptx"])),
        programs_per_multiprocessor=occupancy(warps, registers, shared, chip), shared_limit=chip.shared_limit,
    )


def occupancy(warps: int, registers: int, shared: int, chip: Chip) -> int:
    """Programs resident on one multiprocessor: 64 warps, 64 Ki registers in units of 256 a warp, shared memory."""
    registers_per_warp = -(-registers * 32 // 256) * 256
    by_shared = chip.shared_total // (shared + 1024)  # the driver reserves 1 KiB a program
    return min(64 // warps, 65536 // registers_per_warp // warps, by_shared)
