"""Which token mixer forecasts best for its size?

    python benchmarks/mixers.py --output benchmarks/results/mixers.md

Trains the quickstart's network with every mixer: the same simulated planet, steps and schedule, and a width that makes
all models as large as the one with AFNO (within 10 %). Reports the error of rollouts from held-out times by lead time,
the time of a training step, its memory, and the parameters. Each mixer runs in a process of its own; the data are
simulated and ingested where they are not there. About 20 minutes on two CPU cores.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from fourcast.checkpoint import load_card, load_model
from fourcast.compose import conf_directory, register_schemas
from fourcast.config import ModelConfig, TrainConfig
from fourcast.data.store import Store, open_store
from fourcast.distributed import Process
from fourcast.grid import area_weights
from fourcast.models.build import build_model
from fourcast.train.learner import learner_of
from fourcast.train.loop import train
from fourcast.train.loss import build_loss
from fourcast.train.objective import Draw, Rollout
from fourcast.train.step import Batch, Stepper

MIXERS = ("afno", "fno", "gfnet", "aff", "ffc", "parc", "long_conv", "none")
LEADS = (6, 12, 24, 48, 72)
INIT_TIMES = np.arange("2003-07-10", "2003-09-18", 2, dtype="datetime64[D]").astype("datetime64[h]")
WIDTHS = range(32, 1025, 16)
TOLERANCE = 0.1  # of the number of parameters


def main() -> None:
    arguments = parse()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments)))
        return
    make_store(arguments.store)
    rows = [row_of(mixer, arguments) for mixer in arguments.mixers]
    report = table(rows, arguments)
    print(report)
    if arguments.output:
        arguments.output.write_text(report + "\n", encoding="utf-8")


def make_store(store: Path) -> None:
    """The quickstart's simulated planet, ingested."""
    if store.exists():
        return
    fourcast = [sys.executable, "-m", "fourcast"]
    planet = store.with_name("planet.nc")
    subprocess.run([*fourcast, "simulate", "experiment=quickstart", f"output={planet}"], check=True)
    ingest = ["ingest", "experiment=quickstart", f"source={planet}", f"output={store}"]
    subprocess.run([*fourcast, *ingest], check=True)


def row_of(mixer: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """What a process of its own measures for one mixer."""
    options = ["--store", str(arguments.store), "--steps", str(arguments.steps), "--device", arguments.device]
    command = [sys.executable, __file__, "--one", mixer, *options]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def measure(mixer: str, arguments: argparse.Namespace) -> dict[str, Any]:
    store = open_store(arguments.store)
    wanted = parameters_of(composed("afno", arguments, "unused").model, store)
    with tempfile.TemporaryDirectory() as folder:
        config = composed(mixer, arguments, folder)
        width = equal_width(config.model, wanted, store)
        config = replace(config, model=replace(config.model, embed_dim=width))
        seconds, memory = step_cost(config, store, torch.device(arguments.device))
        run = train(config)
        best = json.loads((run / "best.json").read_text())
        log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        persistence = next(line["persistence_loss"] for line in log if "persistence_loss" in line)
        errors, still = rollout_errors(run, store, arguments)
    return {
        "mixer": mixer, "width": width, "parameters": parameters_of(config.model, store), "seconds": seconds,
        "memory": memory, "validation": best["validation_loss"], "persistence": persistence,
        "rmse": errors, "persistence_rmse": still,
    }  # fmt: skip


def composed(mixer: str, arguments: argparse.Namespace, output: str) -> TrainConfig:
    """The quickstart's training with this mixer."""
    register_schemas()
    overrides = [
        "+experiment/train=quickstart", f"mixer={mixer}", f"steps={arguments.steps}", f"output={output}",
        f"data.store={arguments.store}", f"device={arguments.device}", "trackers=null", "predict=false",
        "pictures=[]", "model.embed_dim=192", "rollout.steps=1", f"validate_every={max(arguments.steps // 4, 1)}",
    ]  # fmt: skip
    with initialize_config_dir(str(conf_directory().resolve()), version_base="1.3"):
        config = OmegaConf.to_object(compose("train", overrides))
    assert isinstance(config, TrainConfig)
    return config


def parameters_of(model: ModelConfig, store: Store) -> int:
    count, scale = len(store.channels), torch.ones(len(store.channels))
    with torch.device("meta"):
        network = build_model(model, (count, count), store.grid.shape, scale)
    return sum(p.numel() for p in network.parameters())


def equal_width(model: ModelConfig, wanted: int, store: Store) -> int:
    """The width whose number of parameters comes nearest to the wanted one."""
    sizes = {width: parameters_of(replace(model, embed_dim=width), store) for width in WIDTHS}
    width = min(sizes, key=lambda width: abs(sizes[width] - wanted))
    if abs(sizes[width] - wanted) > TOLERANCE * wanted:
        raise SystemExit(f"no width comes within {TOLERANCE:.0%} of {wanted} parameters; nearest is {sizes[width]}")
    return width


def step_cost(config: TrainConfig, store: Store, device: torch.device) -> tuple[float, float]:
    """Median seconds of a training step on random fields, and MiB that it takes beside what Python had before."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = len(store.channels)
    torch.manual_seed(0)
    process = Process(0, 1, 0, 1, device)
    model = build_model(config.model, (count, count), store.grid.shape, torch.ones(count))
    learner = learner_of(model.to(process.device), config, process)
    loss = build_loss(config.loss, store.channels, store.grid, torch.ones(count, device=device))
    stepper = Stepper(Rollout(store.channels, store.channels, loss, config.precision), process, 1, None)
    window = torch.randn(config.batch_size, 2, count, *store.grid.shape, device=device)
    batch = Batch(window, Draw(0, 0, range(config.batch_size)))
    times = []
    for _ in range(13):
        start = time.perf_counter()
        stepper.step(learner, batch, config.optim.learning_rate, False)
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    if device.type == "cuda":
        return statistics.median(times[3:]), torch.cuda.max_memory_allocated() / 2**20
    return statistics.median(times[3:]), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10


@torch.no_grad()
def rollout_errors(run: Path, store: Store, arguments: argparse.Namespace) -> tuple[list[float], list[float]]:
    """Area-weighted z500 RMSE of the best checkpoint and of persistence at each of LEADS, over all INIT_TIMES."""
    card, device = load_card(run), torch.device(arguments.device)
    model = load_model(run, device)
    assert card.channels is not None
    mean, std = (torch.tensor(values)[:, None, None] for values in (card.mean, card.std))
    z500, weights = card.channels.index("z500"), torch.tensor(area_weights(store.grid.latitude))[:, None]
    steps = {lead // card.step_hours: lead for lead in LEADS}
    squares, still = (dict.fromkeys(LEADS, 0.0) for _ in range(2))
    for init in INIT_TIMES:
        first = store.time_positions(np.array([init]))[0]
        truth = torch.from_numpy(store.read(slice(first, first + max(steps) + 1), tuple(card.channels)))
        state = ((truth[:1] - mean) / std).to(device)
        for step in range(1, max(steps) + 1):
            state = model(state)
            if step in steps:
                found = state[0, z500].cpu() * std[z500] + mean[z500]
                squares[steps[step]] += ((found - truth[step, z500]) ** 2 * weights).mean().item()
                still[steps[step]] += ((truth[0, z500] - truth[step, z500]) ** 2 * weights).mean().item()
    return tuple([(total / len(INIT_TIMES)) ** 0.5 for total in sums.values()] for sums in (squares, still))  # type: ignore[return-value]


def table(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> str:
    reference = next((row for row in rows if row["mixer"] == "afno"), rows[0])
    heads = " | ".join(f"{lead} h" for lead in LEADS)
    lines = [
        heading(arguments),
        "",
        f"| mixer | width | parameters | step, ratio to {reference['mixer']} | step s | memory MiB "
        f"| validation loss | z500 RMSE {heads} |",
        "|---|" + "--:|" * (6 + len(LEADS)),
    ]
    for row in rows:
        errors = " | ".join(f"{value:.0f}" for value in row["rmse"])
        lines.append(
            f"| {row['mixer']} | {row['width']} | {row['parameters']:,} | {row['seconds'] / reference['seconds']:.2f} "
            f"| {row['seconds']:.3f} | {row['memory']:.0f} | {row['validation']:.4f} | {errors} |"
        )
    still = " | ".join(f"{value:.0f}" for value in reference["persistence_rmse"])
    lines.append(f"| persistence | | | | | | {reference['persistence']:.4f} | {still} |")
    return "\n".join(lines)


def heading(arguments: argparse.Namespace) -> str:
    """What was measured, where, and with which versions."""
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    return (
        "# Token mixers at equal size\n\n"
        f"The quickstart's network and simulated planet (SYNTHETIC data), {arguments.steps} steps of batch 32, one "
        f"seed; widths chosen for equal parameters within {TOLERANCE:.0%}. RMSE in m² s⁻² over {len(INIT_TIMES)} "
        f"held-out initial times from {INIT_TIMES[0]} to {INIT_TIMES[-1]}; validation loss in units of the typical "
        "six-hour change. Memory: of a training step, beside the interpreter's own.\n\n"
        f"On {name}, {torch.get_num_threads()} threads, torch {torch.__version__}, commit {commit.stdout.strip()}. "
        "On a CPU only ratios of times mean something."
    )


def parse() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mixers", nargs="+", default=list(MIXERS), choices=MIXERS)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--store", type=Path, default=Path("data/quickstart/store.zarr"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--one", choices=MIXERS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
