"""A forecast run as zarr in the layout of WeatherBench 2 (Rasp et al. 2024, https://arxiv.org/abs/2308.15560).

    RUN/forecast.zarr    temperature(time, number, prediction_timedelta, level, latitude, longitude), …

``time`` is the initial time; variables go by ARCO-ERA5's names. WeatherBench 2 counts relative humidity as a fraction:
ours stays in per cent on disk, with the scale_factor that xarray decodes it by.
"""

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from fourcast.files import whole_directory
from fourcast.forecast.contents import ZARR, Contents, find_contents, require
from fourcast.forecast.netcdf import LOCK
from fourcast.forecast.reader import KEPT
from fourcast.forecast.stacked import field_names, lead_blocks, leads_at_once, open_raw, sizes_of
from fourcast.progress import progress

FRACTION: dict[str, Any] = {"units": "1", "scale_factor": 0.01}


def write_zarr(run: Path) -> Path:
    """Write the finished members' files of a run into RUN/forecast.zarr, whole or not at all; return its path.

    A chunk is one lead time of one member on all levels; as many of them as make BLOCK_BYTES share a file and are in
    memory together. For one process to call. InputError where members are missing, or where a file's dimensions are not
    those of the first.
    """
    contents = find_contents(run)
    files = require(contents, contents.member_files)
    path = contents.run / ZARR
    with whole_directory(path) as folder:
        group = zarr.create_group(folder, zarr_format=3, overwrite=True)
        with LOCK, open_raw(files.flat[0]) as first:
            _define(group, contents, first)
            sizes = sizes_of(first)
        places = progress(np.ndenumerate(files), files.size, f"members written to {ZARR}")
        for (i_init, i_member), member_file in places:
            with LOCK, open_raw(member_file, sizes) as source:
                _copy_fields(source, group, i_init, i_member)
    return path


def _define(group: zarr.Group, contents: Contents, first: Any) -> None:
    """Everything but the fields."""
    group.attrs.put({k: v for k, v in _attributes(first).items() if k not in ("init_time", "member")})
    inits = np.array(contents.init_times).astype("datetime64[h]").astype(np.int64)
    leads = first["forecast_period"][:].astype(np.int64)
    clock = {"units": "hours since 1970-01-01", "calendar": "proleptic_gregorian"}
    _put(group, "time", inits, {"standard_name": "forecast_reference_time", **clock})
    _put(group, "number", np.array(contents.members), {"standard_name": "realization", "units": "1"})
    # xarray decodes plain "hours" to time spans only with the attribute dtype.
    spans = {"standard_name": "forecast_period", "units": "hours", "dtype": "timedelta64[ns]"}
    _put(group, "prediction_timedelta", leads, spans)
    for name in ("level", "latitude", "longitude"):
        if name in first.variables:
            _put(group, name, first[name][:], _attributes(first[name]))
    outer = (len(inits), len(contents.members), len(leads))
    for name in field_names(first):
        _define_field(group, first[name], outer)


def _define_field(group: zarr.Group, variable: Any, outer: tuple[int, ...]) -> None:
    kept = {name: value for name, value in _attributes(variable).items() if name in KEPT}
    group.create_array(
        long_name(variable),
        shape=(*outer, *variable.shape[1:]),
        dtype="float32",
        chunks=(1, 1, 1, *variable.shape[1:]),
        shards=(1, 1, leads_at_once(variable), *variable.shape[1:]),
        compressors=BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
        dimension_names=["time", "number", "prediction_timedelta", *variable.dimensions[1:]],
        fill_value=np.nan,
        attributes={**kept, "short_name": variable.name, **(FRACTION if kept["units"] == "%" else {})},
        # A chunk without a single value is a file all the same: what is missing on disk was never written.
        config={"write_empty_chunks": True},
    )


def long_name(variable: Any) -> str:
    """The name of a file's variable in ARCO-ERA5 and WeatherBench 2: ``2m_temperature``."""
    return str(variable.long_name).replace(" ", "_")


def _attributes(of: Any) -> dict[str, Any]:
    """The attributes of a netCDF file or variable as JSON has them."""
    found = ((name, of.getncattr(name)) for name in of.ncattrs())
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in found}


def _put(group: zarr.Group, name: str, values: NDArray[Any], attributes: dict[str, Any]) -> None:
    array = group.create_array(
        name, shape=values.shape, dtype=values.dtype, dimension_names=[name], attributes=attributes
    )
    array[:] = values


def _copy_fields(source: Any, group: zarr.Group, i_init: int, i_member: int) -> None:
    for name in field_names(source):
        array = group[long_name(source[name])]
        assert isinstance(array, zarr.Array)
        for block in lead_blocks(source[name]):
            array[i_init, i_member, block] = source[name][block]
