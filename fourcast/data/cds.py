"""What to ask the Climate Data Store for, so that its files hold the channels of a configuration."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourcast.data.sources.recognise import HOURLY_PRECIPITATION
from fourcast.data_config import FetchConfig
from fourcast.errors import InputError
from fourcast.periods import last_hour, parse_time
from fourcast.variables import BY_NAME, Channel, parse_channels

PRESSURE_LEVELS, SINGLE_LEVELS = "reanalysis-era5-pressure-levels", "reanalysis-era5-single-levels"
STATIC = {"z_sfc": "geopotential", "lsm": "land_sea_mask"}
"""Variables that do not change in time, and their names among the single levels."""
NAMES = {v.long_name: v.name for v in (*BY_NAME.values(), HOURLY_PRECIPITATION)}
"""Name at the Climate Data Store → our variable."""


@dataclass(frozen=True)
class Request:
    """One request: a product of variables, days of one month, hours of the day, and levels (none: single levels)."""

    stream: str
    variables: tuple[str, ...]
    levels: tuple[int, ...]
    days: tuple[str, ...]
    hours: tuple[int, ...]
    area: tuple[float, ...] = ()
    grid: float | None = None

    @property
    def dataset(self) -> str:
        """The data set's name at the Climate Data Store."""
        return PRESSURE_LEVELS if self.levels else SINGLE_LEVELS

    @property
    def wanted(self) -> set[str]:
        """Names of our variables that its file must hold."""
        return set(STATIC) if self.stream == "static" else {NAMES[name] for name in self.variables}

    @property
    def times(self) -> NDArray[np.datetime64]:
        """The times that its file must hold, to the hour."""
        days = np.array(self.days, dtype="datetime64[D]").astype("datetime64[h]")
        return (days[:, None] + np.array(self.hours)).ravel()

    @property
    def file(self) -> str:
        """Name of its file: what it holds, and a digest of everything that shapes the content."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]
        return f"era5_{self.stream}_{self.days[0][:7]}_{digest}.nc"

    def body(self) -> dict[str, Any]:
        """The request as the Climate Data Store takes it."""
        year, month, _ = self.days[0].split("-")
        body: dict[str, Any] = {
            "product_type": ["reanalysis"],
            "variable": list(self.variables),
            "year": [year],
            "month": [month],
            "day": [day.split("-")[2] for day in self.days],
            "time": [f"{hour:02}:00" for hour in self.hours],
            "data_format": "netcdf",
            "download_format": "unarchived",
        }
        optional = {
            "pressure_level": [str(level) for level in self.levels],
            "area": list(self.area),
            "grid": [] if self.grid is None else [self.grid, self.grid],
        }
        return body | {key: value for key, value in optional.items() if value}

    def halves(self) -> tuple["Request", "Request"]:
        """Two requests for the same: half of the days each, or of the variables where there is one day."""
        if len(self.days) > 1:
            middle = len(self.days) // 2
            return replace(self, days=self.days[:middle]), replace(self, days=self.days[middle:])
        if len(self.variables) > 1:
            middle = len(self.variables) // 2
            return replace(self, variables=self.variables[:middle]), replace(self, variables=self.variables[middle:])
        raise InputError(f"the Climate Data Store finds one variable of one day too large: {self.body()}; coarsen grid")


def plan_requests(config: FetchConfig) -> Iterator[Request]:
    """The requests for a configuration: by month, for pressure levels, single levels and hourly sums apart."""
    channels = parse_channels(config.channels)
    first, last = parse_time("start", config.start), last_hour("end", config.end)
    hours = tuple(range(0, 24, config.step_hours))
    requests = [*_static(config, first), *_aloft(channels, _months(first, last), hours)]
    apart = {"tp06", *STATIC}
    surface = tuple(c.variable.long_name for c in channels if c.level is None and c.variable.name not in apart)
    if surface:
        requests += [Request("single", surface, (), days, hours) for days in _months(first, last)]
    if any(channel.variable.name == "tp06" for channel in channels):
        sums, months = (HOURLY_PRECIPITATION.long_name,), _months(first - np.timedelta64(5, "h"), last)
        requests += [Request("hourly", sums, (), days, tuple(range(24))) for days in months]
    for request in requests:
        yield replace(request, area=tuple(config.area or ()), grid=config.grid)


def _static(config: FetchConfig, first: np.datetime64) -> list[Request]:
    day = str(first.astype("datetime64[D]"))
    return [Request("static", tuple(STATIC.values()), (), (day,), (0,))] if config.static else []


def _aloft(channels: tuple[Channel, ...], months: list[tuple[str, ...]], hours: tuple[int, ...]) -> list[Request]:
    levels = tuple(sorted({channel.level for channel in channels if channel.level is not None}))
    names = tuple(dict.fromkeys(channel.variable.long_name for channel in channels if channel.level is not None))
    return [Request("pressure", names, levels, days, hours) for days in months] if levels else []


def _months(first: np.datetime64, last: np.datetime64) -> list[tuple[str, ...]]:
    """The days from ``first`` to ``last``, as many tuples as there are months."""
    days = np.arange(first.astype("datetime64[D]"), last.astype("datetime64[D]") + 1)
    months = days.astype("datetime64[M]")
    return [tuple(str(day) for day in days[months == month]) for month in np.unique(months)]
