"""Random fields on the sphere: their covariance exactly, and what is drawn within the bounds of statistics."""

from typing import Any

import numpy as np
import pytest
import torch
from tiny import GRID

from fourcast.data.planets.harmonics import Harmonics, legendre
from fourcast.errors import InputError
from fourcast.forecast.sphere import (
    EARTH_RADIUS_KM,
    legendre_by_order,
    on_one_core_each,
    power,
    random_fields,
    resolved,
    spacing_km,
)
from fourcast.grid import Grid
from fourcast.noise import stream

GAUSSIAN_GRID = Harmonics(20)
GRIDS = {
    "both poles": Grid(90 - 20.0 * np.arange(10), 20.0 * np.arange(18)),
    "no south pole": GRID,
    "odd rows": Grid(80 - 16.0 * np.arange(11), 15.0 * np.arange(24)),
    "gaussian rows": Grid(GAUSSIAN_GRID.latitude[::4], GAUSSIAN_GRID.longitude[::4]),
    "region across greenwich": Grid(np.array([71.0, 50.0, 44.0, 13.0]), np.array([0.0, 21.5, 339.0, 350.0])),
}


class Unit(np.random.Generator):
    """Draws the unit matrix: field c is what the c-th number alone makes."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def standard_normal(self, size: Any = None, dtype: Any = None, out: Any = None) -> Any:
        return np.eye(*size, dtype=dtype)


@pytest.mark.parametrize("spectrum", ["gaussian", "matern"])
@pytest.mark.parametrize("where", GRIDS)
def test_the_covariance_of_two_points_follows_from_their_distance_alone(where: str, spectrum: str) -> None:
    # The addition theorem, for all pairs of points; at no distance it says that the variance is 1, at the poles too.
    grid = GRIDS[where]
    fields = random_fields(grid, 2500.0, spectrum)
    numbers = len(fields.deviation_N) ** 2
    response = fields.draw(Unit(), numbers).reshape(numbers, -1).astype(np.float64)
    found = response.T @ response
    assert np.diag(found) == pytest.approx(1, abs=1e-5)

    lat, lon = np.meshgrid(np.deg2rad(grid.latitude), np.deg2rad(grid.longitude), indexing="ij")
    xyz = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1).reshape(-1, 3)
    power_N = fields.deviation_N.astype(np.float64) ** 2
    weights = (2 * np.arange(len(power_N)) + 1) * power_N
    expected = np.polynomial.legendre.legval(np.clip(xyz @ xyz.T, -1, 1), weights)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(expected - np.eye(len(xyz))).max() > 0.2  # correlations there are


def test_legendre_functions_are_those_of_the_harmonics() -> None:
    sines = np.array([1.0, 0.99999, 0.7, 0.2, 0.0])
    twin, _ = legendre(40, sines)
    for m, values in enumerate(legendre_by_order(40, sines)):
        assert values == pytest.approx(twin[m, m:], abs=2e-6)


@pytest.mark.parametrize(("spectrum", "expected"), [
    ("gaussian", [np.exp(-1 / 8), np.exp(-1 / 2), np.exp(-2)]),
    ("matern", [0.8282, 0.6019, 0.2797]),  # x K₁(x) at 1/2, 1, 2
])  # fmt: skip
def test_correlations_at_half_one_and_two_lengths(spectrum: str, expected: list[float]) -> None:
    length, samples = 500.0, 2500
    degrees = np.rad2deg(length / EARTH_RADIUS_KM)
    grid = Grid(40.0 - degrees * np.array([0, 0.5, 1, 2]), np.array([10.0, 10.0 + degrees / 2]))
    drawn = random_fields(grid, length, spectrum).draw(stream(1), samples)[:, :, 0]
    found = np.corrcoef(drawn.T)[0, 1:]
    # Standard error (1 - ρ²) / √samples; the curved sphere and the truncation change the second digit after.
    bounds = 5 * (1 - np.square(expected)) / np.sqrt(samples) + 0.015
    assert (np.abs(found - expected) < bounds).all(), (found, expected, bounds)


@pytest.mark.parametrize("spectrum", ["gaussian", "matern"])
def test_the_spectrum_drawn_is_the_one_asked_for(spectrum: str) -> None:
    samples, length = 200, 1200.0
    grid = Grid(GAUSSIAN_GRID.latitude, GAUSSIAN_GRID.longitude)
    fields = random_fields(grid, length, spectrum)
    drawn = fields.draw(stream(2), samples).astype(np.float64)
    c_MPKN = GAUSSIAN_GRID.analyse(drawn.transpose(2, 0, 1))
    found = np.square(c_MPKN).sum(axis=(0, 1)).mean(axis=0)
    n = np.arange(len(fields.deviation_N))
    eigenvalue = n * (n + 1) * (length / EARTH_RADIUS_KM) ** 2
    shape = np.exp(-eigenvalue / 2) if spectrum == "gaussian" else (1 + eigenvalue) ** -2.0
    expected = (2 * n + 1) * shape / ((2 * n + 1) * shape).sum()
    # A mean of (2n + 1)·samples squares of normal numbers: relative standard error √(2 / that).
    bounds = 5 * np.sqrt(2 / ((2 * n + 1) * samples))
    both = slice(min(len(found), len(expected)))
    assert len(found[both]) > 15
    assert (np.abs(found[both] / expected[both] - 1) < bounds[both]).all()


def test_variance_is_one_at_every_latitude_of_what_is_drawn() -> None:
    samples = 2000
    drawn = random_fields(GRID, 2500.0, "gaussian").draw(stream(3), samples)
    # Squares of one point: standard error √(2 / samples); the mean of a row can only be better.
    assert np.square(drawn).mean(axis=(0, 2)) == pytest.approx(1, abs=5 * np.sqrt(2 / samples))
    assert drawn.mean(axis=0) == pytest.approx(0, abs=5.5 / np.sqrt(samples))
    assert drawn.dtype == np.float32
    assert np.ptp(drawn[:, 0], axis=1).max() < 1e-4  # the pole is one point


def test_channels_and_streams_are_independent() -> None:
    fields = random_fields(Grid(GAUSSIAN_GRID.latitude, GAUSSIAN_GRID.longitude), 700.0, "gaussian")
    drawn = np.concatenate([fields.draw(stream(0, 1, member, 0, 1), 3) for member in (1, 2)])
    weights = GAUSSIAN_GRID.weights_H[:, None] / drawn.shape[2]
    products = np.einsum("ihw,jhw,hw->ij", drawn, drawn, weights)
    # The mean product of two independent fields is Σ C_n z_nm z'_nm: its variance is Σ (2n + 1) C_n².
    power_N = fields.deviation_N.astype(np.float64) ** 2
    error = np.sqrt(((2 * np.arange(len(power_N)) + 1) * power_N**2).sum())
    assert error < 0.1
    assert np.abs(products - np.diag(np.diag(products))).max() < 5 * error


def test_one_key_gives_the_same_field_on_every_grid() -> None:
    fine = Grid(90 - 11.25 * np.arange(16), 11.25 * np.arange(32))
    coarse, finer = (random_fields(grid, 4500.0, "gaussian").draw(stream(4), 2) for grid in (GRID, fine))
    assert coarse == pytest.approx(finer[:, ::2, ::2], abs=1e-5)


def test_draws_run_on_one_core_each_and_leave_the_number_of_cores_alone() -> None:
    threads, seen = torch.get_num_threads(), {}

    def look(place: int) -> None:
        seen[place] = torch.get_num_threads()
        if place == 4:
            raise ArithmeticError

    try:
        torch.set_num_threads(3)
        on_one_core_each(look, 4)
        assert seen == {0: 1, 1: 1, 2: 1, 3: 1}
        assert torch.get_num_threads() == 3
        with pytest.raises(ArithmeticError):
            on_one_core_each(look, 5)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("spectrum", "sizes"), [("gaussian", [48, 48]), ("matern", [403, 101])])
def test_a_spectrum_ends_where_little_is_left_or_resolved(spectrum: str, sizes: list[int]) -> None:
    # With sums as integrals over x = n²: exp(-x ε²/2) = 0.001 at n = 47.4; 1 / (1 + x ε²) = 0.001 at n = 402.7.
    for limit, size in zip((1000, 100), sizes, strict=True):
        power_N = power(spectrum, 500.0, limit)
        assert len(power_N) == size
        assert ((2 * np.arange(size) + 1) * power_N).sum() == pytest.approx(1)


def test_what_a_grid_resolves() -> None:
    quarter = Grid(90 - 0.25 * np.arange(720), 0.25 * np.arange(1440))
    assert spacing_km(quarter) == pytest.approx(27.8, abs=0.01)
    assert resolved(quarter) == 720
    assert resolved(GRID) == 8
    assert resolved(Grid(np.array([50.0]), np.array([3.0, 13.0]))) == 18


def test_a_length_that_the_grid_cannot_hold() -> None:
    with pytest.raises(InputError, match=r"length_km=1000: .* 2502 km apart holds no shorter correlation than 1877 km"):
        random_fields(GRID, 1000.0, "gaussian")
    random_fields(GRID, 1877.0, "gaussian")
