"""FourCastNet's network and training step written plainly: what a faithful port of the published one costs.

Operation for operation as described by Pathak et al. (arXiv 2202.11214) and its published code: FFTs in float32
whatever the precision of the rest, the spectral MLP as einsums on slices into zero-filled buffers of the full
spectrum, a LayerNorm and an MLP between skip connections. Nothing is fused. Names of parameters are the published
ones, so that one state dict loads here and in ``fourcast.models.fourcastnet``.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softshrink


@dataclass(frozen=True)
class Shape:
    """Sizes of a network; the defaults are the published ones."""

    grid: tuple[int, int] = (720, 1440)
    channels: int = 26
    patch_size: int = 8
    embed_dim: int = 768
    depth: int = 12
    mlp_ratio: float = 4.0
    num_blocks: int = 8
    sparsity_threshold: float = 0.01

    @property
    def tokens(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.grid[0] // self.patch_size, self.grid[1] // self.patch_size


class PlainMLP(nn.Module):
    """Linear, GELU, linear on the last dimension."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[…, D] → […, D]."""
        return self.fc2(self.act(self.fc1(x)))


class PlainAFNO(nn.Module):
    """x + irfft2(softshrink(MLP(rfft2(x)))): [B, H, W, D] → [B, H, W, D], on H//2 + 1 zonal wavenumbers at most."""

    def __init__(self, dim: int, num_blocks: int, sparsity_threshold: float) -> None:
        super().__init__()
        block = dim // num_blocks
        self.sparsity_threshold = sparsity_threshold
        self.w1 = nn.Parameter(0.02 * torch.randn(2, num_blocks, block, block))
        self.b1 = nn.Parameter(0.02 * torch.randn(2, num_blocks, block))
        self.w2 = nn.Parameter(0.02 * torch.randn(2, num_blocks, block, block))
        self.b2 = nn.Parameter(0.02 * torch.randn(2, num_blocks, block))

    def forward(self, x_BHWD: Tensor) -> Tensor:
        """The filtered tokens plus the tokens, in their type."""
        bias, dtype = x_BHWD, x_BHWD.dtype
        B, H, W, D = x_BHWD.shape
        x = torch.fft.rfft2(x_BHWD.float(), dim=(1, 2), norm="ortho").reshape(B, H, W // 2 + 1, *self.w1.shape[1:3])
        o1_real, o1_imag, o2_real, o2_imag = (torch.zeros(x.shape, device=x.device) for _ in range(4))
        kept = (slice(None), slice(None), slice(None, H // 2 + 1))

        o1_real[kept] = relu(times(x[kept].real, self.w1[0]) - times(x[kept].imag, self.w1[1]) + self.b1[0])
        o1_imag[kept] = relu(times(x[kept].imag, self.w1[0]) + times(x[kept].real, self.w1[1]) + self.b1[1])
        o2_real[kept] = times(o1_real[kept], self.w2[0]) - times(o1_imag[kept], self.w2[1]) + self.b2[0]
        o2_imag[kept] = times(o1_imag[kept], self.w2[0]) + times(o1_real[kept], self.w2[1]) + self.b2[1]

        shrunk = softshrink(torch.stack([o2_real, o2_imag], dim=-1), self.sparsity_threshold)
        z = torch.view_as_complex(shrunk).reshape(B, H, W // 2 + 1, D)
        return torch.fft.irfft2(z, s=(H, W), dim=(1, 2), norm="ortho").type(dtype) + bias


def times(values: Tensor, weight: Tensor) -> Tensor:
    """A block-diagonal matrix on the last two dimensions."""
    return torch.einsum("...bi,bio->...bo", values, weight)


class PlainBlock(nn.Module):
    """AFNO, then the MLP, each after a LayerNorm and with a skip connection."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        dim = shape.embed_dim
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.filter = PlainAFNO(dim, shape.num_blocks, shape.sparsity_threshold)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = PlainMLP(dim, int(dim * shape.mlp_ratio))

    def forward(self, x_BHWD: Tensor) -> Tensor:
        """[B, H, W, D] → [B, H, W, D]."""
        x = self.filter(self.norm1(x_BHWD)) + x_BHWD
        return self.mlp(self.norm2(x)) + x


class PlainPatchEmbed(nn.Module):
    """Patches to a sequence of tokens: [B, C, H, W] → [B, N, D]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.proj = nn.Conv2d(shape.channels, shape.embed_dim, shape.patch_size, stride=shape.patch_size)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Tokens, row after row."""
        return self.proj(x_BCHW).flatten(2).transpose(1, 2)


class PlainFourCastNet(nn.Module):
    """[B, C, H, W] → [B, C, H, W]. ``norm`` is constructed and never called, as published."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        h, w = shape.tokens
        self.shape = shape
        self.patch_embed = PlainPatchEmbed(shape)
        self.pos_embed = nn.Parameter(torch.zeros(1, h * w, shape.embed_dim))
        self.blocks = nn.ModuleList(PlainBlock(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.embed_dim, eps=1e-6)
        self.head = nn.Linear(shape.embed_dim, shape.channels * shape.patch_size**2, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The next state."""
        (h, w), p = self.shape.tokens, self.shape.patch_size
        x = (self.patch_embed(x_BCHW) + self.pos_embed).reshape(x_BCHW.shape[0], h, w, -1)
        for block in self.blocks:
            x = block(x)
        patches = self.head(x).reshape(x.shape[0], h, w, p, p, -1)
        return patches.permute(0, 5, 1, 3, 2, 4).reshape(x_BCHW.shape[0], -1, h * p, w * p)


def relative_l2(predictions_BCHW: Tensor, targets_BCHW: Tensor) -> Tensor:
    """Mean over samples of ‖p − t‖ / ‖t‖, as published: reshaped, then two norms."""
    samples = predictions_BCHW.shape[0]
    difference = torch.norm(predictions_BCHW.reshape(samples, -1) - targets_BCHW.reshape(samples, -1), 2, 1)
    return (difference / torch.norm(targets_BCHW.reshape(samples, -1), 2, 1)).mean()


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, x_BCHW: Tensor, target_BCHW: Tensor, precision: str
) -> Tensor:
    """One step as published: autocast around network and loss, backward, optimizer; the loss."""
    optimizer.zero_grad()
    with torch.autocast(x_BCHW.device.type, torch.bfloat16, enabled=precision == "bf16"):
        loss = relative_l2(model(x_BCHW), target_BCHW)
    loss.backward()
    optimizer.step()
    return loss.detach()
