"""Every mixer by its name on the command line: trained, stored, read back, described, and forecasting."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny import INIT, OVERRIDES, composed, forecast_config, tensors_of

from fourcast.checkpoint import load_card, load_model
from fourcast.config import EnsembleConfig, TrainConfig
from fourcast.forecast import open_ensemble
from fourcast.forecast.ensemble import forecast
from fourcast.inspect import describe
from fourcast.mixer_config import MIXERS
from fourcast.train.loop import train

COMMON = [override for override in OVERRIDES if not override.startswith("model.mixer.")]


def configured(name: str, store: Path, output: Path, *overrides: str) -> TrainConfig:
    places = [f"data.store={store}", f"output={output}", f"mixer={name}"]
    config = composed("train", *COMMON, *places, "model.target=residual", *overrides)
    assert isinstance(config, TrainConfig)
    return config


@pytest.mark.parametrize("name", MIXERS)
def test_from_the_command_line_to_a_forecast(name: str, tiny_store: Path, tmp_path: Path) -> None:
    config = configured(name, tiny_store, tmp_path / "train", "steps=30", "optim.learning_rate=1e-2")
    run = train(config)
    assert load_card(run).model == config.model
    assert type(load_card(run).model.mixer) is MIXERS[name]
    assert f"mixer: name={name}" in describe(str(run))
    model, written = load_model(run), tensors_of(run / "checkpoints/step_00000030")
    assert all(torch.equal(value, written[key]) for key, value in model.state_dict().items())
    scores = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()][-1]
    assert scores["validation_loss"] < scores["persistence_loss"]
    ensemble = EnsembleConfig(size=2, batch_size=2)
    with open_ensemble(forecast(forecast_config(run, tiny_store, tmp_path / "forecast", ensemble=ensemble))) as made:
        states = made.t2m.sel(init_time=INIT)
        assert states.notnull().all()
        assert (states.isel(lead_time=-1) != states.isel(lead_time=0)).any()


@pytest.mark.parametrize("name", MIXERS)
def test_trains_in_bf16_over_several_steps_and_stops_and_goes_on(name: str, tiny_store: Path, tmp_path: Path) -> None:
    overrides = ("precision=bf16", "rollout.steps=2", "checkpoint_every=2")
    whole = train(configured(name, tiny_store, tmp_path / "whole", "steps=4", *overrides))
    again = train(configured(name, tiny_store, tmp_path / "again", "steps=4", *overrides))
    shutil.rmtree(again / "checkpoints/step_00000004")  # as if stopped half-way
    train(configured(name, tiny_store, tmp_path / "again", "steps=4", *overrides))
    first, second = (tensors_of(run / "checkpoints/step_00000004") for run in (whole, again))
    assert all(torch.equal(value, second[key]) for key, value in first.items())
