"""fourcast forecast with a precipitation model: amounts by hand, their place in the files, and what does not fit."""

import math
from dataclasses import replace
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import torch
import xarray as xr
from tiny import CARD, CHANNELS, INIT, TIMES, forecast_config, waves, write_store
from torch import Tensor, nn

from fourcast.checkpoint import build, save_checkpoint
from fourcast.config import EnsembleConfig, ForecastConfig
from fourcast.errors import InputError
from fourcast.files import read_json
from fourcast.forecast import open_ensemble
from fourcast.forecast.batching import Batch, Batching
from fourcast.forecast.ensemble import forecast
from fourcast.forecast.forecaster import Forecaster
from fourcast.forecast.rollout import rollout
from fourcast.verify.evaluate import verify
from fourcast.verify_config import VerifyConfig

RAIN = replace(CARD, kind="precipitation", out_channels=1, step_scale=None, model=replace(CARD.model, target="direct"))
BATCH, THREE = (Batch(np.datetime64("2026-08-10", "h"), of, of, 0) for of in ((0,), (0, 1, 2)))
ALL = Batching(exact=False, size=1, threads=1)
AMOUNT = 0.002
"""Metres of rain that the model of ``config`` gives, always and everywhere."""


def save(path: Path, **changes: object) -> str:
    """A precipitation model whose last layer makes AMOUNT of anything."""
    torch.manual_seed(0)
    card = replace(RAIN, **changes)  # type: ignore[arg-type]
    model = build(card)
    if card.kind == "precipitation":
        nn.init.zeros_(model.conv.weight)
        nn.init.constant_(model.conv.bias, math.log(1 + AMOUNT / 1e-5))
    save_checkpoint(path, model, card)
    return str(path)


@pytest.fixture
def config(tiny_store: Path, tmp_path: Path) -> ForecastConfig:
    torch.manual_seed(1)
    save_checkpoint(tmp_path / "model", build(CARD), CARD)
    return forecast_config(
        tmp_path / "model", tiny_store, tmp_path / "RUN", precipitation=save(tmp_path / "rain"),
        ensemble=EnsembleConfig(size=3, batch_size=2),
    )  # fmt: skip


def amounts(run: Path, member: int) -> np.ndarray:
    with netCDF4.Dataset(run / INIT / f"member_{member:03d}.nc") as file:
        return np.asarray(file["tp06"][:])


def test_every_state_of_every_member_has_its_six_hours(config: ForecastConfig) -> None:
    run = forecast(config)
    for member in range(3):
        np.testing.assert_allclose(amounts(run, member), np.full((3, 8, 16), AMOUNT), rtol=1e-5)
    with netCDF4.Dataset(run / INIT / "member_002.nc") as file:
        tp06 = file["tp06"]
        assert (tp06.units, tp06.cell_methods) == ("m", "time: sum")
        assert tp06.standard_name == "lwe_thickness_of_precipitation_amount"
        times, bounds = file["time"], file[file["time"].bounds]
        assert bounds[:].tolist() == [[time - 6, time] for time in times[:]]
        assert (file["t2m"].cell_methods, file.channels) == ("time: point", "t2m z500 tp06")
        assert (file.checkpoint, file.precipitation) == ("model", "rain")
        assert len(file.precipitation_sha256) == 64
        assert file.precipitation_sha256 != file.checkpoint_sha256


def test_amounts_follow_from_the_state_of_their_time() -> None:
    """The state grows by 0.5 in a step; the model takes its first channel for log(1 + tp / 1e-5)."""

    class Grow(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 0.5

    class First(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x[:, :1])

    scale = np.array([10.0, 1500.0], dtype=np.float32)[:, None, None]
    forecaster = Forecaster(Grow(), CARD, CHANNELS, 28 * scale, scale, torch.device("cpu"), precipitation=First())
    assert forecaster.outputs == ("t2m", "z500", "tp06")
    state = np.random.default_rng(0).normal(size=(3, 2, 8, 16)).astype(np.float32)
    for step, (_, fields) in enumerate(rollout(forecaster, state, THREE, 2, ALL)):
        grown = state + np.float32(0.5 * step)
        np.testing.assert_allclose(fields[:, :2], grown * scale + 28 * scale, rtol=1e-5)
        np.testing.assert_allclose(fields[:, 2], 1e-5 * np.expm1(np.maximum(grown[:, 0], 0)), rtol=1e-4, atol=1e-9)


def test_rain_that_is_not_finite_is_named() -> None:
    class Flood(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full_like(x[:, :1], 100.0)  # e^100 is no float32

    one = np.ones((2, 1, 1), dtype=np.float32)
    forecaster = Forecaster(nn.Identity(), CARD, CHANNELS, one, one, torch.device("cpu"), precipitation=Flood())
    with pytest.raises(InputError, match="not finite at 2026-08-10T00 in tp06"):
        next(rollout(forecaster, np.zeros((1, 2, 8, 16), np.float32), BATCH, 1, ALL))


def test_states_stay_as_without_it_and_restarts_end_with_the_same_bits(config: ForecastConfig, tmp_path: Path) -> None:
    whole = forecast(config)
    dry = forecast(replace(config, output=str(tmp_path / "DRY"), precipitation=None))
    for member in range(3):
        with (
            netCDF4.Dataset(whole / INIT / f"member_00{member}.nc") as one,
            netCDF4.Dataset(dry / INIT / f"member_00{member}.nc") as other,
        ):
            assert all(np.array_equal(one[name][:], other[name][:]) for name in ("t2m", "z"))
            assert "tp06" not in other.variables
            assert "precipitation" not in other.ncattrs()
    before = [amounts(whole, member) for member in range(3)]
    (whole / INIT / "member_001.nc").unlink()
    forecast(config)
    assert all(np.array_equal(amounts(whole, member), before[member]) for member in range(3))


def test_it_can_be_all_that_is_written(config: ForecastConfig) -> None:
    run = forecast(replace(config, variables=["tp06"], ensemble=EnsembleConfig(size=1)))
    assert read_json(run / "forecast.json")["channels"] == ["tp06"]
    assert set(open_ensemble(run).data_vars) == {"tp06"}
    np.testing.assert_allclose(amounts(run, 0), AMOUNT, rtol=1e-5)
    with pytest.raises(InputError, match="variables: the model has no tp06; it forecasts t2m, z500"):
        forecast(replace(config, variables=["tp06"], precipitation=None))


def test_another_precipitation_model_makes_another_run(config: ForecastConfig, tmp_path: Path) -> None:
    forecast(config)
    model = build(RAIN)
    nn.init.constant_(model.conv.bias, 2.0)
    save_checkpoint(tmp_path / "other" / "rain", model, RAIN)
    with pytest.raises(InputError, match="holds another forecast"):
        forecast(replace(config, precipitation=str(tmp_path / "other" / "rain")))


def test_verification_scores_it_where_the_store_has_it(config: ForecastConfig, tmp_path: Path) -> None:
    """Analyses of 3 mm everywhere against forecasts of 2: an error of 1 mm at every lead time."""
    rain = np.full_like(waves()[:, :1], 0.003)
    store = write_store(tmp_path / "rainy.zarr", TIMES, np.concatenate([waves(), rain], axis=1), (*CHANNELS, "tp06"))
    run = forecast(replace(config, store=str(store)))
    output = verify(VerifyConfig(str(run), store=str(store), output=str(tmp_path / "scores"), plots=False))
    with xr.open_dataset(output / "scores.nc") as scores:
        rmse = scores["rmse"].sel(system="control", channel="tp06", region="global")
        assert rmse.values == pytest.approx([1e-3] * 3, rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "forecast", "out_channels": 2}, "precipitation=.*wet is a forecast model; name a checkpoint that"),
        ({"mean": None}, "wet knows no channel names or statistics"),
        ({"channels": ["t2m", "z850"]}, "wet does not fit .*model: channels t2m, z850 against t2m, z500. Use a prec"),
        ({"step_hours": 24}, "does not fit .*: step of 24 h against 6 h"),
        ({"latitude": [lat - 5 for lat in CARD.latitude]}, r"does not fit .*: grid 8×16 \(latitude 85 .* against 8×16"),
        ({"mean": [281.0, 54000.0]}, r"does not fit .*: mean of t2m \(281 against 280\)\."),
        ({"std": [10.0, 1500.5]}, r"does not fit .*: std of z500 \(1500.5 against 1500\)\. Use .*backbone=.*model"),
    ],
)
def test_models_that_do_not_fit_are_refused(
    config: ForecastConfig, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        forecast(replace(config, precipitation=save(tmp_path / "wet", **changes)))
    assert not Path(config.output).exists()


def test_statistics_that_differ_by_rounding_alone_fit(config: ForecastConfig, tmp_path: Path) -> None:
    rounded = save(tmp_path / "wet", mean=[280.00001, 54000.001], std=[10.000001, 1500.0])
    assert forecast(replace(config, precipitation=rounded)).is_dir()


def test_a_model_that_forecasts_rain_itself_needs_none(config: ForecastConfig, tmp_path: Path) -> None:
    card = replace(CARD, channels=["t2m", "tp06"])
    save_checkpoint(tmp_path / "model2", build(card), card)
    with pytest.raises(InputError, match="model2 forecasts tp06 itself and needs no precipitation model"):
        forecast(replace(config, checkpoint=str(tmp_path / "model2")))
