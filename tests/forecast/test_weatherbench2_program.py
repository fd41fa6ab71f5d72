"""WeatherBench 2's own evaluation of an exported run agrees with ``fourcast verify``.

FOURCAST_WEATHERBENCH2 names a checkout of https://github.com/google-research/weatherbench2, and
FOURCAST_WEATHERBENCH2_PYTHON a Python that has what it needs (``pip install <checkout> absl-py``; by default ours).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import xarray as xr

from fourcast.data.store import Store, open_store
from fourcast.forecast.netcdf import FileWriter, Header, columns_of, init_name, member_path
from fourcast.forecast.weatherbench import write_zarr
from fourcast.grid import Grid
from fourcast.variables import parse_channel
from fourcast.verify.evaluate import verify
from fourcast.verify_config import VerifyConfig

CHECKOUT = os.environ.get("FOURCAST_WEATHERBENCH2")
PYTHON = os.environ.get("FOURCAST_WEATHERBENCH2_PYTHON", sys.executable)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHECKOUT is None, reason="set FOURCAST_WEATHERBENCH2 to a checkout of weatherbench2"),
]
GRID = Grid(78.75 - 22.5 * np.arange(8), 22.5 * np.arange(16))
INITS = tiny.TIMES[[4, 7, 12]]
LEADS = (0, 6, 18)
MEMBERS = (0, 1, 2, 3, 4)
VARIABLES = {name: parse_channel(name).variable.long_name for name in tiny.CHANNELS}
PAIRS = [
    ("deterministic", "mse", "control", "rmse"),
    ("deterministic", "bias", "control", "bias"),
    ("deterministic", "mae", "control", "crps"),
    ("deterministic", "acc", "control", "acc"),
    ("probabilistic", "crps", "ensemble", "crps"),
    ("probabilistic", "ensemble_mean_mse", "ensemble_mean", "rmse"),
    ("probabilistic", "ensemble_variance", "ensemble", "spread"),
]
"""What theirs is called, and ours; of mse and variance, ours is the root."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    fields = tiny.waves(grid=GRID)
    fields += np.random.default_rng(1).normal(0, [[[[2.0]], [[300.0]]]], fields.shape).astype(np.float32)
    return open_store(tiny.write_store(tmp_path_factory.mktemp("wb2") / "store.zarr", tiny.TIMES, fields, grid=GRID))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Path:
    """Members that are off by noise of their own, more so the longer they run."""
    run = tmp_path_factory.mktemp("wb2") / "RUN"
    rng, noise = np.random.default_rng(2), np.array([3.0, 400.0])[:, None, None]
    for init_time in INITS:
        for member in MEMBERS:
            header = Header(tiny.CHANNELS, GRID.latitude, GRID.longitude, init_time, LEADS, {}, member)
            with FileWriter(member_path(run, init_time, member), header, columns_of(tiny.CHANNELS)) as writer:
                for i_lead, hours in enumerate(LEADS):
                    truth = store.read(store.time_positions(np.array([init_time + hours])), tiny.CHANNELS)[0]
                    error = (1 + i_lead) * noise * rng.normal(0.3, 1, truth.shape)
                    writer.write(i_lead, (truth + error).astype(np.float32))
    manifest = {"init_times": [init_name(time) for time in INITS], "members": list(MEMBERS)}
    (run / "forecast.json").write_text(json.dumps(manifest))
    return run


def in_their_layout(fields_CHW: np.ndarray, dims: tuple[str, ...], coordinates: dict) -> xr.Dataset:
    """Fields [..., C, H, W] of the tiny channels as WeatherBench 2 names and shapes them."""
    plane = {"latitude": GRID.latitude, "longitude": GRID.longitude}
    fields = {
        VARIABLES["t2m"]: ((*dims, "latitude", "longitude"), fields_CHW[..., 0, :, :]),
        VARIABLES["z500"]: ((*dims, "level", "latitude", "longitude"), fields_CHW[..., 1:, :, :]),
    }
    return xr.Dataset(fields, {**coordinates, **plane, "level": [500]})


def analyses_in_their_layout(store: Store, path: Path) -> Path:
    fields = store.read(slice(None), tiny.CHANNELS)
    in_their_layout(fields, ("time",), {"time": store.times.astype("datetime64[ns]")}).to_zarr(path)
    return path


def climatology_in_their_layout(store: Store, path: Path) -> Path:
    """By hour of day and day of year, of a leap year."""
    hours, days = np.arange(0, 24, 6), np.arange(1, 367)
    times = np.datetime64("2024-01-01T00", "h") + hours[:, None] + 24 * (days - 1)
    fields = store.climatology(tiny.CHANNELS).at(times.ravel()).reshape(*times.shape, 2, *GRID.shape)
    in_their_layout(fields, ("hour", "dayofyear"), {"hour": hours, "dayofyear": days}).to_zarr(path)
    return path


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory, run: Path, store: Store) -> dict[str, xr.Dataset]:
    """The results of their program, by configuration."""
    assert CHECKOUT is not None
    folder = tmp_path_factory.mktemp("wb2_results")
    arguments = {
        "forecast_path": write_zarr(run),
        "obs_path": analyses_in_their_layout(store, folder / "analyses.zarr"),
        "climatology_path": climatology_in_their_layout(store, folder / "climatology.zarr"),
        "output_dir": folder,
        "eval_configs": "deterministic,probabilistic",
        "variables": ",".join(VARIABLES.values()),
        "levels": "500",
        "time_start": "2026-08-01",
        "time_stop": "2026-08-31",
        "ensemble_dim": "number",
        "regions": "global,tropics",
    }
    command = [PYTHON, f"{CHECKOUT}/scripts/evaluate.py", *(f"--{name}={value}" for name, value in arguments.items())]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": CHECKOUT}
    )
    assert done.returncode == 0, done.stderr
    return {
        name: xr.open_dataset(folder / f"{name}.nc", decode_timedelta=True)
        for name in ("deterministic", "probabilistic")
    }


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory, run: Path, store: Store) -> xr.Dataset:
    output = tmp_path_factory.mktemp("wb2_ours") / "scores"
    regions = ["global", "tropics"]
    verify(VerifyConfig(str(run), store=str(store.path), output=str(output), regions=regions, plots=False))
    return xr.open_dataset(output / "scores.nc")


@pytest.mark.parametrize(("configuration", "metric", "system", "name"), PAIRS)
@pytest.mark.parametrize("channel", tiny.CHANNELS)
@pytest.mark.parametrize("region", ["global", "tropics"])
def test_their_program_finds_what_ours_finds(
    theirs: dict[str, xr.Dataset],
    ours: xr.Dataset,
    channel: str,
    configuration: str,
    metric: str,
    system: str,
    name: str,
    region: str,
) -> None:
    found = theirs[configuration][VARIABLES[channel]].sel(metric=metric, region=region).squeeze(drop=True)
    if system == "control":
        found = found.sel(number=0)
    np.testing.assert_array_equal(found["lead_time"].values, np.array(LEADS, "timedelta64[h]"))
    if name in ("rmse", "spread"):
        found = np.sqrt(found)
    expected = ours[name].sel(system=system, channel=channel, region=region)
    assert expected.dims == found.dims == ("lead_time",)
    np.testing.assert_allclose(found.values, expected.values, rtol=2e-6)
