"""A planet small enough to train on in a second, and what tests do with it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from fourcast import sharded
from fourcast.checkpoint import MODEL, TENSORS, Card
from fourcast.compose import conf_directory, register_schemas
from fourcast.config import DataConfig, EnsembleConfig, ForecastConfig, ModelConfig, TrainConfig
from fourcast.data.climatology import ClimatologySums
from fourcast.data.statistics import StatisticsSums
from fourcast.data.writer import append, create_store, finish
from fourcast.grid import Grid
from fourcast.mixer_config import AFNOConfig

CHANNELS = ("t2m", "z500")
GRID = Grid(90.0 - 22.5 * np.arange(8), 22.5 * np.arange(16))
TIMES = np.datetime64("2026-08-01T00", "h") + 6 * np.arange(40)
INIT = "2026-08-05T00"
ROOT = Path(__file__).resolve().parent.parent
OVERRIDES = [
    "model.patch_size=4", "model.embed_dim=16", "model.depth=1", "model.mixer.num_blocks=2", "batch_size=4",
    "device=cpu", "trackers=null", "pictures=[]", "predict=false",
    "data.train_end=2026-08-08", "data.validation_start=2026-08-09",
]  # fmt: skip
"""What makes a training tiny on the command line; ``train_config`` is the same as a dataclass."""


def waves(times: np.ndarray = TIMES, grid: Grid = GRID) -> np.ndarray:
    """[T, C, H, W]: two waves that travel eastwards, by a sixteenth of the circle in each step."""
    steps = (times - TIMES[0]) / np.timedelta64(6, "h")
    longitude = np.deg2rad(grid.longitude - 22.5 * steps[:, None])
    envelope = np.cos(np.deg2rad(grid.latitude))[:, None]
    first = 280.0 + 10.0 * envelope * np.cos(longitude)[:, None, :]
    second = 54000.0 + 1500.0 * envelope * np.sin(2 * longitude)[:, None, :]
    return np.stack([first, second], axis=1).astype(np.float32)


def write_store(
    path: Path,
    times: np.ndarray,
    fields: np.ndarray,
    channels: tuple[str, ...] = CHANNELS,
    grid: Grid = GRID,
    attributes: Mapping[str, object] = MappingProxyType({}),
) -> Path:
    """A finished store of ``fields`` [T, C, H, W], its statistics and climatology from all of them."""
    climatology, statistics = ClimatologySums(0), StatisticsSums(grid.latitude, len(channels))
    climatology.add(times, fields)
    statistics.add(fields)
    statistics.add_steps(fields[:-1], fields[1:])
    group = create_store(path, channels, grid, shard_times=8)
    append(group, times, fields)
    land = {"lsm": np.broadcast_to(grid.longitude < 180, grid.shape).astype(np.float32)}
    own = {"step_hours": 6, "synthetic": True, "statistics_period": [str(times[0]), str(times[-1])]}
    finish(group, statistics.finish(), climatology.fit(), land, {**own, **attributes})
    return path


def model_config(**changes: object) -> ModelConfig:
    given: dict[str, object] = {"patch_size": 4, "embed_dim": 16, "depth": 1, "mixer": AFNOConfig(num_blocks=2)}
    return ModelConfig(**(given | changes))  # type: ignore[arg-type]


CARD = Card(
    kind="forecast",
    model=model_config(target="residual"),
    in_channels=2,
    out_channels=2,
    latitude=GRID.latitude.tolist(),
    longitude=GRID.longitude.tolist(),
    step_hours=6,
    channels=list(CHANNELS),
    mean=[280.0, 54000.0],
    std=[10.0, 1500.0],
    step_scale=[0.5, 0.25],
    synthetic=True,
    provenance={"data": ["planet.nc"], "train": [None, "2026-08-08"]},
)


def train_config(store: Path, output: Path, **changes: object) -> TrainConfig:
    given: dict[str, object] = {
        "output": str(output),
        "data": DataConfig(store=str(store), train_end="2026-08-08", validation_start="2026-08-09"),
        "model": model_config(),
        "steps": 6,
        "batch_size": 4,
        "device": "cpu",
        "trackers": None,
        "pictures": [],
        "predict": False,
    }
    return TrainConfig(**(given | changes))  # type: ignore[arg-type]


def tensors_of(checkpoint: Path, prefix: str = MODEL) -> dict[str, Tensor]:
    """All tensors of a checkpoint whose names begin with ``prefix``, under the rest of their names."""
    described = sharded.read_description(checkpoint / TENSORS).state_dict_metadata
    found = {
        name: torch.zeros(kind.size, dtype=kind.properties.dtype)  # type: ignore[union-attr]
        for name, kind in described.items()
        if name.startswith(prefix)
    }
    sharded.read(checkpoint / TENSORS, found)
    return {name.removeprefix(prefix): tensor for name, tensor in found.items()}


def forecast_config(checkpoint: Path, store: Path, output: Path, **changes: object) -> ForecastConfig:
    given: dict[str, object] = {
        "checkpoint": str(checkpoint),
        "store": str(store),
        "output": str(output),
        "init_times": [INIT],
        "lead_hours": 12,
        "ensemble": EnsembleConfig(size=4, batch_size=4),
        "device": "cpu",
    }
    return ForecastConfig(**(given | changes))  # type: ignore[arg-type]


@contextmanager
def composer() -> Iterator[None]:
    """Hydra ready to compose the configurations of conf/."""
    register_schemas()
    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        yield


def composed(verb: str, *overrides: str) -> object:
    """The dataclass that ``fourcast <verb> <overrides>`` hands to its function."""
    with composer():
        config = compose(verb, overrides=list(overrides))
    assert isinstance(config, DictConfig)
    return OmegaConf.to_object(config)
