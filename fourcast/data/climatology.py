"""Climatology as a least-squares fit: per hour of day, a mean and annual harmonics at every grid point.

For each hour of day h in the data, field(t) ≈ Σ_k coefficient[h, k] φ_k(t) with φ = (1, cos θ, sin θ, cos 2θ, …)
and θ the phase of the year. Five numbers a point replace 366 daily means, have no leap-day seam, and can be
fitted to series with gaps; the sums they are fitted from add over any partition of the data.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourcast.errors import InputError

Times = NDArray[np.datetime64]
MEAN_YEAR_HOURS = 365.2425 * 24
"""Length of the mean Gregorian year."""


def harmonic_basis(times: Times, harmonics: int) -> NDArray[np.float64]:
    """Basis functions φ at ``times``: [T] → [T, 1 + 2 · harmonics], phase zero at 2000-01-01T00."""
    hours = (times.astype("datetime64[h]") - np.datetime64("2000-01-01T00", "h")).astype(np.float64)
    theta = 2 * np.pi * hours / MEAN_YEAR_HOURS
    order = np.arange(1, harmonics + 1)
    angles = theta[:, None] * order
    pairs = np.stack([np.cos(angles), np.sin(angles)], axis=-1).reshape(len(times), 2 * harmonics)
    return np.concatenate([np.ones((len(times), 1)), pairs], axis=1)


def hour_of_day(times: Times) -> NDArray[np.int64]:
    """Hour of day, 0 to 23."""
    return times.astype("datetime64[h]").astype(np.int64) % 24


@dataclass(frozen=True, eq=False)
class Climatology:
    """Fitted coefficients [hour, term, C, H, W], physical units, and the hours of day they stand for."""

    hours: NDArray[np.int64]
    coefficients: NDArray[np.float32]

    def at(self, times: Times) -> NDArray[np.float32]:
        """Climatological fields: [T] → [T, C, H, W]; InputError where an hour of day was not in the data."""
        positions = np.searchsorted(self.hours, hour_of_day(times)).clip(max=len(self.hours) - 1)
        wrong = times[self.hours[positions] != hour_of_day(times)]
        if len(wrong):
            raise InputError(f"the climatology holds hours {self.hours.tolist()} UTC, not that of {wrong[0]}")
        basis = harmonic_basis(times, (self.coefficients.shape[1] - 1) // 2).astype(np.float32)
        return np.stack([np.tensordot(basis[i], self.coefficients[p], axes=1) for i, p in enumerate(positions)], axis=0)


class ClimatologySums:
    """Additive sums from which a Climatology is fitted: Σ φ φᵀ and Σ φ · field for every hour of day."""

    def __init__(self, harmonics: int) -> None:
        self.harmonics = harmonics
        self.gram: dict[int, NDArray[np.float64]] = {}
        self.moments: dict[int, NDArray[np.float64]] = {}

    def add(self, times: Times, fields: NDArray[np.float32]) -> None:
        """Add fields [T, C, H, W] at ``times`` [T]."""
        basis, hours = harmonic_basis(times, self.harmonics), hour_of_day(times)
        for hour in np.unique(hours):
            chosen = hours == hour
            phi = basis[chosen]
            gram = phi.T @ phi
            moment = np.tensordot(phi.T, fields[chosen].astype(np.float64), axes=1)
            if int(hour) in self.gram:
                self.gram[int(hour)] += gram
                self.moments[int(hour)] += moment
            else:
                self.gram[int(hour)], self.moments[int(hour)] = gram, moment

    def fit(self, harmonics: int | None = None) -> Climatology:
        """Solve the normal equations for every hour of day, for the first ``harmonics`` (default: all of them)."""
        terms = 1 + 2 * (self.harmonics if harmonics is None else harmonics)
        hours = np.array(sorted(self.gram), dtype=np.int64)
        solved = [_solve(self.gram[int(h)][:terms, :terms], self.moments[int(h)][:terms]) for h in hours]
        return Climatology(hours, np.stack(solved))

    def state(self) -> dict[str, NDArray[np.float64]]:
        """The sums by name, for ``restore``."""
        grams = {f"gram_{hour}": gram for hour, gram in self.gram.items()}
        return grams | {f"moments_{hour}": moments for hour, moments in self.moments.items()}

    def restore(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        """Go on from the sums of ``state``, whose arrays are now this object's; other names in it are left alone."""
        for name in state:
            kind, _, hour = name.partition("_")
            if kind in ("gram", "moments") and hour.isdigit():
                getattr(self, kind)[int(hour)] = state[name]


def _solve(gram: NDArray[np.float64], moments: NDArray[np.float64]) -> NDArray[np.float32]:
    flat = moments.reshape(len(gram), -1)
    return np.linalg.solve(gram, flat).astype(np.float32).reshape(moments.shape)


def supported_harmonics(times: Times, wanted: int) -> int:
    """How many annual harmonics ``times`` can carry: ``wanted`` where every hour of day covers a year, else none.

    A year is covered when every twelfth of it holds data; with less, the fit would extrapolate freely between.
    """
    hours = (times.astype("datetime64[h]") - np.datetime64("2000-01-01T00", "h")).astype(np.float64)
    twelfths = np.floor(hours / MEAN_YEAR_HOURS * 12).astype(int) % 12
    hour = hour_of_day(times)
    return wanted if all(len(np.unique(twelfths[hour == h])) == 12 for h in np.unique(hour)) else 0
