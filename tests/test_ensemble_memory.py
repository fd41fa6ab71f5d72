"""What an ensemble of the quickstart's size holds in memory: no more with fifty members than with four, or later on."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import write_store

from fourcast.checkpoint import Card, build, save_checkpoint
from fourcast.config import ModelConfig
from fourcast.grid import Grid
from fourcast.mixer_config import FFCConfig

GRID = Grid(87.1875 - 5.625 * np.arange(32), 5.625 * np.arange(64))
CHANNELS = ("u200", "u500", "u800", "v200", "v500", "v800", "z200", "z500", "z800", "t350", "t650")
TIMES = np.datetime64("2026-08-01T00", "h") + 6 * np.arange(16)
RUN = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from tiny import forecast_config
from fourcast.config import EnsembleConfig
from fourcast.forecast import ensemble
from fourcast.memory import peak_memory, resident_bytes
import torch
held = []
def work(run, task, writer, plain=ensemble.run_task):
    for count in plain(run, task, writer):
        held.append(resident_bytes())
        yield count
ensemble.run_task = work
ensemble.forecast(forecast_config(
    Path({model!r}), Path({store!r}), Path({output!r}), lead_hours=240, allow=["range"],
    init_times=["2026-08-01", "2026-08-02", "2026-08-03", "2026-08-04"],
    ensemble=EnsembleConfig(size={size}, exact=True),
))
print([peak_memory(torch.device("cpu")), held])
"""


def run(folder: Path, size: int) -> tuple[int, list[int]]:
    """Peak memory, and what was held after every step, of a ten-day ensemble from four initial times."""
    code = RUN.format(
        tests=str(Path(__file__).parent), model=str(folder / "model"), store=str(folder / "store.zarr"),
        output=str(folder / f"run{size}"), size=size,
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    peak, held = json.loads(done.stdout.splitlines()[-1])
    assert len(list((folder / f"run{size}").rglob("member_*.nc"))) == 4 * size
    return peak, held


@pytest.mark.slow
def test_memory_is_flat_in_members_initial_times_and_lead_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_store(tmp_path / "store.zarr", TIMES, rng.normal(size=(16, 11, 32, 64)).astype(np.float32), CHANNELS, GRID)
    card = Card(
        kind="forecast", model=ModelConfig(patch_size=4, embed_dim=144, depth=4, mixer=FFCConfig(), target="residual"),
        in_channels=11, out_channels=11, latitude=GRID.latitude.tolist(), longitude=GRID.longitude.tolist(),
        step_hours=6, channels=list(CHANNELS), mean=[0.0] * 11, std=[1.0] * 11, step_scale=[0.01] * 11, synthetic=True,
    )  # fmt: skip
    save_checkpoint(tmp_path / "model", build(card), card)
    few, _ = run(tmp_path, 4)
    many, held = run(tmp_path, 50)
    assert many < 1.1 * few
    second_half = held[len(held) // 2 :]
    assert max(second_half) < 1.05 * max(held[: len(held) // 2])
