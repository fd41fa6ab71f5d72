"""One variable of one file, made ours: orientation, times, levels and units, while its values stay on disk."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fourcast.data.openers import READ_ERRORS
from fourcast.data.recognise import identify, is_height, pressures, refuse_contradiction
from fourcast.data.units import Conversion, conversion
from fourcast.errors import InputError
from fourcast.grid import Grid
from fourcast.variables import Variable

Float32 = NDArray[np.float32]
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


@dataclass(frozen=True, eq=False)
class Piece:
    """One variable of one file. ``levels`` are whole hPa; None for a variable that has none."""

    path: str
    variable: Variable
    array: xr.DataArray
    axes: Axes
    level_dimension: str | None
    levels: tuple[int, ...] | None
    level_positions: Positions
    convert: Conversion

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels in here, in the order of ``levels``."""
        name = self.variable.name
        return (name,) if self.levels is None else tuple(f"{name}{level}" for level in self.levels)

    def load(self, times: Positions, channels: Positions) -> Float32:
        """Fields [T, C, H, W] in our units and orientation, at positions in ``axes.times`` and ``self.channels``.

        Raises InputError where the file cannot be read there.
        """
        axes, chosen = self.axes, {}
        if axes.time is not None:
            chosen[axes.time] = _slice_or_positions(axes.kept[times])
        if self.level_dimension is not None:
            chosen[self.level_dimension] = _slice_or_positions(self.level_positions[channels])
        try:
            block = self.array.isel(chosen).load()
        except READ_ERRORS as error:
            raise InputError(f"{self.array.name} in {self.path} cannot be read ({error}); fetch the file again") from error
        for name, count in (("fourcast_level", self.level_dimension), ("fourcast_time", axes.time)):
            if count is None:
                block = block.expand_dims(name)
        order = (axes.time or "fourcast_time", self.level_dimension or "fourcast_level", axes.latitude, axes.longitude)
        values = block.transpose(*order).values
        return self.convert(values[:, :, axes.rows][..., axes.columns])


@dataclass(frozen=True)
class Unusable:
    """An array that cannot be used, and why. known: it is a variable of ours, but for example in unknown units."""

    name: str
    reason: str
    known: bool


def pieces_of(
    dataset: xr.Dataset, path: str, number: int | None, forecast_step: int | None
) -> Iterator[Piece | Unusable]:
    """The variables of a dataset and the arrays in it that cannot be used.

    Raises InputError where variables of ours lie on a grid, members, steps or times that cannot be used.
    """
    arrays = [array for array in dataset.data_vars.values() if array.ndim >= 1 and array.dtype.kind in "fiu"]
    if arrays and all(array.attrs.get("GRIB_typeOfLevel") == "hybrid" for array in arrays):
        yield from (Unusable(str(a.name), f"{a.name} lies on hybrid levels, not on pressure levels", False) for a in arrays)
        return
    try:
        dataset = _choose(dataset, MEMBERS, number, "number")
        dataset = _choose(dataset, STEPS, _as_step(forecast_step), "forecast_step")
        all_axes = _axes(dataset)
    except InputError as error:
        if any(_is_ours(array) for array in arrays):
            raise InputError(f"{path} {error}") from error
        yield from (Unusable(str(array.name), str(error), known=False) for array in arrays)
        return
    for array in arrays:
        yield from _pieces(dataset[array.name], path, all_axes)


def _is_ours(array: xr.DataArray) -> bool:
    for on_levels in (True, False):
        try:
            identify(array, on_levels)
        except InputError:
            continue
        return True
    return False


def _pieces(array: xr.DataArray, path: str, all_axes: list[Axes]) -> Iterator[Piece | Unusable]:
    known = False
    try:
        level, hectopascals = _levels(array, all_axes[0])
        variable, named_level = identify(array, hectopascals is not None)
        known = True
        refuse_contradiction(array)
        convert = conversion(str(array.name), array.attrs.get("units"), variable.units, is_height(array))
    except InputError as error:
        yield Unusable(str(array.name), str(error), known)
        return
    usable, levels = np.zeros(1, dtype=np.int64), None if named_level is None else (named_level,)
    if hectopascals is not None:
        whole = np.rint(hectopascals)
        usable = np.flatnonzero((np.abs(whole - hectopascals) < 1e-6) & (whole > 0))
        levels = tuple(int(x) for x in whole[usable])
    moving = all_axes[0].time is None or all_axes[0].time in array.dims
    for axes in all_axes if moving else [_timeless(all_axes[0])]:
        merged, its_axes = _merge_expver(array, axes) if "expver" in array.dims else (array, axes)
        yield Piece(path, variable, merged, its_axes, level, levels, usable, convert)


def _levels(array: xr.DataArray, axes: Axes) -> tuple[str | None, NDArray[np.float64] | None]:
    """The level dimension of an array, if any, and its pressures in hPa, if it lies on pressure levels."""
    known = (axes.latitude, axes.longitude, axes.time, "expver")
    others = [str(d) for d in array.dims if d not in known]
    if axes.latitude not in array.dims or axes.longitude not in array.dims or len(others) > 1:
        raise InputError(f"{array.name} has dimensions ({', '.join(map(str, array.dims))}), expected time, level, grid")
    level = others[0] if others else None
    return level, _level_values(array, level)


def _level_values(array: xr.DataArray, dimension: str | None) -> NDArray[np.float64] | None:
    """Pressures of an array in hPa from its level dimension, or from a scalar pressure coordinate."""
    if dimension is not None:
        if dimension not in array.coords:
            raise InputError(f"{array.name} has a dimension {dimension!r} without values, expected pressure levels")
        try:
            return pressures(array.coords[dimension])
        except InputError as error:
            raise InputError(f"{array.name} {error}") from error
    for name, coordinate in array.coords.items():
        if coordinate.ndim == 0 and coordinate.attrs.get("standard_name") == "air_pressure":
            return pressures(coordinate)
        if coordinate.ndim == 0 and str(name) in ("pressure_level", "isobaricInhPa", "isobaricInPa", "plev", "level"):
            return pressures(coordinate)
    return None


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


def _as_step(hours: int | None) -> np.timedelta64 | None:
    return None if hours is None else np.timedelta64(hours, "h")


def _listed(values: NDArray) -> str:
    if np.issubdtype(values.dtype, np.timedelta64):
        values = values / np.timedelta64(1, "h")
    shown = ", ".join(str(value).removesuffix(".0") for value in values[:12])
    return f"{shown}{', …' if len(values) > 12 else ''}"


def _axes(dataset: xr.Dataset) -> list[Axes]:
    """The axes of a dataset; several where times repeat, so that the times of each are unique."""
    latitude, longitude = (_horizontal(dataset, names) for names in (LATITUDES, LONGITUDES))
    rows, columns, grid = _orient(dataset[latitude].values, dataset[longitude].values)
    time, times = _times(dataset)
    expver = _expver(dataset, len(times))
    order = np.argsort(times, kind="stable")
    first = np.searchsorted(times[order], times[order])
    rank = np.arange(len(times)) - first
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
    east = np.mod(longitude.astype(np.float64), 360.0)
    east[east > 360.0 - 1e-5] = 0.0
    _, columns = np.unique(np.round(east, 5), return_index=True)
    return rows, columns, Grid(latitude[rows].astype(np.float64), east[columns])


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
        raise InputError(f"{name} has the calendar of a model or unknown units, expected dates of the standard calendar")
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


def _expver(dataset: xr.Dataset, count: int) -> NDArray[np.str_] | None:
    if "expver" in dataset.variables and "expver" not in dataset.dims:
        return np.broadcast_to(_expver_names(dataset["expver"].values), count)
    stated = {str(v.attrs["GRIB_expver"]) for v in dataset.data_vars.values() if "GRIB_expver" in v.attrs}
    return np.full(count, _expver_names(np.array(stated.pop()))) if len(stated) == 1 else None


def _expver_names(values: NDArray) -> NDArray[np.str_]:
    """``1``, ``"0001"`` and ``b"0001"`` are one version."""
    return np.array([f"{int(v):04d}" for v in np.atleast_1d(values).astype(str)])


def _merge_expver(array: xr.DataArray, axes: Axes) -> tuple[xr.DataArray, Axes]:
    """Of the versions along the older Climate Data Store's expver dimension, the first that is there at each time."""
    array = array.isel(expver=np.argsort(_expver_names(array["expver"].values)))
    versions = _expver_names(array["expver"].values)
    corner = {d: 0 for d in array.dims if d not in ("expver", axes.time)}
    present = ~np.isnan(array.isel(corner).load().transpose(..., "expver").values.reshape(-1, len(versions)))
    chosen = np.where(present.any(axis=1), present.argmax(axis=1), 0)
    if axes.time is None:
        merged = array.isel(expver=int(chosen[0]))
    else:
        along = xr.DataArray(np.arange(len(chosen)), dims=axes.time)
        merged = array.isel({axes.time: along, "expver": xr.DataArray(chosen, dims=axes.time)})
    return merged, replace(axes, expver=versions[chosen][axes.kept])


def _timeless(axes: Axes) -> Axes:
    """The axes of an array that does not vary in time."""
    return replace(axes, time=None, times=axes.times[:0], kept=axes.kept[:0], expver=None)


def _slice_or_positions(positions: Positions) -> slice | Positions:
    """A slice where the positions are evenly spaced and rise, which every reader takes at once."""
    steps = np.diff(positions)
    if len(positions) == 1:
        return slice(int(positions[0]), int(positions[0]) + 1)
    if len(positions) and steps.min() == steps.max() and steps[0] > 0:
        return slice(int(positions[0]), int(positions[-1]) + 1, int(steps[0]))
    return positions
