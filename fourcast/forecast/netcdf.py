"""Forecast files: CF-1.11 netCDF, one for every initial time and member, written one lead time after the other.

    RUN/2026-08-10T00/member_000.nc    t(time, level, latitude, longitude), t2m(time, latitude, longitude), …

``time`` is the valid time and ``forecast_period(time)`` the lead time; initial time and member are scalar
coordinates. One file a member, with time as the first dimension, is what CDO, NCO, ncview and xarray all open;
a five-dimensional file is not. A variable's missing levels are never written and take no space. What is computed of
all members lies in files of the same layout, without a member's number.
"""

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import netCDF4
import numpy as np
from numpy.typing import NDArray

from fourcast import __version__
from fourcast.files import whole_file
from fourcast.forecast_config import MANTISSA_BITS
from fourcast.variables import Variable, parse_channel

Attributes = Mapping[str, str | int | float]
Float32 = NDArray[np.float32]
EPOCH = "hours since 1970-01-01 00:00:00"
ACCUMULATION_HOURS = 6
"""The period over which accumulated variables (``tp06``) add up, ending at the valid time."""
SYNTHETIC = "SYNTHETIC: simulated planet, not the Earth's weather"
LOCK = threading.RLock()
"""Held by whoever uses the netCDF library, which is not thread-safe, while another thread may."""
REFERENCES = "Pathak et al. 2022, FourCastNet, https://arxiv.org/abs/2202.11214"


@dataclass(frozen=True, eq=False)
class Header:
    """Everything of a forecast file that is known before the first step.

    channels: what its 2-D fields are called, one for every column. latitude: [H] degrees north. longitude: [W] degrees
    east, strictly increasing. lead_hours: increasing. attributes: provenance that goes into the file (title, source,
    seed, checkpoint, …), which for a product names the product; where ``synthetic`` is true, the file says so.
    number: of the member; None for what is made of several, which are named in members, as in "0-49". compression:
    zlib's level, 0 for none. keep_bits: of the 23 of a number's fraction, the others being rounded away; None for all.
    """

    channels: tuple[str, ...]
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    init_time: np.datetime64
    lead_hours: tuple[int, ...]
    attributes: Attributes
    number: int | None
    compression: int = 1
    keep_bits: int | None = None
    members: str | None = None


@dataclass(frozen=True)
class Column:
    """One 2-D field of every lead time on file: a variable, or one pressure level of it.

    name: of the variable on file. attributes: of the variable (units, long_name, cell_methods, …), the same in all its
    levels. level: in hPa. height: in metres above the ground. accumulated: adds up over the ACCUMULATION_HOURS that
    end at the valid time.
    """

    name: str
    attributes: Attributes
    level: int | None = None
    height: float | None = None
    accumulated: bool = False


def columns_of(channels: tuple[str, ...]) -> tuple[Column, ...]:
    """Each channel as a column under its variable's name, with CF's attributes."""
    parsed = [(parse_channel(name).variable, parse_channel(name).level) for name in channels]
    return tuple(
        Column(variable.name, _attributes(variable), level, variable.height, variable.cell_methods is not None)
        for variable, level in parsed
    )


def _attributes(variable: Variable) -> dict[str, str]:
    return {
        "standard_name": variable.standard_name,
        "long_name": variable.long_name.replace("_", " "),
        "units": variable.units,
        **({"units_metadata": "temperature: on_scale"} if variable.units == "K" else {}),
        "cell_methods": variable.cell_methods or "time: point",
    }


class FileWriter:
    """Context manager that writes one forecast file; the file appears when all its lead times are written.

    An exception, a kill or a missing lead time leaves no file of that name. Use from one thread only: the netCDF
    library is not thread-safe.
    """

    def __init__(self, path: Path, header: Header, columns: tuple[Column, ...]) -> None:
        assert len(columns) == len(header.channels), (len(columns), header.channels)
        self.path = path
        self.header = header
        self.columns = columns
        self.written = 0
        self.size = 0
        """Bytes on disk so far."""
        levels = _levels(columns)
        self._targets = [(c.name, None if c.level is None else levels.index(c.level)) for c in columns]
        assert len(set(self._targets)) == len(columns), self._targets

    def __enter__(self) -> "FileWriter":
        with ExitStack() as stack:
            self._temporary = stack.enter_context(whole_file(self.path))
            self._dataset = stack.enter_context(netCDF4.Dataset(self._temporary, "w", format="NETCDF4"))
            define(self._dataset, self.header, self.columns)
            stack.push(self._require_all_leads)
            self._stack = stack.pop_all()
        return self

    def write(self, i_lead: int, fields_CHW: Float32) -> None:
        """Write the fields of lead time ``i_lead``, in physical units; the array may be reused afterwards."""
        self.write_leads(i_lead, fields_CHW[None])

    def write_leads(self, i_lead: int, fields_SCHW: Float32) -> None:
        """Write the fields of several lead times in a row, the first of which is ``i_lead``."""
        header, stop = self.header, i_lead + len(fields_SCHW)
        assert i_lead == self.written < stop <= len(header.lead_hours), (i_lead, stop, self.written)
        assert fields_SCHW.shape[1:] == (len(self.columns), len(header.latitude), len(header.longitude))
        assert fields_SCHW.dtype == np.float32, fields_SCHW.dtype
        if header.keep_bits is not None:
            fields_SCHW = rounded(fields_SCHW, header.keep_bits)
        for c, (name, i_level) in enumerate(self._targets):
            where = slice(i_lead, stop) if i_level is None else (slice(i_lead, stop), i_level)
            self._dataset[name][where] = fields_SCHW[:, c]
        self.written = stop
        self.size = self._temporary.stat().st_size

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        self.size = self.path.stat().st_size if kind is None else 0

    def _require_all_leads(self, kind: type[BaseException] | None, *_: object) -> None:
        assert kind is not None or self.written == len(self.header.lead_hours), (
            f"{self.path}: closed after {self.written} of {len(self.header.lead_hours)} lead times"
        )


def rounded(values: Float32, keep_bits: int) -> Float32:
    """``values`` to the nearest with ``keep_bits`` of the 23 bits of the fraction, ties to even.

    The relative error of a normal number is at most 2^-(keep_bits + 1) (BitRound: Kouznetsov 2021,
    https://doi.org/10.5194/gmd-14-377-2021). Infinities and NaN stay.
    """
    drop = np.uint32(MANTISSA_BITS - keep_bits)
    one, bits = np.uint32(1), np.ascontiguousarray(values).view(np.uint32)
    odd = (bits >> drop) & one
    nearest = (bits + ((one << (drop - one)) - one + odd)) & ~((one << drop) - one)
    return np.where(np.isfinite(values), nearest.view(np.float32), values)


def init_name(init_time: np.datetime64) -> str:
    """The folder of an initial time: ``2026-08-10T00``."""
    return str(init_time.astype("datetime64[h]"))


def member_path(run: Path, init_time: np.datetime64, member: int) -> Path:
    """Where the forecast of a member from an initial time lies."""
    return run / init_name(init_time) / f"member_{member:03d}.nc"


def is_finished(path: Path, header: Header) -> bool:
    """Whether ``path`` holds the finished fields that ``header`` describes, from the same provenance."""
    expected = global_attributes(header)
    try:
        with netCDF4.Dataset(path) as dataset:
            found = {name: dataset.getncattr(name) for name in dataset.ncattrs()}
            return (
                {**found, **CHANGING} == {**expected, **CHANGING}
                and np.array_equal(dataset["forecast_period"][:], header.lead_hours)
                and np.array_equal(dataset["latitude"][:], header.latitude)
                and np.array_equal(dataset["longitude"][:], header.longitude)
            )
    except (OSError, RuntimeError, AttributeError, IndexError):  # not there, no netCDF, or damaged
        return False


CHANGING = {"history": "", "source": ""}
"""Attributes in which finished files may differ: when, and by which version, they were written."""


def global_attributes(header: Header) -> dict[str, str | int | float]:
    """What the file says of itself; ``history`` differs from one writing to the next, ``source`` between versions."""
    init, now = init_name(header.init_time), datetime.now(UTC)
    given = {name: int(v) if isinstance(v, bool) else v for name, v in header.attributes.items()}
    return {
        "Conventions": "CF-1.11",
        "title": "Weather forecast",
        "source": f"fourcast {__version__}",
        "history": f"{now:%Y-%m-%dT%H:%M:%SZ} written by fourcast {__version__}",
        "references": REFERENCES,
        **given,
        **({"comment": SYNTHETIC} if given.get("synthetic") else {}),
        **({} if header.keep_bits is None else {"keep_bits": header.keep_bits}),
        "channels": " ".join(header.channels),
        "init_time": init,
        **({} if header.number is None else {"member": header.number}),
    }


def define(dataset: Any, header: Header, columns: tuple[Column, ...]) -> None:
    """Write everything but the fields."""
    dataset.setncatts(global_attributes(header))
    _define_times(dataset, header, accumulated=any(c.accumulated for c in columns))
    if header.number is not None:
        number = {"standard_name": "realization", "units": "1", "long_name": "member"}
        put(dataset, "number", np.int32(header.number), (), **number)
    if header.members is not None:
        # Characters: of a string of the library's own, files that are open several times crash the reader.
        letters = netCDF4.stringtochar(np.array(header.members, dtype=f"S{len(header.members)}"))
        put(dataset, "realization", letters, ("label_length",), standard_name="realization", long_name="members")
    for name, values, units, axis in (
        ("latitude", header.latitude, "degrees_north", "Y"),
        ("longitude", header.longitude, "degrees_east", "X"),
    ):
        put(dataset, name, values, (name,), standard_name=name, units=units, axis=axis)
    if levels := _levels(columns):
        pressure = {"standard_name": "air_pressure", "units": "hPa", "positive": "down", "axis": "Z"}
        put(dataset, "level", np.array(levels, dtype=np.int32), ("level",), **pressure)
    for height in sorted({c.height for c in columns if c.height is not None}):
        metres = {"standard_name": "height", "units": "m", "positive": "up"}
        put(dataset, _height_name(height), np.float64(height), (), **metres)
    for first in {column.name: column for column in columns}.values():
        held = {c.level for c in columns if c.name == first.name}
        _define_variable(dataset, header, first, gaps=first.level is not None and held != set(levels))


def _define_times(dataset: Any, header: Header, accumulated: bool) -> None:
    leads = np.array(header.lead_hours, dtype=np.float64)
    init = float(header.init_time.astype("datetime64[h]").astype(np.int64))
    clock = {"units": EPOCH, "calendar": "standard", "units_metadata": "leap_seconds: none"}
    bounds = {"bounds": "time_bnds"} if accumulated else {}
    dataset.createDimension("time", None)
    names = {"standard_name": "time", "long_name": "valid time", "axis": "T"}
    put(dataset, "time", init + leads, ("time",), **names, **clock, **bounds)
    if accumulated:
        edges = np.stack([init + leads - ACCUMULATION_HOURS, init + leads], axis=1)
        put(dataset, "time_bnds", edges, ("time", "bnds"))
    lead = {"standard_name": "forecast_period", "long_name": "lead time", "units": "hours"}
    # xarray decodes a plain "hours" to a time span only with this attribute; other tools ignore it.
    put(dataset, "forecast_period", leads, ("time",), **lead, dtype="timedelta64[ns]")
    start = {"standard_name": "forecast_reference_time", "long_name": "initial time", **clock}
    put(dataset, "forecast_reference_time", np.float64(init), (), **start)


def _define_variable(dataset: Any, header: Header, column: Column, gaps: bool) -> None:
    plane = ("latitude", "longitude")
    dims = ("time", *plane) if column.level is None else ("time", "level", *plane)
    array = dataset.createVariable(
        column.name,
        "f4",
        dims,
        zlib=header.compression > 0,
        complevel=header.compression,
        shuffle=header.compression > 0,
        chunksizes=(*[1] * (len(dims) - 2), *(len(dataset.dimensions[d]) for d in plane)),
        fill_value=np.float32("nan") if gaps else None,
        chunk_cache=1,  # straight to disk: by default the library hoards tens of megabytes a variable
    )
    array.set_auto_maskandscale(False)
    scalars = ["forecast_period", "forecast_reference_time"]
    scalars += ["number"] * (header.number is not None) + ["realization"] * (header.members is not None)
    if column.height is not None:
        scalars.append(_height_name(column.height))
    array.setncatts({**column.attributes, "coordinates": " ".join(scalars)})
    if header.keep_bits is not None:
        array.quantization_maximum_relative_error = 2.0 ** -(header.keep_bits + 1)


def _levels(columns: tuple[Column, ...]) -> list[int]:
    return sorted({c.level for c in columns if c.level is not None})


def _height_name(height: float) -> str:
    return f"height_{height:g}m"


def put(dataset: Any, name: str, values: Any, dims: tuple[str, ...], **attributes: str) -> None:
    """Write a coordinate, and the dimensions it brings along."""
    for dim, size in zip(dims, np.shape(values), strict=True):
        if dim not in dataset.dimensions:
            dataset.createDimension(dim, size)
    array = dataset.createVariable(name, np.asarray(values).dtype, dims, chunksizes=np.shape(values) or None)
    array.setncatts(attributes)
    array[...] = values
