"""The generator of states: order, times, units, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import CARD, CHANNELS, model_config
from torch import Tensor, nn

from fourcast.errors import InputError
from fourcast.forecast.rollout import Forecaster, rollout

INIT = np.datetime64("2026-08-10T18", "h")
CENTER = np.array([280.0, 54000.0], dtype=np.float32)[:, None, None]
SCALE = np.array([10.0, 1500.0], dtype=np.float32)[:, None, None]
STATE = np.random.default_rng(0).normal(size=(3, 2, 8, 16)).astype(np.float32)


class Add(nn.Module):
    """The state plus a constant; ``calls`` records the batch sizes."""

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = amount
        self.calls: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        return x + self.amount


def forecaster(model: nn.Module, precision: str = "fp32") -> Forecaster:
    return Forecaster(model, CARD, CHANNELS, CENTER, SCALE, torch.device("cpu"), precision)


def test_the_initial_state_comes_first_then_every_step_in_physical_units() -> None:
    times, fields = zip(*rollout(forecaster(Add(0.5)), STATE, INIT, 3), strict=True)
    assert [str(time) for time in times] == ["2026-08-10T18", "2026-08-11T00", "2026-08-11T06", "2026-08-11T12"]
    for step, field in enumerate(fields):
        assert field.dtype == np.float32
        np.testing.assert_allclose(field, (STATE + 0.5 * step) * SCALE + CENTER, rtol=1e-5)


def test_persistence_stays_the_same_bits() -> None:
    first, *later = (fields for _, fields in rollout(forecaster(Add(0.0)), STATE, INIT, 4))
    assert all(np.array_equal(fields, first) for fields in later)


def test_states_are_made_one_at_a_time() -> None:
    model = Add(0.0)
    states = rollout(forecaster(model), STATE, INIT, 1000)
    next(states)
    assert model.calls == []
    next(states)
    assert model.calls == [3]
    assert torch.is_grad_enabled()


def test_a_state_that_the_caller_changes_does_not_change_the_forecast() -> None:
    found = []
    for _, fields in rollout(forecaster(Add(0.0)), STATE.copy(), INIT, 2):
        found.append(fields.copy())
        fields[:] = np.nan
    assert np.array_equal(found[0], found[2])


def test_normalising_undoes_denormalising() -> None:
    physical = forecaster(Add(0)).denormalise(STATE)
    np.testing.assert_allclose(forecaster(Add(0)).normalise(physical), STATE, atol=1e-4)


def test_what_is_not_finite_is_named_with_channel_and_time() -> None:
    class Breaks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x.clone()
            y[1, 1, 0, 0] = torch.nan
            return y

    states = rollout(forecaster(Breaks()), STATE, INIT, 2)
    next(states)
    with pytest.raises(InputError, match=r"from 2026-08-10T18 is not finite at 2026-08-11T00 in z500: .*=fp32"):
        next(states)
    bad = STATE.copy()
    bad[0, 0, 3, 3] = np.inf
    with pytest.raises(InputError, match="is not finite at 2026-08-10T18 in t2m"):
        next(rollout(forecaster(Add(0.0)), bad, INIT, 2))


def test_bf16_computes_in_bf16_and_keeps_states_in_fp32() -> None:
    class Product(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert torch.is_autocast_enabled("cpu")
            return (x.flatten(0, 2) @ torch.eye(16)).reshape(x.shape)

    (_, first), (_, second) = rollout(forecaster(Product(), "bf16"), STATE, INIT, 1)
    rounded = torch.from_numpy(STATE).bfloat16().float().numpy() * SCALE + CENTER
    assert np.array_equal(second, rounded)
    assert not np.array_equal(first, second)


class AddNoise(nn.Module):
    """The state [B, 2, H, W] plus the one channel of noise behind it."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1:] == (3, 8, 16)
        return x[:, :2] + x[:, 2:]


def test_noise_is_asked_for_at_every_step_and_appended_to_the_state() -> None:
    noisy = replace(forecaster(AddNoise()), card=replace(CARD, model=model_config(noise_channels=1)))
    asked = []

    def noise(step: int) -> np.ndarray:
        asked.append(step)
        return np.full((3, 1, 8, 16), step, dtype=np.float32)

    *_, (_, last) = rollout(noisy, STATE, INIT, 3, noise)
    assert asked == [1, 2, 3]
    np.testing.assert_allclose(last, (STATE + 6) * SCALE + CENTER, rtol=1e-5)  # 1 + 2 + 3
    with pytest.raises(InputError, match="the model sees noise at every step: pass noise="):
        next(rollout(noisy, STATE, INIT, 3))
