"""From a configuration to a model."""

from torch import Tensor, nn

from fourcast.config import ModelConfig
from fourcast.errors import InputError
from fourcast.mixer_config import (
    AFFConfig,
    AFNOConfig,
    FFCConfig,
    FNOConfig,
    GFNetConfig,
    LongConvConfig,
    MixerConfig,
    NoneConfig,
    ParCConfig,
)
from fourcast.models.fourcastnet import Block, FourCastNet
from fourcast.models.layers import PatchEmbed, Residual
from fourcast.models.mixers.aff import AFF
from fourcast.models.mixers.afno import AFNO
from fourcast.models.mixers.ffc import FFC
from fourcast.models.mixers.fno import FNO
from fourcast.models.mixers.gfnet import GFNet
from fourcast.models.mixers.long_conv import LongConv
from fourcast.models.mixers.mixer import Mixer
from fourcast.models.mixers.none import Identity
from fourcast.models.mixers.parc import ParC

MIXERS: dict[type[MixerConfig], type] = {
    AFNOConfig: AFNO,
    FNOConfig: FNO,
    GFNetConfig: GFNet,
    AFFConfig: AFF,
    FFCConfig: FFC,
    ParCConfig: ParC,
    LongConvConfig: LongConv,
    NoneConfig: Identity,
}


def build_model(
    config: ModelConfig,
    channels: tuple[int, int],
    grid_shape: tuple[int, int],
    step_scale_C: Tensor | None = None,
) -> nn.Module:
    """The network of ``config`` for (in, out) channels on an H×W grid: [B, in + N, H, W] → [B, out, H, W].

    The N = config.noise_channels channels of noise stand behind those of the state. step_scale_C [C] is what a
    residual target multiplies the network's output with; InputError where the patches do not tile the grid.
    """
    network = build_network(config, channels, grid_shape)
    if config.target == "direct":
        return network
    assert step_scale_C is not None, "a residual target needs the typical size of a step"
    return Residual(network, step_scale_C)


def build_network(config: ModelConfig, channels: tuple[int, int], grid_shape: tuple[int, int]) -> FourCastNet:
    """FourCastNet's network itself, giving what it is trained to give; its input is that of ``build_model``."""
    in_channels, out_channels = channels
    tokens = tokens_shape(grid_shape, config.patch_size)
    return FourCastNet(
        PatchEmbed(config.patch_size, in_channels + config.noise_channels, config.embed_dim),
        [_block(config, tokens, position) for position in range(config.depth)],
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


def build_mixer(config: MixerConfig, dim: int, tokens: tuple[int, int]) -> Mixer:
    """The mixer of ``config`` for H×W tokens of ``dim`` channels; InputError where it does not suit them."""
    mixer: Mixer = MIXERS[type(config)](config, dim, tokens)
    return mixer


def _block(config: ModelConfig, tokens: tuple[int, int], position: int) -> Block:
    mixer = build_mixer(config.mixer, config.embed_dim, tokens)
    rate = config.drop_path_rate * position / max(config.depth - 1, 1)
    return Block(config.embed_dim, mixer, config.mlp_ratio, config.drop_rate, rate)
