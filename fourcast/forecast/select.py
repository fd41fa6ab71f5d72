"""What of the model's output is written: channels, derived ones among them, a region, and lead times."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourcast.config import ForecastConfig
from fourcast.errors import InputError
from fourcast.forecast.derived import derivable, derive, inputs
from fourcast.grid import Array, Grid
from fourcast.variables import parse_channel

Float32 = NDArray[np.float32]
Places = NDArray[np.intp]
TOLERANCE = 1e-6
"""In degrees, at the borders of a region."""


@dataclass(frozen=True, eq=False)
class Selection:
    """What is written, in this order, of fields that hold ``outputs`` on ``grid``.

    channels: the written ones; those not among outputs are derived from them. lead_hours: the written ones, 0 first.
    rows, columns: places in the grid. latitude, longitude: of these; longitudes increase strictly, and those of a
    region across the meridian of Greenwich begin in -180 … 180.
    """

    outputs: tuple[str, ...]
    grid: Grid
    channels: tuple[str, ...]
    lead_hours: tuple[int, ...]
    rows: Places
    columns: Places
    latitude: Array
    longitude: Array

    def take(self, fields_MCHW: Float32) -> Float32:
        """The selected fields, contiguous: [M, C, H, W] → [M, C', h, w]; the array itself where that is all of it."""
        assert fields_MCHW.shape[1:] == (len(self.outputs), *self.grid.shape), fields_MCHW.shape
        shape = (len(self.channels), len(self.rows), len(self.columns))
        if self.channels == self.outputs and shape == fields_MCHW.shape[1:]:
            return np.ascontiguousarray(fields_MCHW)
        taken = np.empty((len(fields_MCHW), *shape), dtype=np.float32)
        for c, name in enumerate(self.channels):
            taken[:, c] = self._field(name, fields_MCHW)[:, self.rows[:, None], self.columns]
        return taken

    def _field(self, name: str, fields_MCHW: Float32) -> Float32:
        """One channel of all members on the whole grid: [M, H, W]."""
        if name in self.outputs:
            return fields_MCHW[:, self.outputs.index(name)]
        return derive(name, {wind: fields_MCHW[:, self.outputs.index(wind)] for wind in inputs(name)}, self.grid)


def make_selection(config: ForecastConfig, outputs: tuple[str, ...], grid: Grid, step_hours: int) -> Selection:
    """What ``config`` asks for of a model that forecasts ``outputs`` on ``grid`` in steps of ``step_hours``.

    InputError for a variable or level that there is not, a region without a point, or lead times between steps.
    """
    rows, columns, longitude = _region(config.files.region, grid)
    return Selection(
        outputs=outputs,
        grid=grid,
        channels=_on_levels(_named(config.variables, outputs), config),
        lead_hours=_lead_hours(config, step_hours),
        rows=rows,
        columns=columns,
        latitude=grid.latitude[rows],
        longitude=longitude,
    )


def _named(wanted: list[str] | None, outputs: tuple[str, ...]) -> tuple[str, ...]:
    """The model's channels that are named or whose variable is, then the derived ones; all of the model's for None."""
    if wanted is None:
        return outputs
    derived = derivable(outputs)
    unknown = [name for name in wanted if not any(_matches(name, channel) for channel in (*outputs, *derived))]
    if unknown:
        raise InputError(
            f"variables: the model has no {', '.join(unknown)}; it forecasts {', '.join(outputs)}"
            + (f", of which follow {', '.join(derived)}" if derived else "")
        )
    return tuple(channel for channel in (*outputs, *derived) if any(_matches(name, channel) for name in wanted))


def _matches(name: str, channel: str) -> bool:
    return name in (channel, parse_channel(channel).variable.name)


def _on_levels(channels: tuple[str, ...], config: ForecastConfig) -> tuple[str, ...]:
    """Those channels that lie on files.levels or on no level."""
    wanted = config.files.levels
    if wanted is None:
        return channels
    levels = {name: parse_channel(name).level for name in channels}
    held = sorted({level for level in levels.values() if level is not None})
    missing = [level for level in wanted if level not in held]
    if missing:
        raise InputError(
            f"files.levels: nothing is written at {_listed(missing)} hPa; choose among {_listed(held) or 'no levels'}"
        )
    left_out = [name for name in config.variables or [] if levels.get(name) not in (None, *wanted)]
    if left_out:
        raise InputError(f"variables names {', '.join(left_out)}, which files.levels={wanted} leaves out; change one")
    kept = tuple(name for name in channels if levels[name] is None or levels[name] in wanted)
    if not kept:
        raise InputError(f"files.levels={wanted} leaves nothing of {', '.join(channels)} to write; name some levels")
    return kept


def _lead_hours(config: ForecastConfig, step_hours: int) -> tuple[int, ...]:
    every = step_hours if config.files.every_hours is None else config.files.every_hours
    if every % step_hours:
        raise InputError(f"files.every_hours={every} is no multiple of the model's step of {step_hours} h")
    if config.lead_hours % every:
        raise InputError(f"lead_hours={config.lead_hours} is no multiple of files.every_hours={every}; change one")
    return tuple(range(0, config.lead_hours + 1, every))


def _region(region: list[float] | None, grid: Grid) -> tuple[Places, Places, Array]:
    """Rows and columns of the grid within [north, west, south, east], and the longitudes to write."""
    if region is None:
        return np.arange(grid.shape[0]), np.arange(grid.shape[1]), grid.longitude
    north, west, south, east = region
    rows = np.flatnonzero((grid.latitude <= north + TOLERANCE) & (grid.latitude >= south - TOLERANCE))
    columns, longitude = _between(west, east, grid.longitude)
    if not rows.size or not columns.size:
        raise InputError(f"files.region={region} (north, west, south, east) has no point of the model's grid, {grid}")
    return rows, columns, longitude


def _between(west: float, east: float, longitude: Array) -> tuple[Places, Array]:
    """Columns from ``west`` eastward to ``east``, and their longitudes, increasing."""
    if east - west >= 360 - TOLERANCE:
        return np.arange(len(longitude)), longitude
    eastward = (longitude - west + TOLERANCE) % 360
    inside = np.flatnonzero(eastward <= (east - west) % 360 + 2 * TOLERANCE)
    columns = inside[np.argsort(eastward[inside])]
    places = longitude[columns]
    crossing = places < places[:1]
    if crossing.any():
        places = np.where(crossing, places + 360, places) - (360 if places[0] >= 180 else 0)
    return columns, places


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
