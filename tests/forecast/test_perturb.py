"""Perturbations: pure functions of (seed, initial time, member)."""

import numpy as np
import pytest

from fourcast.forecast.perturb import gaussian, member_generator, model_noise, perturbed

INIT = np.datetime64("2026-08-10T00")
STATE = np.random.default_rng(0).normal(size=(3, 32, 64)).astype(np.float32)


def noise(seed: int = 0, init: np.datetime64 = INIT, member: int = 1) -> np.ndarray:
    return perturbed(STATE, 0.3, seed, init, member) - STATE


def test_the_same_key_gives_the_same_bits() -> None:
    first = perturbed(STATE, 0.3, 7, INIT, 37)
    for member in (5, 36, 38):
        perturbed(STATE, 0.3, 7, INIT, member)
    assert np.array_equal(perturbed(STATE, 0.3, 7, INIT, 37), first)
    assert np.array_equal(perturbed(STATE, 0.3, 7, INIT.astype("datetime64[ns]"), 37), first)
    assert first.dtype == np.float32


def test_every_part_of_the_key_matters() -> None:
    keys = [(0, INIT, 1), (1, INIT, 1), (0, INIT + 6, 1), (0, INIT, 2), (1, INIT, 0), (0, INIT - 10**6, 1)]
    draws = [member_generator(*key).standard_normal(1000) for key in keys]
    correlations = np.corrcoef(draws) - np.eye(len(keys))
    assert np.abs(correlations).max() < 0.15  # five standard errors of 1 / sqrt(1000)


def test_an_ensemble_can_be_made_again_years_later() -> None:
    drawn = gaussian((3,), 1.0, member_generator(0, INIT, 1))
    assert drawn.tolist() == pytest.approx([0.1733576, 0.7572297, -0.8288979], rel=1e-6)


def test_member_0_is_the_analysis_itself_in_memory_of_its_own() -> None:
    control = perturbed(STATE, 0.3, 0, INIT, 0)
    assert np.array_equal(control, STATE)
    assert not np.shares_memory(control, STATE)


def test_noise_is_white_with_the_amplitude_asked_for() -> None:
    found = noise()
    # 6144 values: standard errors 0.3 / sqrt(6144) = 0.004 of the mean, 0.3 / sqrt(12288) = 0.003 of the deviation.
    assert found.mean() == pytest.approx(0.0, abs=0.02)
    assert found.std() == pytest.approx(0.3, abs=0.015)
    for axis in range(3):
        assert abs(np.corrcoef(found.ravel(), np.roll(found, 1, axis).ravel())[0, 1]) < 0.07
    assert (gaussian((4,), 0.0, member_generator(0, INIT, 1)) == 0).all()


def test_the_noise_of_a_model_belongs_to_one_member_and_step() -> None:
    shape = (2, 8, 16)
    whole = model_noise(shape, 7, INIT, (0, 3, 5), 4)
    assert whole.shape == (3, *shape)
    assert np.array_equal(model_noise(shape, 7, INIT, (5,), 4)[0], whole[2])
    others = [model_noise(shape, *key)[0] for key in ((8, INIT, (5,), 4), (7, INIT + 6, (5,), 4), (7, INIT, (5,), 5))]
    initial = member_generator(7, INIT, 5).standard_normal(shape, dtype=np.float32)
    fields = [*whole, *others, initial]
    correlations = np.corrcoef([field.ravel() for field in fields]) - np.eye(len(fields))
    assert np.abs(correlations).max() < 5 / np.sqrt(256)


def test_the_noise_of_a_model_before_1970() -> None:
    early = np.datetime64("1959-01-01T06", "h")
    assert model_noise((1, 2, 3), 0, early, (0,), 1).shape == (1, 1, 2, 3)
