"""Reading other people's FourCastNet weights: names, shapes, and what they imply."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fourcast.config import ModelConfig
from fourcast.errors import InputError
from fourcast.mixer_config import AFNOConfig, ModesConfig
from fourcast.models.build import build_network
from fourcast.models.precipitation import PrecipitationNet

CONTAINERS = ("model_state", "state_dict", "model")
"""Under which of its keys a checkpoint may keep the state dict."""
ANYWHERE = re.compile(r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
LEADING = re.compile(r"^(?:module\.)+")
IGNORED = re.compile(r"(^|\.)(n_averaged|device_buffer)$")
BACKBONE = "backbone."
NEEDED = {"pos_embed": 3, "patch_embed.proj.weight": 4, "blocks.0.filter.w1": 4, "blocks.0.mlp.fc1.weight": 2,
          "head.weight": 2}  # fmt: skip
"""The tensors from whose shapes the architecture is read, with their number of dimensions."""
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)

Notes = dict[str, str]


@dataclass(frozen=True, eq=False)
class Pretrained:
    """Weights under our names, and the architecture that their shapes imply.

    notes: what was stripped, ignored, filled in and converted on the way, in words.
    """

    kind: str
    model: ModelConfig
    in_channels: int
    out_channels: int
    grid_shape: tuple[int, int]
    tensors: dict[str, Tensor]
    notes: Notes


def interpret(
    loaded: dict[str, Any],
    image_size: list[int] | None,
    hard_thresholding_fraction: float,
    sparsity_threshold: float = 0.01,
) -> Pretrained:
    """Find the state dict in a loaded checkpoint, undo wrappers, and infer the architecture from its shapes.

    Accepts a bare state dict or one under ``model_state``, ``state_dict`` or ``model``; strips the prefixes of DDP,
    FSDP, compilation and averaging; converts other floating-point types to float32; supplies the never-called last
    norm where an implementation leaves it out. image_size: [rows, columns], or None for the 1:2 shape that the number
    of patches implies. Raises InputError that names the tensors which do not make up one AFNO network.
    """
    found, notes = _state_dict(loaded)
    named, stripped = _stripped(found)
    tensors, converted = _as_float32(named)
    precipitation = "conv.weight" in tensors or any(name.startswith(BACKBONE) for name in tensors)
    prefix = BACKBONE if precipitation else ""
    modes = ModesConfig(hard_thresholding_fraction=hard_thresholding_fraction)
    model = _architecture(tensors, prefix, AFNOConfig(modes=modes, sparsity_threshold=sparsity_threshold))
    filled = _fill_last_norm(tensors, prefix, model.embed_dim)
    pretrained = Pretrained(
        kind="precipitation" if precipitation else "forecast",
        model=model,
        in_channels=tensors[f"{prefix}patch_embed.proj.weight"].shape[1],
        out_channels=_out_channels(tensors[f"{prefix}head.weight"], model.patch_size),
        grid_shape=_grid_shape(tensors[f"{prefix}pos_embed"].shape[1], model.patch_size, image_size),
        tensors=tensors,
        notes=notes | stripped | filled | converted,
    )
    _check_shapes(pretrained)
    return pretrained


def few(names: Iterable[str], most: int = 5) -> str:
    """The first names of many, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def _state_dict(loaded: dict[str, Any]) -> tuple[dict[str, Tensor], Notes]:
    """The named tensors, and under which key they lay beside what else."""
    container = next((key for key in CONTAINERS if isinstance(loaded.get(key), dict)), None)
    state = loaded if container is None else loaded[container]
    tensors = {name: value for name, value in state.items() if isinstance(name, str) and isinstance(value, Tensor)}
    beside = [] if container is None else [str(key) for key in loaded if key != container]
    ignored = beside + [str(name) for name in state if name not in tensors]
    ignored += [name for name in tensors if IGNORED.search(name)]
    kept = {name: value for name, value in tensors.items() if not IGNORED.search(name)}
    notes = {"found_under": container or "", "ignored": few(ignored)}
    return kept, {key: text for key, text in notes.items() if text}


def _stripped(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], Notes]:
    """The tensors under the names that they have without wrappers."""
    original: dict[str, str] = {}
    for name in tensors:
        bare = LEADING.sub("", ANYWHERE.sub("", name))
        if bare in original:
            raise InputError(f"the weights hold {bare} twice, as {original[bare]} and as {name}; leave one of them out")
        original[bare] = name
    wrapped = {bare: name for bare, name in original.items() if bare != name}
    parts = {part for bare, name in wrapped.items() for part in {*name.split(".")} - {*bare.split(".")}}
    notes = {"stripped": f"{', '.join(sorted(parts))} from {len(wrapped)} names"} if wrapped else {}
    return {bare: tensors[name] for bare, name in original.items()}, notes


def _as_float32(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], Notes]:
    """The tensors as float32; InputError for what is no array of finite floating-point numbers."""
    for name, tensor in tensors.items():
        plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided and not tensor.is_meta
        if not plain or tensor.dtype not in FLOATS:
            raise InputError(f"{name} holds {_form(tensor)}, expected floating-point numbers; save it as float32")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise InputError(f"{name} has shape {tuple(tensor.shape)} and fewer numbers than that: the file is damaged")
    converted = Counter(_form(tensor) for tensor in tensors.values() if tensor.dtype != torch.float32)
    singles = {name: tensor.detach().float() for name, tensor in tensors.items()}
    not_finite = [name for name, tensor in singles.items() if not bool(torch.isfinite(tensor).all())]
    if not_finite:
        raise InputError(
            f"the weights hold values that are not finite, in {few(not_finite)}; use an earlier checkpoint"
        )
    counts = ", ".join(f"{count} of {len(tensors)} from {dtype}" for dtype, count in converted.items())
    return singles, {"converted": counts} if counts else {}


def _form(tensor: Tensor) -> str:
    """What kind of numbers a tensor holds, in a word or two."""
    dtype, layout = (str(kind).removeprefix("torch.") for kind in (tensor.dtype, tensor.layout))
    if tensor.is_meta:
        return f"{dtype} without values"
    return dtype if layout == "strided" else f"{layout} {dtype}"


def _architecture(tensors: dict[str, Tensor], prefix: str, mixer: AFNOConfig) -> ModelConfig:
    """The network that the shapes imply, its mixer completed with the number of blocks."""
    depth = _depth(tensors, prefix)
    _check_needed(tensors, prefix)
    dim, _, patch, other = tensors[f"{prefix}patch_embed.proj.weight"].shape
    if patch != other:
        raise InputError(f"the patches have {patch}×{other} points, expected as many rows as columns")
    parts, blocks, block, hidden = tensors[f"{prefix}blocks.0.filter.w1"].shape
    if parts != 2 or block != hidden or blocks * block != dim:
        raise InputError(
            f"{prefix}blocks.0.filter.w1 has shape {(parts, blocks, block, hidden)}, expected (2, blocks, b, b) with "
            f"blocks · b = {dim}; a hidden_size_factor other than 1 is not supported"
        )
    return ModelConfig(
        patch_size=patch,
        embed_dim=dim,
        depth=depth,
        mlp_ratio=tensors[f"{prefix}blocks.0.mlp.fc1.weight"].shape[0] / dim,
        mixer=replace(mixer, num_blocks=blocks),
    )


def _depth(tensors: dict[str, Tensor], prefix: str) -> int:
    """How many blocks there are; InputError where their numbers leave one out."""
    matches = [re.match(rf"{re.escape(prefix)}blocks\.(\d{{1,6}})\.", name) for name in tensors]
    present = sorted({int(match[1]) for match in matches if match})
    absent = next((number for number, found in enumerate(present) if number != found), None)
    if absent is not None:
        raise InputError(f"the weights hold block {present[absent]}, and no tensor of block {absent} before it")
    return len(present)


def _check_needed(tensors: dict[str, Tensor], prefix: str) -> None:
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


def _fill_last_norm(tensors: dict[str, Tensor], prefix: str, dim: int) -> Notes:
    """Add the norm that is never called where it is missing."""
    own = {f"{prefix}norm.weight": torch.ones(dim), f"{prefix}norm.bias": torch.zeros(dim)}
    absent = {name: value for name, value in own.items() if name not in tensors}
    tensors.update(absent)
    return {"filled": f"{', '.join(absent)} (never called)"} if absent else {}


def _out_channels(head: Tensor, patch: int) -> int:
    rows = head.shape[0]
    if rows % patch**2:
        raise InputError(
            f"head.weight has {rows} rows, expected a multiple of {patch**2}, one for each point of a patch"
        )
    return rows // patch**2


def _grid_shape(tokens: int, patch: int, image_size: list[int] | None) -> tuple[int, int]:
    if image_size is not None:
        h, w = image_size
        if min(h, w) < 1 or h % patch or w % patch:
            raise InputError(f"image_size={image_size} is not made of patches of {patch}×{patch} points")
        made = (h // patch) * (w // patch)
        if made != tokens:
            raise InputError(f"image_size={image_size} makes {made} patches, the weights have {tokens}")
        return h, w
    rows = math.isqrt(tokens // 2)
    if 2 * rows * rows != tokens:
        raise InputError(f"{tokens} tokens are no grid of shape 1:2; pass image_size=[rows,columns]")
    return rows * patch, 2 * rows * patch


def _check_shapes(pretrained: Pretrained) -> None:
    """Raise InputError unless names and shapes are those of the network, which is laid out without being computed."""
    if pretrained.kind == "precipitation" and pretrained.out_channels != 1:
        raise InputError(f"backbone.head.weight makes {pretrained.out_channels} channels, precipitation is one")
    with torch.device("meta"):
        channels = pretrained.in_channels, pretrained.out_channels
        backbone = build_network(pretrained.model, channels, pretrained.grid_shape)
        network = PrecipitationNet(backbone) if pretrained.kind == "precipitation" else backbone
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in pretrained.tensors.items()}
    faults = {
        "missing": [name for name in expected if name not in found],
        "unknown": [name for name in found if name not in expected],
        "of another shape": [
            f"{name} is {found[name]} and not {shape}"
            for name, shape in expected.items()
            if name in found and found[name] != shape
        ],
    }
    if any(faults.values()):
        told = "; ".join(f"{fault}: {few(names)}" for fault, names in faults.items() if names)
        raise InputError(
            f"the weights do not fit the network that their shapes imply, of depth {pretrained.model.depth} and width "
            f"{pretrained.model.embed_dim}: {told}"
        )
