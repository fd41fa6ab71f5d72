"""Zonal energy spectra, as in WeatherBench 2 (Rasp et al. 2024): how much a field varies at every wavelength.

On the circle of latitude φ, of circumference C(φ) = 2π R cos φ, with F_k = (1/W) Σ_l f_l exp(−2πi k l / W),

    S_k = C |F_k|² · (1 where k is 0 or W/2, otherwise 2),   k = 0 … ⌊W/2⌋

in metres × the field's units squared. A real wave is two complex ones of wavenumbers k and W − k, which are the same
one for k = 0 and for the shortest wave of an even W. By Parseval's theorem Σ_k S_k = C/W Σ_l f_l², the integral of f²
along the circle. WeatherBench 2 doubles the shortest wave of an even W too; all others are equal.
"""

import numpy as np
from numpy.typing import NDArray

from fourcast.errors import InputError
from fourcast.grid import Grid, closes_circle, wave_copies

Float = NDArray[np.float32] | NDArray[np.float64]
Float64 = NDArray[np.float64]

EARTH_RADIUS = 6_367_500.0
"""Metres, as in WeatherBench 2: the mean of the polar and the equatorial radius."""
BANDS: dict[str, tuple[float, float]] = {"global": (0.0, 90.0), "tropics": (0.0, 20.0), "mid_latitudes": (30.0, 60.0)}
"""Between which distances from the equator, in degrees and inclusive, on both hemispheres."""
BLOCK = 65536
"""Values that are transformed at a time, few enough to stay in a core's cache."""


def band_spectra(fields: Float, grid: Grid, weights_H: Float64) -> Float64:
    """Weighted means over the rows of ``BANDS`` [B, K] of spectra of [H, W], or of [M, H, W] and then over members too.

    Rows are averaged at the same wavenumber, see ``band_wavelengths``. weights_H: of the rows, of any size. NaN in a
    band without rows or with missing values. InputError where the columns are no whole circle.
    """
    require_circles(grid)
    height, width = grid.shape
    fields_MHW = fields.reshape(-1, height, width)
    share_BH = _shares(grid, weights_H) * circumference(grid)
    rows = max(1, BLOCK // width)
    total_BK = np.zeros((len(BANDS), width // 2 + 1))
    for field_HW in fields_MHW:
        for start in range(0, height, rows):
            block = slice(start, start + rows)
            total_BK += _weighed(share_BH[:, block], _power(field_HW[block]))
    return total_BK * wave_copies(width) / len(fields_MHW)


def band_wavelengths(grid: Grid, weights_H: Float64) -> Float64:
    """The mean wavelength in metres of every wavenumber in ``BANDS``, [B, K]; infinite at wavenumber 0.

    The mean circumference of the band's rows over the wavenumber: shorter on a row nearer to a pole.
    """
    mean_B = _shares(grid, weights_H) @ circumference(grid)
    with np.errstate(divide="ignore"):
        return mean_B[:, None] / np.arange(grid.shape[1] // 2 + 1)


def circumference(grid: Grid) -> Float64:
    """Circumference [H] of the circles of latitude in metres."""
    return 2 * np.pi * EARTH_RADIUS * np.cos(np.deg2rad(grid.latitude))


def require_circles(grid: Grid) -> None:
    """Raise InputError where the columns of ``grid`` are no evenly spaced whole circle, and so have no waves."""
    if not closes_circle(grid.longitude) or np.ptp(np.diff(grid.longitude)) > 1e-3:
        raise InputError(
            f"zonal spectra need evenly spaced longitudes all round the globe, found {grid}; pass spectra=false"
        )


def _power(rows: Float) -> Float64:
    """Squared amplitude |F_k|² of each complex wave of rows, [..., W] → [..., K]."""
    waves = np.fft.rfft(rows.astype(np.float64, copy=False), norm="forward")
    return waves.real**2 + waves.imag**2


def _shares(grid: Grid, weights_H: Float64) -> Float64:
    """The part of every row in its bands, [B, H], with sum 1 over the rows; NaN in a band without rows."""
    distance = np.abs(grid.latitude) + 0 * weights_H
    inside_BH = np.array([(low <= distance) & (distance <= high) for low, high in BANDS.values()])
    weights_BH = inside_BH * weights_H
    with np.errstate(invalid="ignore"):
        return weights_BH / weights_BH.sum(axis=1, keepdims=True)


def _weighed(share_BH: Float64, power_HK: Float64) -> Float64:
    """Σ_h share · power, where a row that is not in a band leaves its missing values behind."""
    if np.isfinite(power_HK[:, 0]).all():
        return np.asarray(share_BH @ power_HK)
    return np.array([share_H[share_H != 0] @ power_HK[share_H != 0] for share_H in share_BH])
