"""What a configuration says of a verification and of the report on it."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from fourcast.checks import as_list, not_negative, one_of, positive
from fourcast.errors import InputError
from fourcast.files import STORE
from fourcast.periods import check_period, parse_part

CONVENTIONS = ("weatherbench2", "fourcastnet", "centred")
REGIONS = (
    "global", "tropics", "northern_extratropics", "southern_extratropics", "europe", "north_america", "east_asia",
)  # fmt: skip
"""Regions that are scored unless others are named, where the grid has points in them."""


@dataclass
class UncertaintyConfig:
    """Intervals of scores and of their differences, by a paired moving-block bootstrap over initial times.

    samples: how many resamples; 0 for none. block: consecutive initial times that are drawn together (null: the cube
    root of their number, rounded up). level: the share of resamples inside an interval.
    """

    samples: int = 1000
    block: int | None = None
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        not_negative("uncertainty.samples", self.samples)
        if self.block is not None:
            positive("uncertainty.block", self.block)
        if not 0 < self.level < 1:
            raise InputError(f"uncertainty.level must lie between 0 and 1, found {self.level}")


@dataclass
class MapsConfig:
    """Maps of error and spread, averaged over initial times.

    channels: null for the headline ones, [] for none. lead_hours: null for 24, 72 and 120 where they exist.
    """

    channels: Any = None
    lead_hours: list[int] | None = None

    def __post_init__(self) -> None:
        self.channels = [] if self.channels == [] else as_list("maps.channels", self.channels)


@dataclass
class VerifyConfig:
    """``fourcast verify``: score forecasts against analyses, beside persistence and climatology.

    forecast: a run of ours, a forecast zarr in WeatherBench 2's layout, or CF netCDF files (a file, folder or glob);
    several are compared on the times, lead times and channels they share. names: what they are called, in order.
    store: the analyses, a store of ours or an analysis zarr in WeatherBench 2's layout. climatology: a climatology zarr
    in WeatherBench 2's layout (null: that of the store; none: no climatology, and no ACC). regions: names, any of them
    also with _land or _sea (null: those of REGIONS that have points on the grid); boxes: further ones as {name: [north,
    west, south, east]}; masks: as {name: FILE.nc} of a field from 0 to 1 on the grid. events: as in "ws10m > 17.2", for
    the Brier score and reliability. climatology_members: analyses of other years that make the probabilistic
    climatology (0: none). missing: what to do where a forecast has no number although the analysis has one, refuse or
    skip.
    """

    forecast: Any = "runs/forecast"
    names: Any = None
    store: str = STORE
    climatology: str | None = None
    output: str = "runs/scores"
    channels: Any = None
    lead_hours: list[int] | None = None
    init_start: str | None = None
    init_end: str | None = None
    convention: str = "weatherbench2"
    regions: Any = None
    boxes: dict[str, Any] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)
    events: Any = field(default_factory=list)
    climatology_members: int = 20
    climatology_window_days: int = 10
    missing: str = "refuse"
    energy_score: bool = True
    spectra: bool = True
    maps: MapsConfig = field(default_factory=MapsConfig)
    uncertainty: UncertaintyConfig = field(default_factory=UncertaintyConfig)
    plots: bool = True
    workers: int = 1
    part: str | None = None

    def __post_init__(self) -> None:
        self.forecast = as_list("forecast", self.forecast)
        self.names = as_list("names", self.names)
        if self.names is not None and len(self.names) != len(self.forecast):
            raise InputError(f"names must be one for each of {len(self.forecast)} forecasts, found {self.names}")
        self.channels = as_list("channels", self.channels)
        self.events = as_list("events", self.events) if self.events else []
        self.boxes = {name: _numbers(f"boxes.{name}", numbers) for name, numbers in self.boxes.items()}
        if self.lead_hours == []:
            raise InputError("lead_hours must name at least one, found []; leave it out to verify all")
        self.regions = [] if self.regions == [] else as_list("regions", self.regions)
        one_of("convention", self.convention, CONVENTIONS)
        one_of("missing", self.missing, ("refuse", "skip"))
        not_negative("climatology_members", self.climatology_members)
        if self.climatology_members == 1:
            raise InputError("climatology_members must be 0 or at least 2, for one member is no ensemble; found 1")
        positive("climatology_window_days", self.climatology_window_days)
        positive("workers", self.workers)
        parse_part(self.part)
        check_period("init_", self.init_start, self.init_end)


def _numbers(key: str, found: Any) -> list[float]:
    """North, west, south, east, whole or not."""
    values = found if isinstance(found, list) else []
    if len(values) != 4 or not all(isinstance(n, int | float) and not isinstance(n, bool) for n in values):
        raise InputError(f"{key} must be north, west, south, east, found {found}; write four numbers of degrees")
    return [float(number) for number in values]


@dataclass
class ReportConfig:
    """``fourcast report RUN``: one HTML page of a run, which opens from disk without a network.

    run: the folder that holds train, forecast and scores (any of them elsewhere: train=, forecast=, scores=; what is
    not there is left out). store: null for the one the scores name. init_time: which forecast the map shows (null: the
    first verified). channels, lead_hours, members: what the map holds (null: as much as fits into megabytes).
    probability: events, as in "ws10m > 17.2" (null: those of the scores).
    """

    run: str = MISSING
    train: str | None = None
    forecast: str | None = None
    scores: str | None = None
    store: str | None = None
    output: str | None = None
    init_time: str | None = None
    channels: Any = None
    lead_hours: list[int] | None = None
    members: list[int] | None = None
    probability: list[str] | None = None
    megabytes: float = 20.0

    def __post_init__(self) -> None:
        self.channels = as_list("channels", self.channels)
        positive("megabytes", self.megabytes)
