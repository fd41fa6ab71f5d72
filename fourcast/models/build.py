"""From a configuration to a model."""

from torch import Tensor, nn

from fourcast.config import ModelConfig, ModesConfig
from fourcast.errors import InputError
from fourcast.kernels.modes import Modes
from fourcast.models.afno import AFNOFilter, AFNONet, Block
from fourcast.models.layers import PatchEmbed, Residual


def build_model(
    config: ModelConfig,
    channels: tuple[int, int],
    grid_shape: tuple[int, int],
    step_scale_C: Tensor | None = None,
) -> nn.Module:
    """The network of ``config`` for (in, out) channels on an H×W grid.

    step_scale_C [C] is what a residual target multiplies the network's output with; InputError where the patches
    do not tile the grid.
    """
    network = build_afno(config, channels, grid_shape)
    if config.target == "direct":
        return network
    assert step_scale_C is not None, "a residual target needs the typical size of a step"
    return Residual(network, step_scale_C)


def build_afno(config: ModelConfig, channels: tuple[int, int], grid_shape: tuple[int, int]) -> AFNONet:
    """FourCastNet's network itself, giving what it is trained to give."""
    in_channels, out_channels = channels
    tokens = tokens_shape(grid_shape, config.patch_size)
    modes = kept_modes(config.modes, tokens)
    return AFNONet(
        PatchEmbed(config.patch_size, in_channels, config.embed_dim),
        [_block(config, modes, position) for position in range(config.depth)],
        tokens,
        out_channels,
        config.drop_rate,
    )


def tokens_shape(grid_shape: tuple[int, int], patch_size: int) -> tuple[int, int]:
    """How many patches cover the grid; InputError where they do not tile it."""
    h, w = grid_shape
    if h % patch_size or w % patch_size:
        raise InputError(
            f"model.patch_size={patch_size} does not divide the {h}×{w} grid; choose a common divisor of {h} and {w}"
        )
    return h // patch_size, w // patch_size


def kept_modes(config: ModesConfig, tokens: tuple[int, int]) -> Modes:
    """The kernels' rule of a configuration; InputError where it contradicts itself or keeps no mode of the tokens."""
    try:
        modes = Modes(**vars(config))
        modes.keep(*tokens)
    except ValueError as error:
        raise InputError(f"model.{error}") from error
    return modes


def _block(config: ModelConfig, modes: Modes, position: int) -> Block:
    mixer = AFNOFilter(config.embed_dim, config.num_blocks, config.sparsity_threshold, modes)
    rate = config.drop_path_rate * position / max(config.depth - 1, 1)
    return Block(config.embed_dim, mixer, config.mlp_ratio, config.drop_rate, rate)
