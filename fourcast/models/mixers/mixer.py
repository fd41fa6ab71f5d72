"""What every token mixer is."""

from torch import Tensor, nn


class Mixer(nn.Module):
    """Tokens to tokens of the same shape and type: ``forward(y_BHWD) → BHWD``, on normalised tokens."""

    def residual(self, x_BHWD: Tensor, norm: nn.LayerNorm) -> Tensor:
        """x + forward(norm(x)): the first half of a block, which a mixer may compute in one go."""
        return x_BHWD + self(norm(x_BHWD))
