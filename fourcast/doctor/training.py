"""The smallest training and forecast, by the same code as every other: store, steps, checkpoint, netCDF."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fourcast.config import DataConfig, EnsembleConfig, ForecastConfig, ModelConfig, TrainConfig
from fourcast.data.climatology import ClimatologySums
from fourcast.data.statistics import StatisticsSums
from fourcast.data.writer import append, create_store, finish
from fourcast.distributed import choose_device
from fourcast.doctor import disk
from fourcast.doctor.finding import OK, POOR, Finding
from fourcast.forecast.ensemble import forecast
from fourcast.grid import Grid
from fourcast.mixer_config import AFNOConfig
from fourcast.train.loop import train
from fourcast.train.machine import matmul_speed

CHANNELS = ("t2m", "z500")
GRID = Grid(90.0 - 11.25 * np.arange(16.0), 11.25 * np.arange(32.0))
TIMES = np.datetime64("2001-01-01T00", "h") + 6 * np.arange(16)
STEPS = 4
BLOCKS = 4
"""Blocks of 16 channels, the smallest that the Triton kernels take."""
MEASURED = {"cpu": ("fp32",), "cuda": ("fp32", "tf32", "bf16")}
"""Precisions in which the speed of products of matrices is taken."""
SLOW = 0.7
"""Of the fastest GPU here: one that is slower holds up all the others."""


def training(folder: str, device: str) -> list[dict[str, Any]]:
    """A few steps of a tiny model on travelling waves, its forecast into netCDF, and the speed of the device.

    Files go to the disk of ``folder``, and none stays.
    """
    with disk.trial(disk.folder(Path(folder)).there) as inside:
        store = made_store(inside / "store.zarr")
        findings = [_trained(store, inside / "train", device), _forecast(store, inside, device), _speed(device)]
    return [asdict(finding) for finding in findings]


def made_store(path: Path) -> Path:
    """A training store of two waves that travel eastwards."""
    steps = np.arange(len(TIMES))[:, None, None]
    envelope = np.cos(np.deg2rad(GRID.latitude))[:, None]
    waves = [envelope * np.sin(k * np.deg2rad(GRID.longitude - 11.25 * steps)) for k in (1, 2)]
    fields_TCHW = np.stack([280 + 10 * waves[0], 54_000 + 1500 * waves[1]], axis=1).astype(np.float32)
    climatology, statistics = ClimatologySums(0), StatisticsSums(GRID.latitude, len(CHANNELS))
    climatology.add(TIMES, fields_TCHW)
    statistics.add(fields_TCHW)
    statistics.add_steps(fields_TCHW[:-1], fields_TCHW[1:])
    group = create_store(path, CHANNELS, GRID, shard_times=8)
    append(group, TIMES, fields_TCHW)
    attributes = {"step_hours": 6, "synthetic": True, "statistics_period": [str(TIMES[0]), str(TIMES[-1])]}
    finish(group, statistics.finish(), climatology.fit(), {}, attributes)
    return path


def _trained(store: Path, run: Path, device: str) -> Finding:
    config = TrainConfig(
        output=str(run),
        data=DataConfig(store=str(store)),
        model=ModelConfig(patch_size=4, embed_dim=64, depth=2, mixer=AFNOConfig(num_blocks=BLOCKS)),
        steps=STEPS,
        batch_size=4,
        log_every=1,
        device=device,
        pictures=[],
        trackers=None,
        predict=False,
    )
    began = time.perf_counter()
    train(config)
    seconds = time.perf_counter() - began
    losses = [row["loss"] for row in map(json.loads, (run / "log.jsonl").read_text().splitlines()) if "loss" in row]
    assert len(losses) == STEPS, losses
    assert all(loss is not None for loss in losses), f"losses that are not finite: {losses}"
    kind = choose_device(device, 0).type
    found = f"{STEPS} steps and a checkpoint on {kind} in {seconds:.1f} s, loss {losses[-1]:.3g}"
    return Finding("training", OK, found, "", {"seconds": round(seconds, 2), "loss": losses[-1]})


def _forecast(store: Path, inside: Path, device: str) -> Finding:
    config = ForecastConfig(
        checkpoint=str(inside / "train"),
        store=str(store),
        output=str(inside / "forecast"),
        init_times=[str(TIMES[-2])],
        lead_hours=12,
        ensemble=EnsembleConfig(size=2, batch_size=2),
        device=device,
    )
    began = time.perf_counter()
    forecast(config)
    seconds = time.perf_counter() - began
    files = sorted((inside / "forecast").rglob("*.nc"))
    assert len(files) == config.ensemble.size, files
    found = f"{len(files)} members of {config.lead_hours} h into netCDF in {seconds:.1f} s"
    return Finding("forecast", OK, found, "", {"seconds": round(seconds, 2)})


def _speed(device: str) -> Finding:
    own = choose_device(device, 0)
    rates = {precision: matmul_speed(own, precision) / 1e12 for precision in MEASURED[own.type]}
    gpus = [torch.device("cuda", i) for i in range(torch.cuda.device_count())] if own.type == "cuda" else []
    return speed_finding(rates, own.type, [matmul_speed(gpu, "bf16") / 1e12 for gpu in gpus])


def speed_finding(rates: Mapping[str, float], kind: str, every: Sequence[float]) -> Finding:
    """Of TFLOP/s on one device in each precision, and of ``every`` GPU in bf16."""
    words = ", ".join(f"{rate:.3g} TFLOP/s in {precision}" for precision, rate in rates.items()) + f" on {kind}"
    figures = {f"tflops_{precision}": round(rate, 4) for precision, rate in rates.items()}
    figures |= {f"tflops_bf16_gpu{i}": round(rate, 4) for i, rate in enumerate(every)}
    slow = [i for i, rate in enumerate(every) if rate < SLOW * max(every)]
    if not slow:
        return Finding("matrix products", OK, words, "", figures)
    listed = ", ".join(f"GPU {i} {every[i]:.3g}" for i in slow)
    words = f"{listed} TFLOP/s in bf16, where the fastest does {max(every):.3g}; {words}"
    remedy = "nvidia-smi -q -d PERFORMANCE,TEMPERATURE,POWER: too hot, capped, or shared with another job"
    return Finding("matrix products", POOR, words, remedy, figures)
