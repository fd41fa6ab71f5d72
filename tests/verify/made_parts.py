"""Finished parts of a verification with made-up numbers, and the plan that they belong to."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fourcast.forecast.events import parse_events
from fourcast.grid import Grid, area_weights
from fourcast.verify.area_means import AreaMeans
from fourcast.verify.conventions import CONVENTIONS
from fourcast.verify.inputs.forecasts import Forecast
from fourcast.verify.inputs.targets import Targets
from fourcast.verify.part import LAYOUT
from fourcast.verify.plan import Plan
from fourcast.verify.regions import make_regions
from fourcast.verify.systems import kind
from fourcast.verify.tally import coordinates, held_names
from fourcast.verify_config import UncertaintyConfig, VerifyConfig

GRID = Grid(90.0 - 15.0 * np.arange(12), 15.0 * np.arange(24))
CHANNELS = ("z500", "t850", "t2m", "u10m")
REGIONS = ["global", "tropics", "northern_extratropics", "southern_extratropics"]
SCALES = {"z500": 600.0, "t850": 2.5, "t2m": 2.0, "u10m": 3.0, "q700": 1e-3}
ERRORS = {
    "control": 1.0, "ensemble_mean": 0.85, "persistence": 1.6, "climatology": 1.0,
    "ensemble": 0.6, "climatology_ensemble": 0.8,
}  # fmt: skip
"""Of systems, beside one another."""


@dataclass(frozen=True)
class MadeFields:
    """Fields of any cases and times: a wave, and a little more of it for every member."""

    members: int
    grid: Grid

    def read(self, time: Any, second: Any, third: tuple[str, ...] = ()) -> np.ndarray:
        """Both readers' method: (init, lead, channels) → [C, M, H, W], (times, channels) → [T, C, H, W]."""
        row, column = np.deg2rad(self.grid.latitude)[:, None], np.deg2rad(self.grid.longitude)
        wave_HW = 280 + 20 * np.cos(row) * np.cos(3 * column) + 10 * np.sin(row)
        first, last = (len(third), self.members) if third else (len(time), len(second))
        offset = np.arange(last)[None, :, None, None] * np.sin(2 * column)
        return np.asarray(np.broadcast_to(wave_HW + offset, (first, last, *self.grid.shape)), dtype=np.float32)

    def static(self) -> dict[str, np.ndarray]:
        """Half of the globe is land."""
        return {"lsm": np.broadcast_to(self.grid.longitude < 180, self.grid.shape).astype(np.float32)}


def made_plan(
    names: tuple[str, ...] = ("",),
    members: int = 5,
    inits: int = 24,
    leads: tuple[int, ...] = (0, 6, 24, 72, 120),
    **changes: object,
) -> Plan:
    """A plan of forecasts ``names``; ``changes``: of it, and of its configuration."""
    grid = changes.pop("grid", GRID)
    assert isinstance(grid, Grid)
    channels = changes.pop("channels", CHANNELS)
    synthetic, fields = bool(changes.pop("synthetic", True)), MadeFields(members, grid)
    config = VerifyConfig(
        forecast=[f"runs/{name or 'forecast'}" for name in names],
        **{"uncertainty": UncertaintyConfig(samples=200), "regions": REGIONS, **changes},  # type: ignore[arg-type]
    )
    times = np.datetime64("2020-01-01T00", "h") + 6 * np.arange(2 * inits + 60)
    forecasts = tuple(
        Forecast(
            name=name,
            path=path,
            channels=channels,
            grid=grid,
            init_times=times[: 2 * inits : 2],
            lead_hours=leads,
            members=tuple(range(members)),
            synthetic=synthetic,
            attributes={},
            reader=fields,
        )
        for name, path in zip(names, config.forecast, strict=True)
    )
    targets = Targets(config.store, channels, times, grid, synthetic, None, reader=fields)
    verified = np.ones((inits, len(leads)), dtype=bool)
    verified[-1, -1] = False
    return Plan(
        config=config,
        convention=CONVENTIONS[config.convention],
        forecasts=forecasts,
        targets=targets,
        channels=channels,
        verified=verified,
        means=AreaMeans(make_regions(config, grid, None), area_weights(grid.latitude)),
        climate=object() if config.climatology != "none" else None,  # type: ignore[arg-type]
        climate_channels=channels,
        climate_ensemble=object() if config.climatology_members else None,  # type: ignore[arg-type]
        events=parse_events(config.events, "events"),
        spectra=config.spectra,
        digest="0" * 64,
        left_out=(),
    )


def made_values(plan: Plan, seed: int = 0) -> xr.Dataset:
    """Everything of all initial times in one piece, as if there were one part."""
    axes = coordinates(plan, slice(None))
    sizes = axes.sizes
    random = np.random.default_rng(seed)
    found = {}
    for name in held_names(plan):
        shape = tuple(sizes[dim] for dim in LAYOUT[name])
        found[name] = (LAYOUT[name], _values(name, shape, plan, random))
    return xr.Dataset(found, coords=axes)


def _values(name: str, shape: tuple[int, ...], plan: Plan, random: np.random.Generator) -> np.ndarray:
    if name == "verified":
        return plan.verified
    if name == "coverage":
        return np.where(plan.verified[..., None, None], 1.0, np.full(shape, np.nan))
    if LAYOUT[name][0] == "system":
        return _statistic(name, shape, plan, random)
    if name.endswith("cases"):
        return np.full(shape, float(plan.verified[:, 0].sum()))
    if name == "rank_sum":
        rank = 1 + np.abs(np.linspace(-1, 1, shape[-1]))
        return plan.verified[:, 0].sum() * np.broadcast_to(rank / rank.sum(), shape)
    if name == "reliability_sum":
        return _reliability(shape, plan)
    if name == "map_error":
        return random.normal(0, 2, shape)
    if name == "spectrum_sum":
        count = plan.verified[:, 0].sum()
        return count * np.broadcast_to(1e6 / (1.0 + np.arange(shape[-1])) ** 3, shape) * random.uniform(0.8, 1.2, shape)
    return random.uniform(10, 30, shape)


def _statistic(name: str, shape: tuple[int, ...], plan: Plan, random: np.random.Generator) -> np.ndarray:
    """Errors that grow with lead time and resemble those of the initial time before; NaN where there are none."""
    ensemble = name in ("crps", "fair_crps", "variance", "energy_score", "brier", "fair_brier")
    lead = np.array(plan.lead_hours)[:, None, None] / 72
    scale = np.ones(shape[3]) if name.endswith("brier") else np.array([SCALES[n] for n in plan.channels])
    day = random.normal(size=(shape[1] + 9, shape[3], shape[4]))
    common = sum(day[i : i + shape[1]] for i in range(9)) / 3
    values = np.full(shape, np.nan)
    for s, system in enumerate(plan.systems):
        own = kind(system).endswith("ensemble")
        if own != ensemble and name != "brier" and name != "fair_brier":
            continue
        grown = np.ones_like(lead) if kind(system).startswith("clim") else 1 - np.exp(-0.2 - lead)
        size = ERRORS[kind(system)] * (1 + 0.05 * plan.systems.index(system)) * grown * scale[:, None]
        noise = np.exp(0.1 * common[:, None] + 0.03 * random.normal(size=shape[1:]))
        values[s] = _of_size(name, size * noise)
    values[:, ~plan.verified] = np.nan
    return values


def _of_size(name: str, size: np.ndarray) -> np.ndarray:
    if name in ("squared_error", "variance"):
        return size**2
    if name == "anomaly_correlation":
        return np.exp(-size / size.max())
    return size * 0.1 if name.endswith("brier") else size


def _reliability(shape: tuple[int, ...], plan: Plan) -> np.ndarray:
    """An overconfident ensemble, whose probabilities are mostly 0 or 1."""
    bins = np.linspace(0, 1, shape[4])
    weight = np.broadcast_to(plan.verified.shape[0] * (0.02 + (2 * bins - 1) ** 4), shape[:-1])
    return np.stack([weight, weight * bins, weight * (0.2 + 0.6 * bins)], axis=-1)


def made_parts(folder: Path, plan: Plan, cuts: tuple[int, ...] = (), values: xr.Dataset | None = None) -> list[Path]:
    """``values`` as parts, cut before the initial times ``cuts``; sums are divided evenly among them."""
    values = made_values(plan) if values is None else values
    edges, paths = (0, *cuts, len(plan.init_times)), []
    for k, (start, stop) in enumerate(pairwise(edges)):
        piece = values.isel(init_time=slice(start, stop))
        added = [name for name in piece.data_vars if "init_time" not in LAYOUT[str(name)]]
        sums = {name: piece[name] / (len(edges) - 1) for name in added}
        paths.append(folder / f"part_{k:03d}.nc")
        piece.assign(sums).to_netcdf(paths[-1])
    return paths


def with_statistics(values: xr.Dataset, statistics: Mapping[tuple[str, str], float]) -> xr.Dataset:
    """``values`` with constants in place of the statistics (name, system)."""
    changed = values.copy(deep=True)
    for (name, system), value in statistics.items():
        changed[name].loc[{"system": system}] = xr.where(changed["verified"], value, np.nan)
    return changed
