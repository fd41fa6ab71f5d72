"""A small run whose every number is known: training log and card, forecast, scores, and analyses in a store."""

import json
from pathlib import Path

import numpy as np
import xarray as xr
from tiny import write_store

from fourcast.forecast.netcdf import FileWriter, Header, columns_of, member_path
from fourcast.grid import Grid

CHANNELS = ("t500", "t850", "u10m")
GRID = Grid(90.0 - 22.5 * np.arange(8), 22.5 * np.arange(16))
TIMES = np.datetime64("2026-08-01T00", "h") + 6 * np.arange(12)
INIT = TIMES[2]
LEADS = (0, 6, 12)
MEMBERS = (0, 1, 2)
EVENT = "t850 > 285.0"
SYSTEMS = ("control", "ensemble_mean", "persistence")
RMSE = np.array([1.0, 0.5, 2.0])
"""Of the systems, in units of the channel, at all lead times, channels and regions."""


def analyses() -> np.ndarray:
    """[T, C, H, W]: temperatures about 250 and 285 K, winds of both signs."""
    noise = np.random.default_rng(3).normal(0, 1, (len(TIMES), len(CHANNELS), *GRID.shape))
    return (noise * np.array([5, 4, 8])[:, None, None] + np.array([250, 285, 0])[:, None, None]).astype(np.float32)


def members() -> np.ndarray:
    """[M, L, C, H, W]: the analyses and noise of each member's own; the first number of member 1 is missing."""
    noise = np.random.default_rng(4).normal(0, 1, (len(MEMBERS), len(LEADS), len(CHANNELS), *GRID.shape))
    fields = (analyses()[2:5] + noise).astype(np.float32)
    fields[1, 1, 0, 0, 0] = np.nan
    return fields


def make_forecast(run: Path) -> Path:
    for number, fields in zip(MEMBERS, members(), strict=True):
        attributes = {"synthetic": 1, "checkpoint": "step_00000020", "configuration": '{"seed": 7}'}
        header = Header(CHANNELS, GRID.latitude, GRID.longitude, INIT, LEADS, attributes, number)
        with FileWriter(member_path(run, INIT, number), header, columns_of(CHANNELS)) as writer:
            for i_lead, state in enumerate(fields):
                writer.write(i_lead, state)
    return run


def make_train(run: Path) -> Path:
    checkpoint = run / "checkpoints" / "step_00000020"
    checkpoint.mkdir(parents=True)
    model = {"patch_size": 4, "embed_dim": 16, "depth": 1, "target": "residual", "mixer": {"name": "afno"}}
    card = {
        "model": model,
        "latitude": GRID.latitude.tolist(),
        "longitude": GRID.longitude.tolist(),
        "step_hours": 6,
        "channels": list(CHANNELS),
        "synthetic": True,
        "provenance": {"fourcast": "0.1.0", "torch": "2.13.0"},
    }
    (checkpoint / "checkpoint.json").write_text(json.dumps(card))
    lines = [{"step": step, "loss": 2.0 / step, "learning_rate": 1e-3} for step in (10, 20)]
    scored = {"step": 20, "validation_loss": 0.2, "persistence_loss": 0.9, "rmse/t850/6h": 1.5}
    cut = '{"step": 30, "lo'
    (run / "log.jsonl").write_text("\n".join([*map(json.dumps, [*lines, scored]), cut]))
    (run / "config.json").write_text(json.dumps({"config": {"steps": 20, "batch_size": 4, "seed": 1}}))
    return run


def make_scores(folder: Path, store: Path) -> Path:
    """RMSE as above, half of each difference to persistence as its interval, and a flat rank histogram."""
    folder.mkdir()
    regions = ("global", "tropics")
    dims = ("system", "lead_time", "channel", "region")
    ones = np.ones((len(SYSTEMS), len(LEADS), len(CHANNELS), len(regions)))
    rmse = RMSE[:, None, None, None] * ones
    difference = (rmse - RMSE[2])[None]
    variables = {
        "rmse": (dims, rmse, {"better": "low"}),
        "rmse_low": (dims, rmse * 0.9),
        "rmse_high": (dims, rmse * 1.1),
        "rmse_difference": (("reference", *dims), difference),
        "rmse_difference_low": (("reference", *dims), difference * 1.5),
        "rmse_difference_high": (("reference", *dims), difference * 0.5),
        "rank_histogram": (("ensemble", *dims[1:], "rank"), np.full((1, *ones.shape[1:], 4), 0.25)),
        "verified": (("init_time", "lead_time"), np.ones((1, len(LEADS)), np.int8)),
    }
    coordinates = {
        "system": list(SYSTEMS),
        "lead_time": np.array(LEADS).astype("timedelta64[h]").astype("timedelta64[ns]"),
        "channel": list(CHANNELS),
        "region": list(regions),
        "reference": ["persistence"],
        "ensemble": ["ensemble"],
        "rank": np.arange(4),
        "event": [EVENT],
        "units": ("channel", ["K", "K", "m s-1"]),
        "init_time": [INIT.astype("datetime64[ns]")],
    }
    attributes = {"analyses": str(store), "convention": "weatherbench2", "uncertainty": "95 % of 10 resamples"}
    xr.Dataset(variables, coordinates, attributes).to_netcdf(folder / "scores.nc")
    return folder


def make_everything(folder: Path) -> Path:
    """FOLDER/run with train, forecast and scores, and FOLDER/store.zarr."""
    store = write_store(folder / "store.zarr", TIMES, analyses(), CHANNELS, GRID)
    run = folder / "run"
    make_train(run / "train")
    make_forecast(run / "forecast")
    make_scores(run / "scores", store)
    return run
