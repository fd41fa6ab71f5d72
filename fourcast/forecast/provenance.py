"""Where a forecast's numbers come from, as its files say it."""

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from fourcast.checkpoint import find_checkpoint, weights_files
from fourcast.config import ForecastConfig
from fourcast.files import sha256
from fourcast.forecast.batching import Batching
from fourcast.forecast.forecaster import Forecaster
from fourcast.forecast.initial import Analyses

Attributes = dict[str, str | int | float]
NOT_IN_FILES = ("output", "overwrite", "device", "init_times", "init_start", "init_end", "init_every_hours")
"""Keys of a configuration that do not say how a member's numbers came about, or that a file says otherwise."""



def provenance(config: ForecastConfig, analyses: Analyses, forecaster: Forecaster, perturbation: str) -> Attributes:
    """Where the numbers of a run come from: weights, statistics, initial states, seed and configuration."""
    if forecaster.card.model.noise_channels:
        perturbation += "; every member draws noise of its own at every step"
    if config.ensemble.dropout:
        perturbation += "; every member draws dropout of its own at every step"
    rain = {} if config.precipitation is None else _identity("precipitation", [config.precipitation])
    return {
        **_identity("checkpoint", config.checkpoint),
        **rain,
        "statistics_sha256": _digest([forecaster.card.channels, forecaster.card.mean, forecaster.card.std]),
        "initial_states": analyses.name,
        "initial_states_sha256": analyses.digest,
        "seed": config.ensemble.seed,
        "perturbation": perturbation,
        "precision": config.precision,
        "synthetic": int(forecaster.card.synthetic or analyses.synthetic),
        "configuration": json.dumps(_of_numbers(config), sort_keys=True),
    }


def exactness(batching: Batching) -> str:
    """How far a member's bits depend on what else was computed, for a file to say."""
    if batching.exact:
        return f"exact: calls of {batching.size} members; no other member, batch or process changes a bit"
    return "to rounding: members of one batch share calls of the model, and a batch of another size may round otherwise"


def _of_numbers(config: ForecastConfig) -> dict[str, Any]:
    """The keys of a configuration that decide a member's numbers or files."""
    record = {key: value for key, value in asdict(config).items() if key not in NOT_IN_FILES}
    record["ensemble"] = {k: v for k, v in record["ensemble"].items() if k not in ("members", "batch_size", "exact")}
    return record


def _identity(name: str, checkpoints: Collection[str]) -> dict[str, str]:
    """Which checkpoints they were, by their names and their weights."""
    found = [find_checkpoint(path) for path in checkpoints]
    return {
        name: ", ".join(path.name for path in found),
        f"{name}_sha256": ", ".join(sha256(*weights_files(path)) for path in found),
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
