"""Members that start from older analyses, brought to the initial time by the model."""

from typing import Any

import numpy as np
import pytest
from affine import EXACT, FAST, INIT, affine, analysis, batch
from tiny import CHANNELS, GRID

from fourcast.forecast.batching import Batch
from fourcast.forecast.forecaster import Forecaster
from fourcast.forecast.perturb import LAGGED_STEP, Perturbation, initial_states, resolve
from fourcast.forecast_config import EnsembleConfig, GaussianConfig

ADDING = affine(np.eye(2), shift=3.0)
NOISY = affine(np.eye(2), shift=3.0, noise_channels=1)


def plan(*lags: int, **changes: Any) -> Perturbation:
    return resolve(EnsembleConfig(lagged=list(lags), **changes), CHANNELS, 6, GRID)


@pytest.mark.parametrize("batching", [FAST, EXACT])
def test_members_take_the_lags_in_turn(batching: Any) -> None:
    # An analysis is lower by 1 for every step that it is older, and a step of the model adds 3: 2 more for each.
    found = initial_states(plan(6, 18), ADDING, batch(0, 1, 2, 3, 4), batching, analysis) - analysis(INIT)
    for member, steps in enumerate((0, 1, 3, 1, 3)):
        assert found[member] == pytest.approx(2.0 * steps, abs=1e-5)
    without = initial_states(plan(6, 18, control=False), ADDING, batch(0, 1), batching, analysis) - analysis(INIT)
    assert without.mean(axis=(1, 2, 3)) == pytest.approx([2, 6], abs=1e-5)


def test_other_perturbations_are_added_at_the_initial_time() -> None:
    noise = GaussianConfig(0.3)
    lagged = initial_states(plan(6, gaussian=noise), ADDING, batch(1, 2), FAST, analysis)
    plain = initial_states(plan(gaussian=noise), ADDING, batch(1, 2), FAST, analysis)
    assert lagged - plain == pytest.approx(2.0, abs=1e-5)


def test_members_of_a_model_with_noise_have_a_past_each_of_its_own() -> None:
    found = initial_states(plan(6), NOISY, batch(1, 2, 3), EXACT, analysis)
    alone = initial_states(plan(6), NOISY, batch(2), EXACT, analysis)
    assert np.array_equal(alone[0], found[1])
    noise = (found - analysis(INIT) - 2)[:, 0].reshape(3, -1) / 0.1
    assert noise.std(axis=1) == pytest.approx(1, abs=5 / np.sqrt(256))
    assert np.abs(np.corrcoef(noise) - np.eye(3)).max() < 5 / np.sqrt(128)


def test_without_noise_members_of_a_lag_share_one_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def recorded(forecaster: Forecaster, state: np.ndarray, who: Batch, first: int, steps: int, *_: Any) -> np.ndarray:
        seen.append((who.numbers, who.places, first, steps))
        return state

    monkeypatch.setattr("fourcast.forecast.perturb.stepped", recorded)
    initial_states(plan(6, 12), ADDING, batch(1, 2, 3, 4), FAST, analysis)
    assert seen == [((0,), (0,), LAGGED_STEP, 1), ((0,), (0,), LAGGED_STEP, 2)]
    seen.clear()
    initial_states(plan(6, 12), NOISY, batch(1, 2, 3), FAST, analysis)
    assert seen == [((1, 3), (1, 3), LAGGED_STEP, 1), ((2,), (2,), LAGGED_STEP, 2)]
