"""What a calibration found, for programs: JSON that forecasts take their amplitudes from, and tables."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import xarray as xr

from fourcast import __version__
from fourcast.calibrate.found import Calibration
from fourcast.checkpoint import find_checkpoint, weights_files
from fourcast.files import sha256
from fourcast.forecast.amplitude import AMPLITUDES
from fourcast.verify.results.table import lead_hours


def record(found: Calibration) -> dict[str, Any]:
    """calibration.json: the amplitudes, how they were found, and from what."""
    config, trial = found.config, found.trial
    checkpoint = find_checkpoint(config.checkpoint)
    return {
        AMPLITUDES: found.amplitudes,
        "perturbation": config.perturbation,
        "target_hours": config.target_hours,
        "by_channel": found.by_channel,
        "matched": not found.missed.any(),
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": sha256(*weights_files(checkpoint)),
        "store": trial.analyses.name,
        "store_sha256": trial.analyses.digest,
        "init_times": [str(time) for time in trial.init_times],
        "seed": config.ensemble.seed,
        "ensemble": asdict(config.ensemble),
        "precision": config.precision,
        "best_round": found.best + 1,
        "rounds": [
            {
                AMPLITUDES: dict(zip(found.channels, each.amplitude_C.tolist(), strict=True)),
                "spread_skill_ratio": dict(zip(found.channels, each.ratio_C.tolist(), strict=True)),
            }
            for each in found.rounds
        ],
        "synthetic": found.synthetic,
        "fourcast": __version__,
    }


def write_tables(scores: xr.Dataset, folder: Path) -> None:
    """scores.csv and ranks.csv: every number, a row for each channel, lead time, and before or after."""
    tidy = scores.drop_vars("lead_time").assign_coords(lead_hours=("lead_time", lead_hours(scores)))
    tidy = tidy.swap_dims(lead_time="lead_hours")
    order = ["channel", "lead_hours", "amplitudes"]
    tidy.drop_dims("rank").to_dataframe(order).to_csv(folder / "scores.csv", lineterminator="\n")
    ranks = tidy["rank_share"].drop_vars("units").to_dataframe(dim_order=[*order, "rank"])
    ranks.to_csv(folder / "ranks.csv", lineterminator="\n")
