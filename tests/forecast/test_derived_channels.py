"""Derived fields: wind speed, and vorticity against flows whose vorticity is known."""

import numpy as np
import pytest

from fourcast.forecast.derived import EARTH_RADIUS, derivable, derive, inputs
from fourcast.grid import Grid

SPEED = 40.0
GRIDS = {
    "with poles": Grid(np.linspace(90, -90, 37), np.arange(72) * 5.0),
    "without poles": Grid(np.linspace(87.5, -87.5, 36), np.arange(72) * 5.0),
    "north pole alone": Grid(np.linspace(90, -90, 37)[:-1], np.arange(72) * 5.0),
    "uneven": Grid(np.array([88.0, 82.5, 78.0, 72.0, 67.0, *np.arange(62, -90, -5.0), -90]), np.arange(72) * 5.0),
    "region": Grid(np.linspace(60, 20, 9), np.arange(10, 60, 5.0)),
    "across Greenwich": Grid(np.linspace(60, 20, 9), np.array([0.0, 5.0, 10.0, 340.0, 345.0, 350.0, 355.0])),
}
every_grid = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)


def vorticity(u: np.ndarray, v: np.ndarray, grid: Grid) -> np.ndarray:
    u, v = (np.broadcast_to(wind, grid.shape).astype(np.float32) for wind in (u, v))
    return derive("vo850", {"u850": u, "v850": v}, grid)


def angles(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    return np.deg2rad(grid.latitude)[:, None], np.deg2rad(grid.longitude)


def test_what_follows_from_channels() -> None:
    assert derivable(("u850", "v850", "u500", "t2m", "u10m", "v10m", "v100m")) == ("ws850", "vo850", "ws10m")
    assert derivable(("u850", "v850", "u10", "v10", "ws850")) == ("ws10", "vo10", "vo850")
    assert derivable(("t2m", "v850")) == derivable(()) == ()
    assert inputs("ws10m") == ("u10m", "v10m")
    assert inputs("vo10") == ("u10", "v10")


def test_wind_speed_by_hand() -> None:
    grid = Grid(np.array([10.0, 0.0]), np.array([0.0, 10.0]))
    u = np.array([[[3, -3], [0, 0]], [[5, 0], [0, 0]]], dtype=np.float32)
    v = np.array([[[4, -4], [0, -2]], [[12, 1], [0, 0]]], dtype=np.float32)
    speed = derive("ws10m", {"u10m": u, "v10m": v}, grid)
    assert speed.dtype == np.float32
    np.testing.assert_array_equal(speed, [[[5, 5], [0, 2]], [[13, 1], [0, 0]]])


@every_grid
def test_a_solid_rotation_has_twice_its_angular_velocity(grid: Grid) -> None:
    """u = U cos φ: ζ = 2 U sin φ / a."""
    latitude, _ = angles(grid)
    found = vorticity(SPEED * np.cos(latitude), np.zeros(1), grid)
    one_sided = not grid.is_global
    np.testing.assert_allclose(found, np.broadcast_to(2 * SPEED * np.sin(latitude) / EARTH_RADIUS, grid.shape),
                               atol=(0.12 if one_sided else 0.02) * 2 * SPEED / EARTH_RADIUS)  # fmt: skip
    assert found.dtype == np.float32


@every_grid
def test_a_wave_of_northward_wind(grid: Grid) -> None:
    """v = U cos φ cos 3λ: ζ = -3 U sin 3λ / a; at the poles 0, by symmetry."""
    latitude, longitude = angles(grid)
    found = vorticity(np.zeros(1), SPEED * np.cos(latitude) * np.cos(3 * longitude), grid)
    expected = np.where(np.abs(latitude) > 1.57, 0, -3 * SPEED * np.sin(3 * longitude) / EARTH_RADIUS)
    inner = slice(None) if grid.is_global else np.argsort((grid.longitude + 180) % 360)[1:-1]
    np.testing.assert_allclose(found[:, inner], expected[:, inner], atol=0.05 * 3 * SPEED / EARTH_RADIUS)


def test_the_error_falls_with_the_square_of_the_spacing() -> None:
    errors = []
    for rows in (36, 72):
        grid = Grid(90 - (np.arange(rows) + 0.5) * 180 / rows, np.arange(2 * rows) * 180 / rows)
        latitude, longitude = angles(grid)
        found = vorticity(SPEED * np.cos(latitude), SPEED * np.cos(latitude) * np.cos(3 * longitude), grid)
        expected = (2 * np.sin(latitude) - 3 * np.sin(3 * longitude)) * SPEED / EARTH_RADIUS
        errors.append(np.abs(found - expected)[rows // 6 : -rows // 6].max())
    assert 3.7 < errors[0] / errors[1] < 4.3


@pytest.mark.parametrize("name", ["with poles", "without poles", "north pole alone"])
def test_turning_the_wind_around_the_earth_turns_the_vorticity(name: str) -> None:
    grid = GRIDS[name]
    u, v = np.random.default_rng(0).normal(size=(2, *grid.shape))
    found = vorticity(u, v, grid)
    turned = vorticity(np.roll(u, 5, axis=1), np.roll(v, 5, axis=1), grid)
    np.testing.assert_allclose(turned, np.roll(found, 5, axis=1), rtol=1e-5, atol=1e-11)


def test_at_a_pole_it_is_the_circulation_of_the_cap_by_hand() -> None:
    """Rows at 60°: 2πa·cos 60°·8 m/s around 2πa²·(1 - sin 60°); turning eastward is positive in the north only."""
    grid = Grid(np.array([90.0, 60.0, 0.0, -60.0, -90.0]), np.arange(4) * 90.0)
    u = np.array([99.0, 0.0, 0.0, 0.0, 99.0])[:, None] + np.array([[0, 0, 0, 0]] * 5)
    u[1], u[3] = [32, 0, 0, 0], [0, 32, 0, 0]
    expected = 8 * 0.5 / (EARTH_RADIUS * (1 - np.sqrt(3) / 2))
    found = vorticity(u, np.zeros(1), grid)
    np.testing.assert_allclose(found[[0, -1]], [[expected] * 4, [-expected] * 4], rtol=1e-6)


def test_a_region_across_greenwich_is_one_region() -> None:
    split, whole = GRIDS["across Greenwich"], Grid(np.linspace(60, 20, 9), np.arange(100, 131, 5.0))
    u, v = np.random.default_rng(1).normal(size=(2, *whole.shape))
    found = vorticity(np.roll(u, -4, axis=1), np.roll(v, -4, axis=1), split)
    np.testing.assert_allclose(found, np.roll(vorticity(u, v, whole), -4, axis=1), rtol=1e-6)


def test_members_do_not_mix_and_inputs_stay() -> None:
    grid = GRIDS["without poles"]
    winds = np.random.default_rng(2).normal(size=(2, 3, *grid.shape)).astype(np.float32)
    before = winds.copy()
    together = derive("vo850", {"u850": winds[0], "v850": winds[1]}, grid)
    for member in range(3):
        alone = derive("vo850", {"u850": winds[0, member], "v850": winds[1, member]}, grid)
        np.testing.assert_array_equal(together[member], alone)
    np.testing.assert_array_equal(winds, before)
