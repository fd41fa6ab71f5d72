"""``fourcast import-weights``: other people's FourCastNet weights as a checkpoint of ours."""

from pathlib import Path

import numpy as np

from fourcast.checkpoint import Card, build, load_tensors, save_checkpoint
from fourcast.config import ImportWeightsConfig
from fourcast.errors import InputError
from fourcast.files import refuse_existing, sha256
from fourcast.models.pretrained import Pretrained, interpret
from fourcast.variables import CHANNEL_SETS, parse_channels


def import_weights(config: ImportWeightsConfig) -> Path:
    """Write the checkpoint and return its directory.

    Raises InputError where the file is no AFNO state dict, holds objects, or disagrees with channels or
    statistics.
    """
    output, source = Path(config.output), Path(config.source)
    refuse_existing(output, config.overwrite)
    if output.exists() and not (output / "checkpoint.json").is_file():
        raise InputError(f"{output} exists and is no checkpoint; choose another output=")
    pretrained = interpret(load_tensors(source), config.image_size, config.hard_thresholding_fraction)
    card = _card(config, pretrained)
    model = build(card)
    try:
        model.load_state_dict(pretrained.tensors)
    except RuntimeError as error:
        raise InputError(f"{source} does not fit the network its shapes imply: {error}") from error
    save_checkpoint(output, model, card)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"imported {source}: {card.kind} model, {parameters:,} parameters, {card.in_channels} → {card.out_channels} "
          f"channels on {len(card.latitude)}×{len(card.longitude)}")  # fmt: skip
    if card.mean is None or card.channels is None:
        print("  no channel names or statistics: to forecast, import it with channels=, means=, stds=")
    print(f"  wrote {output}")
    return output


def _card(config: ImportWeightsConfig, pretrained: Pretrained) -> Card:
    h, w = pretrained.grid_shape
    source = Path(config.source)
    return Card(
        kind=pretrained.kind,
        model=pretrained.model,
        in_channels=pretrained.in_channels,
        out_channels=pretrained.out_channels,
        latitude=[90.0 - 180.0 * row / h for row in range(h)],
        longitude=[360.0 * column / w for column in range(w)],
        step_hours=6,
        channels=_channels(config.channels, pretrained.in_channels),
        mean=_statistic("means", config.means, pretrained.in_channels),
        std=_statistic("stds", config.stds, pretrained.in_channels),
        provenance={"imported_from": source.name, "sha256": sha256(source)},
    )


def _channels(names: list[str] | None, count: int) -> list[str] | None:
    if names is None:
        published = [channels for channels in CHANNEL_SETS.values() if len(channels) == count]
        return list(published[0]) if published else None
    parsed = [channel.name for channel in parse_channels(names)]
    if len(parsed) != count:
        raise InputError(f"channels names {len(parsed)} channels, the weights take {count}")
    return parsed


def _statistic(key: str, path: str | None, count: int) -> list[float] | None:
    if path is None:
        return None
    try:
        values = np.load(path, allow_pickle=False).astype(np.float64).reshape(-1)
    except (OSError, ValueError) as error:
        raise InputError(f"{key}={path} is not a readable .npy file of numbers: {error}") from error
    if len(values) < count:
        raise InputError(f"{key}={path} holds {len(values)} values, the weights take {count} channels")
    lowest = 0 if key == "stds" else -np.inf
    if not np.all(np.isfinite(values[:count]) & (values[:count] > lowest)):
        raise InputError(f"{key}={path} holds values that are not finite{', or not above 0' if lowest == 0 else ''}")
    return [float(value) for value in values[:count]]
