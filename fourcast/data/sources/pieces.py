"""One variable of one file, made ours: levels, units, and the orientation of its axes, while it stays on disk."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fourcast.data.sources.axes import Axes, Positions, axes_of, choose, expver_names, timeless
from fourcast.data.sources.failures import read_errors, unreadable
from fourcast.data.sources.openers import SourceOptions
from fourcast.data.sources.packing import overflow
from fourcast.data.sources.recognise import (
    HOURLY_PRECIPITATION,
    identify,
    is_bolton,
    is_height,
    pressures,
    refuse_contradiction,
)
from fourcast.data.sources.units import Conversion, conversion
from fourcast.errors import InputError
from fourcast.variables import Variable

Float32 = NDArray[np.float32]
BOLTON = "relative humidity over water by Bolton (1980), as WeatherBench 2 holds it, times 100"


@dataclass(frozen=True, eq=False)
class Piece:
    """One variable of one file.

    levels: in whole hPa; None for a variable that has none. formula: how the values came about, where it is not as in
    ERA5. packing: whether packed integers are looked at for overflow.
    """

    path: str
    variable: Variable
    array: xr.DataArray
    axes: Axes
    level_dimension: str | None
    levels: tuple[int, ...] | None
    level_positions: Positions
    convert: Conversion
    formula: str | None = None
    packing: bool = True

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels in here, in the order of ``levels``."""
        name = self.variable.name
        return (name,) if self.levels is None else tuple(f"{name}{level}" for level in self.levels)

    def versions(self, times: Positions) -> NDArray[np.int64]:
        """ERA5 versions at positions in ``axes.times``: 1 final, 5 preliminary, 0 where the file does not say."""
        expver = self.axes.expver
        return np.zeros(len(times), dtype=np.int64) if expver is None else expver[times].astype(np.int64)

    def load(self, times: Positions, channels: Positions) -> Float32:
        """Fields [T, C, H, W] in our units and orientation, at positions in ``axes.times`` and ``self.channels``.

        Raises InputError where the file cannot be read there, or its packed integers overflowed; OSError where it is a
        server that cannot be read.
        """
        values = self._values(times, channels)
        sign = overflow(self.variable.name, values, self.array.encoding) if self.packing else None
        if sign is not None:
            raise InputError(
                f"{self.path}: {self.array.name} has {sign}; fetch it again unpacked, or pass allow=[packing] if the "
                "values are meant"
            )
        return self.convert(values)

    def _values(self, times: Positions, channels: Positions) -> NDArray[np.floating]:
        """What the file holds, as [T, C, H, W] in our orientation."""
        axes, chosen = self.axes, {}
        if axes.time is not None:
            chosen[axes.time] = slice_or_positions(axes.kept[times])
        if self.level_dimension is not None:
            chosen[self.level_dimension] = slice_or_positions(self.level_positions[channels])
        try:
            block = self.array.isel(chosen).load()
        except read_errors(self.path) as error:
            remedy = "unpack it with h5repack -f NONE" if "Filter error" in str(error) else "fetch it again"
            raise unreadable(self.path, str(self.array.name), error, remedy) from error
        for name, dimension in (("fourcast_level", self.level_dimension), ("fourcast_time", axes.time)):
            if dimension is None:
                block = block.expand_dims(name)
        order = (axes.time or "fourcast_time", self.level_dimension or "fourcast_level", axes.latitude, axes.longitude)
        values = block.transpose(*order).values
        return values[:, :, slice_or_positions(axes.rows)][..., slice_or_positions(axes.columns)]


@dataclass(frozen=True)
class Unusable:
    """An array that cannot be used, and why. known: it is a variable of ours, but for example in unknown units."""

    name: str
    reason: str
    known: bool


def pieces_of(
    dataset: xr.Dataset, path: str, number: int | None, forecast_step: int | None, options: SourceOptions
) -> Iterator[Piece | Unusable]:
    """The variables of a dataset and the arrays in it that cannot be used.

    Raises InputError where variables of ours lie on a grid, members, steps or times that cannot be used.
    """
    arrays = [array for array in dataset.data_vars.values() if array.ndim >= 1 and array.dtype.kind in "fiu"]
    if arrays and all(array.attrs.get("GRIB_typeOfLevel") == "hybrid" for array in arrays):
        yield Unusable(
            ", ".join(str(array.name) for array in arrays), "holds hybrid levels, expected pressure levels", known=False
        )
        return
    try:
        dataset = choose(dataset, number, forecast_step)
        all_axes = axes_of(dataset)
    except InputError as error:
        if any(_is_ours(array) for array in arrays):
            raise InputError(f"{path} {error}") from error
        yield from (Unusable(str(array.name), str(error), known=False) for array in arrays)
        return
    for array in arrays:
        yield from _pieces(dataset[array.name], path, all_axes, options)


def _is_ours(array: xr.DataArray) -> bool:
    """Whether an array becomes channels, so that its file cannot be passed over; hourly sums alone do not."""
    for on_levels in (True, False):
        try:
            variable, _ = identify(array, on_levels)
        except InputError:
            continue
        return variable != HOURLY_PRECIPITATION
    return False


def _pieces(array: xr.DataArray, path: str, all_axes: list[Axes], options: SourceOptions) -> Iterator[Piece | Unusable]:
    known = False
    try:
        level, hectopascals = _levels(array, all_axes[0])
        variable, named_level = identify(array, hectopascals is not None)
        known = True
        refuse_contradiction(array)
        formula = _formula(array, options)
        units = "1" if formula else array.attrs.get("units")
        convert = conversion(str(array.name), units, variable.units, is_height(array))
        usable, levels = _whole(str(array.name), hectopascals, named_level)
        moving = all_axes[0].time is None or all_axes[0].time in array.dims
        if not variable.static and not (moving and any(len(axes.times) for axes in all_axes)):
            raise InputError(f"{array.name} has no time, expected a coordinate time or valid_time with one at least")
    except InputError as error:
        yield Unusable(str(array.name), str(error), known)
        return
    for axes in all_axes if moving else [timeless(all_axes[0])]:
        merged, its_axes = _merge_expver(array, axes) if "expver" in array.dims else (array, axes)
        packing = not options.allows("packing", variable.name)
        yield Piece(path, variable, merged, its_axes, level, levels, usable, convert, formula, packing)


def _formula(array: xr.DataArray, options: SourceOptions) -> str | None:
    """The formula of a variable that is not ERA5's own; InputError where that is not allowed."""
    if not is_bolton(array):
        return None
    if not options.allows("bolton", "r"):
        raise InputError(
            f"{array.name} is WeatherBench 2's fraction by Bolton's formula, not ERA5's relative humidity: name the "
            "channels, so that it is derived from specific humidity and temperature, or pass allow=[bolton]"
        )
    return BOLTON


def _whole(
    name: str, hectopascals: NDArray[np.float64] | None, named_level: int | None
) -> tuple[Positions, tuple[int, ...] | None]:
    """Positions of the levels at whole hPa, and those; InputError where there is none. named_level: in the name."""
    if hectopascals is None:
        return np.zeros(1, dtype=np.int64), None if named_level is None else (named_level,)
    whole = np.rint(hectopascals)
    usable = np.flatnonzero((np.abs(whole - hectopascals) < 1e-6) & (whole > 0))
    if len(usable) == 0:
        raise InputError(f"{name} lies on {', '.join(f'{x:g}' for x in hectopascals[:8])} hPa, expected whole hPa")
    return usable, tuple(int(level) for level in whole[usable])


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


def _merge_expver(array: xr.DataArray, axes: Axes) -> tuple[xr.DataArray, Axes]:
    """Of the versions along the older Climate Data Store's expver dimension, the first that is there at each time."""
    array = array.isel(expver=np.argsort(expver_names(array["expver"].values)))
    versions = expver_names(array["expver"].values)
    chosen = _first_present(array, axes.time)
    if axes.time is None:
        merged = array.isel(expver=int(chosen[0]))
    else:
        along = xr.DataArray(np.arange(len(chosen)), dims=axes.time)
        merged = array.isel({axes.time: along, "expver": xr.DataArray(chosen, dims=axes.time)})
    merged.encoding = array.encoding
    return merged, replace(axes, expver=versions[chosen][axes.kept])


def _first_present(array: xr.DataArray, time: str | None) -> Positions:
    """The first position along expver that holds anything, at each time; a corner tells, except where it is land."""
    corner = array.isel({dimension: 0 for dimension in array.dims if dimension not in ("expver", time)}).load()
    present = ~np.isnan(corner.transpose(..., "expver").values.reshape(-1, array.sizes["expver"]))
    for i in np.flatnonzero(~present.any(axis=1)):
        field = array if time is None else array.isel({time: i})
        present[i] = field.notnull().any([d for d in field.dims if d != "expver"]).values
    return present.argmax(axis=1)


def slice_or_positions(positions: Positions) -> slice | Positions:
    """A slice where the positions are evenly spaced and rise, which readers take at once and numpy without a copy."""
    steps = np.diff(positions)
    if len(positions) == 1:
        return slice(int(positions[0]), int(positions[0]) + 1)
    if len(positions) and steps.min() == steps.max() and steps[0] > 0:
        return slice(int(positions[0]), int(positions[-1]) + 1, int(steps[0]))
    return positions
