"""In exact mode a member's numbers are the same bits whatever the batch, the processes and what else is made."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import torch
from ranks_job import Torchrun
from tiny import CARD, forecast_config, model_config

from fourcast.checkpoint import build, save_checkpoint
from fourcast.config import EnsembleConfig, ForecastConfig
from fourcast.forecast.ensemble import forecast
from fourcast.forecast_config import BredConfig, CorrelatedConfig, GaussianConfig, ProductsConfig

Values = dict[str, np.ndarray]
INITS = ("2026-08-05T00", "2026-08-06T12")
SIZE = 9
PRODUCTS = ProductsConfig(["mean", "spread", "minimum", "maximum"], [0.1, 0.5], ["t2m > 280"])


def ensemble(**changes: Any) -> EnsembleConfig:
    """Nine members, with all that draws random numbers or runs the model before the initial time."""
    given: dict[str, Any] = {
        "gaussian": GaussianConfig(0.1),
        "correlated": CorrelatedConfig(0.1, 3000.0),
        "bred": BredConfig(0.1, cycles=2),
        "lagged": [6, 12],
        "dropout": True,
    }
    return EnsembleConfig(SIZE, exact=True, **(given | changes))


@pytest.fixture(scope="module")
def whole(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> ForecastConfig:
    """Of a model with noise and dropout: all members at once, in this process; it is done."""
    folder = tmp_path_factory.mktemp("exact")
    torch.manual_seed(0)
    model = model_config(target="residual", embed_dim=64, depth=2, drop_rate=0.1, noise_channels=1)
    card = replace(CARD, model=model)
    save_checkpoint(folder / "model", build(card), card)
    given = forecast_config(folder / "model", tiny_store, folder / "whole", init_times=list(INITS), lead_hours=24)
    config = replace(given, ensemble=ensemble(batch_size=SIZE))
    forecast(config)
    return config


def changed(whole: ForecastConfig, name: str, **changes: Any) -> ForecastConfig:
    return replace(whole, output=str(Path(whole.output).parent / name), **changes)


def values(path: Path) -> Values:
    with netCDF4.Dataset(path) as file:
        file.set_auto_mask(False)
        return {name: np.asarray(file[name][...]) for name in file.variables}


def assert_same(found: ForecastConfig, expected: ForecastConfig, names: set[str]) -> None:
    """A run has exactly the files ``names`` for each of its initial times; all their values are the same bits."""
    for init in found.init_times:
        folder, other = Path(found.output) / init, Path(expected.output) / init
        assert {path.name for path in folder.iterdir()} == names
        for name in names:
            ours, theirs = values(folder / name), values(other / name)
            assert ours.keys() == theirs.keys()
            assert [key for key in ours if ours[key].tobytes() != theirs[key].tobytes()] == [], (init, name)


def members(*numbers: int) -> set[str]:
    return {f"member_00{number}.nc" for number in numbers}


ALL = members(*range(SIZE))
WITH_PRODUCTS = ALL | {f"{name}.nc" for name in ("mean", "spread", "minimum", "maximum", "probability")} | {
    "quantile_0.10.nc", "quantile_0.50.nc",
}  # fmt: skip


def test_members_differ(whole: ForecastConfig) -> None:
    """Else their equality below would mean little; so does that of a member from different initial times."""
    states = [values(Path(whole.output) / init / f"member_00{m}.nc")["t2m"] for init in INITS for m in range(SIZE)]
    assert len({state[-1].tobytes() for state in states}) == 2 * SIZE


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_batches(whole: ForecastConfig, batch_size: int) -> None:
    config = changed(whole, f"batch_{batch_size}", ensemble=ensemble(batch_size=batch_size))
    forecast(config)
    assert_same(config, whole, ALL)


@pytest.mark.parametrize("chosen", [[7], [2, 5]])
def test_alone(whole: ForecastConfig, chosen: list[int]) -> None:
    config = changed(whole, f"alone_{chosen[0]}", ensemble=ensemble(members=chosen))
    forecast(config)
    assert_same(config, whole, members(*chosen))


def test_one_core(whole: ForecastConfig) -> None:
    config, before = changed(whole, "one_core"), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        forecast(config)
    finally:
        torch.set_num_threads(before)
    assert_same(config, whole, ALL)


def on_ranks(whole: ForecastConfig, count: int) -> list[ForecastConfig]:
    """Without products, in batches of three and in one; with products of two initial times, and of one."""
    runs: list[dict[str, Any]] = [
        {"ensemble": ensemble(batch_size=3)},
        {"ensemble": ensemble()},
        {"ensemble": ensemble(), "products": PRODUCTS},
        {"ensemble": ensemble(batch_size=2), "products": PRODUCTS, "init_times": [INITS[0]]},
    ]
    return [changed(whole, f"ranks_{count}_{number}", **run) for number, run in enumerate(runs)]


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_ranks(whole: ForecastConfig, count: int) -> None:
    """Members and products by torchrun are those of one process."""
    products = changed(whole, f"products_{count}", products=PRODUCTS)
    runs = on_ranks(whole, count)
    with Torchrun(Path(whole.output).parent / f"torchrun_{count}", list(runs), count) as torchrun:
        forecast(products)
        assert torchrun.errors() == ""
    for run, names in zip(runs, (ALL, ALL, WITH_PRODUCTS, WITH_PRODUCTS), strict=True):
        assert_same(run, products, names)
    assert_same(whole, products, ALL)
