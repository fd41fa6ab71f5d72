"""How fast and how small is the long convolution beside torch.fft, and does the model that chooses its plans hold?

The set-up published with FlashFFTConv (arXiv 2311.05908): 64 sequences of 768 channels in float16, two gates, circular,
a kernel as long as the sequence; longer sequences are fewer, and their times scaled to 64 x 768. Then what causality,
short kernels and patterns of frequencies save. Every result is compared with float64 before a time is reported.
Writes a Markdown file where ``--output`` says.

    python benchmarks/fft_conv.py --device cuda --output benchmarks/results/fft_conv_h200.md
    python benchmarks/fft_conv.py --device cpu --threads 2 --output benchmarks/results/fft_conv_cpu.md
"""

import argparse
import platform
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from spectral_mixing import commit, copy_bandwidth, hardware, peak_on_cuda, seconds, train_once
from torch import Tensor

from fourcast.kernels import fft_conv_torch, monarch
from fourcast.kernels.fft_conv import fft_conv
from fourcast.kernels.fft_conv_torch import Sequences
from fourcast.kernels.monarch import ALL, Frequencies

Step = Callable[[], Tensor]
SIZES = {
    256: (64, 768), 1024: (64, 768), 4096: (64, 768), 8192: (64, 768), 16_384: (32, 768), 32_768: (16, 768),
    65_536: (8, 768), 131_072: (8, 384), 262_144: (8, 192), 524_288: (8, 96), 1_048_576: (8, 48), 2_097_152: (8, 32),
    4_194_304: (8, 16),
}  # fmt: skip
"""Sequences and channels of each length on a GPU."""
CPU_LENGTHS = (256, 1024, 4096, 8192, 16_384, 65_536, 262_144)
CPU_NUMBERS = 1 << 20  # of u, on a CPU
PUBLISHED = {
    256: (0.62, 0.11), 1024: (2.30, 0.29), 4096: (9.49, 1.43), 8192: (19.4, 3.58), 16_384: (29.9, 12.2),
    32_768: (84.8, 26.3), 1_048_576: (3071.0, 1769.0), 2_097_152: (6343.0, 4624.0), 4_194_304: (13031.0, 10049.0),
}  # fmt: skip
"""Milliseconds of PyTorch and of FlashFFTConv forward on an H100, scaled to 64 x 768; from its README."""
PATHS = ("fourcast", "rfft", "fft")
DTYPES = {"cuda": torch.float16, "cpu": torch.float32}  # of sequences and gates
GATES = {"cuda": 2e-3, "cpu": 2e-6}  # relative L2 error that a result and its gradients may have


class Case(NamedTuple):
    length: int
    batch: int
    dim: int
    kernel: int
    gates: bool = True
    causal: bool = False
    frequencies: Frequencies = ALL

    @property
    def scale(self) -> float:
        """Of times, to 64 sequences of 768 channels."""
        return 64 * 768 / (self.batch * self.dim)

    @property
    def field(self) -> int:
        """Bytes of u."""
        return 2 * self.batch * self.dim * self.length

    @property
    def problem(self) -> monarch.Problem:
        gates = 2 if self.gates else 0
        return monarch.Problem(self.batch, self.length, self.kernel, self.causal, 2, 2, gates, self.frequencies)


class Measurement(NamedTuple):
    forward: float  # seconds
    both: float  # forward and backward
    peak: float  # bytes above the inputs, of one forward and backward; 0 on a CPU
    error: float  # largest relative L2 error of the result and all gradients


def variants(dense: Case) -> dict[str, Case]:
    """What a convolution may skip, beside one that skips nothing."""
    return {
        "dense": dense,
        "without gates": dense._replace(gates=False),
        "without gates, causal": dense._replace(gates=False, causal=True),
        "kernel of 1/16": dense._replace(kernel=dense.length // 16),
        "a quarter of the frequencies, the lowest": dense._replace(frequencies=Frequencies(low_pass=0.25)),
        "a quarter of the frequencies, half of half": dense._replace(frequencies=Frequencies(0.5, 0.5)),
    }


def make_inputs(case: Case, device: str) -> Sequences:
    """Leaves; kernels in float32."""
    torch.manual_seed(0)
    shape = (case.batch, case.dim, case.length)
    u, pre, post = (torch.randn(shape, device=device).to(DTYPES[device]).requires_grad_() for _ in range(3))
    k = (torch.randn(case.dim, case.kernel, device=device) / case.kernel**0.5).requires_grad_()
    return Sequences(u, k, pre, post) if case.gates else Sequences(u, k, None, None)


def make_step(path: str, case: Case, s: Sequences) -> Step:
    if path == "fourcast":
        gates = {"pre_gate": s.pre_gate, "post_gate": s.post_gate}
        return lambda: fft_conv(s.u, s.k, **gates, causal=case.causal, frequencies=case.frequencies)
    forward, inverse = (torch.fft.fft, torch.fft.ifft) if path == "fft" else (torch.fft.rfft, torch.fft.irfft)
    n = case.length * (2 if case.causal else 1)

    def step() -> Tensor:
        x = s.u if s.pre_gate is None else s.u * s.pre_gate
        y = inverse(forward(x.float(), n) * forward(s.k, n), n).real[..., : case.length].to(s.u.dtype)
        return y if s.post_gate is None else y * s.post_gate

    return step


def leaves(s: Sequences) -> list[Tensor]:
    return [t for t in s if t is not None]


def error(case: Case, step: Step, s: Sequences) -> float:
    """Largest relative L2 error of two channels' results and gradients, against float64."""
    out = step()
    grad_out = torch.randn_like(out)
    exact = Sequences(*(None if t is None else t.detach() for t in s)).channels(0, 2, torch.float64)
    settings = case.causal, case.frequencies
    expected = [fft_conv_torch.forward(exact, *settings)]
    expected += leaves(Sequences(*fft_conv_torch.backward(grad_out[:, :2].double(), exact, *settings)))
    found = (out, *torch.autograd.grad(out, leaves(s), grad_out))
    parts = ((t[:2] if t.dim() == 2 else t[:, :2]).double() for t in found)
    return max(((t - truth).norm() / truth.norm()).item() for t, truth in zip(parts, expected, strict=True))


def measure(runs: dict[str, tuple[str, Case]], arguments: argparse.Namespace) -> dict[str, Measurement]:
    """Each run is a path on a case."""
    inputs = {name: make_inputs(case, arguments.device) for name, (_, case) in runs.items()}
    steps = {name: make_step(path, case, inputs[name]) for name, (path, case) in runs.items()}
    errors = {name: error(case, steps[name], inputs[name]) for name, (_, case) in runs.items()}
    for name, (path, case) in runs.items():
        if not errors[name] < GATES[arguments.device]:
            raise RuntimeError(f"{path} on {case}: a relative error of {errors[name]:.1e}; nothing is reported")
    forward = timed({name: torch.no_grad()(step) for name, step in steps.items()}, arguments)
    both = timed({name: training(step, leaves(inputs[name])) for name, step in steps.items()}, arguments)
    peaks = dict.fromkeys(runs, 0.0)
    if arguments.device == "cuda":
        peaks = {name: peak_on_cuda(step, leaves(inputs[name])) for name, step in steps.items()}
    return {name: Measurement(forward[name], both[name], peaks[name], errors[name]) for name in runs}


def training(step: Step, inputs: list[Tensor]) -> Callable[[], None]:
    return lambda: train_once(step, inputs)


def timed(runs: dict[str, Callable[[], object]], arguments: argparse.Namespace) -> dict[str, float]:
    """Median seconds: on a GPU with the cache emptied before each, on a CPU in turns, so that others slow all alike."""
    if arguments.device == "cuda":
        from triton.testing import do_bench, do_bench_cudagraph

        bench = do_bench_cudagraph if arguments.graph else do_bench
        return {name: bench(run, rep=arguments.milliseconds, return_mode="median") / 1e3 for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(1 + arguments.repeats):
        for name, run in runs.items():
            elapsed = seconds(run, arguments.device)
            if turn:
                times[name].append(elapsed)
    return {name: median(elapsed) for name, elapsed in times.items()}


def case_of(length: int, device: str) -> Case:
    batch, dim = SIZES[length] if device == "cuda" else (4, max(2, CPU_NUMBERS // (4 * length)))
    return Case(length, batch, dim, length)


def published_rows(case: Case, arguments: argparse.Namespace, bandwidth: float) -> list[str]:
    """One row for each path; times only where they are a GPU's."""
    found = measure({path: (path, case) for path in PATHS}, arguments)
    rows = []
    for path, m in found.items():
        slower = (found["fft"], found["rfft"])
        ratios = [f"{slow.forward / m.forward:.2f} / {slow.both / m.both:.2f}" for slow in slower]
        cells = [f"{case.length:,}", f"{case.batch} × {case.dim}", path, *ratios, f"{m.error:.1e}"]
        if arguments.device == "cuda":
            cells += [f"{1e3 * case.scale * t:.3f}" for t in (m.forward, m.both)]
            cells += [f"{m.peak / 2**20:.0f}", f"{found['fft'].peak / m.peak:.2f}"]
            cells += [f"{4 * case.field / bandwidth / m.forward:.0%}", published(path, case.length)]
        rows.append(row(cells))
    return rows


def published(path: str, length: int) -> str:
    if length not in PUBLISHED or path == "rfft":
        return ""
    torch_ms, flash_ms = PUBLISHED[length]
    return f"PyTorch {torch_ms} ms" if path == "fft" else f"{flash_ms} ms, {torch_ms / flash_ms:.2f}"


def model_rows(dense: Case, arguments: argparse.Namespace, bandwidth: float) -> list[str]:
    """What the cost model says of each variant beside what was measured."""
    capability = torch.cuda.get_device_capability()[0] if arguments.device == "cuda" else 9
    machine = monarch.machine_of(capability)
    cases = variants(dense)
    plans = {name: monarch.choose(case.problem, capability) for name, case in cases.items()}
    predicted = {n: c.dim * monarch.seconds(plans[n], c.problem, machine) for n, c in cases.items()}
    measured = {}
    if arguments.device == "cuda":
        measured = measure({name: ("fourcast", case) for name, case in cases.items()}, arguments)
    rows = []
    for name, case in cases.items():
        tensors = 4 if case.gates else 2
        cells = [f"{case.length:,}", name, shape(plans[name]), f"{1e3 * case.scale * predicted[name]:.3f}"]
        cells += [f"{tensors * case.field / bandwidth / predicted[name]:.0%}"]
        cells += [f"{predicted['dense'] / predicted[name]:.2f}"]
        if measured:
            time = measured[name].forward
            cells += [f"{1e3 * case.scale * time:.3f}", f"{tensors * case.field / bandwidth / time:.0%}"]
            cells += [f"{measured['dense'].forward / time:.2f}", f"{time / predicted[name]:.2f}"]
        rows.append(row(cells))
    return rows


def shape(plan: monarch.Plan) -> str:
    """Digits, those of one program in brackets, and how many transforms cover a sequence."""
    inner = "(" + "·".join(map(str, plan.inner)) + ")"
    digits = inner if plan.fused else f"{plan.outer}·{inner}"
    return digits if plan.segments == 1 else f"{plan.segments} × {digits}"


def row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def heading(columns: list[str]) -> list[str]:
    return [row(columns), "|---" * len(columns) + "|"]


def preface(arguments: argparse.Namespace, bandwidth: float) -> list[str]:
    lines = [
        "## Long convolution",
        "",
        f"Device: {hardware(arguments.device)}. Python {platform.python_version()}, torch {torch.__version__}. "
        f"Commit {commit()}. Sequences in {str(DTYPES[arguments.device]).removeprefix('torch.')}, kernels in float32, "
        "two gates, circular, unless said otherwise.",
    ]
    if arguments.device == "cpu":
        return [
            *lines,
            "",
            "**Not measured on a GPU.** On a CPU the operation is torch.fft with a backward of its own, so there are "
            "ratios here and no times; the kernels, and what they skip, are for a GPU. To measure there: "
            "`python benchmarks/fft_conv.py --device cuda --output benchmarks/results/FILE.md`.",
        ]
    how = "of a captured CUDA graph" if arguments.graph else "with the cache emptied before each run"
    return [
        *lines,
        "",
        f"Medians {how}, milliseconds scaled to 64 sequences of 768 channels; copy bandwidth "
        f"{bandwidth / 1e9:.0f} GB/s. Byte floor: share of it that sequences and gates, each moved once, come to. "
        "Memory: MiB above the inputs in one forward and backward, and how many times more fft takes. Published: "
        "FlashFFTConv's README, H100, forward, and its speed-up over complex PyTorch.",
    ]


def report(arguments: argparse.Namespace) -> list[str]:
    on_gpu = arguments.device == "cuda"
    bandwidth = copy_bandwidth("cuda") if on_gpu else monarch.machine_of(9).memory
    cases = [case_of(length, arguments.device) for length in arguments.lengths]
    columns = ["length", "sequences × channels", "path", "over fft: forward / both", "over rfft", "error"]
    if on_gpu:
        columns += ["forward ms", "forward and backward ms", "peak MiB", "less than fft", "byte floor", "published"]
    lines = [*preface(arguments, bandwidth), "", *heading(columns)]
    for case in cases:
        lines += published_rows(case, arguments, bandwidth)
    lines += ["", "### The cost model", ""]
    if not on_gpu:
        lines += ["Predicted for an H200, milliseconds scaled to 64 sequences of 768 channels; not measured.", ""]
    columns = ["length", "variant", "plan", "predicted ms", "its byte floor", "over dense"]
    if on_gpu:
        columns += ["measured ms", "byte floor", "over dense", "measured / predicted"]
    lines += heading(columns)
    sizes = cases if on_gpu else [Case(length, *SIZES[length], length) for length in SIZES]
    for case in sizes:
        lines += model_rows(case, arguments, bandwidth)
    return lines


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--lengths", nargs="+", type=int, choices=SIZES)
    parser.add_argument("--quick", action="store_true", help="two lengths, one repeat: to see that it runs")
    parser.add_argument("--graph", action="store_true", help="on a GPU, time captured graphs: without Python's share")
    parser.add_argument("--milliseconds", type=int, default=300, help="of measuring each path on a GPU")
    parser.add_argument("--repeats", type=int, default=5, help="of each path on a CPU")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args(argv)
    arguments.lengths = arguments.lengths or (SIZES if arguments.device == "cuda" else CPU_LENGTHS)
    if arguments.quick:
        arguments.lengths, arguments.repeats, arguments.milliseconds = (256, 4096), 1, 20
    return arguments


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    text = "\n".join(report(arguments)) + "\n"
    print(text, end="")
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
