"""Fields from one latitude–longitude grid onto another, by weights computed once.

On such grids both methods separate: a target field is R · source · Cᵀ, with the matrices R over rows and C over
columns, every row of which sums to one.

conservative: first order. R holds the overlaps of the cells in the sine of latitude and C those in longitude, which
makes their product the overlap on the sphere: the area integral is kept exactly wherever both grids cover the same
part of it. The method for averages: from fine to coarse, for precipitation and masks.
bilinear: between the two rows and columns around a point, across the meridian of Greenwich as anywhere else. Beyond
the outermost row a point takes that row's value. The method from coarse to fine; to a much coarser grid it aliases.

Winds are treated as two scalars, which smears their direction in the cells at the poles.
"""

import re

import numpy as np
from numpy.typing import NDArray

from fourcast.errors import InputError
from fourcast.grid import Grid, closes_circle, latitude_edges, longitude_edges

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Bands = list[tuple[slice, Float64]]
"""Sparse weights of one axis: for every target the run of sources it takes, and their weights."""

PRESETS = {"0.25deg": (720, 1440), "1.5deg": (121, 240), "2.8125deg": (64, 128), "5.625deg": (32, 64)}
METHODS = ("conservative", "bilinear")
KNOWN_SHARE = 0.5
"""A target value needs at least this share of its weight: less is missing, however the rest looks."""
ROUNDING = 1e-9
"""Of a target cell: overlaps up to this come from rounded coordinates."""


class Regridder:
    """Callable on fields of ``source``: float32 [..., H, W] → float32 [..., H', W'] on ``target``.

    Missing values (NaN) carry no weight: a target value is the weighted mean of the values present where these hold
    at least KNOWN_SHARE of its weight, and NaN elsewhere. Infinite values spoil at least the targets they touch.
    Sums are taken in float64, one field after the other.

    Raises InputError for an unknown method and where the target reaches beyond the cells of the source (bilinear: a
    point; conservative: half of a cell or more), as from FourCastNet's 720 rows to 721.
    """

    def __init__(self, source: Grid, target: Grid, method: str = "conservative") -> None:
        if method not in METHODS:
            raise InputError(f"regridding is one of {', '.join(METHODS)}, found {method!r}")
        self.source, self.target = source, target
        weights = _conservative if method == "conservative" else _bilinear
        self._rows, self._columns = (_bands(matrix) for matrix in weights(source, target))

    def __call__(self, fields: Float32) -> Float32:
        """Fields [..., H, W] of the source as fields [..., H', W'] of the target."""
        assert fields.shape[-2:] == self.source.shape, (fields.shape, self.source.shape)
        regridded = np.empty((*fields.shape[:-2], *self.target.shape), dtype=np.float32)
        for index in np.ndindex(fields.shape[:-2]):
            regridded[index] = self._one(fields[index])
        return regridded

    def _one(self, field: Float32) -> Float64:
        missing = np.isnan(field)
        if not missing.any():
            return self._mean(field)
        share = self._mean(~missing)
        total = self._mean(np.where(missing, np.float32(0), field))
        known = share >= KNOWN_SHARE - ROUNDING
        return np.divide(total, share, out=np.full_like(total, np.nan), where=known)

    def _mean(self, field: NDArray) -> Float64:
        by_row = _weigh(self._rows, field.astype(np.float64))
        return _weigh(self._columns, np.ascontiguousarray(by_row.T)).T


def preset(name: str) -> Grid:
    """The global grid called ``name``, its longitudes from 0.

    "0.25deg" is FourCastNet's: 720×1440 from the north pole on, without the row at the south pole. WeatherBench's are
    "1.5deg" (121×240) with rows at both poles, "2.8125deg" (64×128) and "5.625deg" (32×64) centred in their cells.
    Any other regular grid is named by its rows and columns, as in "721x1440": an odd number of rows lies from pole to
    pole, an even one is centred in its cells, except "720x1440", which is FourCastNet's.
    """
    written = re.fullmatch(r"(\d+)x(\d+)", name)
    shape = (int(written[1]), int(written[2])) if written else PRESETS.get(name)
    if shape is None or min(shape) < 2:
        raise InputError(
            f"unknown grid {name!r}: expected {', '.join(PRESETS)} or rows x columns of a regular grid, as in 721x1440"
        )
    height, width = shape
    rows = np.arange(height, dtype=np.float64)
    if shape == PRESETS["0.25deg"]:
        latitude = 90.0 - 0.25 * rows
    elif height % 2:
        latitude = 90.0 - rows * 180.0 / (height - 1)
    else:
        latitude = 90.0 - (rows + 0.5) * 180.0 / height
    return Grid(latitude, np.arange(width) * 360.0 / width)


def _bands(matrix: Float64) -> Bands:
    """The runs of ``matrix`` [N', N], row by row, outside which it is zero."""
    ends = [np.flatnonzero(row)[[0, -1]] for row in matrix]
    runs = [slice(int(first), int(last) + 1) for first, last in ends]
    return [(run, row[run].copy()) for run, row in zip(runs, matrix, strict=True)]


def _weigh(bands: Bands, values: Float64) -> Float64:
    """[N, M] → [N', M]: the product with the matrix of ``bands``; unlike BLAS's, its bits depend on no thread count."""
    sums = np.empty((len(bands), values.shape[1]))
    for total, (run, weights) in zip(sums, bands, strict=True):
        np.einsum("n,nm->m", weights, values[run], out=total)
    return sums


def _conservative(source: Grid, target: Grid) -> tuple[Float64, Float64]:
    """Shares of the target's rows [H', H] and columns [W', W] in the source's, by overlap."""
    rows, columns = _overlaps(_sines(source), _sines(target)), np.zeros((target.shape[1], source.shape[1]))
    east, wanted = longitude_edges(source.longitude), longitude_edges(target.longitude)
    for turn in (-360.0, 0.0, 360.0):
        columns += _overlaps(east + turn, wanted)
    covered = min(rows.sum(axis=1).min(), columns.sum(axis=1).min())
    if covered < KNOWN_SHARE:
        raise _beyond(source, target)
    return rows / rows.sum(axis=1, keepdims=True), columns / columns.sum(axis=1, keepdims=True)


def _sines(grid: Grid) -> Float64:
    """Sines of the rows' edges, negative so that they increase southwards."""
    return -np.sin(np.deg2rad(latitude_edges(grid.latitude)))


def _overlaps(source: Float64, target: Float64) -> Float64:
    """Which share of every target cell lies in every source cell: edges [N + 1], [N' + 1] → [N', N]."""
    starts = np.maximum(target[:-1, None], source[None, :-1])
    ends = np.minimum(target[1:, None], source[None, 1:])
    shares = (ends - starts) / np.diff(target)[:, None]
    return np.where(shares > ROUNDING, shares, 0.0)


def _bilinear(source: Grid, target: Grid) -> tuple[Float64, Float64]:
    """Weights of the two source rows and columns around every target row [H', H] and column [W', W]."""
    rows, east = _between(-source.latitude, -target.latitude), source.longitude
    if not closes_circle(east):
        columns = _between(east, target.longitude)
    else:
        around = _between(np.concatenate([east[-1:] - 360.0, east, east[:1] + 360.0]), target.longitude)
        columns = around[:, 1:-1]
        columns[:, -1] += around[:, 0]
        columns[:, 0] += around[:, -1]
    if not _surrounds(source, target):
        raise _beyond(source, target)
    return rows, columns


def _surrounds(source: Grid, target: Grid) -> bool:
    """Whether every point of ``target`` lies in a cell of ``source``, to a thousandth of a degree."""
    north, south = latitude_edges(source.latitude)[[0, -1]] + [1e-3, -1e-3]
    west, east = longitude_edges(source.longitude)[[0, -1]] + [-1e-3, 1e-3]
    inside = closes_circle(source.longitude) or (west <= target.longitude[0] and target.longitude[-1] <= east)
    return bool(inside and south <= target.latitude[-1] and target.latitude[0] <= north)


def _between(nodes: Float64, points: Float64) -> Float64:
    """Linear interpolation from rising ``nodes`` [N] to ``points`` [N'], constant beyond the ends: [N', N]."""
    after = np.searchsorted(nodes, points, side="right").clip(1, len(nodes) - 1)
    share = ((points - nodes[after - 1]) / (nodes[after] - nodes[after - 1])).clip(0.0, 1.0)
    weights, each = np.zeros((len(points), len(nodes))), np.arange(len(points))
    weights[each, after - 1] = 1.0 - share
    weights[each, after] = share
    return weights


def _beyond(source: Grid, target: Grid) -> InputError:
    latitude, longitude = latitude_edges(source.latitude), longitude_edges(source.longitude)
    return InputError(
        f"the grid {target} reaches beyond {source}, whose cells end at {latitude[0]:g}° and {latitude[-1]:g}° north, "
        f"{longitude[0]:g}° and {longitude[-1]:g}° east; choose a grid inside them (on 720 rows without the south "
        "pole: 720x1440)"
    )
