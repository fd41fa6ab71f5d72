"""``fourcast inspect``: say what a path holds."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fourcast.data_config import InspectConfig
from fourcast.errors import InputError


def inspect(config: InspectConfig) -> None:
    """Print what the store, checkpoint, training run, forecast run or source at ``config.path`` holds."""
    path = Path(config.path)
    if not path.exists() and "://" not in config.path and not any(mark in config.path for mark in "*?["):
        raise InputError(f"there is nothing at {path}")
    print(describe(config.path, config.checksums))
    if config.plot is not None:
        from fourcast.data.plot import plot_store

        for drawn in plot_store(path, Path(config.plot)):
            print(drawn)


def describe(path: str, checksums: bool = False) -> str:
    """A few lines of text about the thing at ``path``, whatever it is; checksums: compare a store's shards."""
    folder = Path(path)
    if (folder / "forecast.json").is_file():
        return describe_forecast(folder)
    if (folder / "checkpoint.json").is_file() or (folder / "checkpoints").is_dir():
        return describe_checkpoint(folder)
    from fourcast.data.describe import describe_source, describe_store

    if (folder / "zarr.json").is_file() and '"fourcast_store"' in (folder / "zarr.json").read_text(encoding="utf-8"):
        return describe_store(path, checksums)
    return describe_source(path)


def describe_checkpoint(folder: Path) -> str:
    """The card of a checkpoint, in words."""
    from fourcast.checkpoint import find_checkpoint, load_card

    card = load_card(folder)
    model = card.model
    return "\n".join(
        [
            f"checkpoint {find_checkpoint(folder)}: {card.kind} model" + (", SYNTHETIC data" if card.synthetic else ""),
            f"  network: depth {model.depth}, width {model.embed_dim}, patch {model.patch_size}, {model.target} target",
            f"  mixer: {' '.join(_settings(asdict(model.mixer)))}",
            f"  grid {card.grid}, step {card.step_hours} h",
            f"  channels in: {', '.join(card.channels) if card.channels else f'{card.in_channels}, unnamed'}",
            f"  statistics: {'yes' if card.mean else 'none, so it cannot forecast'}",
            *_training(find_checkpoint(folder)),
            *(f"  {key}: {value}" for key, value in card.provenance.items()),
        ]
    )


def _training(checkpoint: Path) -> list[str]:
    """Where the training stood that wrote a checkpoint."""
    from fourcast.files import read_json

    if not (checkpoint / "position.json").is_file():
        return []
    record = read_json(checkpoint / "position.json")
    scores = "".join(f", {name.replace('_', ' ')} {value:.4g}" for name, value in record["scores"].items())
    return [f"  training: step {record['position']['step']}{scores}"]


def _settings(values: dict[str, Any], prefix: str = "") -> list[str]:
    """Keys and values as the command line takes them."""
    settings = []
    for key, value in values.items():
        settings += _settings(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}={value}"]
    return settings


def describe_forecast(folder: Path) -> str:
    """What a forecast run consists of and how much of it is finished, in each of its layouts."""
    from fourcast.files import read_json
    from fourcast.forecast.contents import ENSEMBLE_FILE, ZARR

    manifest = read_json(folder / "forecast.json")
    times, members = manifest["init_times"], manifest["members"]
    files = {
        "member": ("members' files", [f"{time}/member_{member:03d}.nc" for time in times for member in members]),
        "ensemble": ("ensembles' files", [f"{time}/{ENSEMBLE_FILE}" for time in times]),
        "zarr": ("zarr stores", [ZARR]),
    }
    wanted = [files[layout] for layout in manifest["layout"]]
    wanted += [("product files", [f"{time}/{name}" for time in times for name in manifest["products"]])]
    done = [f"{sum((folder / p).exists() for p in paths)} of {len(paths)} {what}" for what, paths in wanted if paths]
    return "\n".join(
        [
            f"forecast run {folder}: {', '.join(done)} finished",
            f"  initial times: {', '.join(times)}",
            f"  members {members[0]} … {members[-1]}, lead times to {manifest['lead_hours'][-1]} h",
            f"  channels: {', '.join(manifest['channels'])}",
            *(f"  {key}: {value}" for key, value in manifest["attributes"].items()),
        ]
    )
