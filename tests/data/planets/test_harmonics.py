import numpy as np
import pytest

from fourcast.data.planets.harmonics import Array, Harmonics


@pytest.fixture(scope="module")
def harmonics() -> Harmonics:
    return Harmonics(21)


def random_coefficients(truncation: int, fields: int = 2) -> Array:
    """Coefficients [M, P, K, N], zero where there is no basis function."""
    c = np.random.default_rng(1).standard_normal((truncation + 1, 2, fields, truncation + 1))
    n = np.arange(truncation + 1)
    c *= (n >= n[:, None])[:, None, None, :]
    c[0, 1] = 0.0
    return c


def one(truncation: int, m: int, phase: int, n: int) -> Array:
    c = np.zeros((truncation + 1, 2, 1, truncation + 1))
    c[m, phase, 0, n] = 1.0
    return c


@pytest.mark.parametrize(("truncation", "shape"), [(21, (32, 64)), (31, (48, 96)), (42, (64, 128))])
def test_grids_are_the_customary_ones(truncation: int, shape: tuple[int, int]) -> None:
    harmonics = Harmonics(truncation)
    assert (len(harmonics.latitude), len(harmonics.longitude)) == shape
    assert np.all(np.diff(harmonics.latitude) < 0)


def test_basis_functions_written_out_by_hand(harmonics: Harmonics) -> None:
    mu, longitude = harmonics.sin_H, np.deg2rad(harmonics.longitude)[:, None]
    cos = np.sqrt(1 - mu**2)
    expected = {
        (0, 0, 0): np.ones((64, 32)),
        (0, 0, 1): np.sqrt(3) * mu + 0 * longitude,
        (0, 0, 2): np.sqrt(5) * (3 * mu**2 - 1) / 2 + 0 * longitude,
        (1, 0, 1): np.sqrt(3) * cos * np.cos(longitude),
        (2, 1, 2): np.sqrt(15 / 4) * cos**2 * np.sin(2 * longitude),
    }
    for (m, phase, n), field in expected.items():
        np.testing.assert_allclose(harmonics.synthesize(one(21, m, phase, n))[:, 0], field, atol=1e-13)


def test_round_trip(harmonics: Harmonics) -> None:
    c = random_coefficients(21)
    np.testing.assert_allclose(harmonics.analyse(harmonics.synthesize(c)), c, atol=1e-12)


def test_parseval(harmonics: Harmonics) -> None:
    c = random_coefficients(21)
    f_WKH = harmonics.synthesize(c)
    mean_square = (f_WKH**2).mean(axis=0) @ harmonics.weights_H
    np.testing.assert_allclose(mean_square, (c**2).sum(axis=(0, 1, 3)), rtol=1e-12)


def test_gradient_of_a_wave_by_hand(harmonics: Harmonics) -> None:
    """f = cos²φ cos 2λ: ∂f/∂λ = -2 cos²φ sin 2λ and cos φ ∂f/∂φ = -2 cos²φ sin φ cos 2λ."""
    mu, longitude = harmonics.sin_H, np.deg2rad(harmonics.longitude)[:, None]
    f = (1 - mu**2) * np.cos(2 * longitude)
    east, north = harmonics.gradient(harmonics.analyse(f[:, None]))
    np.testing.assert_allclose(east[:, 0], -2 * (1 - mu**2) * np.sin(2 * longitude), atol=1e-13)
    np.testing.assert_allclose(north[:, 0], -2 * mu * f, atol=1e-13)


def test_divergence_of_the_gradient_is_the_laplacian(harmonics: Harmonics) -> None:
    c = random_coefficients(21)
    np.testing.assert_allclose(harmonics.divergence(*harmonics.gradient(c)), harmonics.laplacian_N * c, atol=1e-9)


def test_a_quadratic_product_is_not_aliased() -> None:
    """The coefficients of a square are those that a grid of twice the truncation gives."""
    small, large = Harmonics(7), Harmonics(14)
    c = random_coefficients(7, fields=1)
    padded = np.pad(c, ((0, 7), (0, 0), (0, 0), (0, 7)))
    square = small.analyse(small.synthesize(c) ** 2)
    reference = large.analyse(large.synthesize(padded) ** 2)[:8, :, :, :8]
    np.testing.assert_allclose(square, reference, atol=1e-12)
