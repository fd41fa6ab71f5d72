"""The generator of states: order, times, units, and what it refuses."""

import threading
import weakref
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny import CARD, CHANNELS, model_config
from torch import Tensor, nn

from fourcast.errors import InputError
from fourcast.forecast.batching import Batch, Batching
from fourcast.forecast.forecaster import Forecaster
from fourcast.forecast.rollout import rollout, stepped
from fourcast.noise import stream

INIT = np.datetime64("2026-08-10T18", "h")
CENTER = np.array([280.0, 54000.0], dtype=np.float32)[:, None, None]
SCALE = np.array([10.0, 1500.0], dtype=np.float32)[:, None, None]
BATCH = Batch(INIT, (4, 5, 7), (4, 5, 7), seed=3)
FAST = Batching(exact=False, size=3, threads=1)
EXACT = Batching(exact=True, size=2, threads=2)
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


both = pytest.mark.parametrize("batching", [FAST, EXACT])


@both
def test_the_initial_state_comes_first_then_every_step_in_physical_units(batching: Batching) -> None:
    times, fields = zip(*rollout(forecaster(Add(0.5)), STATE, BATCH, 3, batching), strict=True)
    assert [str(time) for time in times] == ["2026-08-10T18", "2026-08-11T00", "2026-08-11T06", "2026-08-11T12"]
    for step, field in enumerate(fields):
        assert field.dtype == np.float32
        np.testing.assert_allclose(field, (STATE + 0.5 * step) * SCALE + CENTER, rtol=1e-5)


@both
def test_persistence_stays_the_same_bits(batching: Batching) -> None:
    first, *later = (fields for _, fields in rollout(forecaster(Add(0.0)), STATE, BATCH, 4, batching))
    assert all(np.array_equal(fields, first) for fields in later)


def test_states_are_made_one_at_a_time() -> None:
    model = Add(0.0)
    states = rollout(forecaster(model), STATE, BATCH, 1000, FAST)
    next(states)
    assert model.calls == []
    next(states)
    assert model.calls == [3]
    assert torch.is_grad_enabled()


def test_exact_calls_are_full_and_at_most_one_step_ahead() -> None:
    """Members 4 and 5 share a call of two, member 7 has one with a copy of itself."""
    model = Add(0.0)
    states = rollout(forecaster(model), STATE, BATCH, 1000, EXACT)
    for step in range(3):
        next(states)
        assert set(model.calls) <= {2}
        assert 2 * step <= len(model.calls) <= 2 * step + 2
    states.close()
    assert len(model.calls) <= 6


@both
def test_what_the_caller_changes_does_not_change_the_forecast(batching: Batching) -> None:
    found, start = [], STATE.copy()
    for _, fields in rollout(forecaster(Add(0.0)), start, BATCH, 3, batching):
        found.append(fields.copy())
        fields[:] = start[:] = np.nan
    assert np.array_equal(found[0], found[3])


def test_what_was_yielded_stays_as_it_was() -> None:
    kept = [fields for _, fields in rollout(forecaster(Add(1.0)), STATE, BATCH, 3, EXACT)]
    assert not any(np.shares_memory(one, other) for one, other in pairwise(kept))
    np.testing.assert_allclose(kept[0], STATE * SCALE + CENTER, rtol=1e-5)


@both
def test_memory_does_not_grow_with_lead_time(batching: Batching) -> None:
    """Beside what the caller holds there are at most the fields of the next step."""
    alive, most = [], 0
    for _, fields in rollout(forecaster(Add(0.0)), STATE, BATCH, 20, batching):
        alive.append(weakref.ref(fields.base if fields.base is not None else fields))
        most = max(most, sum(one() is not None for one in alive))
    assert most <= 3


def test_exact_calls_have_one_core_each_and_the_caller_keeps_its_own() -> None:
    cores = torch.get_num_threads()
    found = []

    class Look(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            found.append(torch.get_num_threads())
            assert torch.is_inference_mode_enabled()
            return x

    class Break(Look):
        def forward(self, x: Tensor) -> Tensor:
            super().forward(x)
            raise RuntimeError("broken model")

    torch.set_num_threads(3)
    try:
        for _ in rollout(forecaster(Look()), STATE, BATCH, 2, EXACT):
            assert torch.get_num_threads() == 3
        early = rollout(forecaster(Look()), STATE, BATCH, 2, EXACT)
        next(early)
        early.close()
        with pytest.raises(RuntimeError, match="broken model"):
            list(rollout(forecaster(Break()), STATE, BATCH, 2, EXACT))
        assert set(found) == {1}
        assert torch.get_num_threads() == 3
        new = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        new.start()
        new.join()
        assert found[-1] == 3
    finally:
        torch.set_num_threads(cores)


@both
def test_states_can_be_stepped_without_fields(batching: Batching) -> None:
    before = STATE.copy()
    later = stepped(forecaster(Add(0.5)), STATE, BATCH, 5, 3, batching)
    np.testing.assert_allclose(later, STATE + 1.5, rtol=1e-6)
    assert np.array_equal(STATE, before)


def test_normalising_undoes_denormalising() -> None:
    physical = forecaster(Add(0)).denormalise(STATE)
    np.testing.assert_allclose(forecaster(Add(0)).normalise(physical), STATE, atol=1e-4)


def test_what_is_not_finite_is_named_with_channel_and_time() -> None:
    class Breaks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x.clone()
            y[1, 1, 0, 0] = torch.nan
            return y

    states = rollout(forecaster(Breaks()), STATE, BATCH, 2, FAST)
    next(states)
    with pytest.raises(
        InputError, match=r"from 2026-08-10T18 is not finite at 2026-08-11T00 in z500 of member 5: .*=fp32"
    ):
        next(states)
    bad = STATE.copy()
    bad[0, 0, 3, 3] = np.inf
    with pytest.raises(InputError, match="is not finite at 2026-08-10T18 in t2m of member 4"):
        next(rollout(forecaster(Add(0.0)), bad, BATCH, 2, EXACT))


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
@both
def test_products_are_rounded_and_states_kept_in_fp32(precision: str, dtype: torch.dtype, batching: Batching) -> None:
    class Product(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert torch.is_autocast_enabled("cpu")
            return (x.flatten(0, 2) @ torch.eye(16)).reshape(x.shape)

    (_, first), (_, second) = rollout(forecaster(Product(), precision), STATE, BATCH, 1, batching)
    rounded = torch.from_numpy(STATE).to(dtype).float().numpy() * SCALE + CENTER
    assert np.array_equal(second, rounded)
    assert not np.array_equal(first, second)


class AddNoise(nn.Module):
    """The state [B, 2, H, W] plus the one channel of noise behind it."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1:] == (3, 8, 16)
        return x[:, :2] + x[:, 2:]


@both
def test_every_member_draws_noise_of_its_own_at_every_step(batching: Batching) -> None:
    """From the stream of its seed, initial time, number and step: 496218 h since 1970."""
    noisy = replace(forecaster(AddNoise()), card=replace(CARD, model=model_config(noise_channels=1)))

    def noise(member: int, step: int) -> np.ndarray:
        return stream(3, 496_218, member, step).standard_normal((1, 8, 16), dtype=np.float32)

    *_, (_, last) = rollout(noisy, STATE, BATCH, 2, batching)
    expected = [STATE[i] + noise(member, 1) + noise(member, 2) for i, member in enumerate(BATCH.numbers)]
    np.testing.assert_allclose(last, np.stack(expected) * SCALE + CENTER, rtol=1e-5)
    later = stepped(noisy, STATE, BATCH, 40, 1, batching)
    expected = [STATE[i] + noise(member, 40) for i, member in enumerate(BATCH.numbers)]
    np.testing.assert_allclose(later, np.stack(expected), atol=1e-6)
