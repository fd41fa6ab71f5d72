"""What fields of the global atmosphere look like: extremes, area means and spreads of ERA5 by variable and level.

A field at one time lies within ``low`` … ``high`` everywhere; its area mean over the globe within ``tolerance`` of
``mean``, and its standard deviation over the globe about ``spread``. The numbers are rounded and wide: they tell units,
levels and variables apart, not good weather from bad.

Sources. Means and spreads: single analyses of ERA5 (Hersbach et al. 2020, doi 10.1002/qj.3803), ERA-Interim and IFS
in January and June; temperature and height agree with the ICAO standard atmosphere (Doc 7488) where that is defined.
Extremes: the World Meteorological Organization's archive of weather and climate extremes at the surface, widened for
mountain tops and for pressure reduced below ground.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fourcast.variables import Channel

LEVELS = (1000, 850, 700, 500, 300, 250, 200, 100, 50, 10, 1)
"""hPa, of the columns of ``ALOFT``; between them the values are interpolated in the logarithm of pressure."""


@dataclass(frozen=True)
class Summary:
    """A field at one time: its least and greatest value and, where it covers the globe, area mean and spread."""

    low: float
    high: float
    mean: float | None
    spread: float | None

    def converted(self, factor: float, offset: float) -> "Summary":
        """That of factor · field + offset."""
        mean = None if self.mean is None else factor * self.mean + offset
        spread = None if self.spread is None else factor * self.spread
        return Summary(factor * self.low + offset, factor * self.high + offset, mean, spread)


@dataclass(frozen=True)
class Plausible:
    """Bounds of a field at one time, in our units. least_spread, most_spread: of the standard deviation."""

    low: float
    high: float
    mean: float
    tolerance: float
    least_spread: float
    most_spread: float

    def fits(self, found: Summary) -> bool:
        """Whether a field lies within."""
        return (
            self.low <= found.low
            and found.high <= self.high
            and (found.mean is None or abs(found.mean - self.mean) <= self.tolerance)
            and (found.spread is None or self.least_spread <= found.spread <= self.most_spread)
        )


SMOOTH, ROUGH = (0.3, 3.0), (0.002, 4.0)
"""Smallest and largest spread as multiples of the typical one; rough fields depend on the resolution."""
SURFACE: Mapping[str, tuple[float, float, float, float, float, tuple[float, float]]] = {
    "u10m": (-100, 100, 0, 5, 5.3, SMOOTH),
    "v10m": (-100, 100, 0, 4, 4.7, SMOOTH),
    "u100m": (-120, 120, 0, 6, 6.8, SMOOTH),
    "v100m": (-120, 120, 0, 5, 5.9, SMOOTH),
    "t2m": (165, 340, 286, 12, 16, SMOOTH),
    "d2m": (150, 315, 280, 12, 16, SMOOTH),
    "sp": (45_000, 111_000, 98_500, 3000, 7000, SMOOTH),
    "msl": (85_000, 111_000, 101_100, 800, 1150, SMOOTH),
    "tcwv": (-1, 130, 24, 11, 16, SMOOTH),
    "sst": (265, 315, 290, 14, 11, SMOOTH),
    "tp06": (-1e-4, 1.0, 7e-4, 5.5e-4, 1.8e-3, ROUGH),
}
"""Variable → low, high, mean, tolerance, spread, bounds of the spread as multiples."""
ALOFT: Mapping[str, tuple[tuple[float, ...], ...]] = {
    "t": (
        (200, 195, 195, 195, 185, 175, 170, 160, 160, 165, 180),
        (335, 325, 310, 295, 270, 260, 260, 260, 265, 300, 335),
        (287, 280.5, 273.5, 258, 232.5, 226, 218.5, 205, 211.5, 230, 266),
        (10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 14),
        (14, 12.5, 11.5, 11.5, 9.3, 7, 5, 12, 8.6, 11, 12),
    ),
    "z": (
        (-7000, 6000, 20_000, 42_000, 73_000, 83_000, 96_000, 135_000, 172_000, 255_000, 390_000),
        (7000, 19_000, 36_000, 62_000, 101_000, 114_000, 129_000, 172_000, 215_000, 330_000, 520_000),
        (920, 14_200, 29_700, 55_300, 91_300, 103_200, 117_500, 159_500, 200_600, 303_000, 470_000),
        (900, 1600, 2000, 2500, 3500, 4000, 4000, 4500, 5000, 8000, 16_000),
        (900, 1080, 1600, 2650, 4100, 4500, 4750, 3900, 4000, 6500, 14_000),
    ),
    "u": (
        (-80, -90, -100, -110, -140, -150, -150, -130, -140, -200, -280),
        (80, 90, 100, 110, 140, 150, 150, 130, 140, 200, 280),
        (0, 1, 3.5, 7, 14, 15.5, 17.5, 10.5, 2, -3, -10),
        (6, 6, 6, 8, 11, 12, 12, 10, 12, 20, 40),
        (5.5, 7.5, 7.5, 11, 16, 18, 18, 14, 12, 24, 50),
    ),
    "v": (
        (-80, -90, -100, -110, -130, -140, -140, -110, -110, -160, -220),
        (80, 90, 100, 110, 130, 140, 140, 110, 110, 160, 220),
        (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        (4, 4, 4, 4, 4, 4, 4, 4, 4, 6, 15),
        (5, 5.5, 5.8, 8, 11, 11.7, 10.5, 7, 6, 9.5, 18),
    ),
    "w": (
        (-30, -40, -40, -40, -35, -30, -25, -15, -8, -3, -1),
        (30, 40, 40, 40, 35, 30, 25, 15, 8, 3, 1),
        (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        (0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.02, 0.02),
        (0.15, 0.24, 0.24, 0.21, 0.16, 0.13, 0.09, 0.03, 0.015, 0.004, 0.001),
    ),
    "r": (
        (-20, -20, -20, -20, -20, -20, -20, -20, -20, -20, -20),
        (200, 200, 200, 220, 250, 300, 300, 300, 300, 300, 300),
        (75, 67, 50, 46, 50, 51, 50, 44, 8, 1, 0.5),
        (20, 20, 25, 25, 28, 30, 32, 38, 15, 8, 8),
        (17, 24, 30, 31, 32, 31, 32, 38, 10, 6, 0.1),
    ),
    "q": (
        (-1e-3, -1e-3, -1e-3, -5e-4, -1e-4, -5e-5, -2e-5, -5e-6, -5e-6, -5e-6, -5e-6),
        (0.045, 0.035, 0.025, 0.015, 0.004, 0.002, 8e-4, 1e-4, 5e-5, 5e-5, 5e-5),
        (9.5e-3, 6e-3, 3.1e-3, 1.1e-3, 1.8e-4, 8e-5, 2.6e-5, 3e-6, 3.2e-6, 3.4e-6, 4e-6),
        (6e-3, 4e-3, 2.2e-3, 8e-4, 1.4e-4, 6e-5, 2e-5, 2.5e-6, 2.5e-6, 2.5e-6, 3e-6),
        (5.8e-3, 4.2e-3, 2.5e-3, 1.05e-3, 1.7e-4, 8e-5, 2.2e-5, 1e-6, 5e-7, 3e-7, 3e-7),
    ),
}
"""Variable on levels → low, high, mean, tolerance and spread at ``LEVELS``."""
ROUGH_ALOFT = ("w", "r", "q")


def plausible(channel: Channel) -> Plausible | None:
    """The bounds of a channel; None where the table does not have its variable."""
    name = channel.variable.name
    if name in SURFACE:
        low, high, mean, tolerance, spread, factors = SURFACE[name]
        return Plausible(low, high, mean, tolerance, factors[0] * spread, factors[1] * spread)
    if channel.level is None or name not in ALOFT:
        return None
    at = -np.log(channel.level)
    low, high, mean, tolerance, spread = (float(np.interp(at, -np.log(LEVELS), row)) for row in ALOFT[name])
    factors = ROUGH if name in ROUGH_ALOFT else SMOOTH
    return Plausible(low, high, mean, tolerance, factors[0] * spread, factors[1] * spread)
