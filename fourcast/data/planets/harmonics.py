"""Real spherical harmonics of triangular truncation on a Gaussian grid, exact for products of two fields.

A field on the unit sphere, with longitude λ and latitude φ, is

    f(λ, φ) = Σ_{m=0}^{T} Σ_{n=m}^{T} P_mn(sin φ) (c_m0n √2 cos mλ + c_m1n √2 sin mλ),     for m = 0 only c_00n,

with associated Legendre functions of mean square one. The basis is orthonormal in the mean over the sphere, so that
c_000 is the global mean and Parseval's theorem reads mean(f²) = Σ c².

Shape letters: M zonal wavenumber 0…T, P phase (cosine, sine), N total wavenumber 0…T (coefficients with N < M are
zero), K fields; W longitude eastwards from 0, H latitude from north to south. Coefficients are ``c_MPKN``, grid fields
``f_WKH``: in this order a transform is two matrix products without a transposition in between.

Sources: Machenhauer (1979), The spectral method, GARP Publication Series 17 vol. II, chapter 3; Orszag (1970),
J. Atmos. Sci. 27, 890-895, for the grid that keeps quadratic products free of aliasing.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Harmonics:
    """Transforms between coefficients up to ``truncation`` and the smallest grid without aliasing.

    latitude: [H] degrees, decreasing. longitude: [W] degrees. sin_H: sine of latitude. weights_H: Gaussian weights
    with sum 1. laplacian_N: eigenvalues -n(n+1) of the Laplacian on the unit sphere.
    """

    def __init__(self, truncation: int) -> None:
        height = 2 * -(-(3 * truncation + 1) // 4)
        nodes, weights = np.polynomial.legendre.leggauss(height)
        self.sin_H, self.weights_H = nodes[::-1].copy(), weights[::-1] / 2
        self.latitude = np.rad2deg(np.arcsin(self.sin_H))
        self.longitude = np.arange(2.0 * height) * (180.0 / height)
        n = np.arange(truncation + 1.0)
        self.laplacian_N = -n * (n + 1)
        self._waves_WZ, self._wave_slopes_WZ = fourier(truncation, self.longitude)
        self._values_MNH, self._slopes_MNH = legendre(truncation, self.sin_H)
        mean_H = self.weights_H / len(self.longitude)
        self._analysis_MHN = _weighted(self._values_MNH, mean_H)
        self._analysis_east_MHN = _weighted(self._values_MNH, mean_H / (1 - self.sin_H**2))
        self._analysis_north_MHN = _weighted(self._slopes_MNH, mean_H / (1 - self.sin_H**2))

    def synthesize(self, c_MPKN: Array) -> Array:
        """The field on the grid: f_WKH."""
        return _to_grid(self._waves_WZ, self._values_MNH, c_MPKN)

    def analyse(self, f_WKH: Array) -> Array:
        """The coefficients of a grid field, truncated: c_MPKN."""
        return _from_grid(self._waves_WZ, self._analysis_MHN, f_WKH)

    def gradient(self, c_MPKN: Array) -> tuple[Array, Array]:
        """∂f/∂λ and cos φ ∂f/∂φ on the grid: two of [W, K, H]."""
        east = _to_grid(self._wave_slopes_WZ, self._values_MNH, c_MPKN)
        north = _to_grid(self._waves_WZ, self._slopes_MNH, c_MPKN)
        return east, north

    def divergence(self, east_WKH: Array, north_WKH: Array) -> Array:
        """Coefficients c_MPKN of (∂A/∂λ + cos φ ∂B/∂φ) / cos²φ for grid fields A (east) and B (north).

        With A = u cos φ and B = v cos φ that is the divergence of (u, v) on the unit sphere. Integration by parts
        moves the derivatives onto the basis: the operator is minus the adjoint of ``gradient``.
        """
        east = _from_grid(self._wave_slopes_WZ, self._analysis_east_MHN, east_WKH)
        north = _from_grid(self._waves_WZ, self._analysis_north_MHN, north_WKH)
        return -(east + north)


def fourier(truncation: int, longitude: Array) -> tuple[Array, Array]:
    """Waves √2 cos mλ, √2 sin mλ (1 and 0 for m = 0) and their slopes in λ: two of [W, Z], Z = (M, P)."""
    m = np.arange(truncation + 1)
    angle_WM = np.deg2rad(longitude)[:, None] * m
    scale_M = np.where(m == 0, 1.0, np.sqrt(2.0))
    waves = np.stack([scale_M * np.cos(angle_WM), scale_M * np.sin(angle_WM)], axis=-1)
    slopes = np.stack([-m * waves[..., 1], m * waves[..., 0]], axis=-1)
    return waves.reshape(len(longitude), -1), slopes.reshape(len(longitude), -1)


def legendre(truncation: int, sin_H: Array) -> tuple[Array, Array]:
    """Legendre functions P_mn(μ) of mean square one, and their slopes (1 - μ²) dP_mn/dμ: two of [M, N, H].

    Recurrences: μ P_n = ε_{n+1} P_{n+1} + ε_n P_{n-1} and (1 - μ²) P'_n = (n+1) ε_n P_{n-1} - n ε_{n+1} P_{n+1} with
    ε_n² = (n² - m²) / (4n² - 1), from P_mm, which is proportional to cos^m φ.
    """
    size = truncation + 1
    values = np.zeros((size, size + 1, len(sin_H)))
    slopes = np.zeros((size, size, len(sin_H)))
    n = np.arange(size + 1)
    sectoral_H = np.ones(len(sin_H))
    for m in range(size):
        epsilon = np.sqrt(np.maximum(n**2 - m**2, 0) / (4 * n**2 - 1))
        values[m, m] = sectoral_H
        sectoral_H = sectoral_H * np.sqrt((2 * m + 3) / (2 * m + 2) * (1 - sin_H**2))
        for k in range(m, size):
            below = epsilon[k] * values[m, k - 1] if k > m else 0.0
            values[m, k + 1] = (sin_H * values[m, k] - below) / epsilon[k + 1]
            slopes[m, k] = (k + 1) * below - k * epsilon[k + 1] * values[m, k + 1]
    return np.ascontiguousarray(values[:, :size]), slopes


def _to_grid(waves_WZ: Array, legendre_MNH: Array, c_MPKN: Array) -> Array:
    size, phases, fields, _ = c_MPKN.shape
    zonal_MXH = c_MPKN.reshape(size, phases * fields, -1) @ legendre_MNH
    return (waves_WZ @ zonal_MXH.reshape(size * phases, -1)).reshape(len(waves_WZ), fields, -1)


def _from_grid(waves_WZ: Array, legendre_MHN: Array, f_WKH: Array) -> Array:
    size, height, _ = legendre_MHN.shape
    zonal_ZX = waves_WZ.T @ f_WKH.reshape(len(waves_WZ), -1)
    return (zonal_ZX.reshape(size, -1, height) @ legendre_MHN).reshape(size, 2, f_WKH.shape[1], -1)


def _weighted(legendre_MNH: Array, weights_H: Array) -> Array:
    return np.ascontiguousarray((legendre_MNH * weights_H).swapaxes(1, 2))
