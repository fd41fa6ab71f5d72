import numpy as np
import pytest

from fourcast.data.planets.planet import GAS_CONSTANT, GRAVITY
from fourcast.data.planets.pressure_levels import (
    LAPSE_RATE,
    Array,
    interpolate,
    interpolate_geopotential,
    interpolate_temperature,
    sea_level_pressure,
)

SIGMA = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
LEVELS = 100.0 * np.array([200.0, 500.0, 850.0, 1000.0])


@pytest.fixture
def pressure() -> Array:
    """A column over the sea and one over a plateau: surface pressures 1000 and 600 hPa."""
    return SIGMA[None, :, None, None] * np.array([100_000.0, 60_000.0])


def at(pressure_P: Array) -> Array:
    """Pressures as the two columns' planes [1, P, 1, 2]."""
    return pressure_P[None, :, None, None] * np.ones(2)


def test_interpolation_by_hand() -> None:
    """From ln p = 4 to ln p = 6 a field goes from 10 to 20: at ln p = 4.5 it is 12.5, beyond the ends constant."""
    pressure = np.exp(np.array([4.0, 6.0]))[None, :, None, None]
    field = np.array([10.0, 20.0])[None, :, None, None]
    values = interpolate(field, pressure, np.exp(np.array([3.0, 4.0, 4.5, 6.0, 7.0])))
    np.testing.assert_allclose(values.ravel(), [10.0, 10.0, 12.5, 20.0, 20.0])


def test_model_levels_are_returned_where_they_are_asked_for(pressure: Array) -> None:
    field = np.random.default_rng(0).standard_normal((3, 5, 1, 2))
    pressure = np.repeat(pressure[..., :1], 2, axis=-1).repeat(3, axis=0)
    np.testing.assert_allclose(interpolate(field, pressure, SIGMA * 100_000.0), field, atol=1e-12)


def test_isothermal_atmosphere_aloft(pressure: Array) -> None:
    """z = R T ln(1000 hPa / p) is linear in ln p, hence exact above the lowest model level (900 and 540 hPa)."""
    z = GAS_CONSTANT * 250.0 * np.log(100_000.0 / pressure)
    t = np.full_like(z, 250.0)
    aloft = LEVELS[:2]
    expected = GAS_CONSTANT * 250.0 * np.log(100_000.0 / at(aloft))
    np.testing.assert_allclose(interpolate_geopotential(z, t, pressure, aloft), expected)
    np.testing.assert_allclose(interpolate_temperature(t, pressure, aloft), 250.0)


def test_constant_lapse_rate_below_ground(pressure: Array) -> None:
    """T = 288 K - 6.5 K/km · z/g down from the lowest level: exact at 1000 hPa, 40 hPa and 4 km below the columns."""
    power = GAS_CONSTANT * LAPSE_RATE / GRAVITY
    t = 288.0 * (pressure / 101_325.0) ** power
    z = (288.0 - t) * GRAVITY / LAPSE_RATE
    deep = np.array([100_000.0, 110_000.0])
    t_deep = 288.0 * (at(deep) / 101_325.0) ** power
    np.testing.assert_allclose(interpolate_temperature(t, pressure, deep), t_deep)
    z_deep = (288.0 - t_deep) * GRAVITY / LAPSE_RATE
    np.testing.assert_allclose(interpolate_geopotential(z, t, pressure, deep), z_deep, atol=1e-6)
    np.testing.assert_allclose(sea_level_pressure(z, t, pressure), 101_325.0)
