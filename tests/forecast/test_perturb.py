"""Perturbations of initial states: pure functions of (seed, initial time, member)."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from affine import EXACT, FAST, INIT, SHAPE, affine, analysis, batch
from tiny import CHANNELS, GRID

from fourcast.errors import InputError
from fourcast.forecast.amplitude import amplitudes
from fourcast.forecast.batching import Batch
from fourcast.forecast.perturb import (
    Perturbation,
    describe,
    earlier_hours,
    gaussian,
    initial_states,
    resolve,
)
from fourcast.forecast.sphere import RandomFields
from fourcast.forecast_config import BredConfig, CorrelatedConfig, EnsembleConfig, GaussianConfig
from fourcast.noise import stream

MODEL = affine(np.array([[1.1, 0.2], [0.0, 0.9]]), shift=0.5)
EVERYTHING = EnsembleConfig(
    size=9,
    gaussian=GaussianConfig(0.2),
    correlated=CorrelatedConfig({"t2m": 0.5}, 2500.0),
    bred=BredConfig(0.1, cycles=2),
    lagged=[6, 12, 18],
)


def resolved(ensemble: EnsembleConfig, models: int = 1) -> Perturbation:
    return resolve(ensemble, CHANNELS, 6, GRID, models)


def gaussian_alone(amplitude: Any) -> Perturbation:
    return resolved(EnsembleConfig(gaussian=GaussianConfig(amplitude)))


def states(perturbation: Perturbation, who: Batch) -> np.ndarray:
    return initial_states(perturbation, MODEL, who, FAST, analysis)


def test_the_same_key_gives_the_same_bits() -> None:
    plan = gaussian_alone(0.3)
    first = states(plan, batch(37, seed=7))
    assert np.array_equal(states(plan, batch(5, 37, 36, 38, seed=7))[1:2], first)
    in_nanoseconds = replace(batch(37, seed=7), init_time=INIT.astype("datetime64[ns]"))
    assert np.array_equal(states(plan, in_nanoseconds), first)
    assert first.dtype == np.float32


def test_gaussian_noise_is_the_amplitude_times_the_numbers_of_the_member() -> None:
    found = states(gaussian_alone({"t2m": 0.25, "z500": 2.0}), batch(3, seed=7))[0]
    drawn = stream(7, batch(3).hours, 3).standard_normal(SHAPE, dtype=np.float32)
    assert np.array_equal(found, analysis(INIT) + np.float32([0.25, 2.0])[:, None, None] * drawn)


def test_correlated_noise_is_drawn_from_a_stream_of_its_own() -> None:
    plan = resolved(EnsembleConfig(correlated=CorrelatedConfig({"t2m": 0.25, "z500": 2.0}, 2500.0)))
    assert plan.fields is not None
    drawn = plan.fields.draw(stream(7, batch(3).hours, 3, 0, 1), 2)
    expected = analysis(INIT) + np.float32([0.25, 2.0])[:, None, None] * drawn
    assert states(plan, batch(3, seed=7))[0] == pytest.approx(expected, abs=1e-5)


def test_every_part_of_the_key_matters() -> None:
    keys = [(0, INIT, 1), (1, INIT, 1), (0, INIT + 6, 1), (0, INIT, 2), (0, INIT - 10**6, 1)]
    still = {"bred": BredConfig(), "lagged": []}
    white, smooth = (
        {"gaussian": GaussianConfig(scale), "correlated": CorrelatedConfig(1 - scale, 2500.0)} for scale in (1, 0)
    )
    draws = [
        initial_states(
            resolved(replace(EVERYTHING, **still, **kind)), MODEL, Batch(init, (member,), (member,), seed), FAST,
            lambda time: np.zeros(SHAPE, np.float32),
        )
        for kind in (white, smooth)
        for seed, init, member in keys
    ]  # fmt: skip
    # A field of 2500 km has some 20 independent values in each of two channels, white noise has 128.
    correlations = np.abs(np.corrcoef(np.reshape(draws, (10, -1))) - np.eye(10))
    assert correlations[:5, :5].max() < 5 / np.sqrt(256)
    assert correlations.max() < 5 / np.sqrt(40)


def test_an_ensemble_can_be_made_again_years_later() -> None:
    who = Batch(np.datetime64("2026-08-10T00"), (1,), (1,), 0)
    drawn = initial_states(gaussian_alone(1), MODEL, who, FAST, lambda time: np.zeros(SHAPE, np.float32))
    assert drawn.ravel()[:3].tolist() == pytest.approx([0.1733576, 0.7572297, -0.8288979], rel=1e-6)


def test_noise_is_white_with_the_amplitude_of_each_channel() -> None:
    found = gaussian((2, 32, 64), np.float32([0.3, 0.0]), stream(0, 1, 1))
    # 2048 values: standard errors 0.3 / √2048 = 0.0066 of the mean, 0.3 / √4096 = 0.0047 of the deviation.
    assert found[0].mean() == pytest.approx(0.0, abs=0.034)
    assert found[0].std() == pytest.approx(0.3, abs=0.024)
    for axis in range(2):
        assert abs(np.corrcoef(found[0].ravel(), np.roll(found[0], 1, axis).ravel())[0, 1]) < 5 / np.sqrt(2048)
    assert (found[1] == 0).all()


def test_correlated_noise_has_the_amplitude_of_each_channel() -> None:
    ensemble = EnsembleConfig(correlated=CorrelatedConfig({"t2m": 0.5}, 2500.0))
    members = tuple(range(1, 401))
    found = states(resolved(ensemble), batch(*members)) - analysis(INIT)
    # At each point a deviation of 400 members: standard error 0.5 / √800.
    assert found[:, 0].std(axis=0) == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(800))
    assert (found[:, 1] == 0).all()
    neighbours = np.corrcoef(found[:, 0, 4, 3], found[:, 0, 4, 4])[0, 1]
    assert neighbours == pytest.approx(np.exp(-0.5), abs=0.15)  # 2502 km apart on the equator
    assert abs(np.corrcoef(found[:200, 0, 4, 3], found[200:, 0, 4, 3])[0, 1]) < 5 / np.sqrt(200)


@pytest.mark.parametrize("control", [True, False])
def test_member_0_is_the_analysis_unless_there_is_no_control(control: bool) -> None:
    given = analysis(INIT)
    plan = resolved(replace(EVERYTHING, control=control))
    found = initial_states(plan, MODEL, batch(0), FAST, lambda time: given if time == INIT else analysis(time))[0]
    assert np.array_equal(found, given) == control
    assert not np.shares_memory(found, given)


@pytest.mark.parametrize("batching", [FAST, EXACT])
def test_nothing_given_is_changed_and_nothing_given_out_is_shared(batching: Any) -> None:
    given = {INIT - 6 * i: analysis(INIT - 6 * i) for i in range(4)}
    before = {time: fields.copy() for time, fields in given.items()}
    plan = resolved(EVERYTHING)
    first = initial_states(plan, MODEL, batch(*range(9)), batching, given.__getitem__)
    again = initial_states(plan, MODEL, batch(*range(9)), batching, given.__getitem__)
    assert np.array_equal(first, again)
    assert not np.shares_memory(first, again)
    assert all(np.array_equal(given[time], before[time]) for time in given)


def test_a_member_is_the_same_bits_alone_in_any_batch_and_in_any_order() -> None:
    plan = resolved(EVERYTHING)
    whole = initial_states(plan, MODEL, batch(*range(9)), EXACT, analysis)
    for numbers in ((3,), (8, 1), (7, 4, 5, 0), (2, 6)):
        found = initial_states(plan, MODEL, batch(*numbers), EXACT, analysis)
        assert np.array_equal(found, whole[list(numbers)])
    assert len(np.unique(whole[:, 0, 0, 0])) == 9


def test_fields_are_drawn_on_one_core_whose_rounding_is_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    cores, threads = [], torch.get_num_threads()

    def recorded(fields: RandomFields, generator: np.random.Generator, channels: int) -> np.ndarray:
        cores.append(torch.get_num_threads())
        return np.ones(SHAPE, np.float32)

    monkeypatch.setattr(RandomFields, "draw", recorded)
    try:
        torch.set_num_threads(3)
        states(resolved(EVERYTHING), batch(*range(9)))
    finally:
        torch.set_num_threads(threads)
    assert cores == [1] * (4 + 8)  # of four pairs, then of eight members


def test_perturbations_add_up() -> None:
    alone = [
        replace(EVERYTHING, **{name: getattr(EnsembleConfig(gaussian=GaussianConfig(0.0)), name) for name in others})
        for others in (("correlated", "bred"), ("gaussian", "bred"))
    ]  # fmt: skip
    lagged = replace(alone[0], gaussian=GaussianConfig(0.0))
    both = replace(EVERYTHING, bred=BredConfig())
    white, smooth, start, sum_of_all = (states(resolved(each), batch(1, 2)) for each in (*alone, lagged, both))
    assert sum_of_all == pytest.approx(white + smooth - start, abs=1e-5)


def test_with_models_that_take_turns_pairs_and_lags_go_by_model() -> None:
    plan = resolved(EVERYTHING, models=2)
    assert [plan.turn(member) for member in range(8)] == [None, 0, 0, 1, 1, 2, 2, 3]
    assert [plan.lag(member) for member in range(8)] == [0, 6, 6, 12, 12, 18, 18, 6]
    uncontrolled = replace(plan, control=False)
    assert [uncontrolled.turn(member) for member in range(6)] == [0, 0, 1, 1, 2, 2]


def test_which_analyses_are_needed() -> None:
    assert earlier_hours(gaussian_alone(0.3)) == (0,)
    assert earlier_hours(resolved(EVERYTHING)) == (0, 6, 12, 18)
    bred = EnsembleConfig(bred=BredConfig(0.1, cycles=3, cycle_hours=12), lagged=[30])
    assert earlier_hours(resolved(bred)) == (0, 12, 24, 30, 36)


def test_a_file_says_how_it_was_perturbed() -> None:
    assert describe(gaussian_alone(0.3)) == "gaussian, amplitude 0.3 standard deviations; member 0 unperturbed"
    assert describe(resolved(replace(EVERYTHING, control=False))) == (
        "gaussian, amplitude 0.2 standard deviations; "
        "correlated on the sphere, gaussian spectrum, length 2500 km, amplitude in standard deviations: t2m 0.5, "
        "z500 0.0; bred vectors in pairs, 2 cycles of 6 h, amplitude 0.1 standard deviations; lagged, by 6, 12, 18 h "
        "in turn; member 0 like the others"
    )
    assert describe(gaussian_alone(0)) == "none; member 0 unperturbed"


def test_amplitudes_by_channel_variable_and_default(tmp_path: Path) -> None:
    channels = ("t2m", "t850", "t500", "z500")

    def found(amplitude: Any) -> list[float]:
        return amplitudes("key", amplitude, channels).tolist()

    assert found(0.25) == [0.25] * 4
    assert found({"default": 0.5, "t": 0.125, "t500": 2}) == [0.5, 0.125, 2.0, 0.5]
    assert found({"z": 1.0}) == [0.0, 0.0, 0.0, 1.0]
    file = tmp_path / "amplitudes.json"
    file.write_text(json.dumps({"amplitudes": {"z500": 4, "t2m": 1, "t850": 2.0, "t500": 3.0, "u10m": 9.0}}))
    assert found(str(file)) == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(("amplitude", "message"), [
    ({"t2m": 0.1, "q850": 0.2, "tt": 1}, "key: the model has no q850, tt; its channels are t2m, z500"),
    ({"t2m": -0.1}, r"key.t2m must be a number of standard deviations, 0 or more, found -0.1"),
    (float("inf"), "key must be a number of standard deviations"),
    (None, "key must be a number of standard deviations, 0 or more, found None"),
    ("none.json", "there is no file .*none.json"),
])  # fmt: skip
def test_amplitudes_that_do_not_fit(amplitude: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        amplitudes("key", amplitude, CHANNELS)


@pytest.mark.parametrize(("content", "message"), [
    ({"amplitudes": {"t2m": 1.0}}, "amplitudes.json has no amplitude of z500"),
    ({"amplitudes": {"t2m": 1.0, "z500": "1"}}, "z500 must be a number of standard deviations, 0 or more, found '1'"),
    ({"t2m": 1.0, "z500": 1.0}, "amplitudes.json has no 'amplitudes'; name the JSON file that fourcast calibrate"),
    ([1, 2], "amplitudes.json has no 'amplitudes'"),
])  # fmt: skip
def test_files_of_amplitudes_that_do_not_fit(content: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "amplitudes.json"
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        amplitudes("key", str(file), CHANNELS)


@pytest.mark.parametrize(("change", "message"), [
    ({"lagged": [12, 9]}, "ensemble.lagged: 9 h is no multiple of the model's step of 6 h"),
    ({"bred": BredConfig(0.1, cycle_hours=8)}, "ensemble.bred.cycle_hours: 8 h is no multiple of the model's step"),
    ({"correlated": CorrelatedConfig(0.1, 500.0)}, "ensemble.correlated.length_km=500"),
    ({"bred": BredConfig({"u10m": 1.0})}, "ensemble.bred.amplitude: the model has no u10m"),
])  # fmt: skip
def test_requests_that_do_not_fit_the_model(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolved(replace(EVERYTHING, **change))
