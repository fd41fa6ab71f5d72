"""The token mixers' part of the schema: one dataclass each, chosen with ``mixer=<name>``, under ``model.mixer``."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from fourcast.checks import below_one, not_negative, one_of, positive
from fourcast.errors import InputError


@dataclass
class ModesConfig:
    """Which Fourier modes a token mixer keeps.

    fourcastnet: what the published weights need, with its hard_thresholding_fraction; full: all of them; lowpass:
    the lowest, by a kept fraction for each axis.
    """

    policy: str = "fourcastnet"
    hard_thresholding_fraction: float = 1.0
    zonal_fraction: float = 1.0
    meridional_fraction: float = 1.0

    def __post_init__(self) -> None:
        one_of("model.mixer.modes.policy", self.policy, ("fourcastnet", "full", "lowpass"))
        for key in ("hard_thresholding_fraction", "zonal_fraction", "meridional_fraction"):
            value = getattr(self, key)
            if not 0.0 < value <= 1.0:
                raise InputError(f"model.mixer.modes.{key} must lie in (0, 1], found {value}")


def full_modes() -> ModesConfig:
    """Every mode."""
    return ModesConfig("full")


def lower_half() -> ModesConfig:
    """The lower half of the wavenumbers along each axis."""
    return ModesConfig("lowpass", zonal_fraction=0.5, meridional_fraction=0.5)


@dataclass
class MixerConfig:
    """What mixes tokens inside a block; ``name`` says which and is fixed for each class."""

    name: str = MISSING

    def __post_init__(self) -> None:
        own = type(self).name
        if self.name != own:
            raise InputError(
                f"model.mixer.name is {own!r} here, found {self.name!r}; choose the mixer with mixer=<name>"
            )

    def check_width(self, dim: int) -> None:
        """Raise InputError where ``model.embed_dim`` does not suit the mixer."""


@dataclass
class BlockedConfig(MixerConfig):
    """A mixer whose weights are block-diagonal over ``num_blocks`` groups of channels, on the kept modes."""

    num_blocks: int = 8
    modes: ModesConfig = field(default_factory=full_modes)

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("model.mixer.num_blocks", self.num_blocks)

    def check_width(self, dim: int) -> None:
        multiple_of(dim, self.num_blocks, f"model.mixer.num_blocks, found {dim} and {self.num_blocks}")


@dataclass
class AFNOConfig(BlockedConfig):
    """Adaptive Fourier neural operator; the defaults are FourCastNet's."""

    name: str = "afno"
    modes: ModesConfig = field(default_factory=ModesConfig)
    sparsity_threshold: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative("model.mixer.sparsity_threshold", self.sparsity_threshold)


@dataclass
class AFFConfig(BlockedConfig):
    """Adaptive frequency filter: a mask for the spectrum from AFNO's MLP."""

    name: str = "aff"
    sparsity_threshold: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative("model.mixer.sparsity_threshold", self.sparsity_threshold)


@dataclass
class FNOConfig(BlockedConfig):
    """Fourier neural operator: weights of its own for every kept mode; num_blocks=1 is dense, as published."""

    name: str = "fno"
    modes: ModesConfig = field(default_factory=lower_half)


@dataclass
class GFNetConfig(MixerConfig):
    """Global filter: one learned complex number for every kept mode and channel."""

    name: str = "gfnet"
    modes: ModesConfig = field(default_factory=full_modes)


@dataclass
class FFCConfig(MixerConfig):
    """Fast Fourier convolution: ``global_ratio`` of the channels is mixed in Fourier space, the rest locally."""

    name: str = "ffc"
    global_ratio: float = 0.5
    local_fourier_unit: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.global_ratio < 1:
            raise InputError(f"model.mixer.global_ratio must lie in (0, 1), found {self.global_ratio}")

    def check_width(self, dim: int) -> None:
        channels, divisor = self.global_channels(dim), 8 if self.local_fourier_unit else 2
        if channels == 0 or channels % divisor:
            raise InputError(
                f"model.mixer.global_ratio={self.global_ratio} of model.embed_dim={dim} makes {channels} global "
                f"channels; with local_fourier_unit={str(self.local_fourier_unit).lower()} they must be a multiple of "
                f"{divisor}"
            )

    def global_channels(self, dim: int) -> int:
        """How many of ``dim`` channels are mixed in Fourier space."""
        return int(dim * self.global_ratio)


@dataclass
class ParCConfig(MixerConfig):
    """Position-aware circular convolution; meta_resolution: [rows, columns] of its kernels, null: the tokens' own."""

    name: str = "parc"
    meta_resolution: list[int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        size = self.meta_resolution
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise InputError(f"model.mixer.meta_resolution must be [rows, columns], found {size}")

    def check_width(self, dim: int) -> None:
        multiple_of(dim, 2, f"2 for mixer=parc, found {dim}")


@dataclass
class LongConvConfig(MixerConfig):
    """Simple long convolution over the tokens, row after row.

    causal: not periodic, and blind to what follows. squash: the kernel shrinks towards zero by this much.
    smooth_width: odd number of neighbours that the kernel is averaged over, 0 for none. kernel_dropout: in training.
    """

    name: str = "long_conv"
    causal: bool = False
    squash: float = 0.001
    smooth_width: int = 0
    kernel_dropout: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative("model.mixer.squash", self.squash)
        below_one("model.mixer.kernel_dropout", self.kernel_dropout)
        if self.smooth_width != 0 and (self.smooth_width < 0 or self.smooth_width % 2 == 0):
            raise InputError(f"model.mixer.smooth_width must be 0 or odd, found {self.smooth_width}")


@dataclass
class NoneConfig(MixerConfig):
    """No mixing: tokens pass unchanged."""

    name: str = "none"


MIXERS: dict[str, type[MixerConfig]] = {
    config.name: config
    for config in (
        AFNOConfig, FNOConfig, GFNetConfig, AFFConfig, FFCConfig, ParCConfig, LongConvConfig, NoneConfig,
    )
}  # fmt: skip


def multiple_of(dim: int, divisor: int, what: str) -> None:
    """Raise InputError unless the width is a multiple of ``divisor``."""
    if dim % divisor:
        raise InputError(f"model.embed_dim must be a multiple of {what}")
