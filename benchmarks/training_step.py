"""Where does the time of one training step go?

    python benchmarks/training_step.py --grid 32x64 --patch 4 --embed-dim 192 --depth 4 --batch 32 --output FILE.md

Profiles forward, backward and optimizer of FourCastNet's network on random fields and prints a Markdown table of the
operators by their own time, on a GPU where there is one.
"""

import argparse
import platform
import subprocess
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from fourcast.config import ModelConfig, TrainConfig
from fourcast.distributed import Process
from fourcast.models.build import build_model
from fourcast.train.learner import learner_of
from fourcast.train.loss import relative_l2
from fourcast.train.objective import Draw, Rollout
from fourcast.train.step import Batch, Stepper


def main() -> None:
    arguments = parse()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    height, width = (int(part) for part in arguments.grid.split("x"))
    model_config = ModelConfig(arguments.patch, arguments.embed_dim, arguments.depth)
    config = TrainConfig(model=model_config, precision=arguments.precision)
    torch.manual_seed(0)
    process = Process(0, 1, 0, 1, device)
    model = build_model(model_config, (arguments.channels, arguments.channels), (height, width))
    learner = learner_of(model.to(process.device), config, process)
    names = tuple(str(channel) for channel in range(arguments.channels))
    stepper = Stepper(Rollout(names, names, relative_l2, arguments.precision), process, 1, None)
    window = torch.randn(arguments.batch, 2, arguments.channels, height, width, device=device)
    batch = Batch(window, Draw(0, 0, range(arguments.batch)))
    for _ in range(2):
        stepper.step(learner, batch, 1e-4, False)
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with profile(activities=activities) as profiled:
        for _ in range(arguments.steps):
            stepper.step(learner, batch, 1e-4, False)
    report = table(profiled, device.type, heading(arguments, device))
    print(report)
    if arguments.output:
        arguments.output.write_text(report, encoding="utf-8")


def table(profiled: profile, device: str, title: str) -> str:
    """Operators by share of their own time, those below one per cent together."""
    times = {event.key: own_time(event, device) for event in profiled.key_averages()}
    calls = {event.key: event.count for event in profiled.key_averages()}
    total = sum(times.values())
    shown = [(name, time) for name, time in sorted(times.items(), key=lambda item: -item[1]) if time >= 0.01 * total]
    rest = total - sum(time for _, time in shown)
    rows = [f"| `{name}` | {calls[name]} | {100 * time / total:.1f} % |" for name, time in shown]
    rows.append(f"| all others | | {100 * rest / total:.1f} % |")
    return "\n".join([title, "", "| operator | calls | own time |", "|---|---:|---:|", *rows, ""])


def own_time(event: object, device: str) -> float:
    """Time spent in the operator itself, on the device that computes."""
    return float(getattr(event, "self_device_time_total" if device == "cuda" else "self_cpu_time_total"))


def heading(arguments: argparse.Namespace, device: torch.device) -> str:
    """What was measured, where, and with which versions."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    return (
        f"# One training step\n\nGrid {arguments.grid}, patch {arguments.patch}, width {arguments.embed_dim}, depth "
        f"{arguments.depth}, {arguments.channels} channels, batch {arguments.batch}, {arguments.precision}; "
        f"{arguments.steps} steps on {name}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"commit {commit.stdout.strip()}.\nShares of one run; only their order means something on a shared machine."
    )


def parse() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", default="32x64")
    parser.add_argument("--patch", type=int, default=4)
    parser.add_argument("--embed-dim", type=int, default=192)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--channels", type=int, default=11)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
