"""Relative humidity from specific humidity and temperature, as ECMWF's model defines it."""

import numpy as np
from numpy.typing import NDArray

FORMULA = (
    "r = 100 e / es, e = q p / (0.621981 + 0.378019 q); es over water (T >= 273.16 K), ice (T <= 250.16 K) or their "
    "mixture, weight of water ((T - 250.16) / 23)^2; ECMWF IFS Documentation CY47R3, Part IV, chapter 12"
)
EPSILON = 287.0597 / 461.5250
"""Gas constant of dry air over that of water vapour."""
TRIPLE_POINT, ICE = 273.16, 250.16
"""K: above the first all condensate is liquid, below the second all is ice."""
WATER_TERMS, ICE_TERMS = (17.502, 32.19), (22.587, -0.7)
"""Teten's a3 and a4 (K) over water (Buck 1981) and over ice (Alduchov and Eskridge 1996); a1 is 611.21 Pa for both."""


def saturation_pressure(temperature: NDArray[np.floating]) -> NDArray[np.float64]:
    """Saturation vapour pressure in Pa over water, ice or their mixture at ``temperature`` in K.

    IFS Documentation CY47R3, Part IV (Physical processes), chapter 12: es = a1 exp(a3 (T - T0) / (T - a4)),
    mixed with the weight of water α = ((T - 250.16) / (273.16 - 250.16))², held between 0 and 1.
    """
    t = np.asarray(temperature, dtype=np.float64)
    water, ice = (611.21 * np.exp(a3 * (t - TRIPLE_POINT) / (t - a4)) for a3, a4 in (WATER_TERMS, ICE_TERMS))
    weight = np.clip((t - ICE) / (TRIPLE_POINT - ICE), 0.0, 1.0) ** 2
    return weight * water + (1.0 - weight) * ice


def relative_humidity(
    humidity: NDArray[np.floating], temperature: NDArray[np.floating], pressure: float
) -> NDArray[np.float32]:
    """Relative humidity in % from specific humidity in kg kg-1 and temperature in K at ``pressure`` in hPa.

    Vapour pressure e = q p / (ε + (1 - ε) q). Nothing is clipped: supersaturation exceeds 100 %, as in ERA5.
    """
    q = np.asarray(humidity, dtype=np.float64)
    vapour = q * pressure * 100.0 / (EPSILON + (1.0 - EPSILON) * q)
    return (100.0 * vapour / saturation_pressure(temperature)).astype(np.float32)
