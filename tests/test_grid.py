"""Grids and cell areas, by hand and by invariants."""

import numpy as np
import pytest

from fourcast.errors import InputError
from fourcast.grid import Grid, area_weights, south_pole_rows

ERA5_LATITUDE = np.linspace(90, -90, 721)
ERA5_LONGITUDE = np.arange(0, 360, 0.25)


def test_era5_and_fourcastnets_grid() -> None:
    assert Grid(ERA5_LATITUDE, ERA5_LONGITUDE).is_global
    assert south_pole_rows(ERA5_LATITUDE) == 1
    cropped = Grid(ERA5_LATITUDE[:720], ERA5_LONGITUDE)
    assert cropped.is_global
    assert cropped.shape == (720, 1440)
    assert south_pole_rows(cropped.latitude) == 0
    assert south_pole_rows(np.array([60.0, 0.0, -60.0])) == 0


def test_gaussian_and_cell_centred_grids_are_global() -> None:
    gaussian = np.degrees(np.arcsin(np.polynomial.legendre.leggauss(32)[0][::-1]))
    assert Grid(gaussian, np.arange(64) * 5.625).is_global
    assert Grid(np.linspace(87.1875, -87.1875, 32), np.arange(64) * 5.625).is_global


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [
        (ERA5_LATITUDE[:360], ERA5_LONGITUDE),
        (ERA5_LATITUDE, ERA5_LONGITUDE[:1400]),
        (ERA5_LATITUDE[4:-4], ERA5_LONGITUDE),
    ],
)
def test_regions_are_not_global(latitude: np.ndarray, longitude: np.ndarray) -> None:
    assert not Grid(latitude, longitude).is_global


@pytest.mark.parametrize(
    ("latitude", "longitude", "message"),
    [([0.0, 1.0], [0.0, 1.0], "latitudes must decrease"), ([91.0, 0.0], [0.0, 1.0], "latitudes"),
     ([1.0, 0.0], [1.0, 0.0], "longitudes must increase"), ([1.0, 0.0], [-10.0, 0.0], "longitudes"),
     ([1.0, 0.0], [0.0, 360.0], "longitudes")],
)  # fmt: skip
def test_wrong_orientation_is_refused(latitude: list[float], longitude: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Grid(np.array(latitude), np.array(longitude))


def test_weights_by_hand() -> None:
    """Cells 90…30, 30…−30 and −30…−90 have areas in the ratio ½ : 1 : ½."""
    np.testing.assert_allclose(area_weights(np.array([60.0, 0.0, -60.0])), [0.75, 1.5, 0.75])


def test_weights_have_mean_one_and_approach_cosine() -> None:
    weights = area_weights(ERA5_LATITUDE)
    assert np.isclose(weights.mean(), 1)
    assert weights[0] > 0
    cosine = np.cos(np.deg2rad(ERA5_LATITUDE))
    np.testing.assert_allclose(weights[1:-1], (cosine / cosine.mean())[1:-1], rtol=1e-3)


def test_same_as() -> None:
    grid = Grid(ERA5_LATITUDE, ERA5_LONGITUDE)
    assert grid.same_as(Grid(ERA5_LATITUDE.astype("f4").astype("f8"), ERA5_LONGITUDE))
    assert not grid.same_as(Grid(ERA5_LATITUDE[:-1], ERA5_LONGITUDE))
    assert not grid.same_as(Grid(ERA5_LATITUDE, ERA5_LONGITUDE + 0.125))
