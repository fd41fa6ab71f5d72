"""Weights of rows under every convention, worked out by hand."""

import numpy as np
import pytest

from fourcast.errors import InputError
from fourcast.grid import Grid
from fourcast.verify.conventions import CONVENTIONS, row_weights
from fourcast.verify_config import CONVENTIONS as CONFIGURED

GLOBE = Grid(np.array([60.0, 0.0, -60.0]), np.array([0.0, 90.0, 180.0, 270.0]))


def test_every_convention_that_can_be_configured_is_defined() -> None:
    assert tuple(CONVENTIONS) == CONFIGURED
    assert all(convention.name == name and convention.text for name, convention in CONVENTIONS.items())


def test_weatherbench2_weighs_by_cell_area() -> None:
    # Edges at 90, 30, -30, -90 degrees: sines 1, 0.5, -0.5, -1; areas 0.5, 1, 0.5; mean 2/3.
    np.testing.assert_allclose(row_weights(CONVENTIONS["weatherbench2"], GLOBE), [0.75, 1.5, 0.75])


def test_centred_weighs_by_the_cosine_of_latitude() -> None:
    # Cosines 1/2, 1, 1/2; mean 2/3. At a pole the cosine is 0, never a little less.
    np.testing.assert_allclose(row_weights(CONVENTIONS["centred"], GLOBE), [0.75, 1.5, 0.75])
    poles = Grid(np.array([90.0, 0.0, -90.0]), GLOBE.longitude)
    np.testing.assert_allclose(row_weights(CONVENTIONS["centred"], poles), [0, 3, 0], atol=1e-15)


def test_fourcastnet_weighs_rows_as_if_they_reached_both_poles() -> None:
    # Five rows stand at 90, 45, 0, -45, -90 whatever their latitudes are; π = 3.1416 leaves -3.7e-6 at the poles.
    grid = Grid(np.array([90.0, 54.0, 18.0, -18.0, -54.0]), GLOBE.longitude)
    cosine = np.cos(3.1416 / 4)
    expected = np.array([0, cosine, 1, cosine, 0]) * 5 / (1 + 2 * cosine)
    np.testing.assert_allclose(row_weights(CONVENTIONS["fourcastnet"], grid), expected, rtol=1e-14)
    assert abs(cosine - np.sqrt(0.5)) > 1e-6


@pytest.mark.parametrize("name", CONFIGURED)
def test_weights_are_positive_with_mean_1(name: str) -> None:
    grid = Grid(90.0 - 0.25 * np.arange(720), GLOBE.longitude)
    weights = row_weights(CONVENTIONS[name], grid)
    assert weights.min() >= 0
    assert weights.mean() == pytest.approx(1)


def test_fourcastnet_refuses_a_part_of_the_globe() -> None:
    grid = Grid(np.array([60.0, 50.0, 40.0]), np.array([0.0, 10.0, 20.0]))
    with pytest.raises(InputError, match="convention=fourcastnet weighs the rows of a whole globe, found 3×3"):
        row_weights(CONVENTIONS["fourcastnet"], grid)
