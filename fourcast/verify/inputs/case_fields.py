"""One variable of one forecast file, made ours as the ingestion makes analyses ours: names, levels, units, axes."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fourcast.data.sources.failures import read_errors, unreadable
from fourcast.data.sources.openers import SourceOptions
from fourcast.data.sources.pieces import Piece, Unusable, pieces_of, slice_or_positions
from fourcast.data.sources.recognise import HOURLY_PRECIPITATION
from fourcast.errors import InputError
from fourcast.verify.inputs.case_axes import Case, CaseAxes, case_axes, with_coordinates
from fourcast.verify.inputs.headers import Header, is_ours, stated_channels
from fourcast.verify.inputs.recent import Recent

Float32 = NDArray[np.float32]
BOLTON_ALLOWED = SourceOptions(allow=("bolton",))
ANY_TIME = np.datetime64("2000-01-01", "ns")
TOGETHER_BYTES = 2**25
"""Of one variable in all files that hold members of it."""
SUMS = "adds up from the start of the forecast: expected six-hour sums, total_precipitation_6hr"


@dataclass(frozen=True, eq=False)
class CaseFields:
    """One variable of one file at all its cases, on disk.

    piece: the variable, levels, units and orientation of a case of it. channels: those in here. array: all cases.
    recent: what was read of it and lies in one chunk with other cases. formula: how the values came about, where that
    is not as in ERA5. together_bytes: how much is read at a time where cases are small.
    """

    path: str
    piece: Piece
    channels: tuple[str, ...]
    array: xr.DataArray
    axes: CaseAxes
    guard: AbstractContextManager[object]
    recent: Recent
    formula: str | None = None
    together_bytes: int = TOGETHER_BYTES

    def read(self, case: Case, channels: tuple[str, ...]) -> Float32:
        """Fields [C, M, H, W] in our units and orientation; InputError where the file cannot be read there."""
        piece, places = self.piece, dict(zip(self.axes.dims, self.axes.places[case], strict=True))
        levels = piece.level_positions[[piece.channels.index(name) for name in channels]]
        values = self._values(places, levels)
        rows, columns = slice_or_positions(piece.axes.rows), slice_or_positions(piece.axes.columns)
        return piece.convert(values[..., rows, :][..., columns])

    def _values(self, places: dict[str, int], levels: NDArray[np.int64]) -> NDArray[Any]:
        """What the file holds, [level, member, latitude, longitude] at ``places`` along the dimensions of cases."""
        spans = self._spans(places, len(levels))
        if all(span.stop - span.start == 1 for span in spans.values()):
            return self._load(spans, levels)[(0,) * len(spans)]
        key = (id(self), *(span.start for span in spans.values()), *levels.tolist())
        block = self.recent.get(key, lambda: self._load(spans, levels))
        return block[tuple(places[dim] - span.start for dim, span in spans.items())]

    def _spans(self, places: dict[str, int], levels: int) -> dict[str, slice]:
        """What is read with the case at ``places``: all in its chunk, unless that is large, and more while it is small.

        Small chunks cost more to look up than to read.
        """
        lengths, sizes = self._chunk_lengths(), self.array.sizes
        others = [size for dim, size in sizes.items() if dim not in places and dim != self.piece.level_dimension]
        spans = {dim: _aligned(place, lengths[dim], sizes[dim]) for dim, place in places.items()}
        nbytes = 4 * math.prod([*others, levels, *(span.stop - span.start for span in spans.values())])
        if nbytes > self.recent.limit_bytes // 4:
            return {dim: slice(place, place + 1) for dim, place in places.items()}
        more = self.together_bytes // nbytes
        for dim in reversed(self.axes.dims):
            own = spans[dim].stop - spans[dim].start
            spans[dim] = _aligned(places[dim], lengths[dim] * max(more, 1), sizes[dim])
            more = more * own // (spans[dim].stop - spans[dim].start)
        return spans

    def _chunk_lengths(self) -> dict[Any, int]:
        """How many cases are decoded together along each dimension: those of a zarr shard or chunk, or HDF5 chunk."""
        encoding = self.array.encoding
        chunks = encoding.get("shards") or encoding.get("chunks") or encoding.get("chunksizes")
        return dict(zip(self.array.dims, chunks or (1,) * self.array.ndim, strict=True))

    def _load(self, spans: dict[str, slice], levels: NDArray[np.int64]) -> NDArray[Any]:
        """[cases …, level, member, latitude, longitude] of ``spans`` along the dimensions of cases."""
        axes, chosen = self.piece.axes, dict[str, Any](spans)
        if self.piece.level_dimension is not None:
            chosen[self.piece.level_dimension] = slice_or_positions(levels)
        try:
            with self.guard:
                block = self.array.isel(chosen).load()
        except read_errors(self.path) as error:
            raise unreadable(self.path, str(self.array.name), error, "fetch it again") from error
        for name, dim in (("fourcast_level", self.piece.level_dimension), ("fourcast_member", self.axes.member_dim)):
            if dim is None:
                block = block.expand_dims(name)
        level, member = self.piece.level_dimension or "fourcast_level", self.axes.member_dim or "fourcast_member"
        return block.transpose(*spans, level, member, axes.latitude, axes.longitude).values


def case_fields(header: Header, recent: Recent) -> Iterator[CaseFields | str]:
    """The variables of a file that are ours, and why others cannot be used though they might be ours.

    InputError where its times, members or grid cannot be used.
    """
    dataset = with_coordinates(header.dataset)
    try:
        axes = case_axes(dataset)
    except InputError as error:
        raise InputError(f"{header.path} {error}") from error
    yield from fields_of(replace(header, dataset=dataset), axes, recent)


def fields_of(header: Header, axes: CaseAxes, recent: Recent) -> Iterator[CaseFields | str]:
    """The same of a file whose cases are known."""
    dataset = header.dataset
    kept = set(stated_channels(dataset))
    for found in pieces_of(_one_case(dataset, axes), header.path, None, None, BOLTON_ALLOWED):
        if isinstance(found, Unusable):
            yield from [f"{header.path}: {found.reason}"] if found.known else []
        elif reason := _unfit(dataset[found.array.name], found, axes):
            yield f"{header.path}: {found.array.name} {reason}"
        elif not found.variable.static:
            channels = tuple(name for name in found.channels if not kept or name in kept)
            array = dataset[found.array.name]
            formula = None if is_ours(dataset) else found.formula
            yield CaseFields(header.path, found, channels, array, axes, header.guard, recent, formula)


def _one_case(dataset: xr.Dataset, axes: CaseAxes) -> xr.Dataset:
    """The first case and member as if it were an analysis."""
    dims = [dim for dim in (*axes.dims, axes.member_dim) if dim is not None]
    return dataset.drop_vars(axes.others).isel(dict.fromkeys(dims, 0)).assign_coords(time=ANY_TIME)


def _unfit(array: xr.DataArray, piece: Piece, axes: CaseAxes) -> str | None:
    """Why an array is no forecast though it is a variable of ours; None where it is one, or static."""
    if piece.variable == HOURLY_PRECIPITATION:
        return SUMS
    needed = [dim for dim in (*axes.dims, axes.member_dim) if dim is not None]
    if piece.variable.static or set(needed) <= set(array.dims):
        return None
    return f"has dimensions ({', '.join(map(str, array.dims))}), expected {', '.join(needed)} among them"


def _aligned(place: int, length: int, size: int) -> slice:
    """The chunk of ``length`` around a place."""
    start = place // length * length
    return slice(start, min(start + length, size))
