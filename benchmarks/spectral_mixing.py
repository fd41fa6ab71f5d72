"""How fast, how small and how exact is spectral token mixing beside the published layer?

Compares, in one process and in turns, so that a busy machine slows all alike: the public operation, the
matrix-product path in plain torch, and the published layer in eager torch (float32, under autocast, compiled).
Prints a Markdown table and writes it where ``--output`` says.

    python benchmarks/spectral_mixing.py --device cuda --output benchmarks/results/spectral_mixing_h200.md
    python benchmarks/spectral_mixing.py --device cpu --threads 2 --paths fourcast dense eager
"""

import argparse
import multiprocessing
import platform
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, relu, softshrink

from fourcast.kernels import dense, dft, reference, spectral
from fourcast.kernels.modes import Modes

Step = Callable[[], Tensor]
GRIDS = ["90x180x768:fourcastnet", "90x180x768:full", "180x360x768:fourcastnet", "32x64x256:fourcastnet"]
BATCHES = (1, 4)
PATHS = ("fourcast", "dense", "eager", "eager autocast", "eager compiled")
BLOCKS = 8


class Case(NamedTuple):
    batch: int
    height: int
    width: int
    dim: int
    policy: str

    @property
    def modes(self) -> Modes:
        return Modes(self.policy)

    @property
    def zonal(self) -> int:
        return self.modes.keep(self.height, self.width).zonal

    def __str__(self) -> str:
        return f"{self.height}×{self.width}×{self.dim}, {self.zonal} of {self.width // 2 + 1} modes"


class Measurement(NamedTuple):
    forward: float  # seconds
    backward: float
    peak: float  # bytes above the inputs, of one forward and backward
    error: float  # relative L2 of the output less the residuals


def afno2d(
    x: Tensor, norm_weight: Tensor, norm_bias: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, zonal: int
) -> Tensor:
    """The front half of the published block, operation for operation (arXiv 2202.11214), on ``zonal`` modes."""
    y = layer_norm(x, x.shape[-1:], norm_weight, norm_bias, 1e-6)
    B, H, W, D = y.shape
    z = torch.fft.rfft2(y.float(), dim=(1, 2), norm="ortho").reshape(B, H, W // 2 + 1, *w1.shape[1:3])
    h_re, h_im, o_re, o_im = (torch.zeros(z.shape, device=z.device) for _ in range(4))
    box = (slice(None), slice(None), slice(None, zonal))

    def multiply(values: Tensor, weight: Tensor) -> Tensor:
        return torch.einsum("...bi,bio->...bo", values, weight)

    h_re[box] = relu(multiply(z[box].real, w1[0]) - multiply(z[box].imag, w1[1]) + b1[0])
    h_im[box] = relu(multiply(z[box].imag, w1[0]) + multiply(z[box].real, w1[1]) + b1[1])
    o_re[box] = multiply(h_re[box], w2[0]) - multiply(h_im[box], w2[1]) + b2[0]
    o_im[box] = multiply(h_im[box], w2[0]) + multiply(h_re[box], w2[1]) + b2[1]
    o = torch.view_as_complex(softshrink(torch.stack([o_re, o_im], dim=-1), 0.01)).reshape(B, H, W // 2 + 1, D)
    return torch.fft.irfft2(o, s=(H, W), dim=(1, 2), norm="ortho").type(y.dtype) + y + x


def make_inputs(case: Case, device: str, dtype: torch.dtype) -> list[Tensor]:
    """x, then the parameters in float32 as a published model holds them; all leaves."""
    torch.manual_seed(0)
    block = case.dim // BLOCKS
    x = torch.randn(case.batch, case.height, case.width, case.dim)
    matrices = [0.02 * torch.randn(2, BLOCKS, *shape) for shape in ((block, block), (block,)) * 2]
    tensors = [x.to(dtype), torch.ones(case.dim), torch.zeros(case.dim), *matrices]
    return [t.to(device).requires_grad_() for t in tensors]


def make_step(path: str, case: Case, device: str, dtype: torch.dtype) -> tuple[Step, list[Tensor]]:
    """A forward pass by one path and the leaves it reads; the published layer gets float32, as it was run."""
    if path in ("fourcast", "dense"):
        mix = spectral.spectral_mixing if path == "fourcast" else dense.spectral_mixing
        inputs = make_inputs(case, device, dtype)
        return lambda: mix(*inputs, modes=case.modes), inputs
    inputs = make_inputs(case, device, torch.float32)
    layer: Callable[..., Tensor] = torch.compile(afno2d, dynamic=False) if path == "eager compiled" else afno2d
    if path != "eager autocast":
        return lambda: layer(*inputs, case.zonal), inputs

    def autocast() -> Tensor:
        with torch.autocast(device, dtype=torch.bfloat16):
            return layer(*inputs, case.zonal)

    return autocast, inputs


def seconds(run: Callable[[], object], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def time_once(step: Step, inputs: list[Tensor], device: str) -> tuple[float, float]:
    with torch.no_grad():
        forward = seconds(step, device)
    out = step()
    grad_out = torch.ones_like(out)
    return forward, seconds(lambda: torch.autograd.grad(out, inputs, grad_out), device)


def train_once(step: Step, inputs: list[Tensor]) -> None:
    out = step()
    torch.autograd.grad(out, inputs, torch.ones_like(out))


def peak_on_cuda(step: Step, inputs: list[Tensor]) -> float:
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    train_once(step, inputs)
    return torch.cuda.max_memory_allocated() - before


def peak_on_cpu(path: str, case: Case, dtype: torch.dtype, threads: int) -> float:
    """Growth of the resident set by one training step in a process of its own; includes compiling, if it does."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(resident_growth, path, case, dtype, threads).result()


def resident_growth(path: str, case: Case, dtype: torch.dtype, threads: int) -> float:
    torch.set_num_threads(threads)
    train_once(*make_step(path, case._replace(batch=1, height=4, width=8), "cpu", dtype))
    step, inputs = make_step(path, case, "cpu", dtype)
    before = resident_peak()
    train_once(step, inputs)
    return resident_peak() - before


def resident_peak() -> float:
    """Largest resident set of this process so far; ru_maxrss would also count the process that started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


@torch.no_grad()
def spectral_error(step: Step, inputs: list[Tensor], modes: Modes) -> float:
    """Error of the mixed part alone: the residuals, far larger at the start of training, would hide it."""
    x, *parameters = (t.double() for t in inputs)
    expected = reference.spectral_mixing(x, *parameters, modes=modes)
    residuals = x + layer_norm(x, x.shape[-1:], parameters[0], parameters[1], 1e-6)
    return ((step().double() - expected).norm() / (expected - residuals).norm()).item()


def measure(case: Case, arguments: argparse.Namespace) -> dict[str, Measurement]:
    device, dtype = arguments.device, getattr(torch, arguments.dtype)
    steps = {path: make_step(path, case, device, dtype) for path in arguments.paths}
    errors = {path: spectral_error(*steps[path], case.modes) for path in steps}
    times: dict[str, list[tuple[float, float]]] = {path: [] for path in steps}
    for turn in range(arguments.warmup + arguments.repeats):
        for path, (step, inputs) in steps.items():
            elapsed = time_once(step, inputs, device)
            if turn >= arguments.warmup:
                times[path].append(elapsed)
    results = {}
    for path, (step, inputs) in steps.items():
        forward, backward = (median(column) for column in zip(*times[path], strict=True))
        if device == "cuda":
            peak = peak_on_cuda(step, inputs)
        else:
            peak = peak_on_cpu(path, case, dtype, torch.get_num_threads())
        results[path] = Measurement(forward, backward, peak, errors[path])
    return results


def copy_bandwidth(device: str) -> float:
    """Bytes read and written in a second by a large copy."""
    source = torch.zeros(1 << 28, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / median(seconds(lambda: target.copy_(source), device) for _ in range(7))


def table_rows(case: Case, results: dict[str, Measurement], dtype: torch.dtype, bandwidth: float) -> list[str]:
    """One row for each path; the floor is the traffic of the fused design at the measured copy bandwidth."""
    kept = case.modes.keep(case.height, case.width)
    size = dtype.itemsize
    work = dft.Workload(case.batch, case.width, kept, case.dim, case.dim // BLOCKS, size, size)
    floors = [cost.bytes / bandwidth for cost in (dft.forward_cost(work), dft.backward_cost(work))]
    rows = []
    for path, found in results.items():
        total = found.forward + found.backward
        eager = results.get("eager")
        speedup = f"{(eager.forward + eager.backward) / total:.2f}" if eager else ""
        memory = f"{found.peak / eager.peak:.2f}" if eager else ""
        cells = (
            str(case), case.batch, path, f"{found.forward * 1e3:.3f}", f"{found.backward * 1e3:.3f}", speedup,
            f"{found.peak / 2**20:.0f}", memory, f"{floors[0] / found.forward:.1%}",
            f"{floors[1] / found.backward:.1%}", f"{found.error:.1e}",
        )  # fmt: skip
        rows.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return rows


def hardware(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{model}, {torch.get_num_threads()} threads"


def commit() -> str:
    found = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "none"


def header(arguments: argparse.Namespace, bandwidth: float) -> list[str]:
    return [
        f"Device: {hardware(arguments.device)}. Python {platform.python_version()}, torch {torch.__version__}. "
        f"Commit {commit()}.",
        f"Input {arguments.dtype} (eager: float32), float32 products {arguments.matmul_precision}, {BLOCKS} blocks, "
        f"copy bandwidth {bandwidth / 1e9:.0f} GB/s. "
        f"Medians of {arguments.repeats} after {arguments.warmup} warm-up rounds, paths in turns. "
        "Speed and memory are relative to eager; floor: share of the copy bandwidth that the least traffic of the "
        "fused design reaches; error: relative L2 of the spectral branch against float64.",
        "",
        "| grid | batch | path | forward ms | backward ms | speed-up "
        "| peak MiB | memory | forward floor | backward floor | error |",
        "|---" * 11 + "|",
    ]


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), help="of x; bfloat16 on a GPU")
    parser.add_argument("--grids", nargs="+", help="HxWxD:policy, policy fourcastnet or full")
    parser.add_argument("--batches", nargs="+", type=int)
    parser.add_argument("--paths", nargs="+", choices=PATHS, default=PATHS)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--matmul-precision", choices=("highest", "high"), default="highest", help="high allows TF32")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args(argv)
    arguments.dtype = arguments.dtype or ("bfloat16" if arguments.device == "cuda" else "float32")
    arguments.grids = arguments.grids or GRIDS
    arguments.batches = arguments.batches or BATCHES
    return arguments


def parse_case(grid: str, batch: int) -> Case:
    shape, policy = grid.split(":")
    height, width, dim = (int(n) for n in shape.split("x"))
    return Case(batch, height, width, dim, policy)


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    torch.set_float32_matmul_precision(arguments.matmul_precision)
    bandwidth = copy_bandwidth(arguments.device)
    lines = header(arguments, bandwidth)
    print(*lines, sep="\n", flush=True)
    for grid in arguments.grids:
        for batch in arguments.batches:
            case = parse_case(grid, batch)
            rows = table_rows(case, measure(case, arguments), getattr(torch, arguments.dtype), bandwidth)
            print(*rows, sep="\n", flush=True)
            lines += rows
    if arguments.output is not None:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
