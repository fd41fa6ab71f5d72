"""A part of a verification: the statistics of some consecutive initial times, in one netCDF file.

Variables that have the dimension ``init_time`` are joined over parts; all others are sums, which add. A part is
written channel by channel, and a channel can be read without the others.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import netCDF4
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fourcast.files import whole_file
from fourcast.forecast.netcdf import LOCK
from fourcast.verify.probabilities import EVENT_STATISTICS
from fourcast.verify.results.results_file import Coordinate, naming, put_coordinate
from fourcast.verify.scores import STATISTICS

Float64 = NDArray[np.float64]

CASES = ("init_time", "lead_time")
BY_CHANNEL = ("system", *CASES, "channel", "region")
BY_EVENT = ("system", *CASES, "event", "region")
MAP = ("map_lead", "map_channel", "latitude", "longitude")
LAYOUT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(STATISTICS, BY_CHANNEL),
    "coverage": (*CASES, "channel", "region"),
    "verified": CASES,
    **dict.fromkeys(EVENT_STATISTICS, BY_EVENT),
    "rank_sum": ("ensemble", "lead_time", "channel", "region", "rank"),
    "rank_cases": ("ensemble", "lead_time", "channel", "region"),
    "reliability_sum": ("ensemble", "lead_time", "event", "region", "bin", "quantity"),
    "spectrum_sum": ("spectrum", "lead_time", "channel", "band", "wavenumber"),
    "spectrum_cases": ("lead_time", "channel"),
    "map_error": ("map_system", *MAP),
    "map_squared_error": ("map_system", *MAP),
    "map_variance": ("ensemble", *MAP),
    "map_cases": MAP,
}
"""Dimensions of every variable that a part may hold. NaN is what a system, channel or case has not."""
ONE_BY_ONE = ("channel", "event", "map_channel")
"""Dimensions along which a part is written and read one at a time."""


class PartWriter:
    """Context manager that writes one part; the file appears, whole, when it is left without an error.

    coordinates: of all dimensions, and others beside them, as xarray takes them. names: the variables that the part
    holds, all NaN until ``put``. OSError where it cannot be written, as on a full disk.
    """

    def __init__(self, path: Path, coordinates: xr.Dataset, names: Sequence[str]) -> None:
        self.path = path
        self.coordinates = coordinates
        self.names = tuple(names)

    def __enter__(self) -> "PartWriter":
        with ExitStack() as stack:
            temporary = stack.enter_context(whole_file(self.path))
            with LOCK, naming(self.path):
                self._dataset = stack.enter_context(netCDF4.Dataset(temporary, "w"))
                for name, held in self.coordinates.coords.items():
                    coordinate = Coordinate(tuple(map(str, held.dims)), held.values, held.attrs)
                    put_coordinate(self._dataset, str(name), coordinate)
                for name in self.names:
                    self._define(name)
            self._stack = stack.pop_all()
        return self

    def put(self, name: str, values: Float64, position: int | None = None) -> None:
        """Write a variable, or its place ``position`` along the dimension that is written one by one."""
        with LOCK, naming(self.path):
            variable = self._dataset[name]
            assert (position is None) == (not set(variable.dimensions) & set(ONE_BY_ONE)), (name, position)
            variable[tuple(position if dim in ONE_BY_ONE else slice(None) for dim in variable.dimensions)] = values

    def _define(self, name: str) -> None:
        sizes = self.coordinates.sizes
        chunks = [1 if dim in ONE_BY_ONE else sizes[dim] for dim in LAYOUT[name]]
        self._dataset.createVariable(name, "f8", LAYOUT[name], chunksizes=chunks, fill_value=np.nan)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with LOCK, naming(self.path):
            self._stack.__exit__(kind, error, trace)
