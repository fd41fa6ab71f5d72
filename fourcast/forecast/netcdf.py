"""Forecast files: CF-1.11 netCDF, one for every initial time and member, written one lead time after the other.

    RUN/2026-08-10T00/member_000.nc    t(time, level, latitude, longitude), t2m(time, latitude, longitude), …

``time`` is the valid time and ``forecast_period(time)`` the lead time; initial time and member are scalar
coordinates. One file a member, with time as the first dimension, is what CDO, NCO, ncview and xarray all open;
a five-dimensional file is not. A variable's missing levels are never written and take no space.
"""

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
from fourcast.grid import Grid
from fourcast.variables import Variable, parse_channel

Attributes = Mapping[str, str | int | float]
EPOCH = "hours since 1970-01-01 00:00:00"
ACCUMULATION_HOURS = 6
"""The period over which accumulated variables (``tp06``) add up, ending at the valid time."""
SYNTHETIC = "SYNTHETIC: simulated planet, not the Earth's weather"
REFERENCES = "Pathak et al. 2022, FourCastNet, https://arxiv.org/abs/2202.11214"


@dataclass(frozen=True, eq=False)
class ForecastHeader:
    """Everything of a forecast file that is known before the first step.

    channels: names, in the order of the states. lead_hours: increasing, 0 first. attributes: provenance that
    goes into the file (title, source, seed, checkpoint, …); where ``synthetic`` is true, the file says so.
    """

    channels: tuple[str, ...]
    grid: Grid
    init_time: np.datetime64
    member: int
    lead_hours: tuple[int, ...]
    attributes: Attributes


class MemberWriter:
    """Context manager that writes one forecast file; the file appears when all its lead times are written.

    An exception, a kill or a missing lead time leaves no file of that name. Use from one thread only: the netCDF
    library is not thread-safe.
    """

    def __init__(self, path: Path, header: ForecastHeader) -> None:
        self.path = path
        self.header = header
        self.written = 0
        names = [parse_channel(name) for name in header.channels]
        self._levels = sorted({c.level for c in names if c.level is not None})
        self._targets = [
            (c.variable.name, None if c.level is None else self._levels.index(c.level)) for c in names
        ]

    def __enter__(self) -> "MemberWriter":
        with ExitStack() as stack:
            temporary = stack.enter_context(whole_file(self.path))
            self._dataset = stack.enter_context(netCDF4.Dataset(temporary, "w", format="NETCDF4"))
            _define(self._dataset, self.header, self._levels)
            stack.push(self._require_all_leads)
            self._stack = stack.pop_all()
        return self

    def write(self, i_lead: int, state_CHW: NDArray[np.float32]) -> None:
        """Write the state at lead time ``i_lead``, in physical units; the array may be reused afterwards."""
        assert i_lead == self.written < len(self.header.lead_hours), (i_lead, self.written)
        assert state_CHW.shape == (len(self.header.channels), *self.header.grid.shape), state_CHW.shape
        assert state_CHW.dtype == np.float32, state_CHW.dtype
        for field_HW, (name, i_level) in zip(state_CHW, self._targets, strict=True):
            self._dataset[name][i_lead if i_level is None else (i_lead, i_level)] = field_HW
        self.written += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _require_all_leads(self, kind: type[BaseException] | None, *_: object) -> None:
        assert kind is not None or self.written == len(self.header.lead_hours), (
            f"{self.path}: closed after {self.written} of {len(self.header.lead_hours)} lead times"
        )


def init_name(init_time: np.datetime64) -> str:
    """The folder of an initial time: ``2026-08-10T00``."""
    return str(init_time.astype("datetime64[h]"))


def member_path(run: Path, init_time: np.datetime64, member: int) -> Path:
    """Where the forecast of a member from an initial time lies."""
    return run / init_name(init_time) / f"member_{member:03d}.nc"


def is_finished(path: Path, header: ForecastHeader) -> bool:
    """Whether ``path`` holds the finished forecast that ``header`` describes, from the same provenance."""
    expected = _global_attributes(header)
    try:
        dataset = netCDF4.Dataset(path)
    except OSError:  # not there, or no netCDF
        return False
    with dataset:
        found = {name: dataset.getncattr(name) for name in dataset.ncattrs()}
        return (
            {**found, "history": ""} == {**expected, "history": ""}
            and np.array_equal(dataset["forecast_period"][:], header.lead_hours)
            and np.array_equal(dataset["latitude"][:], header.grid.latitude)
            and np.array_equal(dataset["longitude"][:], header.grid.longitude)
        )


def _global_attributes(header: ForecastHeader) -> dict[str, str | int | float]:
    init, now = init_name(header.init_time), datetime.now(UTC)
    given = {name: int(v) if isinstance(v, bool) else v for name, v in header.attributes.items()}
    return {
        "Conventions": "CF-1.11",
        "title": "Global weather forecast",
        "source": f"fourcast {__version__}",
        "history": f"{now:%Y-%m-%dT%H:%M:%SZ} written by fourcast {__version__}",
        "references": REFERENCES,
        **given,
        **({"comment": SYNTHETIC} if given.get("synthetic") else {}),
        "channels": " ".join(header.channels),
        "init_time": init,
        "member": header.member,
    }


def _define(dataset: Any, header: ForecastHeader, levels: list[int]) -> None:
    """Write everything but the fields."""
    dataset.setncatts(_global_attributes(header))
    channels = [parse_channel(name) for name in header.channels]
    variables = {c.variable.name: c.variable for c in channels}
    _define_times(dataset, header, accumulated=any(v.cell_methods for v in variables.values()))
    _put(dataset, "number", np.int32(header.member), (), standard_name="realization", units="1", long_name="member")
    grid = header.grid
    for name, values, units, axis in (
        ("latitude", grid.latitude, "degrees_north", "Y"),
        ("longitude", grid.longitude, "degrees_east", "X"),
    ):
        _put(dataset, name, values, (name,), standard_name=name, units=units, axis=axis)
    if levels:
        pressure = {"standard_name": "air_pressure", "units": "hPa", "positive": "down", "axis": "Z"}
        _put(dataset, "level", np.array(levels, dtype=np.int32), ("level",), **pressure)
    for height in sorted({v.height for v in variables.values() if v.height is not None}):
        metres = {"standard_name": "height", "units": "m", "positive": "up"}
        _put(dataset, _height_name(height), np.float64(height), (), **metres)
    for variable in variables.values():
        held = {c.level for c in channels if c.variable is variable}
        _define_variable(dataset, variable, gaps=variable.levels and held != set(levels))


def _define_times(dataset: Any, header: ForecastHeader, accumulated: bool) -> None:
    leads = np.array(header.lead_hours, dtype=np.float64)
    init = float(header.init_time.astype("datetime64[h]").astype(np.int64))
    clock = {"units": EPOCH, "calendar": "standard", "units_metadata": "leap_seconds: none"}
    bounds = {"bounds": "time_bnds"} if accumulated else {}
    dataset.createDimension("time", None)
    names = {"standard_name": "time", "long_name": "valid time", "axis": "T"}
    _put(dataset, "time", init + leads, ("time",), **names, **clock, **bounds)
    if accumulated:
        edges = np.stack([init + leads - ACCUMULATION_HOURS, init + leads], axis=1)
        _put(dataset, "time_bnds", edges, ("time", "bnds"))
    lead = {"standard_name": "forecast_period", "long_name": "lead time", "units": "hours"}
    # xarray decodes a plain "hours" to a time span only with this attribute; other tools ignore it.
    _put(dataset, "forecast_period", leads, ("time",), **lead, dtype="timedelta64[ns]")
    start = {"standard_name": "forecast_reference_time", "long_name": "initial time", **clock}
    _put(dataset, "forecast_reference_time", np.float64(init), (), **start)


def _define_variable(dataset: Any, variable: Variable, gaps: bool) -> None:
    plane = ("latitude", "longitude")
    dims = ("time", "level", *plane) if variable.levels else ("time", *plane)
    array = dataset.createVariable(
        variable.name,
        "f4",
        dims,
        zlib=True,
        complevel=1,
        shuffle=True,
        chunksizes=(*[1] * (len(dims) - 2), *(len(dataset.dimensions[d]) for d in plane)),
        fill_value=np.float32("nan") if gaps else None,
        chunk_cache=1,  # straight to disk: by default the library hoards tens of megabytes a variable
    )
    array.set_auto_maskandscale(False)
    scalars = ["forecast_period", "forecast_reference_time", "number"]
    if variable.height is not None:
        scalars.append(_height_name(variable.height))
    array.setncatts(
        {
            "standard_name": variable.standard_name,
            "long_name": variable.long_name.replace("_", " "),
            "units": variable.units,
            **({"units_metadata": "temperature: on_scale"} if variable.units == "K" else {}),
            "cell_methods": variable.cell_methods or "time: point",
            "coordinates": " ".join(scalars),
        }
    )


def _height_name(height: float) -> str:
    return f"height_{height:g}m"


def _put(dataset: Any, name: str, values: Any, dims: tuple[str, ...], **attributes: str) -> None:
    for dim, size in zip(dims, np.shape(values), strict=True):
        if dim not in dataset.dimensions:
            dataset.createDimension(dim, size)
    array = dataset.createVariable(name, np.asarray(values).dtype, dims, chunksizes=np.shape(values) or None)
    array.setncatts(attributes)
    array[...] = values
