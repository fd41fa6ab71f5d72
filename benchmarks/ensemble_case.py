"""The ensembles that benchmarks/ensemble.py measures: networks, an analysis to start from, and ways to prepare them."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from common import CHANNELS, Float32, Weather
from numpy.typing import NDArray
from plain_fourcastnet import PlainFourCastNet, Shape

from fourcast.checkpoint import Card, build
from fourcast.config import EnsembleConfig, ForecastConfig, ModelConfig
from fourcast.distributed import Process
from fourcast.forecast.batching import choose_batching
from fourcast.forecast.forecaster import Forecaster
from fourcast.forecast.memory import members_at_once
from fourcast.forecast.perturb import resolve
from fourcast.forecast.plan import Plan
from fourcast.forecast.prepare import Run
from fourcast.forecast.select import make_selection
from fourcast.grid import Grid

INIT = np.datetime64("2026-08-10T00", "h")
STEP_HOURS = 6


class Case(NamedTuple):
    """A network, its grid and an ensemble; and what else of members and steps a line is drawn through.

    written: members with files (null: all).
    """

    name: str
    shape: Shape
    members: int
    steps: int
    precision: str = "fp32"
    some_members: tuple[int, ...] = ()
    some_steps: tuple[int, ...] = ()
    written: int | None = None

    def __str__(self) -> str:
        s = self.shape
        size = f"patch {s.patch_size}, width {s.embed_dim}, depth {s.depth}, {s.channels} channels"
        return f"{self.name}: {s.grid[0]}×{s.grid[1]}, {size}, {self.precision}"


COARSE = (32, 64)
CASES = {
    "cpu": [
        Case("5.625°, model=small", Shape(COARSE, 20, 4, 192, 4), 32, 20, "fp32", (16, 32, 48, 64), (10, 20, 40)),
        Case("5.625°, era5_5p6deg", Shape(COARSE, 20, 2, 384, 8), 8, 10),
    ],
    "cuda": [Case("0.25°, published", Shape(channels=20), 100, 4, "bf16", (25, 50, 100), (4, 8, 16), 2)],
}


@dataclass(frozen=True, eq=False)
class Drawn:
    """One analysis that is drawn, not read; see ``fourcast.forecast.initial.Analyses``."""

    fields_CHW: Float32
    name: str = "drawn"
    digest: str = ""
    synthetic: bool = True

    @property
    def times(self) -> NDArray[np.datetime64]:
        """Its only time."""
        return np.array([INIT])

    def read(self, time: np.datetime64) -> Float32:
        """The state [C, H, W] in physical units."""
        assert time == INIT, time
        return self.fields_CHW.copy()


class Bench:
    """A case on a device: both models with the same weights, and an analysis to start from."""

    def __init__(self, case: Case, device: torch.device) -> None:
        self.case, self.device = case, device
        grid = grid_of(case.shape.grid)
        self.analyses = Drawn(Weather(CHANNELS, grid).at(0))
        torch.manual_seed(0)
        card = card_of(case.shape, grid, self.analyses.fields_CHW)
        model = build(card).eval()
        self.plain = PlainFourCastNet(case.shape).eval()
        self.plain.load_state_dict(model.state_dict())
        self.plain.to(device)
        center, scale = (np.array(numbers, np.float32)[:, None, None] for numbers in (card.mean, card.std))
        self.forecaster = Forecaster(model.to(device), card, CHANNELS, center, scale, device, case.precision)
        self.state_CHW = torch.from_numpy(self.forecaster.normalise(self.analyses.fields_CHW)).to(device)

    def run(self, folder: Path, exact: bool, members: int, steps: int) -> Run:
        """An ensemble, as ``fourcast forecast`` prepares it."""
        ensemble = EnsembleConfig(size=members, exact=exact)
        config = ForecastConfig(
            init_times=[str(INIT)], output=str(folder), lead_hours=steps * STEP_HOURS, ensemble=ensemble,
            precision=self.case.precision,
        )  # fmt: skip
        card = self.forecaster.card
        selection = make_selection(config, CHANNELS, card.grid, STEP_HOURS)
        plan = Plan(
            run=folder, init_times=(INIT,), members=tuple(range(members)), steps=steps, selection=selection,
            layout=("member",), products=None, product_files=(), compression=config.files.compression, keep_bits=None,
            exact=exact, attributes={"synthetic": 1},
        )  # fmt: skip
        at_once = members_at_once(self.forecaster, members, exact)
        return Run(
            config=config,
            plan=plan,
            process=Process(0, 1, 0, 1, self.device),
            forecasters=(self.forecaster,),
            analyses=self.analyses,
            perturbation=resolve(ensemble, CHANNELS, STEP_HOURS, card.grid),
            batching=choose_batching(self.forecaster, exact, members),
            at_once=at_once,
        )


def grid_of(shape: tuple[int, int]) -> Grid:
    """A global grid of cells; with 720 rows that of ERA5 without the south pole."""
    spacing = 360 / shape[1]
    first = 90.0 if shape[0] == 720 else 90 - spacing / 2
    return Grid(
        first - spacing * np.arange(shape[0], dtype=np.float64), spacing * np.arange(shape[1], dtype=np.float64)
    )


def card_of(shape: Shape, grid: Grid, fields_CHW: Float32) -> Card:
    """Of a model for ``fields_CHW``, with their means and standard deviations."""
    model = ModelConfig(shape.patch_size, shape.embed_dim, shape.depth)
    return Card(
        kind="forecast", model=model, in_channels=shape.channels, out_channels=shape.channels,
        latitude=grid.latitude.tolist(), longitude=grid.longitude.tolist(), step_hours=STEP_HOURS,
        channels=list(CHANNELS), mean=fields_CHW.mean((1, 2)).tolist(), std=fields_CHW.std((1, 2)).tolist(),
        synthetic=True,
    )  # fmt: skip
