"""Relative humidity against values worked out by hand from the documented formula."""

import numpy as np
import pytest

from fourcast.data.humidity import relative_humidity, saturation_pressure

HAND = {
    # K: Pa. Water: 611.21 exp(17.502 · 26.84 / 267.81); ice: 611.21 exp(22.587 · -33.16 / 240.70);
    # 260 K: the weight of water is (9.84 / 23)² = 0.183036, water 222.382, ice 195.441.
    273.16: 611.21,
    300.0: 611.21 * np.exp(1.754044),
    240.0: 611.21 * np.exp(-3.111679),
    250.16: 611.21 * np.exp(22.587 * -23.0 / 250.86),
    260.0: 0.183036 * 222.3816 + 0.816964 * 195.4414,
}


@pytest.mark.parametrize("temperature", HAND)
def test_saturation_pressure(temperature: float) -> None:
    assert saturation_pressure(np.array([temperature]))[0] == pytest.approx(HAND[temperature], rel=2e-5)


def test_saturation_pressure_is_continuous_and_rises() -> None:
    pressures = saturation_pressure(np.linspace(180, 320, 14001))
    assert (np.diff(pressures) > 0).all()
    assert np.diff(np.log(pressures)).max() < 2e-3


def test_relative_humidity() -> None:
    # q = 0.002 at 500 hPa: e = 100 / (0.621981 + 0.378019 · 0.002) = 160.583 Pa … of 200.372 Pa at 260 K.
    humidity = relative_humidity(np.array([0.002, 0.0]), np.array([260.0, 260.0]), 500.0)
    assert humidity.dtype == np.float32
    assert humidity[0] == pytest.approx(100 * (100 / 0.622737) / 200.3724, rel=1e-5)
    assert humidity[1] == 0.0


def test_saturated_air_is_at_a_hundred_per_cent() -> None:
    temperature = np.array([220.0, 255.0, 265.0, 290.0])
    vapour = saturation_pressure(temperature)
    humidity = 0.6219808 * vapour / (85000.0 - 0.3780192 * vapour)
    np.testing.assert_allclose(relative_humidity(humidity, temperature, 850.0), 100.0, rtol=1e-6)
