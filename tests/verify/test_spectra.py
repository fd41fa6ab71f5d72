"""Zonal energy spectra: single waves, Parseval's theorem, bands, members and what has no spectrum."""

import numpy as np
import pytest
from row_spectra import row_spectra

from fourcast.errors import InputError
from fourcast.grid import Grid, area_weights
from fourcast.verify import spectra
from fourcast.verify.spectra import BANDS, band_spectra, band_wavelengths, circumference

GRID = Grid(np.array([75.0, 60.0, 45.0, 10.0, 0.0, -20.0, -45.0]), np.arange(12) * 30.0)
EQUATOR = 2 * np.pi * 6_367_500.0


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(3.0, 2.0, shape).astype(np.float32)


def test_a_wave_has_half_the_square_of_its_amplitude_at_its_own_wavenumber_alone():
    rows = np.arange(7)[:, None]
    field = 5.0 + 4.0 * np.cos(np.deg2rad(3 * GRID.longitude + 50 * rows))
    found = row_spectra(field, GRID) / circumference(GRID)[:, None]
    expected = np.zeros((7, 7))
    expected[:, 0], expected[:, 3] = 25.0, 8.0
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_the_shortest_wave_of_an_even_row_is_one_wave_only():
    field = 4.0 * np.array([1.0, -1.0] * 6) * np.ones((7, 1))
    found = row_spectra(field, GRID)[4]  # the mean of 4² over the equator
    np.testing.assert_allclose(found, [0, 0, 0, 0, 0, 0, 16.0 * EQUATOR], atol=1e-6)


@pytest.mark.parametrize("width", [1440, 12, 9, 7])
def test_the_energies_of_a_row_add_up_to_the_integral_of_its_square(width):
    grid = Grid(GRID.latitude, np.arange(width) * 360.0 / width)
    field = noise(7, width)
    integral = EQUATOR * np.cos(np.deg2rad(GRID.latitude)) * (field.astype(np.float64) ** 2).mean(axis=1)
    found = row_spectra(field, grid)
    assert found.shape == (7, width // 2 + 1)
    np.testing.assert_allclose(found.sum(axis=1), integral, rtol=1e-12)


def test_a_turn_of_the_globe_changes_no_spectrum():
    field = noise(7, 12)
    np.testing.assert_allclose(row_spectra(np.roll(field, 5, axis=1), GRID), row_spectra(field, GRID), rtol=1e-10)


def test_bands_average_the_rows_between_their_latitudes_of_both_hemispheres_by_weight():
    rows = {"global": [0, 1, 2, 3, 4, 5, 6], "tropics": [3, 4, 5], "mid_latitudes": [1, 2, 6]}
    assert list(rows) == list(BANDS)
    field, weights = noise(7, 12), area_weights(GRID.latitude)
    by_row = row_spectra(field, GRID)
    expected = [sum(weights[h] * by_row[h] for h in chosen) / weights[chosen].sum() for chosen in rows.values()]
    np.testing.assert_allclose(band_spectra(field, GRID, weights), expected, rtol=1e-12)


def test_members_are_averaged_after_the_transform_not_before():
    members, weights = noise(5, 7, 12), np.ones(7)
    found = band_spectra(members, GRID, weights)
    expected = np.mean([band_spectra(member, GRID, weights) for member in members], axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert np.all(found[:, 1:] > band_spectra(members.mean(axis=0), GRID, weights)[:, 1:])


@pytest.mark.parametrize("block", [1, 12, 30, 65536])
def test_blocks_change_nothing(monkeypatch, block):
    field, weights = noise(7, 12), area_weights(GRID.latitude)
    expected = band_spectra(field, GRID, weights)
    monkeypatch.setattr(spectra, "BLOCK", block)
    np.testing.assert_allclose(band_spectra(field, GRID, weights), expected, rtol=1e-12)


def test_small_waves_on_a_large_mean_keep_their_digits():
    wave = 1e-2 * np.cos(np.deg2rad(5 * GRID.longitude)) * np.ones((7, 1))
    found = row_spectra(54000.0 + wave, GRID) / circumference(GRID)[:, None]
    np.testing.assert_allclose(found[:, 5], 0.5e-4, rtol=1e-6)


def test_a_missing_value_spoils_its_row_and_its_bands_alone():
    field = noise(7, 12)
    whole = band_spectra(field, GRID, np.ones(7))
    field[0, 4] = np.nan  # at 75°: in the global band only
    assert np.isnan(row_spectra(field, GRID)).all(axis=1).tolist() == [True] + [False] * 6
    found = band_spectra(field, GRID, np.ones(7))
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1:], whole[1:], rtol=1e-12)


def test_a_band_without_rows_has_no_spectrum():
    grid = Grid(np.array([80.0, 70.0]), GRID.longitude)
    found = band_spectra(noise(2, 12), grid, np.ones(2))
    assert np.isnan(found[1:]).all()
    assert np.isfinite(found[0]).all()


def test_a_wavelength_is_the_circumference_over_the_wavenumber():
    grid = Grid(np.array([60.0, 0.0]), GRID.longitude)
    found = band_wavelengths(grid, np.array([1.0, 3.0]))
    np.testing.assert_allclose(found[0, 1:], EQUATOR * 0.875 / np.arange(1, 7))  # (1 · ½ + 3 · 1) / 4
    np.testing.assert_allclose(found[1:, 1], [EQUATOR, EQUATOR / 2])
    assert np.isinf(found[:, 0]).all()


def test_a_pole_has_no_energy_for_its_circle_is_a_point():
    grid = Grid(np.array([90.0, 0.0]), GRID.longitude)
    assert np.abs(row_spectra(noise(2, 12), grid)[0]).max() < 1e-6


@pytest.mark.parametrize("longitude", [np.arange(12) * 20.0, np.array([0.0, 10.0, 120.0, 240.0])])
def test_what_is_no_whole_circle_in_even_steps_is_refused(longitude):
    grid = Grid(GRID.latitude, longitude)
    with pytest.raises(InputError, match=r"evenly spaced longitudes all round.*spectra=false"):
        band_spectra(noise(7, len(longitude)), grid, np.ones(7))
