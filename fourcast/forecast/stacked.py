"""Forecast files side by side as one lazy array: nothing is read until values are asked for, and then only those.

It goes through xarray's interface for backends, which keeps a bounded number of files open (128 unless
``xarray.set_options(file_cache_maxsize=…)`` says otherwise), whatever the number of members. dask is not needed.
"""

import math
import re
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
from numpy.typing import NDArray
from xarray.backends import BackendArray, CachingFileManager
from xarray.core import indexing

from fourcast.errors import InputError
from fourcast.forecast.netcdf import LOCK

Files = NDArray[Any]
"""Paths of files by what they are of: [initial time], or [initial time, member]."""
Sizes = tuple[tuple[str, int], ...]
BLOCK_BYTES = 2**24
"""Copied in one go: many small fields, or one that is larger."""


class StackedFiles(BackendArray):
    """One variable over all files: the first indices choose files, the others are read from them."""

    def __init__(self, managers: Files, name: str, shape: tuple[int, ...]) -> None:
        self.managers = managers
        self.name = name
        self.shape = (*managers.shape, *shape)
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[np.float32]:
        picks = [np.arange(size)[k] for size, k in zip(self.shape, key, strict=True)]
        outer = self.managers.ndim
        chosen = self.managers[np.ix_(*map(np.atleast_1d, picks[:outer]))]
        values = np.empty([pick.size for pick in picks], dtype=np.float32)
        for place, manager in np.ndenumerate(chosen):
            with LOCK:
                slab = manager.acquire()[self.name][key[outer:]]
            values[place] = slab.reshape(values.shape[outer:])
        return values.reshape([pick.size for pick in picks if pick.ndim])


def managers_of(files: Files, sizes: Sizes) -> Files:
    """What opens each of ``files`` when it is first read, in the same places."""
    managers = np.empty(files.shape, dtype=object)
    for place, path in np.ndenumerate(files):
        managers[place] = CachingFileManager(open_raw, path, sizes)
    return managers


def open_raw(path: Path, sizes: Sizes | None = None) -> Any:
    """Open a forecast file for its values as they are on disk; InputError where its dimensions are not ``sizes``."""
    dataset = netCDF4.Dataset(path)
    found = sizes_of(dataset)
    if sizes is not None and found != sizes:
        dataset.close()
        raise InputError(
            f"{path} has dimensions {dict(found)}, the first file of its run {dict(sizes)}: they come from different "
            "forecasts; make the run again with overwrite=true"
        )
    dataset.set_auto_maskandscale(False)
    for name in field_names(dataset):  # by default the library hoards tens of megabytes a variable and file
        dataset[name].set_var_chunk_cache(size=1)
    return dataset


def sizes_of(dataset: Any) -> Sizes:
    """The dimensions of a file."""
    return tuple((name, len(dim)) for name, dim in dataset.dimensions.items())


def field_names(dataset: Any) -> tuple[str, ...]:
    """The variables of a forecast file that hold fields, in the order of its channels."""
    return tuple(dict.fromkeys(split_channel(name, dataset.variables)[0] for name in dataset.channels.split()))


def split_channel(name: str, variables: Container[Any]) -> tuple[str, int | None]:
    """Which of ``variables`` a channel is, and on which level: ``t850`` → t at 850 hPa, ``t2m`` → t2m."""
    if name in variables:
        return name, None
    match = re.fullmatch(r"(.+?)(\d+)", name)
    assert match is not None, name
    assert match[1] in variables, name
    return match[1], int(match[2])


def lead_blocks(variable: Any) -> Iterator[slice]:
    """Its lead times in blocks of BLOCK_BYTES, or of one; the last may be shorter."""
    leads, size = len(variable), leads_at_once(variable)
    return (slice(first, min(first + size, leads)) for first in range(0, leads, size))


def leads_at_once(variable: Any) -> int:
    """How many lead times of a variable [time, …] make a block."""
    leads, *plane = variable.shape
    return int(min(leads, max(1, BLOCK_BYTES // (4 * math.prod(plane)))))
