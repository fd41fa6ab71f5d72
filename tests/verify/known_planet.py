"""A tiny planet and forecasts of it whose scores are known: every member is off by the same everywhere."""

from pathlib import Path

import numpy as np
from tiny import write_store

from fourcast.forecast.netcdf import FileWriter, Header, columns_of, member_path
from fourcast.grid import Grid
from fourcast.verify_config import VerifyConfig

CHANNELS = ("t2m", "z500", "u10m")
GRID = Grid(90.0 - 22.5 * np.arange(8), 22.5 * np.arange(16))
TIMES = np.datetime64("2026-08-01T00", "h") + 6 * np.arange(24)
LEADS = (0, 6, 12, 24)
INITS = TIMES[[4, 8, 21]]
"""From the last of these only lead times up to 12 h lie in the store."""
OFFSETS = np.array([1.0, 2.0, 6.0])
"""What members 0, 1 and 2 add to the analysis."""


def analyses() -> np.ndarray:
    """[T, C, H, W]: every channel grows by 1 a day around fixed random fields, so that persistence is known."""
    fields = np.random.default_rng(0).normal(100, 10, (len(CHANNELS), *GRID.shape))
    return (fields + np.arange(24)[:, None, None, None] / 4).astype(np.float32)


def make_store(path: Path, channels: tuple[str, ...] = CHANNELS, grid: Grid = GRID) -> Path:
    return write_store(path, TIMES, analyses()[:, : len(channels)], channels, grid)


def make_run(
    run: Path,
    members: tuple[int, ...] = (0, 1, 2),
    inits: np.ndarray = INITS,
    rows: slice = slice(None),
    added: np.ndarray = OFFSETS,
    fields: np.ndarray | None = None,
    grid: Grid = GRID,
    channels: tuple[str, ...] = CHANNELS,
) -> Path:
    """The analyses, or other ``fields`` of ``channels``, with what every member adds on ``rows``."""
    fields = analyses() if fields is None else fields
    for init in inits:
        start = int((init - TIMES[0]) / np.timedelta64(6, "h"))
        for member in members:
            header = Header(channels, grid.latitude, grid.longitude, init, LEADS, {"synthetic": True}, member)
            with FileWriter(member_path(run, init, member), header, columns_of(channels)) as writer:
                for i_lead, lead in enumerate(LEADS):
                    state = fields[(start + lead // 6) % len(fields)].copy()
                    state[:, rows] += np.float32(added[member])
                    writer.write(i_lead, state)
    return run


def config(planet: Path, output: str, **changes: object) -> VerifyConfig:
    """``planet``: a folder with RUN and store.zarr; two regions are scored unless others are asked for."""
    given = {"forecast": str(planet / "RUN"), "store": str(planet / "store.zarr"), "plots": False}
    given |= {"regions": ["global", "tropics"]}
    return VerifyConfig(output=str(planet / output), **(given | changes))  # type: ignore[arg-type]
