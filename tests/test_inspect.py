"""fourcast inspect: a few true words about whatever lies at a path."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import CARD, INIT, forecast_config

from fourcast.checkpoint import build, save_checkpoint
from fourcast.data_config import InspectConfig
from fourcast.errors import InputError
from fourcast.forecast.ensemble import forecast
from fourcast.forecast_config import FilesConfig, ProductsConfig
from fourcast.inspect import describe, inspect


def test_a_training_run_is_its_best_checkpoint(tiny_run: Path) -> None:
    text = describe(str(tiny_run))
    assert f"checkpoint {tiny_run}/checkpoints/step_00000006: forecast model, SYNTHETIC data" in text
    assert "network: depth 1, width 16, patch 4, direct target" in text
    assert "mixer: name=afno num_blocks=2 modes.policy=fourcastnet modes.hard_thresholding_fraction=1.0" in text
    assert "grid 8×16 (latitude 90 … -67.5, longitude 0 … 337.5), step 6 h" in text
    assert "channels in: t2m, z500" in text
    assert "statistics: yes" in text
    assert re.search(r"training: step 6, validation loss \S+, persistence loss \S+\n", text)


def test_a_checkpoint_says_what_it_lacks(tmp_path: Path) -> None:
    card = replace(CARD, channels=None, mean=None, std=None, synthetic=False)
    save_checkpoint(tmp_path / "model", build(card), card)
    text = describe(str(tmp_path / "model"))
    assert "SYNTHETIC" not in text
    assert "channels in: 2, unnamed" in text
    assert "statistics: none, so it cannot forecast" in text


def test_a_forecast_counts_its_members(tiny_run: Path, tiny_store: Path, tmp_path: Path) -> None:
    run = forecast(forecast_config(tiny_run, tiny_store, tmp_path / "RUN"))
    (run / INIT / "member_002.nc").unlink()
    text = describe(str(run))
    assert f"forecast run {run}: 3 of 4 members' files finished" in text
    assert f"initial times: {INIT}" in text
    assert "members 0 … 3, lead times to 12 h" in text
    assert "channels: t2m, z500" in text


def test_a_store_is_described(tiny_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    described = shutil.copytree(tiny_store, tmp_path / "copy.zarr")
    inspect(InspectConfig(path=str(described)))
    assert "t2m" in capsys.readouterr().out


def test_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is nothing at .*absent"):
        inspect(InspectConfig(path=str(tmp_path / "absent")))
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(InputError, match="there is no checkpoint in"):
        inspect(InspectConfig(path=str(tmp_path)))


def test_a_forecast_counts_what_it_was_asked_for(tiny_run: Path, tiny_store: Path, tmp_path: Path) -> None:
    asked = {"files": FilesConfig(layout=["zarr"]), "products": ProductsConfig("mean", [0.5])}
    run = forecast(forecast_config(tiny_run, tiny_store, tmp_path / "RUN", **asked))
    (run / INIT / "mean.nc").unlink()
    assert f"forecast run {run}: 1 of 1 zarr stores, 1 of 2 product files finished" in describe(str(run))
