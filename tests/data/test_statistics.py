"""Statistics by hand, over any partition, and with missing values."""

import numpy as np

from fourcast.data.statistics import StatisticsSums
from fourcast.grid import area_weights

LATITUDE = np.array([60.0, 0.0, -60.0])
RNG = np.random.default_rng(1)


def test_by_hand() -> None:
    """Rows weigh 1 − sin 30°, 2 sin 30° and 1 − sin 30°, that is ½, 1 and ½ of two."""
    fields = np.array([[0.0, 4.0, 8.0], [0.0, 8.0, 8.0]], dtype=np.float32)[:, None, :, None]
    sums = StatisticsSums(LATITUDE, 1)
    sums.add(fields)
    sums.add_steps(fields[:1], fields[1:])
    found = sums.finish()
    assert np.isclose(found.mean[0], (0.25 * 0 + 0.5 * 4 + 0.25 * 8 + 0.25 * 0 + 0.5 * 8 + 0.25 * 8) / 2)
    squares = (0.25 * 0 + 0.5 * 16 + 0.25 * 64 + 0.25 * 0 + 0.5 * 64 + 0.25 * 64) / 2
    assert np.isclose(found.std[0], np.sqrt(squares - found.mean[0] ** 2))
    assert np.isclose(found.tendency_std[0], np.sqrt(0.5 * 16))
    assert (found.minimum[0], found.maximum[0]) == (0.0, 8.0)


def test_any_partition_gives_the_same_without_cancellation() -> None:
    fields = (1e7 + RNG.standard_normal((12, 2, 3, 4))).astype(np.float32)
    whole, parts = StatisticsSums(LATITUDE, 2), StatisticsSums(LATITUDE, 2)
    whole.add(fields)
    for part in np.split(fields, [1, 2, 7]):
        parts.add(part)
    np.testing.assert_allclose(parts.finish().std, whole.finish().std, rtol=1e-12)
    values = fields.astype(np.float64)
    weights = area_weights(LATITUDE)[:, None] / 12
    mean = (values * weights).sum(axis=(2, 3)).mean(axis=0)
    variance = ((values - mean[:, None, None]) ** 2 * weights).sum(axis=(2, 3)).mean(axis=0)
    np.testing.assert_allclose(whole.finish().std, np.sqrt(variance), rtol=1e-10)


def test_missing_values_carry_no_weight() -> None:
    fields = RNG.standard_normal((5, 2, 3, 4)).astype(np.float32)
    fields[:, 1] = 7.0
    fields[2, :, 1, 3] = np.nan
    sums = StatisticsSums(LATITUDE, 2)
    sums.add(fields)
    sums.add_steps(fields[:-1], fields[1:])
    found = sums.finish()
    np.testing.assert_allclose([found.mean[1], found.std[1], found.tendency_std[1]], [7.0, 0.0, 0.0], atol=1e-12)
    weights = np.broadcast_to(area_weights(LATITUDE)[:, None], (5, 3, 4))
    present = np.isfinite(fields[:, 0])
    expected = np.average(fields[:, 0][present].astype(np.float64), weights=weights[present])
    np.testing.assert_allclose(found.mean[0], expected, rtol=1e-12)


def test_nothing_to_learn_from_is_nan() -> None:
    sums = StatisticsSums(LATITUDE, 1)
    assert np.isnan(sums.finish().mean).all()
    sums.add(np.ones((1, 1, 3, 4), dtype=np.float32))
    assert np.isnan(sums.finish().tendency_std).all()
    assert sums.finish().std == 0


def test_values_that_are_not_finite_are_no_extremes() -> None:
    sums = StatisticsSums(LATITUDE, 2)
    fields = np.array([[1.0, np.inf, 3.0], [np.nan, np.nan, np.nan]], dtype=np.float32)[None, :, :, None]
    sums.add(fields)
    found = sums.finish()
    np.testing.assert_array_equal(found.minimum, [1.0, np.nan])
    np.testing.assert_array_equal(found.maximum, [3.0, np.nan])


def test_sums_that_were_kept_go_on_as_if_nothing_had_happened() -> None:
    fields = RNG.standard_normal((9, 2, 3, 4)).astype(np.float32)
    whole, first, second = (StatisticsSums(LATITUDE, 2) for _ in range(3))
    whole.add(fields)
    whole.add_steps(fields[:-1], fields[1:])
    first.add(fields[:4])
    first.add_steps(fields[:4], fields[1:5])
    second.restore(first.state())
    second.add(fields[4:])
    second.add_steps(fields[4:-1], fields[5:])
    assert [x.tobytes() for x in vars(second.finish()).values()] == [x.tobytes() for x in vars(whole.finish()).values()]
