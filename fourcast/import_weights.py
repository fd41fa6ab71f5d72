"""``fourcast import-weights``: other people's FourCastNet weights as a checkpoint of ours."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fourcast.checkpoint import Card, build, load_tensors, save_checkpoint
from fourcast.config import ImportWeightsConfig
from fourcast.errors import InputError
from fourcast.files import refuse_existing, sha256
from fourcast.mixer_config import AFNOConfig
from fourcast.models.mdlus import Arguments, check_arguments, read_mdlus
from fourcast.models.pretrained import Pretrained, interpret
from fourcast.variables import CHANNEL_SETS, parse_channels


def import_weights(config: ImportWeightsConfig) -> Path:
    """Write the checkpoint, say what it holds and how that was found, and return its directory.

    Raises InputError where the file holds no AFNO state dict, or objects, or disagrees with its own arguments, with
    the configuration, channels or statistics.
    """
    output, source = Path(config.output), Path(config.source)
    refuse_existing(output, config.overwrite)
    if output.exists() and not (output / "checkpoint.json").is_file():
        raise InputError(f"{output} exists and is no checkpoint; choose another output=")
    loaded, form, arguments = _read(source)
    pretrained, origin = _interpreted(config, loaded, arguments)
    card = _card(config, pretrained, {"form": form, **origin})
    model = build(card)
    model.load_state_dict(pretrained.tensors)
    save_checkpoint(output, model, card)
    print(_report(card, source, sum(p.numel() for p in model.parameters())))
    print(f"  wrote {output}")
    return output


def _read(source: Path) -> tuple[dict[str, Any], str, Arguments]:
    """What the file holds, in what form, and what it says of the network besides its tensors."""
    archive = read_mdlus(source) if source.is_file() else None
    if archive is None:
        return load_tensors(source), "torch file", {}
    with tempfile.TemporaryDirectory() as folder:
        member = Path(folder) / "model.pt"
        member.write_bytes(archive.model)
        try:
            return load_tensors(member), f".mdlus ({archive.form})", archive.arguments
        except InputError as error:
            raise InputError(str(error).replace(str(member), f"model.pt in {source}")) from error


def _interpreted(
    config: ImportWeightsConfig, loaded: dict[str, Any], arguments: Arguments
) -> tuple[Pretrained, dict[str, str]]:
    """The network, and where its grid and thresholding fraction, which no shape tells, come from."""
    size: Any = arguments.get("inp_shape", config.image_size)
    if config.image_size not in (None, size):
        raise InputError(f"image_size={config.image_size}, but args.json says inp_shape={size}; leave one of them out")
    given = config.hard_thresholding_fraction
    fraction: Any = arguments.get("hard_thresholding_fraction", given)
    if given not in (1.0, fraction):
        raise InputError(f"hard_thresholding_fraction={given}, but args.json says {fraction}; leave it out")
    threshold: Any = arguments.get("sparsity_threshold", AFNOConfig.sparsity_threshold)
    pretrained = interpret(loaded, size, fraction, threshold)
    check_arguments(arguments, pretrained)
    size_from = "args.json" if "inp_shape" in arguments else "image_size" if size else "the number of patches, as 1:2"
    fraction_from = "args.json" if "hard_thresholding_fraction" in arguments else "the configuration"
    return pretrained, {"grid_from": size_from, "fraction_from": fraction_from}


def _card(config: ImportWeightsConfig, pretrained: Pretrained, origin: dict[str, str]) -> Card:
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
        provenance={"imported_from": source.name, "sha256": sha256(source), **origin, **pretrained.notes},
    )


def _report(card: Card, source: Path, parameters: int) -> str:
    """A line for each thing that a user may want to compare with what the weights are said to be."""
    model, mixer, origin = card.model, card.model.mixer, card.provenance
    assert isinstance(mixer, AFNOConfig)
    names = f": {', '.join(card.channels)}" if card.channels else ", unnamed"
    lines: dict[str, str] = {
        "form": origin["form"] + (f" with {origin['found_under']}" if "found_under" in origin else ""),
        "kind": card.kind,
        "parameters": f"{parameters:,}",
        "grid": f"{len(card.latitude)}×{len(card.longitude)} (from {origin['grid_from']})",
        "patch": f"{model.patch_size}×{model.patch_size}",
        "width, depth": f"{model.embed_dim}, {model.depth}",
        "MLP": f"{round(model.embed_dim * model.mlp_ratio)} hidden channels",
        "mixer": f"AFNO, {mixer.num_blocks} blocks, sparsity_threshold {mixer.sparsity_threshold}",
        "fraction": f"{mixer.modes.hard_thresholding_fraction} of the modes kept (from {origin['fraction_from']})",
        "channels": f"{card.in_channels} → {card.out_channels}{names}",
        **{key: origin[key] for key in ("stripped", "ignored", "filled", "converted") if key in origin},
        "sha256": origin["sha256"],
        "to forecast": _still_needed(card),
    }
    return "\n".join([f"imported {source}", *(f"  {key:13} {text}" for key, text in lines.items())])


def _still_needed(card: Card) -> str:
    diagnoses = card.kind == "precipitation"
    if not diagnoses and card.in_channels != card.out_channels:
        return f"no: it gives {card.out_channels} channels and takes {card.in_channels}"
    given = {"channels": card.channels, "means": card.mean, "stds": card.std}
    missing = [f"{key}=" for key, value in given.items() if value is None]
    if missing:
        return f"import it with {', '.join(missing)}"
    return "ready, as precipitation=… beside a forecast model" if diagnoses else "ready"


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
