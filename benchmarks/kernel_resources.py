"""What each Triton kernel needs on each chip, read off machine code; no GPU is used.

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
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from fourcast.kernels import dft, fft_conv_triton, monarch, spectral_triton
from fourcast.kernels.dense import Parameters
from fourcast.kernels.fft_conv_torch import Sequences
from fourcast.kernels.modes import KeptModes, Modes

CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
TENSOR_CORE = re.compile(r"\b(?:mma\.sync|wgmma\.mma_async|tcgen05\.mma)\b")
TYPE_NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
OPERANDS = {"fp16": torch.float16, "fp32": torch.float32}
BLOCKS = 8
LENGTHS = (256, 1024, 4096, 8192, 16_384, 65_536, 1_048_576)
BATCH, CHANNELS = 64, 768  # of long convolutions, as published
HEADING = (
    "## Resources of the {}\n\n"
    f"From cross-compilation with triton {triton.__version__}; **not measured on a GPU**. "
    "Floors are data-sheet arithmetic rate and bandwidth; {}.\n\n"
    "To measure on a GPU: `python benchmarks/{}.py --device cuda --output benchmarks/results/FILE.md`."
)
SPECTRAL = HEADING.format("spectral mixer's kernels", "published modes, 8 blocks", "spectral_mixing")
CONVOLUTION = HEADING.format(
    "long convolution's kernels", f"circular, two gates, {BATCH} sequences of {CHANNELS} channels", "fft_conv"
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
    costs: dict[str, dft.Cost]  # of one pass forward and backward


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """Launches made inside the block, which do not run."""
    launches = []

    def record(kernel: JITFunction, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        options = {name: kwargs.pop(name) for name in ("num_warps", "num_stages") if name in kwargs}
        launches.append(Launch(kernel, dict(zip(kernel.arg_names, args, strict=False)) | kwargs, options))

    with patch.object(JITFunction, "run", record):
        yield launches


def spectral_launches(chip: Chip, kept: KeptModes, width: int, dim: int, operand: torch.dtype) -> list[Launch]:
    """Every launch of one pass forward and backward, and of the transforms alone; bfloat16 fields, or float32."""
    field = torch.float32 if operand == torch.float32 else torch.bfloat16
    block = dim // BLOCKS
    x = torch.empty(1, kept.height, width, dim, dtype=field, device="meta")
    w, b = (torch.empty(2, BLOCKS, *shape, device="meta") for shape in ((block, block), (block,)))
    norm = torch.empty(dim, device="meta")
    p = Parameters(norm, norm, w, b, w, b)
    with recorded() as made, patch.object(spectral_triton, "capability", lambda device: chip.capability // 10):
        out, *saved = spectral_triton.forward(x, p, kept, 1e-6, 0.01, operand)
        spectral_triton.backward(out, x, *saved, p, kept, 0.01)
        for precision in ("fp32",) if operand == torch.float32 else ("fp16", "bf16"):
            z = spectral_triton.rdft2(x, kept, False, precision, torch.float32)
            spectral_triton.irdft2(z, kept, width, True, precision, field)
    return made


def convolution_launches(chip: Chip, problem: monarch.Problem, operand: torch.dtype) -> list[Launch]:
    """Every launch of one pass forward and backward with both gates, on sequences of the operands' type."""
    u = torch.empty(problem.batch, CHANNELS, problem.length, dtype=operand, device="meta")
    s = Sequences(u, torch.empty(CHANNELS, problem.kernel, device="meta"), u, u)
    fft_conv_triton.setup_for.cache_clear()  # a setup for one chip is not one for another
    with recorded() as made, patch.object(fft_conv_triton, "capability", lambda device: chip.capability // 10):
        fft_conv_triton.forward(s, problem.causal, problem.frequencies, operand)
        fft_conv_triton.backward(u, s, problem.causal, problem.frequencies, operand)
    return made


def source_of(launch: Launch) -> ASTSource:
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
    return ASTSource(launch.kernel, signature, constants, attributes)


def all_resources(launches: list[Launch], chip: Chip) -> list[Resources]:
    """Of every kernel that these launches would compile."""
    distinct = {(source_of(launch).hash(), str(launch.options), variant(launch)): launch for launch in launches}
    return list(dict.fromkeys(resources(launch, chip) for launch in distinct.values()))


def resources(launch: Launch, chip: Chip) -> Resources:
    target = GPUTarget("cuda", chip.capability, 32)
    compiled = triton.compile(source_of(launch), target=target, options=launch.options)
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
    flags = [name.lower() for name in ("NORM", "RESIDUAL", "CONJUGATE") if launch.arguments.get(name)]
    if launch.arguments.get("PART", launch.arguments.get("P")) != launch.arguments.get("P"):
        flags.append("alone")
    if launch.arguments.get("out2") is not None:
        flags.append("twice")
    return " ".join([*flags, *filter(None, [launch.arguments.get("EPILOGUE")])])


def resident(warps: int, registers: int, shared: int, chip: Chip) -> int:
    """Programs on one multiprocessor at once: of 64 warps, 64 Ki registers and the shared memory."""
    registers_per_warp = -(-registers * 32 // 256) * 256
    by_shared = chip.shared_total // (shared + 1024)  # 1 KiB a program goes to the driver
    return min(64 // warps, 65536 // registers_per_warp // warps, by_shared)


def measure_mixer(chip: Chip, shape: str, precision: str) -> Report:
    height, width, dim = map(int, shape.split("x"))
    kept = Modes().keep(height, width)
    found = all_resources(spectral_launches(chip, kept, width, dim, OPERANDS[precision]), chip)
    size = 2 if precision == "fp16" else 4
    work = dft.Workload(1, width, kept, dim, dim // BLOCKS, field_bytes=size, spectrum_bytes=size)
    costs = {"forward": dft.forward_cost(work), "backward": dft.backward_cost(work)}
    return Report(chip, shape, precision, found, costs)


def measure_convolution(chip: Chip, length: int, precision: str) -> Report:
    """Backward makes three products with as many transforms as forward, and moves seven sequences, not four."""
    operand = OPERANDS[precision]
    size = operand.itemsize
    problem = monarch.Problem(BATCH, length, length, False, size, size, 2, monarch.ALL)
    plan = monarch.choose(problem, chip.capability // 10)
    found = all_resources(convolution_launches(chip, problem, operand), chip)
    flops = int(sum(monarch.stage_operations(plan, problem)) * BATCH / 2 * CHANNELS)
    field = BATCH * CHANNELS * length * size
    costs = {"forward": dft.Cost(flops, 4 * field), "backward": dft.Cost(3 * flops, 7 * field)}
    digits = " × ".join(map(str, plan.digits)) + ("" if plan.fused else ", the first apart")
    return Report(chip, f"length {length} = {digits}", precision, found, costs)


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
    for name, cost in report.costs.items():
        rate = chip.tensor_rate / (1 if report.precision == "fp16" else 6)  # half the rate, three passes
        lines += [
            "",
            f"Floor of {name}: {cost.flops / 1e9:.2f} GFLOP, {cost.bytes / 1e6:.1f} MB, "
            f"{1e6 * cost.seconds(rate, chip.bandwidth):.1f} µs.",
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", nargs="+", default=[chip.name for chip in CHIPS])
    parser.add_argument("--shapes", nargs="*", default=["90x180x768", "32x64x256"], help="height x width x channels")
    parser.add_argument("--lengths", nargs="*", type=int, default=LENGTHS, help="of long convolutions")
    parser.add_argument("--precisions", nargs="+", default=list(OPERANDS), choices=list(OPERANDS))
    parser.add_argument("--json", action="store_true", help="print the kernels as JSON instead")
    parser.add_argument("--output", type=Path, help="file for the table; printed where absent")
    arguments = parser.parse_args()
    chips = [chip for chip in CHIPS if chip.name in arguments.chips]
    mixers = [measure_mixer(*case) for case in product(chips, arguments.shapes, arguments.precisions)]
    convolutions = [measure_convolution(*case) for case in product(chips, arguments.lengths, arguments.precisions)]
    if arguments.json:
        text = json.dumps([asdict(r) for report in mixers + convolutions for r in report.kernels])
    else:
        sections = ((SPECTRAL, mixers), (CONVOLUTION, convolutions))
        text = "\n\n".join(part for head, reports in sections if reports for part in (head, *map(markdown, reports)))
    if arguments.output:
        arguments.output.write_text(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
