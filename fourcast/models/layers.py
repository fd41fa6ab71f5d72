"""Parts that models share: patch embedding, MLP, stochastic depth, and the residual wrapper."""

import torch
from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """Non-overlapping patches to tokens: [B, C, H, W] → [B, H/p, W/p, D]."""

    def __init__(self, patch_size: int, in_channels: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Tokens, channels last: the convolution as one matrix product."""
        weight_DP = self.proj.weight.flatten(1)
        return nn.functional.linear(patchify(x_BCHW, self.proj.kernel_size[0]), weight_DP, self.proj.bias)


def patchify(x_BCHW: Tensor, patch_size: int) -> Tensor:
    """Fields to tokens holding (C, p, p) values, the last fastest: [B, C, H, W] → [B, H/p, W/p, C·p·p]."""
    patches = x_BCHW.unflatten(3, (-1, patch_size)).unflatten(2, (-1, patch_size))
    return patches.permute(0, 2, 4, 1, 3, 5).flatten(3)


def unpatchify(tokens_BHWD: Tensor, patch_size: int) -> Tensor:
    """Tokens holding (p, p, C) values, C fastest, to fields: [B, H/p, W/p, p·p·C] → [B, C, H, W]."""
    b, h, w, _ = tokens_BHWD.shape
    patches = tokens_BHWD.reshape(b, h, w, patch_size, patch_size, -1)
    return patches.permute(0, 5, 1, 3, 2, 4).reshape(b, -1, h * patch_size, w * patch_size)


class MLP(nn.Module):
    """Two linear layers with the exact (erf) GELU between, on the last dimension."""

    def __init__(self, dim: int, hidden_dim: int, drop_rate: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """[…, D] → […, D]."""
        return self.drop(self.fc2(self.drop(nn.functional.gelu(self.fc1(x)))))


def drop_path(x: Tensor, rate: float, training: bool) -> Tensor:
    """Stochastic depth (Huang et al. 2016): in training, zero a whole sample's branch with probability ``rate``."""
    if rate == 0.0 or not training:
        return x
    keep = torch.rand(x.shape[0], *[1] * (x.ndim - 1), device=x.device) >= rate
    return x * keep.to(x.dtype) / (1.0 - rate)


class Residual(nn.Module):
    """A network that gives the change over one step: x + scale · network(x), per channel, in normalised units.

    scale_C is the typical size of that change, so that the network's output is of order one on every channel. What
    the input holds behind these C channels, such as noise, the network sees and the state does not.
    """

    scale: Tensor

    def __init__(self, network: nn.Module, scale_C: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("scale", scale_C[:, None, None].clone())

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, C or more, H, W] → the state [B, C, H, W] one step later."""
        return x_BCHW[:, : len(self.scale)] + self.scale * self.network(x_BCHW)
