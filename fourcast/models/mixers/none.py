"""No mixing at all: what is left of a block without it. AFNO without its spectral branch, for comparison."""

from torch import Tensor

from fourcast.mixer_config import NoneConfig
from fourcast.models.mixers.mixer import Mixer


class Identity(Mixer):
    """forward(y) = y; no operations, no parameters. Information then travels no further than a patch."""

    def __init__(self, config: NoneConfig, dim: int, tokens_shape: tuple[int, int]) -> None:
        super().__init__()

    def forward(self, y_BHWD: Tensor) -> Tensor:
        """[B, H, W, D], unchanged."""
        return y_BHWD
