"""Spectra row by row, each as that of a grid of this row alone."""

import numpy as np

from fourcast.grid import Grid
from fourcast.verify.spectra import band_spectra


def row_spectra(fields: np.ndarray, grid: Grid) -> np.ndarray:
    """[..., H, W] → [..., H, W // 2 + 1], the first band being that of all rows."""
    rows = [Grid(grid.latitude[h : h + 1], grid.longitude) for h in range(len(grid.latitude))]
    found = [
        [band_spectra(field_HW[h], row, np.ones(1))[0] for h, row in enumerate(rows)]
        for field_HW in fields.reshape(-1, *grid.shape)
    ]
    return np.reshape(found, (*fields.shape[:-1], -1))
