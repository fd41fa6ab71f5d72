"""Reading other people's FourCastNet weights: names, shapes, and what they imply."""

import math
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fourcast.config import ModelConfig
from fourcast.errors import InputError
from fourcast.mixer_config import AFNOConfig, ModesConfig

WRAPPERS = re.compile(r"^(module\.|_orig_mod\.)+")
NEEDED = {"pos_embed": 3, "patch_embed.proj.weight": 4, "blocks.0.filter.w1": 4, "blocks.0.mlp.fc1.weight": 2,
          "head.weight": 2}  # fmt: skip
"""The tensors from whose shapes the architecture is read, with their number of dimensions."""
IGNORED = re.compile(r"(^|\.)(n_averaged|device_buffer)$")


@dataclass(frozen=True, eq=False)
class Pretrained:
    """Weights under our names, and the architecture that their shapes imply."""

    kind: str
    model: ModelConfig
    in_channels: int
    out_channels: int
    grid_shape: tuple[int, int]
    tensors: dict[str, Tensor]


def interpret(loaded: dict[str, Any], image_size: list[int] | None, hard_thresholding_fraction: float) -> Pretrained:
    """Find the state dict in a loaded checkpoint, undo wrappers, and infer the architecture from its shapes.

    Accepts a bare state dict or one under ``model_state``, ``state_dict`` or ``model``; strips DDP's, compile's
    and averaging's prefixes; supplies the never-called last norm where an implementation leaves it out.
    """
    tensors = _strip(_state_dict(loaded))
    kind = "precipitation" if "conv.weight" in tensors else "forecast"
    prefix = "backbone." if kind == "precipitation" else ""
    model = _architecture(tensors, prefix, hard_thresholding_fraction)
    weight = tensors[f"{prefix}patch_embed.proj.weight"]
    patch = model.patch_size
    dim = model.embed_dim
    tensors.setdefault(f"{prefix}norm.weight", torch.ones(dim))
    tensors.setdefault(f"{prefix}norm.bias", torch.zeros(dim))
    tokens = tensors[f"{prefix}pos_embed"].shape[1]
    return Pretrained(
        kind=kind,
        model=model,
        in_channels=weight.shape[1],
        out_channels=tensors[f"{prefix}head.weight"].shape[0] // patch**2,
        grid_shape=_grid_shape(tokens, patch, image_size),
        tensors=tensors,
    )


def _state_dict(loaded: dict[str, Any]) -> dict[str, Tensor]:
    for key in ("model_state", "state_dict", "model"):
        if isinstance(loaded.get(key), dict):
            loaded = loaded[key]
            break
    return {name: value for name, value in loaded.items() if isinstance(name, str) and isinstance(value, Tensor)}


def _strip(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    stripped = {WRAPPERS.sub("", name): value for name, value in tensors.items()}
    return {name: value for name, value in stripped.items() if not IGNORED.search(name)}


def _architecture(tensors: dict[str, Tensor], prefix: str, hard_thresholding_fraction: float) -> ModelConfig:
    missing = [name for name in NEEDED if prefix + name not in tensors]
    if missing:
        raise InputError(
            f"these are not FourCastNet's AFNO weights: {', '.join(missing)} not among {len(tensors)} tensors"
            f"{' such as ' + next(iter(tensors)) if tensors else ''}"
        )
    for name, dimensions in NEEDED.items():
        shape = tuple(tensors[prefix + name].shape)
        if len(shape) != dimensions or 0 in shape:
            raise InputError(f"{prefix}{name} has shape {shape}, expected {dimensions} dimensions as in AFNO weights")
    dim, _, patch, _ = tensors[f"{prefix}patch_embed.proj.weight"].shape
    _, blocks, block, hidden = tensors[f"{prefix}blocks.0.filter.w1"].shape
    if block != hidden or blocks * block != dim:
        raise InputError(
            f"blocks.0.filter.w1 has shape {tuple(tensors[f'{prefix}blocks.0.filter.w1'].shape)}, expected "
            f"(2, blocks, b, b) with blocks · b = {dim}; a hidden_size_factor other than 1 is not supported"
        )
    found = [re.match(rf"{re.escape(prefix)}blocks\.(\d+)\.", name) for name in tensors]
    return ModelConfig(
        patch_size=patch,
        embed_dim=dim,
        depth=1 + max(int(match[1]) for match in found if match),
        mlp_ratio=tensors[f"{prefix}blocks.0.mlp.fc1.weight"].shape[0] / dim,
        mixer=AFNOConfig(num_blocks=blocks, modes=ModesConfig(hard_thresholding_fraction=hard_thresholding_fraction)),
    )


def _grid_shape(tokens: int, patch: int, image_size: list[int] | None) -> tuple[int, int]:
    if image_size is not None:
        h, w = image_size
        made = (h // patch) * (w // patch)
        if made != tokens:
            raise InputError(f"image_size={image_size} makes {made} patches, the weights have {tokens}")
        return h, w
    rows = math.isqrt(tokens // 2)
    if 2 * rows * rows != tokens:
        raise InputError(f"{tokens} tokens are no grid of shape 1:2; pass image_size=[rows,columns]")
    return rows * patch, 2 * rows * patch
