"""Where a forecast's numbers come from, as its files say it."""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

import torch

from fourcast.checkpoint import find_checkpoint, weights_files
from fourcast.config import ForecastConfig
from fourcast.files import sha256
from fourcast.forecast.batching import Batching
from fourcast.forecast.forecaster import Forecaster
from fourcast.forecast.initial import Analyses

Attributes = dict[str, str | int | float]
NOT_IN_FILES = (
    "output", "overwrite", "part", "device", "init_times", "init_start", "init_end", "init_every_hours",
    "checkpoint", "precipitation", "store", "initial",
)  # fmt: skip
"""Keys of a configuration that decide no number, or that a file says otherwise: by what they name, not by its path."""


def provenance(
    config: ForecastConfig, analyses: Analyses, forecasters: Sequence[Forecaster], perturbation: str
) -> Attributes:
    """Where the numbers of a run come from: weights, statistics, initial states, seed and configuration."""
    cards = [forecaster.card for forecaster in forecasters]
    if len(cards) > 1:
        perturbation += f"; {len(cards)} checkpoints take turns, member m has number m mod {len(cards)}"
    if any(card.model.noise_channels for card in cards):
        perturbation += "; every member draws noise of its own at every step"
    if config.ensemble.dropout:
        perturbation += "; every member draws dropout of its own at every step"
    rain = {} if config.precipitation is None else _identity("precipitation", [config.precipitation])
    return {
        **_identity("checkpoint", config.checkpoint),
        **rain,
        "statistics_sha256": _digest([[card.channels, card.mean, card.std] for card in cards]),
        "initial_states": analyses.name,
        "initial_states_sha256": analyses.digest,
        "seed": config.ensemble.seed,
        "perturbation": perturbation,
        "precision": config.precision,
        "synthetic": int(analyses.synthetic or any(card.synthetic for card in cards)),
        "configuration": json.dumps(_of_numbers(config), sort_keys=True),
    }


def exactness(batching: Batching, device: torch.device) -> str:
    """How far a member's bits depend on what else was computed, for a file to say."""
    if batching.exact:
        return f"exact: calls of {batching.size} on {device.type}; no other member, batch or process changes a bit"
    return f"to rounding on {device.type}: members of one batch share calls of the model"


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
