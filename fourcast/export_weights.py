"""``fourcast export-weights``: a checkpoint of ours as the published FourCastNet code reads it."""

from pathlib import Path

import torch

from fourcast.checkpoint import Card, find_checkpoint, load_card, load_model
from fourcast.config import ExportWeightsConfig
from fourcast.errors import InputError
from fourcast.files import refuse_existing, whole_file
from fourcast.mixer_config import AFNOConfig

PREFIX = "module."
"""The published code cuts these seven characters off every name."""


def export_weights(config: ExportWeightsConfig) -> Path:
    """Write {"iters", "epoch", "model_state"} with the weights of a checkpoint and return the file.

    The file appears whole or not at all and holds tensors and numbers only. Raises InputError where the published
    network cannot be the checkpoint's.
    """
    output = Path(config.output)
    refuse_existing(output, config.overwrite)
    if output.is_dir():
        raise InputError(f"{output} is a folder; name a file, as in output={output / 'backbone.ckpt'}")
    source = find_checkpoint(config.checkpoint)
    card = load_card(source)
    mixer = _published_mixer(card, source)
    state = {PREFIX + name: tensor for name, tensor in load_model(source).state_dict().items()}
    with whole_file(output) as temporary:
        torch.save({"iters": 0, "epoch": 0, "model_state": state}, temporary)
    print(f"exported {source}: {card.kind} model, {sum(tensor.numel() for tensor in state.values()):,} numbers")
    print(f"  build it with {', '.join(f'{key}={value}' for key, value in _arguments(card, mixer).items())}")
    print("  the file holds no channel names and no statistics")
    print(f"  wrote {output}")
    return output


def _published_mixer(card: Card, source: Path) -> AFNOConfig:
    """The card's mixer; InputError where model or mixer differ from what the published code can compute."""
    model, mixer = card.model, card.model.mixer
    if not isinstance(mixer, AFNOConfig):
        raise InputError(f"{source} mixes with {mixer.name}; the published format knows afno only")
    if mixer.modes.policy != "fourcastnet":
        raise InputError(
            f"{source} keeps modes by model.mixer.modes.policy={mixer.modes.policy}; the published code knows "
            "fourcastnet only"
        )
    if model.target != "direct":
        raise InputError(
            f"{source} was trained with model.target={model.target}; the published code takes the network's output for "
            "the next state: train with model.target=direct"
        )
    if model.noise_channels:
        raise InputError(
            f"{source} sees model.noise_channels={model.noise_channels} beside the state; the published network sees "
            "the state alone"
        )
    return mixer


def _arguments(card: Card, mixer: AFNOConfig) -> dict[str, object]:
    """How the published code's configuration names the architecture."""
    model = card.model
    return {
        "img_size": (len(card.latitude), len(card.longitude)),
        "patch_size": (model.patch_size, model.patch_size),
        "in_chans": card.in_channels,
        "out_chans": card.out_channels,
        "embed_dim": model.embed_dim,
        "depth": model.depth,
        "mlp_ratio": model.mlp_ratio,
        "num_blocks": mixer.num_blocks,
        "sparsity_threshold": mixer.sparsity_threshold,
        "hard_thresholding_fraction": mixer.modes.hard_thresholding_fraction,
    }
