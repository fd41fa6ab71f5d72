"""What the arrays of a dataset share: grid, orientation, valid times, ensemble member, forecast step, ERA5 version."""

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fourcast.errors import InputError
from fourcast.grid import Grid

Positions = NDArray[np.int64]
Times = NDArray[np.datetime64]

LATITUDES, LONGITUDES = ("latitude", "lat"), ("longitude", "lon")
TIMES = ("valid_time", "time")
MEMBERS = ("number", "realization", "ensemble", "member")
STEPS = ("step", "forecast_period", "prediction_timedelta", "lead_time")


@dataclass(frozen=True, eq=False)
class Axes:
    """What the arrays of a dataset share: its grid with the order that gives it, and its times.

    latitude, longitude, time: names of the dimensions (time: None where it is a scalar or absent). rows, columns:
    positions in the file of our rows and columns. kept: positions along time of ``times``. expver: "0001" for final
    and "0005" for preliminary ERA5 at each of ``times``, where the file says so.
    """

    latitude: str
    longitude: str
    time: str | None
    grid: Grid
    rows: Positions
    columns: Positions
    times: Times
    kept: Positions
    expver: NDArray[np.str_] | None


def choose(dataset: xr.Dataset, number: int | None, forecast_step: int | None) -> xr.Dataset:
    """One ensemble member and one forecast step of a dataset; InputError where the choice is open or impossible."""
    hours = None if forecast_step is None else np.timedelta64(forecast_step, "h")
    return _choose(_choose(dataset, MEMBERS, number, "number"), STEPS, hours, "forecast_step")


def _choose(dataset: xr.Dataset, names: tuple[str, ...], wanted: object, key: str) -> xr.Dataset:
    """Select one member or forecast step; InputError where there are several and none, or one it lacks, is named."""
    name = next((n for n in names if n in dataset.dims or n in dataset.coords), None)
    if name is None:
        if wanted:
            raise InputError(f"{key} was given, but the source has no {' or '.join(names)}; leave it out")
        return dataset
    coordinate = dataset[name]
    if coordinate.ndim > 1:
        raise InputError(f"{name} has {coordinate.ndim} dimensions, expected at most one")
    values = np.atleast_1d(coordinate.values)
    if wanted is None and key == "forecast_step" and len(values) == 1 and values[0] == np.timedelta64(0):
        wanted = values[0]
    if wanted is None and key == "number" and len(values) == 1:
        wanted = values[0]
    if wanted is None:
        raise InputError(f"the source holds {name} {_listed(values)}; choose one with {key}=…")
    matches = np.flatnonzero(values == wanted)
    if len(matches) == 0:
        raise InputError(f"the source holds {name} {_listed(values)}, not the {key} that was asked for")
    if coordinate.ndim == 0:
        return dataset
    dimension = coordinate.dims[0]
    return dataset.isel({dimension: int(matches[0]) if dimension == name else matches})


def _listed(values: NDArray) -> str:
    if np.issubdtype(values.dtype, np.timedelta64):
        values = values / np.timedelta64(1, "h")
    shown = ", ".join(str(value).removesuffix(".0") for value in values[:12])
    return f"{shown}{', …' if len(values) > 12 else ''}"


def axes_of(dataset: xr.Dataset) -> list[Axes]:
    """The axes of a dataset; several where times repeat, so that the times of each are unique."""
    latitude, longitude = (_horizontal(dataset, names) for names in (LATITUDES, LONGITUDES))
    rows, columns, grid = _orient(dataset[latitude].values, dataset[longitude].values)
    time, times = _times(dataset)
    expver = _expver(dataset, times)
    order = np.argsort(times, kind="stable")
    order = order[_filled(dataset, times)[order]]
    first = np.searchsorted(times[order], times[order])
    rank = np.arange(len(order)) - first
    axes = []
    for repeat in range(int(rank.max(initial=0)) + 1):
        kept = order[rank == repeat]
        chosen = None if expver is None else expver[kept]
        axes.append(Axes(latitude, longitude, time, grid, rows, columns, times[kept], kept, chosen))
    return axes


def _horizontal(dataset: xr.Dataset, names: tuple[str, ...]) -> str:
    name = next((n for n in names if n in dataset.coords or n in dataset.dims), None)
    grids = {v.attrs["GRIB_gridType"] for v in dataset.data_vars.values() if "GRIB_gridType" in v.attrs}
    if "sh" in grids:
        raise InputError("holds spherical harmonics, expected a grid of latitudes and longitudes; transform it first")
    if any(str(grid).startswith("reduced") for grid in grids):
        raise InputError("holds a reduced Gaussian grid, expected latitudes × longitudes; interpolate it first")
    if name is None or name not in dataset.coords or dataset[name].dims != (name,):
        raise InputError(f"has no {names[0]} of one dimension, expected a grid of latitudes and longitudes")
    return name


def _orient(latitude: NDArray, longitude: NDArray) -> tuple[Positions, Positions, Grid]:
    """Positions of the rows north to south and the columns 0 to 360, a repeated meridian left out."""
    rows = np.argsort(-latitude, kind="stable")
    _refuse_missing_rows(latitude[rows])
    east = np.mod(longitude.astype(np.float64), 360.0)
    east[east > 360.0 - 1e-5] = 0.0
    _, columns = np.unique(np.round(east, 5), return_index=True)
    return rows, columns, Grid(latitude[rows].astype(np.float64), east[columns])


def _refuse_missing_rows(latitude: NDArray) -> None:
    """Raise InputError where falling latitudes have a gap; those of a Gaussian grid are nearly even."""
    steps = -np.diff(latitude)
    if len(steps) > 2 and steps.min() > 0 and steps.max() > 1.5 * np.median(steps):
        gap = int(steps.argmax())
        raise InputError(f"lacks rows between latitude {latitude[gap]:g} and {latitude[gap + 1]:g}; fetch it again")


def _times(dataset: xr.Dataset) -> tuple[str | None, Times]:
    """The time dimension, if any, and the valid times along it."""
    if "month" in dataset.dims:
        raise InputError("holds monthly means, expected analyses")
    name = next((n for n in TIMES if n in dataset.coords), None)
    if name is None:
        return None, np.array([], dtype="datetime64[s]")
    values = dataset[name].values
    step = next((n for n in STEPS if n in dataset.coords and dataset[n].ndim == 0), None)
    if name == "time" and step is not None:
        values = values + dataset[step].values
    if not np.issubdtype(values.dtype, np.datetime64):
        raise InputError(f"{name} has the calendar of a model or unknown units, expected standard dates")
    times = np.atleast_1d(values).astype("datetime64[s]")
    if np.isnat(times).any():
        raise InputError(f"{name} has {int(np.isnat(times).sum())} missing values")
    _refuse_monthly(times, {str(v.attrs.get("GRIB_stream")) for v in dataset.data_vars.values()})
    return (str(dataset[name].dims[0]) if dataset[name].ndim else None), times


def _refuse_monthly(times: Times, streams: set[str]) -> None:
    days = np.diff(np.unique(times)).astype("timedelta64[s]").astype(np.int64) / 86400
    monthly = len(days) > 0 and days.min() >= 28 and days.max() <= 31 and len(days) > 1
    if monthly or streams & {"moda", "mnth", "edmo", "edmm", "wamo"}:
        raise InputError("holds monthly means, expected analyses")


def _stated(dataset: xr.Dataset, key: str) -> np.datetime64 | None:
    """A day that ARCO-ERA5 states as an attribute: its time axis is longer than what has been filled."""
    return np.datetime64(str(dataset.attrs[key])[:10], "D") if key in dataset.attrs else None


def _filled(dataset: xr.Dataset, times: Times) -> NDArray[np.bool_]:
    """Which times hold data where the dataset states the days from and until which they do."""
    first, last = _stated(dataset, "valid_time_start"), _stated(dataset, "valid_time_stop_era5t")
    last = _stated(dataset, "valid_time_stop") if last is None else last
    filled = np.ones(len(times), dtype=bool)
    if first is not None:
        filled &= times >= first
    if last is not None:
        filled &= times < last + 1
    return filled


def _expver(dataset: xr.Dataset, times: Times) -> NDArray[np.str_] | None:
    if "expver" in dataset.variables and "expver" not in dataset.dims:
        return np.broadcast_to(expver_names(dataset["expver"].values), len(times))
    final = _stated(dataset, "valid_time_stop")
    if final is not None:
        return np.where(times < final + 1, "0001", "0005")
    stated = {str(v.attrs["GRIB_expver"]) for v in dataset.data_vars.values() if "GRIB_expver" in v.attrs}
    return np.full(len(times), expver_names(np.array(stated.pop()))) if len(stated) == 1 else None


def expver_names(values: NDArray) -> NDArray[np.str_]:
    """``1``, ``"0001"`` and ``b"0001"`` are one version."""
    return np.array([f"{int(v):04d}" for v in np.atleast_1d(values).astype(str)])


def timeless(axes: Axes) -> Axes:
    """The axes of an array that does not vary in time."""
    return replace(axes, time=None, times=axes.times[:0], kept=axes.kept[:0], expver=None)
