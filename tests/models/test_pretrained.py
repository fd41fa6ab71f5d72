"""What the names and shapes of published weights imply."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fourcast.config import ModelConfig
from fourcast.errors import InputError
from fourcast.mixer_config import AFNOConfig
from fourcast.models.build import build_network
from fourcast.models.precipitation import PrecipitationNet
from fourcast.models.pretrained import few, interpret

CONFIG = ModelConfig(patch_size=2, embed_dim=12, depth=3, mixer=AFNOConfig(num_blocks=3), mlp_ratio=2.5)
Weights = dict[str, Tensor]


def weights() -> Weights:
    return dict(build_network(CONFIG, (3, 2), (8, 16)).state_dict())


def precipitation() -> Weights:
    return dict(PrecipitationNet(build_network(CONFIG, (3, 1), (8, 16))).state_dict())


def without(tensors: Weights, pattern: str) -> Weights:
    return {name: value for name, value in tensors.items() if not re.search(pattern, name)}


def test_the_architecture_is_read_from_shapes() -> None:
    found = interpret(weights(), None, 1.0)
    assert (found.kind, found.in_channels, found.out_channels, found.grid_shape) == ("forecast", 3, 2, (8, 16))
    assert found.model == CONFIG
    assert found.notes == {}


@pytest.mark.parametrize("key", ["model_state", "state_dict", "model", None])
@pytest.mark.parametrize(
    "prefix", ["", "module.", "module.module.", "_orig_mod.module.", "module._orig_mod.module._orig_mod."]
)
def test_wrappers_are_undone(key: str | None, prefix: str) -> None:
    plain = weights()
    wrapped: dict[Any, Any] = {prefix + name: value for name, value in plain.items()}
    wrapped |= {"n_averaged": torch.tensor(7), f"{prefix}device_buffer": torch.empty(0), 5: torch.ones(1)}
    loaded = wrapped if key is None else {"iters": 10, key: wrapped, "optimizer_state_dict": {}}
    found = interpret(loaded, None, 1.0)
    assert found.tensors.keys() == plain.keys()
    assert all(torch.equal(found.tensors[name], plain[name]) for name in plain)
    beside = "" if key is None else "iters, optimizer_state_dict, "
    assert found.notes["ignored"] == f"{beside}5, n_averaged, {prefix}device_buffer"
    assert found.notes.get("found_under") == key
    parts = ", ".join(sorted({part for part in prefix.split(".") if part}))
    assert found.notes.get("stripped") == (f"{parts} from {len(plain)} names" if prefix else None)


def test_an_averaged_model_of_torch_is_read() -> None:
    averaged = torch.optim.swa_utils.AveragedModel(build_network(CONFIG, (3, 2), (8, 16)))
    found = interpret({"model_state": averaged.state_dict()}, None, 1.0)
    assert found.tensors.keys() == weights().keys()
    assert found.notes["ignored"] == "n_averaged"


def test_wrappers_around_single_blocks_are_undone() -> None:
    plain = weights()
    wrapped = {
        "module." + re.sub(r"^blocks\.(\d)\.", r"blocks.\1._orig_mod._checkpoint_wrapped_module.", name): value
        for name, value in plain.items()
    }
    found = interpret(wrapped, None, 1.0)
    assert found.tensors.keys() == plain.keys()
    assert found.notes["stripped"] == f"_checkpoint_wrapped_module, _orig_mod, module from {len(plain)} names"


def test_a_missing_last_norm_is_supplied() -> None:
    found = interpret(without(weights(), r"^norm\."), None, 1.0)
    build_network(found.model, (3, 2), found.grid_shape).load_state_dict(found.tensors)
    assert found.notes == {"filled": "norm.weight, norm.bias (never called)"}


def test_precipitation_is_told_by_its_names() -> None:
    found = interpret(without(precipitation(), "norm.bias"), None, 0.5, 0.02)
    assert (found.kind, found.out_channels, found.grid_shape) == ("precipitation", 1, (8, 16))
    assert isinstance(found.model.mixer, AFNOConfig)
    assert found.model.mixer.modes.hard_thresholding_fraction == 0.5
    assert found.model.mixer.sparsity_threshold == 0.02
    assert found.notes["filled"] == "backbone.norm.bias (never called)"
    PrecipitationNet(build_network(CONFIG, (3, 1), (8, 16))).load_state_dict(found.tensors)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32_and_are_named(dtype: torch.dtype) -> None:
    plain = weights()
    given = plain | {name: plain[name].to(dtype) for name in ("pos_embed", "head.weight")}
    found = interpret(given, None, 1.0)
    assert {tensor.dtype for tensor in found.tensors.values()} == {torch.float32}
    assert torch.equal(found.tensors["head.weight"], given["head.weight"].float())
    assert found.notes == {"converted": f"2 of {len(plain)} from {str(dtype).removeprefix('torch.')}"}


def test_grids_other_than_one_to_two_are_named_by_the_user() -> None:
    tensors = dict(build_network(CONFIG, (3, 2), (8, 12)).state_dict())
    with pytest.raises(InputError, match=r"24 tokens are no grid of shape 1:2; pass image_size="):
        interpret(tensors, None, 1.0)
    assert interpret(tensors, [8, 12], 1.0).grid_shape == (8, 12)
    with pytest.raises(InputError, match=r"image_size=\[8, 16\] makes 32 patches, the weights have 24"):
        interpret(tensors, [8, 16], 1.0)


@pytest.mark.parametrize("size", [[-8, -12], [9, 12], [8, 13], [0, 12]])
def test_image_sizes_that_patches_do_not_tile_are_refused(size: list[int]) -> None:
    tensors = dict(build_network(CONFIG, (3, 2), (8, 12)).state_dict())
    with pytest.raises(InputError, match=r"image_size=.* is not made of patches of 2×2 points"):
        interpret(tensors, size, 1.0)


FAULTS: dict[str, tuple[Callable[[Weights], Weights], str]] = {
    "no tensors": (lambda _: {}, "not FourCastNet's AFNO weights: pos_embed, .* not among 0 tensors"),
    "another network": (lambda _: {"fc.weight": torch.ones(2, 2)}, "pos_embed, .* among 1 tensors such as fc.weight"),
    "no pos_embed": (lambda w: without(w, "^pos_embed"), "AFNO weights: pos_embed not among"),
    "pos_embed of two dimensions": (lambda w: w | {"pos_embed": torch.zeros(32, 12)}, r"d has shape \(32, 12\)"),
    "an empty head": (lambda w: w | {"head.weight": torch.zeros(0, 12)}, r"head.weight has shape \(0, 12\)"),
    "a first block missing": (lambda w: without(w, r"blocks\.0\."), "hold block 1, and no tensor of block 0 before it"),
    "a middle block missing": (lambda w: without(w, r"blocks\.1\."), "hold block 2, and no tensor of block 1 before"),
    "a block far away": (lambda w: w | {"blocks.999999.norm1.weight": torch.ones(12)}, "no tensor of block 3 before"),
    "a block of many digits": (lambda w: w | {f"blocks.{'9' * 5000}.a": torch.ones(1)}, "unknown: blocks.999"),
    "half a deeper block": (
        lambda w: without(w, r"blocks\.2\.(mlp|norm2)"),
        "of depth 3 and width 12: missing: blocks.2.norm2.weight, blocks.2.norm2.bias, .* and 1 more",
    ),
    "another width in a deeper block": (
        lambda w: w | {"blocks.1.norm1.weight": torch.ones(16)},
        r"of another shape: blocks.1.norm1.weight is \(16,\) and not \(12,\)",
    ),
    "another hidden width deeper": (
        lambda w: w | {"blocks.2.mlp.fc1.weight": torch.ones(24, 12)},
        r"blocks.2.mlp.fc1.weight is \(24, 12\) and not \(30, 12\)",
    ),
    "other spectral blocks deeper": (
        lambda w: w | {"blocks.1.filter.w2": torch.ones(2, 2, 6, 6)},
        r"blocks.1.filter.w2 is \(2, 2, 6, 6\) and not \(2, 3, 4, 4\)",
    ),
    "a hidden size factor": (
        lambda w: w | {"blocks.0.filter.w1": torch.zeros(2, 3, 4, 8)},
        "a hidden_size_factor other than 1 is not supported",
    ),
    "w1 without imaginary part": (lambda w: w | {"blocks.0.filter.w1": torch.zeros(1, 3, 4, 4)}, "filter.w1 has shape"),
    "blocks that do not fill the width": (lambda w: w | {"blocks.0.filter.w1": torch.zeros(2, 2, 4, 4)}, "b = 12"),
    "oblong patches": (
        lambda w: w | {"patch_embed.proj.weight": torch.zeros(12, 3, 2, 4)},
        "the patches have 2×4 points, expected as many rows as columns",
    ),
    "part of a channel": (
        lambda w: w | {"head.weight": torch.zeros(7, 12)},
        "head.weight has 7 rows, expected a multiple of 4",
    ),
    "a head with a bias": (lambda w: w | {"head.bias": torch.zeros(8)}, "unknown: head.bias"),
    "unknown tensors": (
        lambda w: w | {f"extra.{i}": torch.zeros(1) for i in range(7)},
        "unknown: extra.0, extra.1, extra.2, extra.3, extra.4 and 2 more$",
    ),
    "a name twice": (
        lambda w: w | {"module.head.weight": torch.zeros(8, 12)},
        "hold head.weight twice, as head.weight and as module.head.weight",
    ),
    "not a number": (
        lambda w: w | {"head.weight": w["head.weight"] * torch.nan},
        "values that are not finite, in head.weight; use an earlier checkpoint",
    ),
    "too large for float32": (
        lambda w: w | {"pos_embed": torch.full((1, 32, 12), 1e300, dtype=torch.float64)},
        "values that are not finite, in pos_embed",
    ),
    "integers": (lambda w: w | {"head.weight": torch.ones(8, 12, dtype=torch.int64)}, "head.weight holds int64"),
    "complex numbers": (lambda w: w | {"blocks.0.filter.w1": torch.ones(3, 4, 4) * 1j}, "filter.w1 holds complex64"),
    "a sparse tensor": (
        lambda w: w | {"head.weight": torch.ones(8, 12).to_sparse()},
        "head.weight holds sparse_coo float32, expected floating-point numbers",
    ),
    "no values": (lambda w: w | {"pos_embed": torch.empty(1, 32, 12, device="meta")}, "float32 without values"),
    "one number for a trillion": (
        lambda w: w | {"pos_embed": torch.zeros(1).expand(1, 10**11, 12)},
        r"pos_embed has shape \(1, 100000000000, 12\) and fewer numbers than that",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_weights_that_make_up_no_network_are_refused_by_name(fault: str) -> None:
    change, message = FAULTS[fault]
    with pytest.raises(InputError, match=message):
        interpret({"state_dict": change(weights())}, None, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w | {"conv.weight": torch.zeros(1, 1, 5, 5)},
            r"conv.weight is .*5\) and not \(1, 1, 3, 3\)",
        ),
        (
            lambda w: w | {"backbone.head.weight": torch.zeros(8, 12)},
            "makes 2 channels, precipitation is one",
        ),
        (lambda w: without(w, "^conv"), "missing: conv.weight, conv.bias"),
        (lambda w: without(w, "^backbone.pos"), "AFNO weights: pos_embed not among"),
        (lambda w: without(w, r"backbone.blocks\.1\."), "block 2, and no tensor of block 1"),
        (lambda w: w | {"pos_embed": torch.zeros(1, 32, 12)}, "unknown: pos_embed"),
    ],
)
def test_precipitation_weights_that_make_up_no_network_are_refused(
    change: Callable[[Weights], Weights], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        interpret(change(precipitation()), None, 1.0)


def test_long_lists_are_cut() -> None:
    assert few([]) == ""
    assert few("abcde") == "a, b, c, d, e"
    assert few("abcdefg") == "a, b, c, d, e and 2 more"
