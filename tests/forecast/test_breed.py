"""Bred vectors of models whose growing directions are known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from affine import EXACT, FAST, INIT, affine, analysis, batch
from tiny import CHANNELS, GRID

from fourcast.errors import InputError
from fourcast.forecast.batching import Batch
from fourcast.forecast.breed import FIRST_STEP, Breeding, breed
from fourcast.forecast.forecaster import Forecaster
from fourcast.forecast.perturb import CORRELATED_KIND, Perturbation, initial_states, resolve
from fourcast.forecast_config import BredConfig, CorrelatedConfig, EnsembleConfig
from fourcast.grid import area_weights
from fourcast.noise import stream

TURN = np.deg2rad(30.0)
AXES = np.array([[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]])
GROWING = AXES @ np.diag([2.0, 0.5]) @ AXES.T
"""Doubles what lies along (cos 30°, sin 30°) of the two channels, and halves what lies across."""


def breeding(**changes: Any) -> Breeding:
    plain = Breeding(np.float32([0.1, 0.2]), 12, 6, area_weights(GRID.latitude), None)
    return replace(plain, **changes)


def pairs(*numbers: int) -> Batch:
    return Batch(INIT, numbers, tuple(range(len(numbers))), 0)


def plan(**changes: Any) -> Perturbation:
    return resolve(EnsembleConfig(bred=BredConfig(0.1, cycles=3), **changes), CHANNELS, 6, GRID)


def test_size_is_one_where_every_channel_varies_by_its_amplitude() -> None:
    signs = np.where(np.arange(16) % 2, -1.0, 1.0) * np.ones((8, 1))
    p = (np.array([0.1, 0.2])[:, None, None] * signs).astype(np.float32)
    # One channel of twice its amplitude and one of none: √((4 + 0) / 2).
    other = (np.array([0.2, 0.0])[:, None, None] * signs).astype(np.float32)
    assert breeding().size(np.stack([p, other])) == pytest.approx([1, np.sqrt(2)])
    # A channel of amplitude 0 is not measured.
    assert breeding(amplitude_C=np.float32([0.1, 0])).size(np.stack([p, other])) == pytest.approx([1, 2])
    # The row at the pole weighs as its area does: sin 90° - sin 78.75° of 2 on the whole sphere.
    polar = np.zeros((1, 2, 8, 16), np.float32)
    polar[:, :, 0] = np.float32([0.1, 0.2])[:, None]
    total = np.sin(np.deg2rad(90)) - np.sin(np.deg2rad(-78.75))
    assert breeding().size(polar) ** 2 == pytest.approx((1 - np.sin(np.deg2rad(78.75))) / total, rel=1e-5)


def test_growth_tends_to_the_leading_eigenvalue_and_the_vector_to_its_eigenvector() -> None:
    even = breeding(amplitude_C=np.float32([0.1, 0.1]))
    vectors, growth = breed(even, affine(GROWING, shift=3.0), pairs(1, 3), FAST, analysis)
    assert growth.shape == (12, 2)
    assert growth[0].max() < 1.9
    assert (np.diff(growth[:6], axis=0) > 0).all()
    # What lies across has shrunk by 4¹² beside the rest; what is left is the rounding of states of order 10.
    assert growth[-1] == pytest.approx(2, abs=1e-4)
    along, across = np.einsum("dc,pchw->dphw", AXES.T, vectors)
    assert np.abs(across).max() < 1e-4 * np.abs(along).max()
    assert even.size(vectors) == pytest.approx(1, abs=1e-5)
    assert abs(np.corrcoef(vectors[:, 0].reshape(2, -1))[0, 1]) < 5 / np.sqrt(128)


def test_a_cycle_of_several_steps_grows_by_all_of_them() -> None:
    _, growth = breed(breeding(cycle_hours=18, cycles=4), affine(GROWING), pairs(1), FAST, analysis)
    assert growth[-1] == pytest.approx(8, abs=1e-3)


def test_vectors_are_bred_on_the_analyses_before_the_initial_time() -> None:
    read = []

    def recorded(time: np.datetime64) -> np.ndarray:
        read.append(int((time - INIT) / np.timedelta64(1, "h")))
        return analysis(time)

    breed(breeding(cycle_hours=12, cycles=3), affine(GROWING), pairs(1), FAST, recorded)
    assert read == [-36, -24, -12]


@pytest.mark.parametrize("control", [True, False])
def test_members_of_a_pair_lie_on_either_side_of_the_analysis(control: bool) -> None:
    first = int(control)
    found = initial_states(plan(control=control), affine(GROWING), batch(*range(first, first + 5)), FAST, analysis)
    differences = found - analysis(INIT)
    for plus, minus in ((0, 1), (2, 3)):
        # The states are of order 4, rounded to 2⁻²³ of it each.
        assert np.abs(differences[plus] + differences[minus]).max() <= 1e-6
    amplitude = breeding(amplitude_C=np.float32([0.1, 0.1]))
    assert amplitude.size(differences) == pytest.approx(1, abs=1e-5)
    assert np.abs(np.corrcoef(differences[[0, 2, 4], 0].reshape(3, -1)) - np.eye(3)).max() < 5 / np.sqrt(128)


def test_a_lone_member_is_one_half_of_its_pair() -> None:
    whole = initial_states(plan(), affine(GROWING), batch(1, 2, 3, 4), EXACT, analysis)
    for member in (3, 4):
        alone = initial_states(plan(), affine(GROWING), batch(member), EXACT, analysis)
        assert np.array_equal(alone[0], whole[member - 1])


def test_both_of_a_pair_see_the_same_noise() -> None:
    # Noise that differed would keep the difference from shrinking as the model makes it do.
    shrinking = affine(0.25 * np.eye(2), noise_channels=1)
    _, growth = breed(breeding(), shrinking, pairs(1, 3), FAST, analysis)
    assert growth == pytest.approx(0.25, abs=1e-4)


def test_breeding_draws_noise_that_no_forecast_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def recorded(forecaster: Forecaster, state: np.ndarray, who: Batch, first: int, steps: int, *_: Any) -> np.ndarray:
        seen.append((first, steps, who.numbers, who.places))
        return 2 * state

    monkeypatch.setattr("fourcast.forecast.breed.stepped", recorded)
    breed(breeding(cycles=2, cycle_hours=12), affine(GROWING), pairs(1, 3), FAST, analysis)
    assert seen == [(FIRST_STEP + 2 * cycle, 2, (1, 1, 3, 3), (0, 1, 2, 3)) for cycle in range(2)]


def test_first_differences_are_correlated_where_noise_is() -> None:
    ensemble = EnsembleConfig(correlated=CorrelatedConfig(0.1, 2500.0), bred=BredConfig(0.1, cycles=1))
    found = resolve(ensemble, CHANNELS, 6, GRID).breeding
    assert found is not None
    assert found.fields is not None
    own = found.fields.draw(stream(0, pairs(1).hours, 1, 0, CORRELATED_KIND), 2)
    neighbours = {}
    for name, each in {"correlated": found, "white": replace(found, fields=None)}.items():
        vectors, _ = breed(each, affine(np.eye(2)), pairs(*range(1, 80, 2)), FAST, analysis)
        neighbours[name] = np.corrcoef(vectors[:, :, 4, 3].ravel(), vectors[:, :, 4, 4].ravel())[0, 1]
        assert abs(np.corrcoef(vectors[0].ravel(), own.ravel())[0, 1]) < 5 / np.sqrt(40)  # not the noise of a member
    assert neighbours["correlated"] == pytest.approx(np.exp(-0.5), abs=5 * 0.63 / np.sqrt(80))
    assert abs(neighbours["white"]) < 5 / np.sqrt(80)


def test_differences_that_vanish_or_explode() -> None:
    with pytest.raises(InputError, match=r"ensemble.bred: a difference bred from 2026-08-02T00 vanished"):
        breed(breeding(), affine(np.zeros((2, 2))), pairs(1), FAST, analysis)
    with pytest.raises(InputError, match=r"ensemble.bred: a difference bred from 2026-08-02T00 ceased to be finite"):
        breed(breeding(), affine(np.full((2, 2), np.inf)), pairs(1), FAST, analysis)
