"""From a model's terrain-following levels to pressure levels and to sea level.

Shape letters: T time, L model level from the top down, P pressure level, H latitude, W longitude. Between model levels
fields are linear in the logarithm of pressure; outside them they are constant, except that below the lowest one
temperature rises by 6.5 K per km and geopotential follows hydrostatically. This is the usual continuation below ground
(Trenberth, Berry & Buja 1993, NCAR Technical Note NCAR/TN-396+STR), simplified.
"""

import numpy as np
from numpy.typing import NDArray

from fourcast.data.planets.planet import GAS_CONSTANT, GRAVITY

Array = NDArray[np.float64]
LAPSE_RATE = 6.5e-3
# d ln T / d ln p where temperature falls by LAPSE_RATE.
KAPPA = GAS_CONSTANT * LAPSE_RATE / GRAVITY


def interpolate(field_TLHW: Array, pressure_TLHW: Array, pressure_P: Array) -> Array:
    """Linear in ln p, constant above the top and below the lowest model level: [T, P, H, W]."""
    log_TLHW = np.log(pressure_TLHW)
    planes = []
    for log_level in np.log(pressure_P):
        upper = np.clip((log_TLHW <= log_level).sum(axis=1, keepdims=True) - 1, 0, log_TLHW.shape[1] - 2)
        above, below = (np.take_along_axis(log_TLHW, upper + step, axis=1) for step in (0, 1))
        weight = np.clip((log_level - above) / (below - above), 0.0, 1.0)
        above, below = (np.take_along_axis(field_TLHW, upper + step, axis=1) for step in (0, 1))
        planes.append(above + weight * (below - above))
    return np.concatenate(planes, axis=1)


def interpolate_temperature(t_TLHW: Array, pressure_TLHW: Array, pressure_P: Array) -> Array:
    """Temperature on pressure levels, continued below the lowest model level: [T, P, H, W]."""
    depth_TPHW = _depth(pressure_TLHW, pressure_P)
    return interpolate(t_TLHW, pressure_TLHW, pressure_P) * np.exp(KAPPA * depth_TPHW)


def interpolate_geopotential(z_TLHW: Array, t_TLHW: Array, pressure_TLHW: Array, pressure_P: Array) -> Array:
    """Geopotential on pressure levels, continued below the lowest model level: [T, P, H, W].

    There dz = -R T d ln p with T ∝ p^κ, hence z = z_L - R T_L (exp(κ x) - 1) / κ at depth x = ln(p / p_L).
    """
    growth_TPHW = np.expm1(KAPPA * _depth(pressure_TLHW, pressure_P)) / KAPPA
    return interpolate(z_TLHW, pressure_TLHW, pressure_P) - GAS_CONSTANT * t_TLHW[:, -1:] * growth_TPHW


def sea_level_pressure(z_TLHW: Array, t_TLHW: Array, pressure_TLHW: Array) -> Array:
    """The pressure at which the geopotential, continued from the lowest model level, is zero: [T, H, W]."""
    t_THW, z_THW = t_TLHW[:, -1], z_TLHW[:, -1]
    return pressure_TLHW[:, -1] * (1 + KAPPA * z_THW / (GAS_CONSTANT * t_THW)) ** (1 / KAPPA)


def _depth(pressure_TLHW: Array, pressure_P: Array) -> Array:
    """ln p below the lowest model level, zero above it: [T, P, H, W]."""
    return np.maximum(np.log(pressure_P[:, None, None] / pressure_TLHW[:, -1:]), 0.0)
