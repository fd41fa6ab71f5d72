"""FourCastNet's network: a vision transformer around a token mixer, AFNO as published (Pathak et al. 2022).

Parameter names and, with AFNO, mathematics are those of the published weights, so that these load unchanged.
"""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fourcast.models.layers import MLP, PatchEmbed, drop_path, unpatchify
from fourcast.models.mixers.mixer import Mixer

LAYER_NORM_EPS = 1e-6


class Block(nn.Module):
    """Token mixing, then an MLP on every token, each after a LayerNorm and with a skip connection.

    recompute: keep the input alone for the backward pass, and compute the rest again there.
    """

    def __init__(self, dim: int, mixer: Mixer, mlp_ratio: float, drop_rate: float, drop_path_rate: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.filter = mixer
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.mlp = MLP(dim, round(dim * mlp_ratio), drop_rate)
        self.drop_path_rate = drop_path_rate
        self.recompute = False

    def forward(self, x_BHWD: Tensor) -> Tensor:
        """[B, H, W, D] → [B, H, W, D]."""
        if self.recompute and torch.is_grad_enabled():
            recomputed: Tensor = checkpoint(self.mixed, x_BHWD, use_reentrant=False)
            return recomputed
        return self.mixed(x_BHWD)

    def mixed(self, x_BHWD: Tensor) -> Tensor:
        """Both halves of the block."""
        x = self.filter.residual(x_BHWD, self.norm1)
        return x + drop_path(self.mlp(self.norm2(x)), self.drop_path_rate, self.training)


class UncalledNorm(nn.Module):
    """The published network constructs a last LayerNorm and never calls it; its names are kept, as buffers."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(dim))
        self.register_buffer("bias", torch.zeros(dim))


class FourCastNet(nn.Module):
    """Fields in, fields out: patch embedding, blocks, linear head. [B, C, H, W] → [B, C_out, H, W]."""

    def __init__(
        self,
        patch_embed: PatchEmbed,
        blocks: list[Block],
        tokens_shape: tuple[int, int],
        out_channels: int,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        dim, _, self.patch_size, _ = patch_embed.proj.weight.shape
        h, w = tokens_shape
        self.tokens_shape = tokens_shape
        self.pos_embed = nn.Parameter(torch.zeros(1, h * w, dim))
        self.patch_embed = patch_embed
        self.drop = nn.Dropout(drop_rate)
        self.blocks = nn.ModuleList(blocks)
        self.norm = UncalledNorm(dim)
        self.head = nn.Linear(dim, out_channels * self.patch_size**2, bias=False)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.apply(_initialise_linear)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Next state from normalised fields; H and W are those the network was built for."""
        h, w = self.tokens_shape
        tokens = self.patch_embed(x_BCHW)
        tokens = self.drop(tokens + self.pos_embed.view(1, h, w, -1))
        for block in self.blocks:
            tokens = block(tokens)
        return unpatchify(self.head(tokens), self.patch_size)


def _initialise_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
