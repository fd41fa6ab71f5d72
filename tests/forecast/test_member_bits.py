"""In exact mode a member is the same bits whatever it is computed with; in fast mode it is to rounding."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from tiny import CARD, CHANNELS, model_config
from torch import nn

from fourcast.checkpoint import build
from fourcast.config import ModelConfig
from fourcast.forecast.batching import Batch, Batching, choose_batching
from fourcast.forecast.forecaster import Forecaster
from fourcast.forecast.rollout import rollout, stepped
from fourcast.forecast.stepper import computed
from fourcast.mixer_config import AFNOConfig, FFCConfig

INIT = np.datetime64("2026-08-10T18", "h")
STEPS = 2
MEMBERS = 11
MODELS = {
    "afno": model_config(embed_dim=32, depth=2, mixer=AFNOConfig(num_blocks=2), target="residual"),
    "ffc": model_config(patch_size=2, embed_dim=48, mixer=FFCConfig()),
    "noise": model_config(embed_dim=24, noise_channels=1, target="residual"),
}
START = np.random.default_rng(0).normal(size=(MEMBERS, 2, 8, 16)).astype(np.float32)
CENTER = np.array([280.0, 54000.0], np.float32)[:, None, None]
SCALE = np.array([10.0, 1500.0], np.float32)[:, None, None]


@pytest.fixture(autouse=True)
def cores() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def forecaster(model: ModelConfig, device: str = "cpu") -> Forecaster:
    """Untrained, with weights large enough that a rounding anywhere is seen in the end."""
    torch.manual_seed(0)
    card = replace(CARD, model=model)
    rain = build(replace(card, kind="precipitation", out_channels=1, model=replace(model, noise_channels=0)))
    network = build(card)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    place = torch.device(device)
    return Forecaster(
        network.to(place).eval(), card, CHANNELS, CENTER, SCALE, place, precipitation=rain.to(place).eval()
    )


def run(forecaster: Forecaster, numbers: tuple[int, ...], batching: Batching) -> dict[int, np.ndarray]:
    """[step, C, H, W] of each member, from the states of their numbers."""
    batch = Batch(INIT, numbers, numbers, 0)
    states = np.stack([fields for _, fields in rollout(forecaster, START[list(numbers)], batch, STEPS, batching)], 1)
    assert states.shape == (len(numbers), STEPS + 1, 3, 8, 16)
    return dict(zip(numbers, states, strict=True))


def in_batches(forecaster: Forecaster, size: int, batching: Batching) -> dict[int, np.ndarray]:
    numbers = tuple(range(MEMBERS))
    found = [run(forecaster, numbers[first : first + size], batching) for first in range(0, MEMBERS, size)]
    return {number: states for part in found for number, states in part.items()}


def same_bits(one: dict[int, np.ndarray], other: dict[int, np.ndarray]) -> bool:
    return all(one[number].tobytes() == other[number].tobytes() for number in other)


@pytest.mark.parametrize("name", MODELS)
def test_a_member_is_the_same_bits_in_any_company(name: str) -> None:
    model = forecaster(MODELS[name])
    torch.set_num_threads(2)
    exact = choose_batching(model, True, MEMBERS)
    assert exact == Batching(True, 8, 2)
    whole = in_batches(model, MEMBERS, exact)
    assert len({states.tobytes() for states in whole.values()}) == MEMBERS
    for size in (1, 3, 8):
        assert same_bits(whole, in_batches(model, size, exact)), size
    assert same_bits(whole, run(model, (9, 2, 10, 0), exact))
    for cores in (1, 4):
        torch.set_num_threads(cores)
        assert same_bits(whole, in_batches(model, MEMBERS, choose_batching(model, True, MEMBERS))), cores


@pytest.mark.parametrize("name", MODELS)
def test_fast_members_agree_to_rounding(name: str) -> None:
    """With exact ones, and in any company."""
    model = forecaster(MODELS[name])
    whole = in_batches(model, MEMBERS, Batching(True, 4, 2))
    for size in (1, 3, 11):
        for number, states in in_batches(model, size, Batching(False, size, 1)).items():
            for channel, scale in enumerate((10.0, 1500.0, 1e-5)):
                np.testing.assert_allclose(states[:, channel], whole[number][:, channel], rtol=1e-5, atol=1e-4 * scale)


def test_noise_follows_the_member_and_not_its_place() -> None:
    """Two places of one batch with one number would be one member: the same start gives the same bits."""
    model, exact = forecaster(MODELS["noise"]), Batching(True, 4, 2)
    start = np.repeat(START[:1], 2, 0)
    one, other = stepped(model, start, Batch(INIT, (5, 6), (5, 6), 0), 1, 2, exact)
    assert not np.array_equal(one, other)
    swapped = stepped(model, start, Batch(INIT, (6, 5), (5, 6), 0), 1, 2, exact)
    np.testing.assert_allclose(swapped, [other, one], rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("name", MODELS)
def test_a_captured_call_equals_the_same_call_without_capture(name: str) -> None:
    model = forecaster(MODELS[name], "cuda")
    whole = stepped(model, START, Batch(INIT, tuple(range(8)), tuple(range(8)), 0), 1, 3, Batching(True, 8, 1))
    key = ("model", 8)
    x = torch.randn_like(model.graphs[key].x)
    replayed = model.graphs[key](x).clone()
    with torch.inference_mode():
        assert torch.equal(replayed, partial(computed, model.model, "fp32")(x))
    assert np.isfinite(whole).all()


@pytest.mark.gpu
@pytest.mark.parametrize("name", MODELS)
def test_a_member_is_the_same_bits_in_any_company_on_a_gpu(name: str) -> None:
    model = forecaster(MODELS[name], "cuda")
    exact = choose_batching(model, None, MEMBERS)
    assert exact == Batching(True, 8, 1)
    whole = in_batches(model, MEMBERS, exact)
    assert {size for _, size in model.graphs} == {8}
    for size in (1, 3, 8):
        assert same_bits(whole, in_batches(model, size, exact)), size
    assert same_bits(whole, run(model, (9, 2, 10, 0), exact))


@pytest.mark.gpu
def test_states_on_the_host_give_the_same_bits_as_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    model = forecaster(MODELS["noise"], "cuda")
    exact = choose_batching(model, None, MEMBERS)
    whole = in_batches(model, MEMBERS, exact)
    monkeypatch.setattr("fourcast.forecast.rollout.home_of_states", lambda *_: torch.device("cpu"))
    assert same_bits(whole, in_batches(model, MEMBERS, exact))
