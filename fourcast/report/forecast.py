"""The forecast that a page's map shows: one initial time of it, with the analyses it is compared with."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourcast.errors import InputError
from fourcast.grid import closes_circle
from fourcast.periods import parse_time
from fourcast.verify.inputs.forecasts import Forecast
from fourcast.verify.inputs.targets import Targets

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Places = NDArray[np.intp]
Times = NDArray[np.datetime64]
TOLERANCE = 1e-3
"""In degrees, between points that are the same."""


@dataclass(frozen=True, eq=False)
class Shown:
    """One initial time of a forecast, its columns in the order in which a map shows them.

    longitude: [W] strictly increasing, as in ``map_order``. columns: where these lie in the forecast's grid.
    """

    forecast: Forecast
    i_init: int
    longitude: Float64
    columns: Places

    @property
    def latitude(self) -> Float64:
        """[H] strictly decreasing."""
        return self.forecast.grid.latitude

    @property
    def channels(self) -> tuple[str, ...]:
        """What it holds."""
        return self.forecast.channels

    @property
    def members(self) -> tuple[int, ...]:
        """Numbers of the members."""
        return self.forecast.members

    @property
    def lead_hours(self) -> tuple[int, ...]:
        """Lead times."""
        return self.forecast.lead_hours

    @property
    def init_time(self) -> np.datetime64:
        """When the forecast starts."""
        return np.datetime64(self.forecast.init_times[self.i_init], "h")

    def read(self, name: str, hours: int) -> Float32:
        """One channel of all members at a lead time: [M, H, W]."""
        fields_MHW = self.forecast.read(self.i_init, self.lead_hours.index(hours), (name,))[0]
        return np.ascontiguousarray(fields_MHW[..., self.columns])


def shown_at(forecast: Forecast, init_time: str | None, verified: list[str]) -> Shown:
    """The initial time asked for, else the first that was ``verified``, else the first.

    InputError where the forecast does not have the one asked for.
    """
    held = [str(time) for time in forecast.init_times.astype("datetime64[h]")]
    wanted = next((time for time in verified if time in held), held[0])
    if init_time is not None:
        wanted = str(parse_time("init_time", init_time))
    if wanted not in held:
        raise InputError(f"init_time: {forecast.path} has no {init_time}; it holds {', '.join(held[:5])} …")
    columns, longitude = map_order(forecast.grid.longitude)
    return Shown(forecast, held.index(wanted), longitude, columns)


def map_order(longitude: Float64) -> tuple[Places, Float64]:
    """The order of columns on a map, and their longitudes, strictly increasing.

    Round the globe from -180 to 180; a region begins behind the widest gap, where need be west of Greenwich.
    """
    if closes_circle(longitude):
        centred = (longitude + 180.0) % 360.0 - 180.0
        columns = np.argsort(centred)
        return columns, centred[columns]
    gaps = np.diff(longitude, append=longitude[:1] + 360.0)
    columns = np.roll(np.arange(len(longitude)), -int(np.argmax(gaps)) - 1)
    places = longitude[columns]
    return columns, np.where(places > places[-1], places - 360.0, places)


@dataclass(frozen=True, eq=False)
class Analyses:
    """Analyses at the points of a forecast."""

    targets: Targets
    rows: Places
    columns: Places

    def read(self, name: str, times: Times) -> Float32 | None:
        """One channel at ``times`` [L, H, W], NaN where there is no such time; None where there is no such channel."""
        if not self.targets.can_read(name):
            return None
        held = np.flatnonzero(np.isin(times, self.targets.times))
        fields_LHW = np.full((len(times), len(self.rows), len(self.columns)), np.nan, np.float32)
        if held.size:
            whole_LHW = self.targets.read(times[held], (name,))[:, 0]
            fields_LHW[held] = whole_LHW[:, self.rows[:, None], self.columns]
        return fields_LHW


def analyses_at(targets: Targets, shown: Shown) -> Analyses | None:
    """The analyses at the forecast's points; None where they lack some of these."""
    rows = _matches(targets.grid.latitude, shown.latitude)
    columns = _matches(targets.grid.longitude, shown.longitude % 360.0)
    return None if rows is None or columns is None else Analyses(targets, rows, columns)


def _matches(held: Float64, wanted: Float64) -> Places | None:
    """Where each of ``wanted`` lies among ``held``."""
    distance = np.abs(wanted[:, None] - held)
    nearest = distance.argmin(axis=1)
    return nearest if (distance.min(axis=1) <= TOLERANCE).all() else None
