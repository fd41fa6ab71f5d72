"""What a forecast's configuration says of its ensemble, its files and its products.

An *amplitude* is in standard deviations of the training period: one number for every channel; numbers by variable or
channel, as in ``{default: 0.1, t: 0.05, z500: 0.2}``; or the name of a file that ``fourcast calibrate`` wrote.
"""

from dataclasses import dataclass, field
from typing import Any

from fourcast.checks import as_list, not_negative, one_of, positive
from fourcast.errors import InputError

LAYOUTS = ("member", "ensemble", "zarr")
STATISTICS = ("mean", "spread", "minimum", "maximum")
MANTISSA_BITS = 23
PUBLISHED_AMPLITUDE = 0.3


@dataclass
class GaussianConfig:
    """Independent noise at every point of every channel.

    amplitude: null is 0.3, as in FourCastNet's published ensembles, where no other perturbation is on, else 0.
    """

    amplitude: Any = None

    def __post_init__(self) -> None:
        if self.amplitude is not None:
            check_amplitude("ensemble.gaussian.amplitude", self.amplitude)


@dataclass
class CorrelatedConfig:
    """Gaussian noise that is correlated on the sphere, each channel for itself.

    length_km: the length scale of the correlation. spectrum: gaussian, where it falls off as exp(-r²/2L²), or matern,
    whose power falls off as a power of the wavenumber, so that small scales keep some.
    """

    amplitude: Any = 0.0
    length_km: float = 500.0
    spectrum: str = "gaussian"

    def __post_init__(self) -> None:
        check_amplitude("ensemble.correlated.amplitude", self.amplitude)
        positive("ensemble.correlated.length_km", self.length_km)
        one_of("ensemble.correlated.spectrum", self.spectrum, ("gaussian", "matern"))


@dataclass
class BredConfig:
    """Bred vectors: what grows fastest in the model's own forecasts before the initial time, in pairs of either sign.

    cycles: how often a difference is grown and scaled back to the amplitude. cycle_hours: how long it grows in each
    (null: one step of the model).
    """

    amplitude: Any = 0.0
    cycles: int = 8
    cycle_hours: int | None = None

    def __post_init__(self) -> None:
        check_amplitude("ensemble.bred.amplitude", self.amplitude)
        positive("ensemble.bred.cycles", self.cycles)
        positive("ensemble.bred.cycle_hours", 1 if self.cycle_hours is None else self.cycle_hours)


@dataclass
class EnsembleConfig:
    """Members of a forecast; perturbations whose amplitude is above zero add up.

    size: how many there are; members: which of these to make (null: all). control: member 0 starts from the
    unperturbed analysis. lagged: hours by which the others' analyses are older, in turn; these are brought to the
    initial time by the model. dropout: of models trained with it, drawn anew by every member at every step.

    batch_size: how many members are in memory together (null: as many as fit). exact: make every member the same bits
    whatever the batch, the number of processes and what else is made; null: where that costs nothing to speak of.
    """

    size: int = 1
    members: list[int] | None = None
    seed: int = 0
    control: bool = True
    gaussian: GaussianConfig = field(default_factory=GaussianConfig)
    correlated: CorrelatedConfig = field(default_factory=CorrelatedConfig)
    bred: BredConfig = field(default_factory=BredConfig)
    lagged: list[int] = field(default_factory=list)
    dropout: bool = False
    batch_size: int | None = None
    exact: bool | None = None

    def __post_init__(self) -> None:
        positive("ensemble.size", self.size)
        positive("ensemble.batch_size", 1 if self.batch_size is None else self.batch_size)
        not_negative("ensemble.seed", self.seed)
        members = range(self.size) if self.members is None else self.members
        if not members or not set(members) <= set(range(self.size)):
            raise InputError(f"ensemble.members must lie in 0 … {self.size - 1} (ensemble.size), found {members}")
        for hours in self.lagged:
            positive("ensemble.lagged", hours)

    @property
    def gaussian_amplitude(self) -> Any:
        """That of the Gaussian noise: the one given, or the one that null stands for."""
        if self.gaussian.amplitude is not None:
            return self.gaussian.amplitude
        others = _is_on(self.correlated.amplitude) or _is_on(self.bred.amplitude) or self.lagged or self.dropout
        return 0.0 if others else PUBLISHED_AMPLITUDE


@dataclass
class FilesConfig:
    """What is written of members.

    layout: member, a netCDF file for each; ensemble, one for each initial time with the dimension number; zarr, one for
    the run as WeatherBench 2 lays it out; or a list of these; null: none, products alone. levels: in hPa; region:
    [north, west, south, east] in degrees; every_hours: of lead time; null: all. compression: zlib's level. keep_bits:
    of the 23 of a number's fraction; the others are rounded away, so that files shrink and values change by at most
    2^-(keep_bits + 1) of their size.
    """

    layout: Any = "member"
    levels: list[int] | None = None
    region: list[float] | None = None
    every_hours: int | None = None
    compression: int = 1
    keep_bits: int | None = None

    def __post_init__(self) -> None:
        self.layout = as_list("files.layout", self.layout)
        for layout in self.layout or []:
            one_of("files.layout", layout, LAYOUTS)
        if self.region is not None and (len(self.region) != 4 or not 90 >= self.region[0] > self.region[2] >= -90):
            raise InputError(f"files.region must be [north, west, south, east] in degrees, found {self.region}")
        positive("files.every_hours", 1 if self.every_hours is None else self.every_hours)
        if not 0 <= self.compression <= 9:
            raise InputError(f"files.compression must lie in 0 … 9, found {self.compression}")
        if self.keep_bits is not None and not 1 <= self.keep_bits < MANTISSA_BITS:
            raise InputError(f"files.keep_bits must lie in 1 … {MANTISSA_BITS - 1}, found {self.keep_bits}")


@dataclass
class ProductsConfig:
    """What is computed of all members that are made while they run, each product in a file of its own beside theirs.

    statistics: of mean, spread (standard deviation, divisor M - 1), minimum, maximum. quantiles: in [0, 1].
    probability: of events such as "ws10m > 17.2" or "tp06 >= 0.01", in the units of the files.
    """

    statistics: Any = None
    quantiles: Any = None
    probability: Any = None

    def __post_init__(self) -> None:
        self.statistics = as_list("products.statistics", self.statistics)
        self.probability = as_list("products.probability", self.probability)
        for name in self.statistics or []:
            one_of("products.statistics", name, STATISTICS)
        given = [] if self.quantiles is None else self.quantiles
        self.quantiles = given if isinstance(given, list) else [given]
        for quantile in self.quantiles:
            if isinstance(quantile, bool) or not isinstance(quantile, int | float):
                raise InputError(f"products.quantiles must be numbers in 0 … 1, found {quantile!r}")
            if not 0 <= quantile <= 1:
                raise InputError(f"products.quantiles must lie in 0 … 1, found {quantile}")

    @property
    def any(self) -> bool:
        """Whether any product is asked for."""
        return bool(self.statistics or self.quantiles or self.probability)


def _is_on(amplitude: Any) -> bool:
    return any(amplitude.values()) if isinstance(amplitude, dict) else bool(amplitude)


def check_amplitude(key: str, amplitude: Any) -> None:
    """Raise InputError unless ``amplitude`` is a number, numbers by name, or the name of a file."""
    numbers = amplitude.values() if isinstance(amplitude, dict) else [amplitude]
    for number in numbers if not isinstance(amplitude, str) else []:
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise InputError(
                f"{key} must be a number, numbers by channel or a file of fourcast calibrate, found {number!r}"
            )
        not_negative(key, number)
