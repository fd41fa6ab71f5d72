"""How scores are defined: named conventions, each with its weights of rows, its order of root and mean, and its ACC."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fourcast.errors import InputError
from fourcast.grid import Grid, area_weights

Float64 = NDArray[np.float64]
Weights = Literal["cell_area", "cosine", "fourcastnet"]


@dataclass(frozen=True)
class Convention:
    """What people differ in.

    weights: of the grid's rows, see ``row_weights``. root_first: whether the square root of an area-mean squared error
    is taken for every initial time and then averaged, and not of its average. centred: whether the region's mean is
    taken from anomalies before they are correlated. static_climatology: whether anomalies are departures from the
    long-term mean of a point, and not from that of the day of the year and the hour.
    """

    name: str
    text: str
    weights: Weights
    root_first: bool = False
    centred: bool = False
    static_climatology: bool = False


CONVENTIONS: dict[str, Convention] = {
    convention.name: convention
    for convention in (
        Convention(
            "weatherbench2",
            "weights by grid-cell area, square root after the mean over initial times, uncentred anomaly correlation "
            "against the climatology of the day of the year and the hour (Rasp et al. 2024)",
            weights="cell_area",
        ),
        Convention(
            "fourcastnet",
            "as published with FourCastNet (Pathak et al. 2022): weights by its cosine of latitude, square root for "
            "every initial time and then the mean, uncentred anomaly correlation against the long-term mean",
            weights="fourcastnet",
            root_first=True,
            static_climatology=True,
        ),
        Convention(
            "centred",
            "weights by cosine of latitude, square root after the mean over initial times, centred anomaly "
            "correlation against the climatology of the day of the year and the hour",
            weights="cosine",
            centred=True,
        ),
    )
}


def row_weights(convention: Convention, grid: Grid) -> Float64:
    """Weights of the grid's rows, mean 1: [H].

    cell_area: the difference of the sines of the cell's edges (``fourcast.grid.area_weights``). cosine: cos(latitude).
    fourcastnet: as in that model's published code, N cos(φ_j) / Σ cos(φ_k) with φ_j = 90° − j · 180° / (N − 1) and
    π = 3.1416, whatever the N rows' latitudes are; InputError where they do not reach from pole to pole. The -4e-6 that
    this cosine is at the poles counts as 0.
    """
    if convention.weights == "cell_area":
        return area_weights(grid.latitude)
    if convention.weights == "fourcastnet":
        return _published(grid)
    return _normalised(np.cos(np.deg2rad(grid.latitude)))


def _published(grid: Grid) -> Float64:
    if not grid.is_global:
        raise InputError(
            f"convention=fourcastnet weighs the rows of a whole globe, found {grid}; verify whole fields, or take "
            "convention=weatherbench2"
        )
    rows = grid.shape[0]
    latitude = 90.0 - np.arange(rows) * 180.0 / (rows - 1)
    return _normalised(np.cos(3.1416 / 180.0 * latitude))


def _normalised(cosines: Float64) -> Float64:
    positive = np.maximum(cosines, 0.0)
    return np.ones_like(positive) if len(positive) == 1 else positive / positive.mean()
