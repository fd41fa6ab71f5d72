"""The parts of a verification put together, so much of them at a time as is asked for."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, overload

import netCDF4
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fourcast.forecast.netcdf import LOCK
from fourcast.verify.inputs.recent import Recent
from fourcast.verify.part import LAYOUT

MOST_BYTES = 2**23
"""A variable that is no more in all parts together is read once and kept: few enough for all variables to stay."""


MOST_OPEN = 128
"""Files that stay open; systems allow a process from 256 on."""


class Parts(Sequence[Path]):
    """Paths of parts, of which the first MOST_OPEN stay open while this context manager is: reading is faster so."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self.files: tuple[Any, ...] = ()
        self.recent = Recent()
        self._resources = ExitStack()

    @overload
    def __getitem__(self, place: int) -> Path: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Path]: ...
    def __getitem__(self, place: int | slice) -> Path | Sequence[Path]:
        return self.paths[place]

    def __len__(self) -> int:
        return len(self.paths)

    def __enter__(self) -> "Parts":
        with LOCK:
            first = self.paths[:MOST_OPEN]
            self.files = tuple(self._resources.enter_context(netCDF4.Dataset(path)) for path in first)
        return self

    @contextmanager
    def file(self, place: int) -> Iterator[Any]:
        """One of the files, which may be closed afterwards."""
        if place < len(self.files):
            yield self.files[place]
            return
        with LOCK:
            file = netCDF4.Dataset(self.paths[place])
        try:
            yield file
        finally:
            with LOCK:
                file.close()

    def __exit__(self, *_: object) -> None:
        with LOCK:
            self._resources.close()


def held(parts: Sequence[Path]) -> frozenset[str]:
    """The variables of LAYOUT that the parts hold."""
    with _opened(parts) as opened:
        return frozenset(name for name in LAYOUT if name in opened.files[0].variables)


def joined(parts: Sequence[Path], name: str, **chosen: int) -> xr.DataArray:
    """A variable of all initial times, at the positions ``chosen`` along other dimensions; nothing else is read.

    It has its dimensions, in the order of LAYOUT, and no coordinates.
    """
    dims = _left(name, chosen)
    pieces = list(_pieces(parts, name, chosen))
    return xr.DataArray(np.concatenate(pieces, axis=dims.index("init_time")), dims=dims)


def added(parts: Sequence[Path], name: str, **chosen: int) -> xr.DataArray:
    """The sum over parts of a variable at the positions ``chosen``, in the order of the parts."""
    assert "init_time" not in LAYOUT[name], name
    pieces = _pieces(parts, name, chosen)
    total = next(pieces)
    for piece in pieces:
        total += piece
    return xr.DataArray(total, dims=_left(name, chosen))


def _left(name: str, chosen: dict[str, int]) -> tuple[str, ...]:
    assert chosen.keys() <= set(LAYOUT[name]), (name, chosen)
    return tuple(dim for dim in LAYOUT[name] if dim not in chosen)


def _pieces(parts: Sequence[Path], name: str, chosen: dict[str, int]) -> Iterator[Any]:
    where = tuple(chosen.get(dim, slice(None)) for dim in LAYOUT[name])
    with _opened(parts) as opened:
        for i_part in range(len(opened)):
            with opened.file(i_part) as file:
                variable = file[name]
                if 8 * math.prod(variable.shape) * len(opened) <= MOST_BYTES:
                    piece = opened.recent.get((i_part, name), partial(_read, variable))[where].copy()
                else:
                    piece = _read(variable, where)
            yield piece


def _read(variable: Any, where: tuple[int | slice, ...] = (slice(None),)) -> NDArray[np.float64]:
    with LOCK:
        variable.set_auto_mask(False)
        return np.asarray(variable[where], dtype=np.float64)


@contextmanager
def _opened(parts: Sequence[Path]) -> Iterator[Parts]:
    if isinstance(parts, Parts) and parts.files:
        yield parts
        return
    with Parts(parts) as opened:
        yield opened
