"""One file for all members of an initial time, made of their files.

    RUN/2026-08-10T00/ensemble.nc    t(number, time, level, latitude, longitude), t2m(number, time, latitude, …), …

``number`` is a coordinate; everything else is as in the members' files. xarray, ncview and nco open such a file. cdo,
which knows no dimension before time, does not: it takes members' files.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from fourcast import __version__
from fourcast.files import whole_file
from fourcast.forecast.contents import ENSEMBLE_FILE
from fourcast.forecast.netcdf import LOCK, init_name, member_path
from fourcast.forecast.stacked import field_names, lead_blocks, open_raw, sizes_of, split_channel


def combine_members(run: Path, init_time: np.datetime64, members: Sequence[int]) -> Path:
    """Write the finished files of ``members`` into RUN/<init_time>/ensemble.nc, whole or not at all; return its path.

    Values are those of the members bit for bit. A block of BLOCK_BYTES is in memory at a time. Raises InputError
    where a file's dimensions are not those of the first, and FileNotFoundError where it is not there.
    """
    path = run / init_name(init_time) / ENSEMBLE_FILE
    paths = [member_path(run, init_time, member) for member in members]
    with LOCK, whole_file(path) as temporary, netCDF4.Dataset(temporary, "w", format="NETCDF4") as combined:
        with open_raw(paths[0]) as first:
            _define(combined, first, members)
            sizes = sizes_of(first)
        for i_member, member_file in enumerate(paths):
            with open_raw(member_file, sizes) as source:
                _copy_fields(source, combined, i_member)
    return path


def _define(combined: Any, first: Any, members: Sequence[int]) -> None:
    """Everything but the fields, after the first member's file."""
    history = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} members combined by fourcast {__version__}\n{first.history}"
    own = {name: first.getncattr(name) for name in first.ncattrs() if name != "member"}
    combined.setncatts({**own, "history": history})
    combined.createDimension("number", len(members))
    for name, size in sizes_of(first):
        combined.createDimension(name, size)
    fields = field_names(first)
    for name, variable in first.variables.items():
        if name in fields:
            _define_field(combined, variable)
            continue
        dims, values = (("number",), members) if name == "number" else (variable.dimensions, variable[...])
        array = combined.createVariable(name, variable.dtype, dims)
        array.setncatts(_attributes(variable))
        array[...] = values


def _define_field(combined: Any, variable: Any) -> None:
    filters, attributes = variable.filters(), _attributes(variable)
    array = combined.createVariable(
        variable.name,
        variable.dtype,
        ("number", *variable.dimensions),
        zlib=filters["zlib"],
        complevel=filters["complevel"],
        shuffle=filters["shuffle"],
        chunksizes=(1, *variable.chunking()),
        fill_value=variable.getncattr("_FillValue") if "_FillValue" in variable.ncattrs() else None,
        chunk_cache=1,
    )
    array.set_auto_maskandscale(False)
    auxiliary = [name for name in attributes["coordinates"].split() if name != "number"]
    array.setncatts({**attributes, "coordinates": " ".join(auxiliary)})


def _attributes(variable: Any) -> dict[str, Any]:
    """All but the fill value, which a variable is made with."""
    return {name: variable.getncattr(name) for name in variable.ncattrs() if name != "_FillValue"}


def _copy_fields(source: Any, combined: Any, i_member: int) -> None:
    """Copy what a member's file holds; levels that a variable lacks stay unwritten and take no space."""
    levels = source["level"][:].tolist() if "level" in source.variables else []
    for name, level in (split_channel(channel, source.variables) for channel in source.channels.split()):
        variable, array = source[name], combined[name]
        for block in lead_blocks(variable):
            place = (block,) if level is None else (block, levels.index(level))
            array[(i_member, *place)] = variable[place]
