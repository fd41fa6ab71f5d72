"""fourcast forecast with a model that sees noise: members part without a perturbation, and can be made again."""

from dataclasses import replace
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import torch
from tiny import CARD, INIT, forecast_config, model_config

from fourcast.checkpoint import build, save_checkpoint
from fourcast.config import EnsembleConfig, ForecastConfig
from fourcast.files import read_json
from fourcast.forecast.ensemble import forecast
from fourcast.forecast_config import GaussianConfig


@pytest.fixture
def config(tiny_store: Path, tmp_path: Path) -> ForecastConfig:
    """Four members in batches of three from the analysis itself, by an untrained model of one noise channel."""
    torch.manual_seed(0)
    card = replace(CARD, model=model_config(target="residual", noise_channels=1))
    save_checkpoint(tmp_path / "model", build(card), card)
    ensemble = EnsembleConfig(size=4, gaussian=GaussianConfig(0.0), batch_size=3)
    return forecast_config(tmp_path / "model", tiny_store, tmp_path / "RUN", ensemble=ensemble)


def members(run: Path) -> np.ndarray:
    """[M, T, H, W] of the first channel."""
    fields = []
    for path in sorted((run / INIT).glob("member_*.nc")):
        with netCDF4.Dataset(path) as file:
            fields.append(np.asarray(file["t2m"][:]))
    return np.stack(fields)


def test_members_start_alike_and_part(config: ForecastConfig) -> None:
    run = forecast(config)
    fields = members(run)
    assert fields[:, 0].std(axis=0).max() == 0
    spread = fields.std(axis=0, ddof=1).mean(axis=(1, 2))
    assert 0 < spread[1] < spread[2]
    assert len(np.unique(fields[:, 1, 0, 0])) == 4
    described = read_json(run / "forecast.json")["attributes"]["perturbation"]
    assert described.endswith("; every member draws noise of its own at every step")


@pytest.mark.parametrize("exact", [True, False])
def test_a_member_does_not_depend_on_its_batch(config: ForecastConfig, tmp_path: Path, exact: bool) -> None:
    """To the bit in exact mode, else to rounding; members differ by more."""
    config = replace(config, ensemble=replace(config.ensemble, exact=exact))
    whole = members(forecast(config))
    ensemble = replace(config.ensemble, batch_size=1)
    alone = members(forecast(replace(config, output=str(tmp_path / "ALONE"), ensemble=ensemble)))
    np.testing.assert_allclose(alone, whole, rtol=0 if exact else 1e-6)
    assert whole[:, 1:].std(axis=0).min() > 1e-5 * whole.max()


def test_an_interrupted_run_ends_with_the_same_bits(config: ForecastConfig) -> None:
    run = forecast(config)
    whole = members(run)
    for number in (1, 3):
        (run / INIT / f"member_00{number}.nc").unlink()
    assert np.array_equal(members(forecast(config)), whole)


def test_another_seed_gives_other_members(config: ForecastConfig, tmp_path: Path) -> None:
    whole = members(forecast(config))
    other = replace(config, output=str(tmp_path / "OTHER"), ensemble=replace(config.ensemble, seed=1))
    found = members(forecast(other))
    assert np.array_equal(found[:, 0], whole[:, 0])
    assert not any(np.array_equal(one, another) for one in found[:, 1] for another in whole[:, 1])
