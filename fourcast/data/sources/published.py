"""The published FourCastNet layout: an HDF5 file a year, ``fields[time, channel, latitude, longitude]`` without names.

Pathak et al. 2022 (arXiv 2202.11214) and its repository's data preparation: six-hourly analyses of a calendar year,
which only the file's name states; the channels in the published order; 721 rows from the north pole to the south
pole, or the first 720 of them; 1440 columns from Greenwich.
"""

import re
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fourcast.errors import InputError
from fourcast.variables import CHANNEL_SETS, Channel, parse_channels

ORDERS = {len(CHANNEL_SETS[name]): CHANNEL_SETS[name] for name in ("fourcastnet20", "fourcastnet26", "fourcastnet34")}
"""Number of channels → their published order."""
EXTRA_CHANNEL = 21
"""So many channels are the published 20 and one that was never filled."""
PUBLISHED_ROWS = 720


def is_nameless(dataset: xr.Dataset) -> bool:
    """Whether a file is HDF5 that nobody wrote as netCDF, so that the library invented names for its dimensions."""
    return not dataset.coords and any(str(name).startswith("phony_dim_") for name in dataset.dims)


def name_fields(dataset: xr.Dataset, path: Path, names: tuple[str, ...] | None) -> xr.Dataset:
    """The variables in ``fields`` by their ERA5 names, with times, levels, latitude and longitude; still lazy.

    names: the channels in order; None: as published for that many. Raises InputError where the file is foreign HDF5,
    or does not determine its channels, times or grid.
    """
    if "fields" not in dataset or dataset["fields"].ndim != 4:
        held = ", ".join(f"{name}{list(array.shape)}" for name, array in dataset.data_vars.items()) or "no dataset"
        raise InputError(
            f"{path} is HDF5 but neither netCDF-4 nor FourCastNet's fields[time, channel, latitude, longitude]; it "
            f"holds {held}"
        )
    count, channels, rows, columns = dataset["fields"].shape
    latitude, longitude = _grid(path, rows, columns)
    time, order = _times(path, count), _order(path, channels, names)
    fields = xr.DataArray(dataset["fields"].variable, dims=dataset["fields"].dims).rename(
        dict(zip(dataset["fields"].dims, ("time", "channel", "latitude", "longitude"), strict=True))
    )
    fields = fields.assign_coords(time=time, latitude=latitude, longitude=longitude)
    return xr.Dataset(_variables(fields, order), attrs=dataset.attrs)


def _variables(fields: xr.DataArray, order: tuple[Channel, ...]) -> dict[str, xr.DataArray]:
    """One array for each variable: those on levels with the positions of all their channels."""
    arrays = {}
    for variable in dict.fromkeys(channel.variable for channel in order):
        held = [(i, channel.level) for i, channel in enumerate(order) if channel.variable == variable]
        if variable.levels:
            dimension = f"pressure_level_{variable.name}"
            pressures = (dimension, [level for _, level in held], {"units": "hPa", "standard_name": "air_pressure"})
            array = fields.isel(channel=[i for i, _ in held]).rename(channel=dimension)
            array = array.assign_coords({dimension: pressures})
        else:
            array = fields.isel(channel=held[0][0])
        arrays[variable.long_name] = array.assign_attrs(units=variable.units)
    return arrays


def _order(path: Path, count: int, names: tuple[str, ...] | None) -> tuple[Channel, ...]:
    if names is None and count == EXTRA_CHANNEL:
        names = CHANNEL_SETS["fourcastnet20"]
    elif names is None:
        names = ORDERS.get(count)
    elif len(parse_channels(names)) != count:
        raise InputError(f"{path} holds {count} channels, but hdf5_channels names {len(parse_channels(names))}")
    if names is None:
        known = ", ".join(map(str, sorted({*ORDERS, EXTRA_CHANNEL})))
        raise InputError(f"{path} holds {count} channels, published are {known}; name them with hdf5_channels=[…]")
    return parse_channels(names)


def _times(path: Path, count: int) -> NDArray[np.datetime64]:
    """Times at a whole number of hours that fill the year in the file's name exactly."""
    years = re.findall(r"(?<!\d)(?:19|20)\d\d(?!\d)", path.stem)
    if len(years) != 1:
        raise InputError(f"{path} states no times, and its name no single year; name it as in 1979{path.suffix}")
    start = np.datetime64(f"{years[0]}-01-01T00", "h")
    hours = int((np.datetime64(f"{int(years[0]) + 1}-01-01T00", "h") - start).astype(np.int64))
    if count == 0 or hours % count or 24 % (hours // count):
        raise InputError(
            f"{path} holds {count} times, expected {hours // 6} six-hourly ones of the {hours // 24} days of "
            f"{years[0]}; which are missing is not stated: write it as netCDF with its times"
        )
    return (start + (hours // count) * np.arange(count)).astype("datetime64[ns]")


def _grid(path: Path, rows: int, columns: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Latitude and longitude where they follow from the shape: both poles, or the published 720 rows of 721."""
    poles = rows + 1 if rows == PUBLISHED_ROWS else rows
    if columns != 2 * (poles - 1):
        raise InputError(
            f"{path} states no grid, and {rows} rows × {columns} columns do not imply one; expected 721 × 1440 or "
            "720 × 1440: write it as netCDF with latitude and longitude"
        )
    return np.linspace(90.0, -90.0, poles)[:rows], np.linspace(0.0, 360.0, columns, endpoint=False)
