"""NetCDF files of results: named dimensions, compressed, written piece by piece, read by xarray, ncdump and others."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import netCDF4
import numpy as np
from numpy.typing import NDArray

from fourcast.forecast.netcdf import EPOCH
from fourcast.forecast.writer import write_error

Array = NDArray[Any]
MOST_CHUNK = 1 << 20
"""Values in a chunk."""
ONE_BY_ONE = ("channel", "event")
"""Dimensions along which files are written and read one at a time."""
FILLS: dict[str, float] = {"f4": np.nan, "f8": np.nan, "i4": -1, "i1": -1}


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Make a write that fails an OSError that says which file it was and how full its disk is."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise OSError(str(write_error(path, error))) from error


@dataclass(frozen=True, eq=False)
class Coordinate:
    """A coordinate variable: numbers, names, times (datetime64) or lead times (timedelta64)."""

    dims: tuple[str, ...]
    values: Array
    attributes: Mapping[str, Any] = field(default_factory=dict)


class ResultsFile:
    """Context manager that writes ``path``; what is never written is missing (NaN) and takes no space.

    OSError where it cannot be written, as on a full disk.
    """

    def __init__(self, path: Path, coordinates: Mapping[str, Coordinate], attributes: Mapping[str, Any]) -> None:
        self.path, self.coordinates, self.attributes = path, coordinates, attributes
        self.sizes: dict[str, int] = {}

    def __enter__(self) -> "ResultsFile":
        with naming(self.path), ExitStack() as stack:
            self._dataset = stack.enter_context(netCDF4.Dataset(self.path, "w", format="NETCDF4"))
            self._dataset.setncatts(dict(self.attributes))
            for name, coordinate in self.coordinates.items():
                put_coordinate(self._dataset, name, coordinate)
            self.sizes = {name: len(dim) for name, dim in self._dataset.dimensions.items()}
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with naming(self.path):
            self._stack.__exit__(kind, error, trace)

    def define(self, name: str, dims: tuple[str, ...], attributes: Mapping[str, Any], kind: str = "f8") -> None:
        """Add a variable of floating-point numbers (f4, f8) or of counts and flags (i4, i1)."""
        auxiliary = [key for key, c in self.coordinates.items() if key not in c.dims and set(c.dims) <= set(dims)]
        array = self._dataset.createVariable(
            name, kind, dims, zlib=True, complevel=1, shuffle=True, chunksizes=self._chunks(dims),
            fill_value=np.dtype(kind).type(FILLS[kind]),
        )  # fmt: skip
        array.set_auto_maskandscale(False)
        array.setncatts({**attributes, **({"coordinates": " ".join(auxiliary)} if auxiliary else {})})

    def write(self, name: str, values: Array, at: Mapping[str, int]) -> None:
        """Write ``values`` at the positions ``at``; they have the variable's other dimensions, in its order."""
        array = self._dataset[name]
        where = tuple(at.get(dim, slice(None)) for dim in array.dimensions)
        expected = tuple(self.sizes[dim] for dim in array.dimensions if dim not in at)
        assert values.shape == expected, (name, values.shape, expected)
        with naming(self.path):
            array[where] = values

    def __contains__(self, name: str) -> bool:
        return name in self._dataset.variables

    def _chunks(self, dims: tuple[str, ...]) -> tuple[int, ...]:
        """One channel or event to a chunk, and only the last dimensions whole where that is too much."""
        shape = [1 if dim in ONE_BY_ONE else self.sizes[dim] for dim in dims]
        for i in range(len(shape)):
            if np.prod(shape) > MOST_CHUNK:
                shape[i] = 1
        return tuple(shape)


def put_coordinate(dataset: netCDF4.Dataset, name: str, coordinate: Coordinate) -> None:
    """Write a coordinate variable, and those of its dimensions that are not there yet."""
    values, attributes = encoded(coordinate.values, coordinate.attributes)
    dims = coordinate.dims
    if values.dtype.kind == "S":
        dims = (*dims, f"{name}_length")
        values = netCDF4.stringtochar(values)
        attributes = {**attributes, "_Encoding": "utf-8"}
    for dim, size in zip(dims, values.shape, strict=True):
        if dim not in dataset.dimensions:
            dataset.createDimension(dim, size)
    array = dataset.createVariable(name, values.dtype, dims)
    array.set_auto_chartostring(False)
    array[...] = values
    array.setncatts(attributes)


def encoded(values: Array, attributes: Mapping[str, Any]) -> tuple[Array, dict[str, Any]]:
    """Values as files hold them and attributes that say how: times as hours, names as bytes of one length."""
    if values.dtype.kind == "M":
        clock = {"units": EPOCH, "calendar": "standard"}
        return values.astype("datetime64[h]").astype(np.int64), {**attributes, **clock}
    if values.dtype.kind == "m":
        # xarray decodes a plain "hours" to a time span only with the attribute dtype; other tools ignore it.
        span = {"units": "hours", "dtype": "timedelta64[ns]"}
        return values.astype("timedelta64[h]").astype(np.int64), {**attributes, **span}
    if values.dtype.kind in "UO":
        names = [str(name).encode() for name in values]
        length = max([1, *map(len, names)])
        return np.array(names, dtype=f"S{length}"), dict(attributes)
    return values, dict(attributes)
