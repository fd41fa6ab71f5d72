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
BLOCKS = 8
HEADING = (
    f"## Resources of the spectral mixer's kernels\n\nFrom cross-compilation with triton {triton.__version__}; "
    "**not measured on a GPU**. Floors are data-sheet arithmetic rate and bandwidth; published modes, 8 blocks.\n\n"
    "To measure on a GPU: `python benchmarks/spectral_mixing.py --device cuda --output benchmarks/results/FILE.md`."
)


@dataclass(frozen=True)
class Chip:
    name: str
    capability: int
    shared_limit: int  # bytes for one program
    shared_total: int  # bytes on one multiprocessor
    tensor_rate: float  # dense fp16 operations a second, from the data sheet
    bandwidth: float  # bytes a second, from the data sheet


CHIPS = (
    Chip("A100", 80, 163 << 10, 164 << 10, 312e12, 2.0e12),
    Chip("H200", 90, 227 << 10, 228 << 10, 989e12, 4.8e12),
    Chip("B200", 100, 227 << 10, 228 << 10, 2250e12, 8.0e12),
)


@dataclass(frozen=True)
class Launch:
    kernel: JITFunction
    arguments: dict[str, Any]
    options: dict[str, int]


@dataclass(frozen=True)
class Resources:
    kernel: str
    variant: str
    warps: int
    registers: int  # of one thread
    stack: int  # bytes of one thread: spilled registers
    shared: int  # bytes of one program
    shared_limit: int
    tensor_core: int  # instructions in the code, not executions
    resident: int  # programs on one multiprocessor at once


@dataclass(frozen=True)
class Report:
    chip: Chip
    shape: str
    precision: str
    kernels: list[Resources]
    forward: dft.Cost
    backward: dft.Cost


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
    """Every launch of one forward and backward pass on bfloat16 fields (float32 in float32)."""
    field = torch.float32 if operand == torch.float32 else torch.bfloat16
    block = dim // BLOCKS
    x = torch.empty(1, kept.height, width, dim, dtype=field, device="meta")
    w, b = (torch.empty(2, BLOCKS, *shape, device="meta") for shape in ((block, block), (block,)))
    norm = torch.empty(dim, device="meta")
    p = Parameters(norm, norm, w, b, w, b)
    with recorded() as made, patch.object(spectral_triton, "capability", lambda device: chip.capability // 10):
        out, *saved = spectral_triton.forward(x, p, kept, 1e-6, 0.01, operand)
        spectral_triton.backward(out, x, *saved, p, kept, 0.01)
    return made


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


def resources(launch: Launch, chip: Chip) -> Resources:
    compiled = compile_for(launch, chip)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage = subprocess.run([CUOBJDUMP, "-res-usage", file.name], capture_output=True, text=True, check=True)
    registers, stack = (int(re.findall(rf"{key}:(\d+)", usage.stdout)[0]) for key in ("REG", "STACK"))
    warps, shared = compiled.metadata.num_warps, compiled.metadata.shared
    return Resources(
        kernel=launch.kernel.__name__,
        variant=variant(launch),
        warps=warps,
        registers=registers,
        stack=stack,
        shared=shared,
        shared_limit=chip.shared_limit,
        tensor_core=len(TENSOR_CORE.findall(compiled.asm["ptx"])),
        resident=resident(warps, registers, shared, chip),
    )


def variant(launch: Launch) -> str:
    """What tells two launches of one kernel apart."""
    flags = [name.lower() for name in ("NORM", "RESIDUAL") if launch.arguments.get(name)]
    return " ".join([*flags, *filter(None, [launch.arguments.get("EPILOGUE")])])


def resident(warps: int, registers: int, shared: int, chip: Chip) -> int:
    """Programs on one multiprocessor at once: of 64 warps, 64 Ki registers and the shared memory."""
    registers_per_warp = -(-registers * 32 // 256) * 256
    by_shared = chip.shared_total // (shared + 1024)  # 1 KiB a program goes to the driver
    return min(64 // warps, 65536 // registers_per_warp // warps, by_shared)


def measure(chip: Chip, shape: str, precision: str) -> Report:
    height, width, dim = map(int, shape.split("x"))
    kept = Modes().keep(height, width)
    found = [resources(launch, chip) for launch in launches(chip, kept, width, dim, OPERANDS[precision])]
    size = 2 if precision == "fp16" else 4
    work = dft.Workload(1, width, kept, dim, dim // BLOCKS, field_bytes=size, spectrum_bytes=size)
    return Report(chip, shape, precision, list(dict.fromkeys(found)), dft.forward_cost(work), dft.backward_cost(work))


def markdown(report: Report) -> str:
    chip = report.chip
    lines = [
        f"### {chip.name} (sm_{chip.capability}), {report.shape}, {report.precision}",
        "",
        "| kernel | variant | warps | registers | stack B | shared B | tensor-core instructions | occupancy |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for r in report.kernels:
        occupancy = f"{100 * r.resident * r.warps // 64} %, {r.resident} resident"
        cells = (r.kernel, r.variant, r.warps, r.registers, r.stack, r.shared, r.tensor_core, occupancy)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    for name, cost in (("forward", report.forward), ("backward", report.backward)):
        rate = chip.tensor_rate / (1 if report.precision == "fp16" else 6)  # half the rate, three passes
        lines += [
            "",
            f"Floor of {name}, one sample: {cost.flops / 1e9:.1f} GFLOP, {cost.bytes / 1e6:.0f} MB, "
            f"{1e6 * cost.seconds(rate, chip.bandwidth):.0f} µs.",
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", nargs="+", default=[chip.name for chip in CHIPS])
    parser.add_argument("--shapes", nargs="+", default=["90x180x768", "32x64x256"], help="height x width x channels")
    parser.add_argument("--precisions", nargs="+", default=["fp16"], choices=list(OPERANDS))
    parser.add_argument("--json", action="store_true", help="print the kernels as JSON instead")
    parser.add_argument("--output", type=Path, help="file for the table; printed where absent")
    arguments = parser.parse_args()
    reports = [
        measure(chip, shape, precision)
        for chip in CHIPS
        if chip.name in arguments.chips
        for shape in arguments.shapes
        for precision in arguments.precisions
    ]
    if arguments.json:
        text = json.dumps([asdict(r) for report in reports for r in report.kernels])
    else:
        text = "\n\n".join([HEADING, *map(markdown, reports)])
    if arguments.output:
        arguments.output.write_text(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
