"""Keyed random streams."""

import numpy as np
import pytest

from fourcast.noise import normal_fields, stream


def test_numbers_can_be_drawn_again_years_later() -> None:
    drawn = stream(0, 496200, 1).standard_normal(3, dtype=np.float32)
    assert drawn.tolist() == pytest.approx([0.1733576, 0.7572297, -0.8288979], rel=1e-6)


def test_every_number_of_a_key_and_its_place_matter() -> None:
    keys = [(1, 2, 3), (2, 1, 3), (1, 2), (1, 2, 3, 4), (1, 2, 3, 4, 0), (2**40, 2, 3), (1, 2, 2**64 - 1)]
    correlations = np.corrcoef([stream(*key).standard_normal(1000) for key in keys]) - np.eye(len(keys))
    assert np.abs(correlations).max() < 0.16  # five standard errors of 1 / sqrt(1000)


def test_a_field_depends_on_its_own_key_alone() -> None:
    keys = [(0, number) for number in range(50)]
    fields = normal_fields(keys, (3, 5))
    assert fields.shape == (50, 3, 5)
    assert fields.dtype == np.float32
    assert np.array_equal(normal_fields(keys[::-1], (3, 5))[::-1], fields)
    for number in (0, 17, 49):
        assert np.array_equal(stream(0, number).standard_normal((3, 5), dtype=np.float32), fields[number])
    assert normal_fields([], (3, 5)).shape == (0, 3, 5)


def test_fields_are_standard_normal_and_independent() -> None:
    fields = normal_fields([(7, number) for number in range(40)], (1, 500))
    # 20000 values: standard errors 1 / sqrt(20000) = 0.007 of the mean and 0.005 of the deviation.
    assert fields.mean() == pytest.approx(0.0, abs=0.035)
    assert fields.std() == pytest.approx(1.0, abs=0.025)
    assert np.abs(np.corrcoef(fields[:, 0]) - np.eye(40)).max() < 5 / np.sqrt(500)
