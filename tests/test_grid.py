"""Grids and cell areas, by hand and by invariants."""

import numpy as np
import pytest

from fourcast.errors import InputError
from fourcast.grid import Grid, area_weights, closes_circle, latitude_edges, longitude_edges, south_pole_rows

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


@pytest.mark.parametrize(
    ("latitude", "edges"),
    [
        ([90, 45, 0, -45, -90], [90, 67.5, 22.5, -22.5, -67.5, -90]),  # rows at the poles
        ([67.5, 22.5, -22.5, -67.5], [90, 45, 0, -45, -90]),  # centred
        ([90, 45, 0, -45], [90, 67.5, 22.5, -22.5, -67.5]),  # the row at the south pole dropped
        ([50, 49, 48], [50.5, 49.5, 48.5, 47.5]),  # a region
        ([60, 10, -50], [90, 35, -20, -90]),  # uneven
    ],
)
def test_edges_of_rows(latitude: list[float], edges: list[float]) -> None:
    np.testing.assert_allclose(latitude_edges(np.array(latitude)), edges, rtol=1e-12)


@pytest.mark.parametrize(
    ("longitude", "edges", "closes"),
    [
        ([0, 90, 180, 270], [-45, 45, 135, 225, 315], True),
        ([45, 135, 225, 315], [0, 90, 180, 270, 360], True),
        ([0, 90, 180], [-45, 45, 135, 225], False),
        ([350, 355], [347.5, 352.5, 357.5], False),
    ],
)
def test_edges_of_columns(longitude: list[float], edges: list[float], closes: bool) -> None:
    np.testing.assert_allclose(longitude_edges(np.array(longitude)), edges, rtol=1e-12)
    assert closes_circle(np.array(longitude)) == closes


@pytest.mark.parametrize("longitude", [[0.0], [0.0, 5.0, 350.0, 355.0], [0.0, 1.0, 3.0]])
def test_uneven_columns_have_no_edges(longitude: list[float]) -> None:
    with pytest.raises(InputError, match="evenly spaced longitudes"):
        longitude_edges(np.array(longitude))


def test_one_row_has_no_edges_and_all_the_weight() -> None:
    with pytest.raises(InputError, match="at least 2 rows"):
        latitude_edges(np.array([10.0]))
    assert area_weights(np.array([10.0])).tolist() == [1.0]


def test_the_published_grid_lacks_the_cell_at_the_south_pole_and_keeps_the_others() -> None:
    """721 rows cover the sphere. Of 720, the last cell ends at -89.875°, short by (1 - sin 89.875°) / 2 of it."""
    whole, published = latitude_edges(ERA5_LATITUDE), latitude_edges(ERA5_LATITUDE[:720])
    np.testing.assert_allclose(published, whole[:721], rtol=1e-12)
    assert published[-1] == -89.875
    covered = np.sin(np.deg2rad(published[[0, -1]])) @ [0.5, -0.5]
    assert 1 - covered == pytest.approx((1 - np.sin(np.deg2rad(89.875))) / 2, rel=1e-6)
    weights = area_weights(ERA5_LATITUDE)[:720]
    np.testing.assert_allclose(area_weights(ERA5_LATITUDE[:720]), weights / weights.mean(), rtol=1e-12)


@pytest.mark.parametrize("rows", [90, 180, 720, 1800])
def test_rounded_coordinates_do_not_move_the_last_cell(rows: int) -> None:
    """A pole one whole step away is another row's, be the step a little more or less in single precision."""
    latitude = np.linspace(90, -90, rows + 1)[:-1].astype(np.float32).astype(np.float64)
    for error in (-1e-6, 0.0, 1e-6):
        latitude[-1] += error
        assert latitude_edges(latitude)[-1] == pytest.approx(-90 + 90 / rows, abs=1e-4)


def test_same_as() -> None:
    grid = Grid(ERA5_LATITUDE, ERA5_LONGITUDE)
    assert grid.same_as(Grid(ERA5_LATITUDE.astype("f4").astype("f8"), ERA5_LONGITUDE))
    assert not grid.same_as(Grid(ERA5_LATITUDE[:-1], ERA5_LONGITUDE))
    assert not grid.same_as(Grid(ERA5_LATITUDE, ERA5_LONGITUDE + 0.125))
