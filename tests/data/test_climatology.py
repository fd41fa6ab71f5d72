"""Harmonic climatology: recovers what it is made of, over any partition, and never extrapolates silently."""

import numpy as np
import pytest

from fourcast.data.climatology import ClimatologySums, harmonic_basis, hour_of_day, supported_harmonics
from fourcast.errors import InputError

YEAR = np.datetime64("2021-01-01T00", "h") + 6 * np.arange(4 * 365)


def seasonal(times: np.ndarray) -> np.ndarray:
    """A field [T, 1, 1, 2] made of the basis: a mean that differs with the hour of day, and an annual cosine."""
    phi = harmonic_basis(times, 1)
    point = 280 + hour_of_day(times) + 10 * phi[:, 1]
    return np.stack([point, -point], axis=-1)[:, None, None, :].astype(np.float32)


def test_basis_by_hand() -> None:
    half = np.datetime64("2000-01-01T00", "h") + round(365.2425 * 12)
    basis = harmonic_basis(np.array([np.datetime64("2000-01-01T00", "h"), half]), 2)
    np.testing.assert_allclose(basis, [[1, 1, 0, 1, 0], [1, -1, 0, 1, 0]], atol=1e-3)


def test_recovers_a_seasonal_and_daily_cycle_from_any_partition() -> None:
    sums = ClimatologySums(2)
    for part in np.array_split(YEAR, 7):
        sums.add(part, seasonal(part))
    climatology = sums.fit()
    assert climatology.hours.tolist() == [0, 6, 12, 18]
    later = YEAR[[3, 400, 801]] + np.timedelta64(365 * 24, "h")
    np.testing.assert_allclose(climatology.at(later), seasonal(later), rtol=1e-5)


def test_without_harmonics_it_is_the_mean_at_each_hour() -> None:
    times, fields = YEAR[:8], np.arange(8, dtype=np.float32)[:, None, None, None]
    sums = ClimatologySums(0)
    sums.add(times, fields)
    np.testing.assert_allclose(sums.fit().at(YEAR[8:12]).ravel(), [2, 3, 4, 5])


def test_an_hour_that_was_not_in_the_data_is_refused() -> None:
    sums = ClimatologySums(0)
    sums.add(YEAR[:1], np.zeros((1, 1, 1, 1), dtype=np.float32))
    with pytest.raises(InputError, match=r"holds hours \[0\] UTC"):
        sums.fit().at(YEAR[1:2])


def test_a_point_with_missing_values_does_not_spoil_the_others() -> None:
    fields = seasonal(YEAR)
    fields[5, 0, 0, 1] = np.nan
    sums = ClimatologySums(1)
    sums.add(YEAR, fields)
    np.testing.assert_allclose(sums.fit().at(YEAR[:9])[..., 0], seasonal(YEAR[:9])[..., 0], rtol=1e-5)


def test_harmonics_need_a_year_at_every_hour_of_day() -> None:
    assert supported_harmonics(YEAR, 2) == 2
    assert supported_harmonics(YEAR[: 4 * 300], 2) == 0
    midnights = YEAR[::4]
    assert supported_harmonics(midnights, 2) == 2
    assert supported_harmonics(np.append(midnights, YEAR[1]), 2) == 0


def test_sums_that_were_kept_go_on_and_carry_fewer_harmonics_too() -> None:
    sums, kept, mean = ClimatologySums(2), ClimatologySums(2), ClimatologySums(0)
    sums.add(YEAR[:700], seasonal(YEAR[:700]))
    kept.restore({name: values.copy() for name, values in sums.state().items()} | {"another": np.zeros(1)})
    for one in (sums, kept):
        one.add(YEAR[700:], seasonal(YEAR[700:]))
    np.testing.assert_array_equal(kept.fit().coefficients, sums.fit().coefficients)
    mean.add(YEAR, seasonal(YEAR))
    np.testing.assert_allclose(sums.fit(0).coefficients, mean.fit().coefficients, rtol=1e-6)
