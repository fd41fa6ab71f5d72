"""Fields on a coarser grid: means over blocks of points, and the cells that these stand for."""

import numpy as np
from numpy.typing import NDArray

from fourcast.grid import latitude_edges

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


def block_means(fields: Float32, block: int) -> Float32:
    """Means over blocks of ``block`` × ``block`` points [..., H, W]; the last blocks may be smaller.

    Points without a number do not count; a block of such points alone has none.
    """
    if block == 1:
        return fields
    finite = np.isfinite(fields)
    counts = _sums(finite.astype(np.float64), block)
    sums = _sums(np.where(finite, fields, 0.0).astype(np.float64), block)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).astype(np.float32)


def _sums(values: Float64, block: int) -> Float64:
    height, width = values.shape[-2:]
    rows = np.add.reduceat(values, np.arange(0, height, block), axis=-2)
    return np.add.reduceat(rows, np.arange(0, width, block), axis=-1)


def coarse_axis(places: Float64, block: int) -> Float64:
    """The mean place of each block of an axis."""
    starts = np.arange(0, len(places), block)
    return np.add.reduceat(places, starts) / np.diff(np.append(starts, len(places)))


def row_edges(latitude: Float64) -> Float64:
    """Edges of rows' cells in degrees, decreasing: [H + 1]; a single row reaches half a degree both ways."""
    return latitude_edges(latitude) if len(latitude) > 1 else latitude[0] + np.array([0.5, -0.5])


def column_edges(longitude: Float64) -> Float64:
    """Edges of columns' cells in degrees, half-way between them: [W + 1]."""
    if len(longitude) == 1:
        return longitude[0] + np.array([-0.5, 0.5])
    middle = (longitude[:-1] + longitude[1:]) / 2
    return np.concatenate([[2 * longitude[0] - middle[0]], middle, [2 * longitude[-1] - middle[-1]]])
