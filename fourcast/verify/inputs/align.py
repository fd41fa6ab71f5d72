"""What forecasts and analyses share: grid, channels, cases."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from fourcast.errors import InputError
from fourcast.grid import Grid, south_pole_rows
from fourcast.variables import parse_channel, parse_channels
from fourcast.verify.inputs.forecasts import Forecast
from fourcast.verify.inputs.targets import Targets

Times = NDArray[np.datetime64]
ERA5 = "as in ERA5"


def align(forecast: Forecast, targets: Targets) -> tuple[Forecast, Targets]:
    """Both on one grid: where one has a row at the south pole that the other lacks, that row is left out.

    InputError where the grids differ in anything else.
    """
    grid = common_grid(forecast.grid, targets.grid)
    if grid is None:
        raise InputError(
            f"{forecast.path} is on the grid {forecast.grid}, {targets.path} on {targets.grid}; verify whole fields "
            "(files.region=null) against analyses on the forecast's grid, or interpolate one of them"
        )
    return replace(forecast, grid=grid), replace(targets, grid=grid)


def common_grid(one: Grid, other: Grid) -> Grid | None:
    """The grid of both, without a row at the south pole that only one has; None where they differ."""
    if one.same_as(other):
        return one
    trimmed = [Grid(grid.latitude[: len(grid.latitude) - south_pole_rows(grid.latitude)], grid.longitude)
               for grid in (one, other)]  # fmt: skip
    return trimmed[0] if trimmed[0].same_as(trimmed[1]) else None


def shared_channels(
    forecasts: Sequence[Forecast], targets: Targets, asked: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The channels to verify, and lines on what is left out and why, and on what was assumed of the files.

    Those ``asked`` for; InputError where a forecast or the analyses lack one. Otherwise all that any forecast holds
    and that the other forecasts and the analyses hold too, or that follow there from winds; InputError where none is.
    """
    everyone: tuple[Forecast | Targets, ...] = (*forecasts, targets)
    notes = tuple(note for forecast in forecasts for note in forecast.notes)
    if asked:
        channels = tuple(channel.name for channel in parse_channels(tuple(asked)))
        for part in everyone:
            part.require(channels)
        for reason in (_differ(name, forecasts, targets) for name in channels):
            if reason is not None:
                raise InputError(reason)
        return channels, notes
    held = tuple(dict.fromkeys(name for forecast in forecasts for name in forecast.channels))
    readable = tuple(name for name in held if all(part.can_read(name) for part in everyone))
    differing = {name: _differ(name, forecasts, targets) for name in readable}
    channels = tuple(name for name in readable if differing[name] is None)
    left_out = (
        *(f"{part.path} lacks {', '.join(missing)}" for part in everyone if (missing := _missing(part, held))),
        *(reason for reason in differing.values() if reason is not None),
        *(reason for part in everyone for reason in part.refused),
    )
    if not channels:
        raise InputError(f"forecast and analyses share no channel: {'; '.join(left_out)}; name others")
    return channels, (*left_out, *notes)


def _missing(part: Forecast | Targets, channels: Iterable[str]) -> list[str]:
    return [name for name in channels if not part.can_read(name)]


def _differ(name: str, forecasts: Sequence[Forecast], targets: Targets) -> str | None:
    """Why a channel that all hold is not the same quantity in all of them; None where it is."""
    variable = parse_channel(name).variable.name
    for forecast in forecasts:
        ours, theirs = forecast.formulas.get(variable, ERA5), targets.formulas.get(variable, ERA5)
        if ours != theirs:
            return f"{name} differs by its formula: {forecast.path}: {ours}; {targets.path}: {theirs}; leave it out"
    return None


def common_cases(forecasts: Sequence[Forecast]) -> tuple[Times, tuple[int, ...]]:
    """Initial and lead times that all forecasts have, rising; InputError where there are none, saying what each has."""
    inits = reduce(np.intersect1d, [forecast.init_times for forecast in forecasts])
    leads = sorted(set.intersection(*(set(forecast.lead_hours) for forecast in forecasts)))
    for found, what in ((inits, "initial"), (leads, "lead")):
        if len(found) == 0:
            raise InputError(
                f"the forecasts have no {what} time in common: "
                + "; ".join(f"{f.path}: {_period(f.init_times)}, {_leads(f.lead_hours)}" for f in forecasts)
                + "; name forecasts that do"
            )
    return inits, tuple(leads)


def verifiable(forecasts: Sequence[Forecast], targets: Targets, channels: tuple[str, ...]) -> NDArray[np.bool_]:
    """[I, L]: which cases, the same in all ``forecasts``, are there with analyses at their initial and valid times.

    InputError where none is, naming the periods.
    """
    init_times, leads = forecasts[0].init_times, np.array(forecasts[0].lead_hours, dtype="timedelta64[h]")
    valid = init_times[:, None] + leads
    analysed = np.isin(valid, targets.times) & np.isin(init_times, targets.times)[:, None]
    found = reduce(np.logical_and, [forecast.held(channels) for forecast in forecasts], analysed)
    if not found.any():
        held = "" if not analysed.any() else "; where it does, forecasts lack files of members or channels"
        raise InputError(
            f"{targets.path} covers {_period(targets.times)} and no forecast of {forecasts[0].path}, from "
            f"{_period(init_times)} and valid until {valid.max()}, can be verified with it{held}; name analyses of "
            "the initial and valid times"
        )
    return found


def _period(times: Times) -> str:
    return f"{times[0]} to {times[-1]}"


def _leads(leads: Iterable[int]) -> str:
    rising = sorted(leads)
    return f"lead times of {rising[0]} to {rising[-1]} h"
