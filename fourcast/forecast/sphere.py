"""Gaussian random fields on the sphere: isotropic, of mean 0 and variance 1 at every point of any grid.

With harmonics Y_nm of mean square one and independent standard normal numbers z_nm

    f(λ, φ) = Σ_{n ≤ T} √C_n Σ_{m = -n}^{n} z_nm Y_nm(λ, φ),      Σ_n (2n + 1) C_n = 1,

and by the addition theorem the correlation of two points an angle θ apart is Σ_n (2n + 1) C_n P_n(cos θ). The numbers
are drawn in the order of n: one key gives the same large scales on every grid.

With a length L, the earth's radius a and ε = L / a, the spectra are

    gaussian   C_n ∝ exp(-n(n+1) ε² / 2)      correlation ≈ exp(-r²/2L²), 0.61 at r = L: heat that spreads on the
                                              sphere (Weaver and Courtier 2001, Q. J. R. Meteorol. Soc. 127, 1815)
    matern     C_n ∝ (1 + n(n+1) ε²)⁻²        correlation ≈ (r/L) K₁(r/L), 0.60 at r = L: Matérn's with ν = 1
                                              (Lindgren et al. 2011, J. R. Stat. Soc. B 73, 423). The variance at
                                              wavenumber n falls off as n⁻³, as the atmosphere's synoptic scales do.

They end where less than LEFT_OUT of the variance is left, or where the grid resolves no more.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourcast.data.planets.harmonics import fourier
from fourcast.errors import InputError
from fourcast.grid import Grid

Array = NDArray[np.float64]
Float32 = NDArray[np.float32]
EARTH_RADIUS_KM = 6371.0
LEFT_OUT = 1e-3
FINEST = 0.75
"""The shortest length in steps of the grid: the gaussian spectrum then loses 6 % of its variance to truncation."""
HIGHEST = 1800
"""Truncation beyond which the starting values cos^m φ of the recurrence would vanish in double precision."""


@dataclass(frozen=True, eq=False)
class RandomFields:
    """Tables from which fields of one spectrum are drawn on one grid.

    At 720×1440 with a length of 500 km they take 3 MB for the gaussian spectrum (T = 47) and 122 MB for the other
    (T = 402).

    deviation_N: √C_n. legendre: for each m, functions [T - m + 1, K] at the K distinct distances of the rows from the
    equator. row_H, mirrored_H: which of these a row has, and whether it lies in the south. waves_ZW: along a row.
    """

    spectrum: str
    length_km: float
    deviation_N: Float32
    legendre: tuple[Tensor, ...]
    row_H: Tensor
    mirrored_H: Tensor
    waves_ZW: Tensor

    def draw(self, generator: np.random.Generator, channels: int) -> Float32:
        """Independent fields [C, H, W]; called ``on_one_core_each``, the same bits on any number of cores."""
        truncation = len(self.deviation_N) - 1
        normal_ZC = torch.from_numpy(generator.standard_normal(((truncation + 1) ** 2, channels), dtype=np.float32))
        zonal_MXH = torch.empty(truncation + 1, 2 * channels, len(self.row_H))
        for m in range(truncation + 1):
            n = torch.arange(m, truncation + 1)
            both_PNC = normal_ZC[torch.stack([n * n + n + m, n * n + n - m])]
            c_XN = both_PNC.transpose(1, 2).reshape(2 * channels, -1) * torch.from_numpy(self.deviation_N[m:])
            even_XK, odd_XK = (c_XN[:, parity::2] @ self.legendre[m][parity::2] for parity in (0, 1))
            zonal_MXH[m] = even_XK[:, self.row_H] + self.mirrored_H * odd_XK[:, self.row_H]
        fields = zonal_MXH.reshape(len(self.waves_ZW), -1).T @ self.waves_ZW
        drawn: Float32 = fields.reshape(channels, len(self.row_H), -1).numpy()
        return drawn


def random_fields(grid: Grid, length_km: float, spectrum: str) -> RandomFields:
    """The tables of a grid; InputError where it is too coarse for the length."""
    shortest = FINEST * spacing_km(grid)
    if length_km < shortest:
        raise InputError(
            f"ensemble.correlated.length_km={length_km:g}: a grid whose points lie {spacing_km(grid):.0f} km apart "
            f"holds no shorter correlation than {np.ceil(shortest):.0f} km; ask for that or more, or for gaussian noise"
        )
    power_N = power(spectrum, length_km, resolved(grid))
    truncation = len(power_N) - 1
    rounded = np.round(grid.latitude, 9)  # so that 30° and -30° meet
    distances, row_H = np.unique(np.abs(rounded), return_inverse=True)
    return RandomFields(
        spectrum=spectrum,
        length_km=length_km,
        deviation_N=np.sqrt(power_N).astype(np.float32),
        legendre=tuple(map(torch.from_numpy, legendre_by_order(truncation, np.sin(np.deg2rad(distances))))),
        row_H=torch.from_numpy(row_H),
        mirrored_H=torch.from_numpy(np.where(rounded < 0, -1, 1).astype(np.float32)),
        waves_ZW=torch.from_numpy(fourier(truncation, grid.longitude)[0].T.astype(np.float32)).contiguous(),
    )


def power(spectrum: str, length_km: float, limit: int) -> Array:
    """C_n for n = 0 … T, T ≤ ``limit``, with Σ (2n + 1) C_n = 1."""
    n = np.arange(10 * HIGHEST)
    eigenvalue = n * (n + 1) * (length_km / EARTH_RADIUS_KM) ** 2
    power_N = np.exp(-eigenvalue / 2) if spectrum == "gaussian" else (1 + eigenvalue) ** -2.0
    held = np.cumsum((2 * n + 1) * power_N)
    truncation = min(int(np.searchsorted(held, (1 - LEFT_OUT) * held[-1])), limit)
    cut: Array = power_N[: truncation + 1] / held[truncation]
    return cut


def spacing_km(grid: Grid) -> float:
    """From one point to the next: along a meridian or the equator, whichever is farther."""
    steps = [np.median(np.abs(np.diff(axis))) for axis in (grid.latitude, grid.longitude) if len(axis) > 1]
    return float(np.deg2rad(max(steps)) * EARTH_RADIUS_KM)


def resolved(grid: Grid) -> int:
    """The highest total wavenumber that a grid resolves: two points to the wave."""
    return min(int(np.pi * EARTH_RADIUS_KM / spacing_km(grid) + 1e-6), HIGHEST)


def legendre_by_order(truncation: int, sin_K: Array) -> Iterator[Float32]:
    """For m = 0 … T, associated Legendre functions P_mn of mean square one, n = m … T: [T - m + 1, K].

    μ P_n = ε_{n+1} P_{n+1} + ε_n P_{n-1} with ε_n² = (n² - m²) / (4n² - 1), from P_mm, proportional to cos^m φ.
    """
    sectoral_K = np.ones(len(sin_K))
    for m in range(truncation + 1):
        n = np.arange(m, truncation + 1.0)
        epsilon = np.sqrt((n**2 - m**2) / np.maximum(4 * n**2 - 1, 1))
        values = np.zeros((len(n), len(sin_K)))
        values[0] = sectoral_K
        for k in range(1, len(n)):
            values[k] = (sin_K * values[k - 1] - epsilon[k - 1] * values[k - 2]) / epsilon[k]
        sectoral_K = sectoral_K * np.sqrt((2 * m + 3) / (2 * m + 2) * (1 - sin_K**2))
        values[np.abs(values) < 1e-20] = 0  # denormal numbers would slow every product down
        yield values.astype(np.float32)


def on_one_core_each(function: Callable[[int], None], count: int) -> None:
    """Call ``function`` with 0 … count - 1, side by side, each on one core: on several, products round otherwise."""
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for _ in pool.map(function, range(count)):
                pass
    finally:
        torch.set_num_threads(threads)  # what a worker set was for every thread that is yet to come
