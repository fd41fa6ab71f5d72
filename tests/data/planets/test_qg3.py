from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest

from fourcast.data.planets.harmonics import Array
from fourcast.data.planets.planet import BLOCK_STATES, GAS_CONSTANT, GRAVITY, States, block_times, steps_in
from fourcast.data.planets.qg3 import (
    MEAN_HEIGHT,
    RADIATION_TIME,
    RADIUS,
    ROTATION,
    QuasiGeostrophic,
    initial,
    qg3,
    season,
    trajectory,
)
from fourcast.data_config import PlanetConfig
from fourcast.errors import InputError

NEW_YEAR = np.datetime64("2001-01-01T00")


@pytest.fixture
def model() -> QuasiGeostrophic:
    return QuasiGeostrophic(21)


@pytest.fixture(scope="module")
def winter() -> tuple[QuasiGeostrophic, list[Array]]:
    """States of January after forty days of spin-up: the model and q [M, P, K, N] every six hours."""
    model = QuasiGeostrophic(21)
    begin = NEW_YEAR - np.timedelta64(40 * 24, "h")
    return model, list(islice(trajectory(model, initial(model, begin, 0), begin), 160, 260))


def random_streamfunction(model: QuasiGeostrophic) -> Array:
    return model.streamfunction(initial(model, NEW_YEAR, 3))


def without_drag(model: QuasiGeostrophic) -> QuasiGeostrophic:
    model.drag_WH = np.zeros_like(model.drag_WH)
    return model


def solid_body(model: QuasiGeostrophic, omega: float) -> Array:
    """ψ = -a² ω sin φ at all levels, whose wind is u = a ω cos φ."""
    psi_WKH = np.broadcast_to(-(RADIUS**2) * omega * model.harmonics.sin_H, model.planetary_WKH.shape)
    return model.harmonics.analyse(psi_WKH)


def all_states(config: PlanetConfig) -> list[States]:
    return list(qg3(config).states)


def test_potential_vorticity_is_inverted(model: QuasiGeostrophic) -> None:
    psi = random_streamfunction(model)
    np.testing.assert_allclose(model.streamfunction(model.potential_vorticity(psi)), psi, rtol=1e-9, atol=1e-3)


def test_solid_body_rotation_by_hand(model: QuasiGeostrophic) -> None:
    """u = a ω cos φ; linear balance gives z = -a² Ω ω (sin²φ - 1/3); no shear, so t is uniform."""
    omega = 20.0 / RADIUS
    fields = model.fields(model.potential_vorticity(solid_body(model, omega))[None])
    cos = np.cos(np.deg2rad(model.harmonics.latitude))[:, None]
    np.testing.assert_allclose(fields["u"][0, 1], 20.0 * cos + np.zeros(64), rtol=1e-5)
    np.testing.assert_allclose(fields["v"], 0.0, atol=1e-5)
    deviation = -(RADIUS**2) * ROTATION * omega * (model.harmonics.sin_H**2 - 1 / 3)
    expected_z = GRAVITY * MEAN_HEIGHT[1] + deviation[:, None] + np.zeros(64)
    np.testing.assert_allclose(fields["z"][0, 1], expected_z, rtol=1e-6)
    warm = GRAVITY * (MEAN_HEIGHT[0] - MEAN_HEIGHT[1]) / (GAS_CONSTANT * np.log(500 / 200))
    np.testing.assert_allclose(fields["t"][0, 0], warm, rtol=1e-5)


def test_wind_of_a_wave_by_hand(model: QuasiGeostrophic) -> None:
    """ψ = b cos φ cos λ at all levels: u = (b/a) sin φ cos λ and v = -(b/a) sin λ."""
    b = 1e8
    psi = np.zeros((22, 2, 3, 22))
    psi[1, 0, :, 1] = b / np.sqrt(3)
    fields = model.fields(model.potential_vorticity(psi)[None])
    longitude, mu = np.deg2rad(model.harmonics.longitude), model.harmonics.sin_H[:, None]
    np.testing.assert_allclose(fields["u"][0, 0], b / RADIUS * mu * np.cos(longitude), atol=1e-5)
    np.testing.assert_allclose(fields["v"][0, 0], -b / RADIUS * np.sin(longitude) + 0 * mu, atol=1e-5)


def test_solid_body_rotation_without_ground_and_drag_is_steady(model: QuasiGeostrophic) -> None:
    psi = solid_body(model, 1e-6)
    tendency = without_drag(model).transport(psi, model.potential_vorticity(psi))
    np.testing.assert_allclose(tendency[:, :, :2], 0.0, atol=1e-22)


def test_a_barotropic_rossby_wave_moves_westward_by_theory(model: QuasiGeostrophic) -> None:
    """For one harmonic at all levels ∂q/∂t = -β v = -(2Ω/a²) ∂ψ/∂λ (Rossby-Haurwitz wave)."""
    psi = np.zeros((22, 2, 3, 22))
    psi[4, 0, :, 6] = 1e7
    tendency = without_drag(model).transport(psi, model.potential_vorticity(psi))
    expected = np.zeros_like(psi)
    expected[4, 1, :, 6] = -(2 * ROTATION / RADIUS**2) * -4 * 1e7
    np.testing.assert_allclose(tendency[:, :, :2], expected[:, :, :2], atol=1e-20)


def test_transport_conserves_energy_and_enstrophy(model: QuasiGeostrophic) -> None:
    psi = random_streamfunction(model)
    q = model.potential_vorticity(psi)
    tendency = without_drag(model).transport(psi, q)
    absolute = q + model.harmonics.analyse(model.planetary_WKH)
    for conserved in (psi, absolute):
        scale = np.sqrt((conserved**2).sum() * (tendency**2).sum())
        assert np.abs((conserved * tendency).sum(axis=(0, 1, 3))).max() < 1e-12 * scale


def test_uniform_drag_damps_the_lowest_vorticity_only(model: QuasiGeostrophic) -> None:
    psi = random_streamfunction(model)
    q = model.potential_vorticity(psi)
    free = without_drag(model).transport(psi, q)
    model.drag_WH = np.full_like(model.drag_WH, 1e-5)
    change = model.transport(psi, q) - free
    vorticity = model.laplacian_N * psi
    np.testing.assert_array_equal(change[:, :, :2], 0.0)
    np.testing.assert_allclose(change[:, :, 2], -1e-5 * vorticity[:, :, 2], atol=1e-20)


def test_radiation_relaxes_stretching_to_its_target(model: QuasiGeostrophic) -> None:
    psi = random_streamfunction(model)
    q = model.potential_vorticity(psi)
    stretching = model.stretching_KK @ psi
    at_rest = model.tendency(q, stretching) - model.transport(psi, q)
    np.testing.assert_allclose(at_rest, 0.0, atol=1e-20)
    away = model.tendency(q, stretching + 1e-5) - model.transport(psi, q)
    np.testing.assert_allclose(away, 1e-5 / RADIATION_TIME, rtol=1e-6)


def test_equilibrium_jet_is_stronger_and_nearer_to_the_equator_in_winter(model: QuasiGeostrophic) -> None:
    fields = model.fields(model.potential_vorticity(model.equilibrium(1.0))[None])
    u_H = fields["u"][0, 0, :, 0]
    assert 55 < u_H[:16].max() < 75
    assert u_H[:16].max() > 1.4 * u_H[16:].max()
    north, south = (np.average(np.abs(model.harmonics.latitude[h]), weights=u_H[h]) for h in (slice(16), slice(16, 32)))
    assert south - north == pytest.approx(6.0, abs=1.5)
    assert abs(fields["u"][0, 2]).max() < 1e-3


def test_seasons() -> None:
    assert season(NEW_YEAR) == 1.0
    assert season(np.datetime64("2001-07-02T12")) == pytest.approx(-1.0, abs=1e-3)
    assert season(np.datetime64("2001-04-02T06")) == pytest.approx(0.0, abs=0.01)


def test_weather_is_plausible(winter: tuple[QuasiGeostrophic, list[Array]]) -> None:
    model, run = winter
    fields = model.fields(np.stack(run))
    assert all(np.isfinite(x).all() for x in fields.values())
    jet_H = fields["u"][:, 0].mean(axis=(0, 2))
    assert 30 < jet_H[:16].max() < 65
    assert jet_H[:16].max() > jet_H[16:].max()
    assert 60 < np.hypot(fields["u"], fields["v"]).max() < 150
    assert 3 < fields["v"][:, 1, 4:12].std() < 20
    assert 180 < fields["t"].min() < fields["t"].max() < 310


def test_energy_is_bounded(winter: tuple[QuasiGeostrophic, list[Array]]) -> None:
    model, run = winter
    energy = np.array([-0.5 * (q * model.streamfunction(q)).sum() for q in run])
    assert np.all(energy > 0)
    assert energy.max() < 2 * energy.min()


def test_wind_and_mass_are_in_thermal_wind_balance(winter: tuple[QuasiGeostrophic, list[Array]]) -> None:
    """t is the layer's hypsometric mean temperature; and away from the equator z is close to geostrophic."""
    model, run = winter
    fields = {name: x.astype(np.float64) for name, x in model.fields(np.stack(run[:4])).items()}
    thickness = fields["z"][:, 0] - fields["z"][:, 1]
    np.testing.assert_allclose(fields["t"][:, 0], thickness / (GAS_CONSTANT * np.log(500 / 200)), rtol=1e-5)
    latitude = np.deg2rad(model.harmonics.latitude)
    z_H, u_H = fields["z"][:, 0].mean(axis=(0, 2)), fields["u"][:, 0].mean(axis=(0, 2))
    geostrophic_H = -np.gradient(z_H, latitude) / (RADIUS * 2 * ROTATION * np.sin(latitude))
    midlatitudes = slice(5, 11)
    np.testing.assert_allclose(geostrophic_H[midlatitudes], u_H[midlatitudes], atol=3.0)


def test_a_tiny_difference_grows(winter: tuple[QuasiGeostrophic, list[Array]]) -> None:
    model, run = winter
    disturbed = trajectory(model, run[0] * (1 + 1e-6), NEW_YEAR)
    original = trajectory(model, run[0], NEW_YEAR)

    def distance(pair: Iterator[tuple[Array, Array]]) -> float:
        first, second = next(pair)
        return float(np.sqrt(((first - second) ** 2).sum()))

    pairs = zip(original, disturbed, strict=True)
    at_start = distance(pairs)
    after_fifteen_days = distance(islice(pairs, 59, None))
    assert after_fifteen_days > 10 * at_start


def test_the_seed_decides_every_bit() -> None:
    config = PlanetConfig(days=0.5, spinup_days=1.0, truncation=10, seed=5)
    first, again = all_states(config)[0], all_states(config)[0]
    other = all_states(PlanetConfig(days=0.5, spinup_days=1.0, truncation=10, seed=6))[0]
    for name, values in first.fields.items():
        assert values.tobytes() == again.fields[name].tobytes()
        assert values.tobytes() != other.fields[name].tobytes()


def test_states_come_in_blocks_and_fit_together() -> None:
    config = PlanetConfig(days=10.5, spinup_days=0.0, truncation=5)
    blocks = all_states(config)
    assert [len(b.times) for b in blocks] == [BLOCK_STATES, 2]
    assert {name: x.shape[1:] for name, x in blocks[1].fields.items()} == {
        "u": (3, 8, 16), "v": (3, 8, 16), "z": (3, 8, 16), "t": (2, 8, 16),
    }  # fmt: skip
    times = np.concatenate([b.times for b in blocks])
    assert times[0] == NEW_YEAR
    assert np.all(np.diff(times) == np.timedelta64(6, "h"))


def test_block_times_counts() -> None:
    assert [len(times) for times in block_times(NEW_YEAR, 81)] == [40, 40, 1]
    assert list(block_times(NEW_YEAR, 0)) == []


def test_steps_in() -> None:
    assert steps_in(2.5, "planet.days") == 10
    with pytest.raises(InputError, match=r"planet\.days must be a multiple of 0\.25.*found 0\.3"):
        steps_in(0.3, "planet.days")
    with pytest.raises(InputError, match=r"planet\.spinup_days"):
        steps_in(-1.0, "planet.spinup_days")


def test_settings_that_are_not_for_qg3_are_refused() -> None:
    with pytest.raises(InputError, match=r"planet\.levels is for speedy only"):
        qg3(PlanetConfig(levels=[500]))
    with pytest.raises(InputError, match=r"planet\.truncation must be at least 5"):
        qg3(PlanetConfig(truncation=2))
