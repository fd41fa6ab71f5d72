"""Open a forecast run lazily: all its initial times and members as one xarray Dataset, however its files are laid out.

Dimensions (init_time, number, lead_time[, level], latitude, longitude). A run is in one file for each initial time and
member, in one for each initial time, or in one zarr group. Nothing but one header is read until values are asked for.
Of hundreds of members, a field is read several times as fast from one file as from theirs, which have to be opened.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.core import indexing

from fourcast.errors import InputError
from fourcast.forecast.contents import (
    ENSEMBLE_FILE,
    ZARR,
    Contents,
    find_contents,
    keeps_members,
    require,
    some,
)
from fourcast.forecast.netcdf import LOCK
from fourcast.forecast.stacked import Files, StackedFiles, field_names, managers_of, open_raw, sizes_of, split_channel

KEPT = ("standard_name", "long_name", "units", "cell_methods")
"""What is kept of a variable's attributes on file."""


def open_ensemble(run: str | Path, init_time: str | None = None) -> xr.Dataset:
    """Open a finished forecast run, or one initial time of it (``init_time``, or the path of its folder).

    Variables are (init_time, number, lead_time[, level], latitude, longitude) with valid_time(init_time,
    lead_time); the attribute ``channels`` lists what they hold, and other levels are NaN. InputError where there
    is no run, where forecasts are missing, or where ``init_time`` is not in it.
    """
    contents = find_contents(Path(run), init_time)
    combined, single = contents.files_named(ENSEMBLE_FILE), contents.member_files
    for files in (combined, single):  # fewer files are faster to read
        if all(path.exists() for path in files.flat):
            return _open_files(contents, files)
    if (contents.run / ZARR).exists():
        return _open_zarr(contents.run / ZARR, contents)
    if not keeps_members(contents):
        raise InputError(f"{contents.run} holds products of its members alone; make members with files.layout=member")
    return _open_files(contents, require(contents, combined if any(path.exists() for path in combined) else single))


def open_product(run: str | Path, product: str, init_time: str | None = None) -> xr.Dataset:
    """Open one product of a run's members, such as ``mean`` or ``quantile_0.10``, as ``open_ensemble`` does those.

    Variables are (init_time, lead_time[, level], latitude, longitude). InputError where the run has no such product.
    """
    contents = find_contents(Path(run), init_time)
    files = contents.files_named(f"{product}.nc")
    if not all(path.exists() for path in files):
        raise InputError(f"{contents.run} lacks {product}.nc; make it with products= of fourcast forecast")
    return _open_files(contents, files).drop_vars("number")


def channel(dataset: xr.Dataset, name: str) -> xr.DataArray:
    """One channel of an opened run by name, as in ``channel(dataset, "t850")``; still lazy."""
    if name not in dataset.attrs["channels"]:
        held = ", ".join(dataset.attrs["channels"])
        raise InputError(f"the forecast has no channel {name}; it holds {held}. Ask for one of these")
    variable, level = split_channel(name, dataset.data_vars)
    return dataset[variable] if level is None else dataset[variable].sel(level=level)


def _open_files(contents: Contents, files: Files) -> xr.Dataset:
    with LOCK, open_raw(files.flat[0]) as first:
        if "number" in first.dimensions:
            _require_same(files.flat[0], first["number"][:], contents.members)
        managers = managers_of(files, sizes_of(first))
        fields = {name: _stacked(first[name], managers) for name in field_names(first)}
        attributes = {name: first.getncattr(name) for name in first.ncattrs()}
        axes = {name: _copied(first[name]) for name in ("level", "latitude", "longitude") if name in first.variables}
        leads = first["forecast_period"][:].astype("timedelta64[h]")
    return _dataset(contents, fields, {**_times(contents, leads), **axes}, attributes)


def _stacked(variable: Any, managers: Files) -> xr.Variable:
    outer = ("init_time", "number")[: managers.ndim]
    own = ("lead_time" if dim == "time" else dim for dim in variable.dimensions)
    lazy = indexing.LazilyIndexedArray(StackedFiles(managers, variable.name, variable.shape))
    return xr.Variable((*outer, *own), lazy, _kept({name: variable.getncattr(name) for name in variable.ncattrs()}))


def _copied(variable: Any) -> tuple[str, Any, dict[str, Any]]:
    return variable.name, variable[:], {name: variable.getncattr(name) for name in variable.ncattrs()}


def _open_zarr(path: Path, contents: Contents) -> xr.Dataset:
    """The group's own names and times become ours; percentages stay what they are on disk."""
    stored = xr.open_zarr(path, chunks=None, consolidated=False, mask_and_scale=False)
    _require_same(path, stored["number"].values, contents.members)
    held = stored["time"].values.astype("datetime64[h]").tolist()
    wanted = [time.tolist() for time in contents.init_times]
    _require_same(path, [time for time in held if time in wanted], wanted)
    names = {name: array.attrs["short_name"] for name, array in stored.data_vars.items()}
    names |= {"time": "init_time", "prediction_timedelta": "lead_time"}
    chosen = stored.rename(names).isel(init_time=[held.index(time) for time in wanted])
    fields = {str(name): array.variable.copy(deep=False) for name, array in chosen.data_vars.items()}
    for variable in fields.values():
        units = {"units": "%"} if "scale_factor" in variable.attrs else {}
        variable.attrs = _kept({**variable.attrs, **units})
    axes = {name: chosen[name].variable for name in ("level", "latitude", "longitude") if name in chosen.coords}
    return _dataset(contents, fields, {**_times(contents, chosen["lead_time"].values), **axes}, chosen.attrs)


def _require_same(path: Path, found: Sequence[Any], expected: Sequence[Any]) -> None:
    if list(found) != list(expected):
        raise InputError(
            f"{path} holds {some(map(str, found))}, its run {some(map(str, expected))}: they come from different "
            "forecasts; make the run again with overwrite=true"
        )


def _kept(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: attributes[name] for name in KEPT if name in attributes}


def _times(contents: Contents, leads: Any) -> dict[str, Any]:
    inits = np.array(contents.init_times).astype("datetime64[ns]")
    leads = leads.astype("timedelta64[ns]")
    return {
        "init_time": ("init_time", inits, {"standard_name": "forecast_reference_time"}),
        "number": ("number", np.array(contents.members), {"standard_name": "realization", "units": "1"}),
        "lead_time": ("lead_time", leads, {"standard_name": "forecast_period"}),
        "valid_time": (("init_time", "lead_time"), inits[:, None] + leads, {"standard_name": "time"}),
    }


def _dataset(
    contents: Contents, fields: Mapping[str, xr.Variable], coordinates: Mapping[str, Any], attributes: Mapping[str, Any]
) -> xr.Dataset:
    """The fields in the order of the channels, with what the files say of themselves but not of single ones."""
    channels = tuple(str(attributes["channels"]).split())
    ordered = {name: fields[name] for name in (split_channel(channel, fields)[0] for channel in channels)}
    kept = {name: value for name, value in attributes.items() if name not in ("init_time", "member")}
    return xr.Dataset(ordered, coordinates, {**kept, "channels": channels})
