"""kill −9 at any moment of a forecast leaves nothing that looks finished and is not, and a rerun ends undisturbed."""

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import zarr
from killing import finish, killed, ready, start
from tiny import forecast_config

from fourcast.config import EnsembleConfig, ForecastConfig
from fourcast.files import read_json
from fourcast.forecast.ensemble import forecast
from fourcast.forecast_config import FilesConfig, ProductsConfig

Values = dict[str, np.ndarray]

MEMBERS: dict[str, Any] = {"ensemble": EnsembleConfig(size=8, batch_size=3, exact=False)}
EVERYTHING: dict[str, Any] = {
    "ensemble": EnsembleConfig(size=5, exact=True),
    "files": FilesConfig(layout=["member", "ensemble", "zarr"], compression=4),
    "products": ProductsConfig(["mean", "spread", "maximum"], [0.5], ["t2m > 285"]),
}
COMBINED: dict[str, Any] = {
    "ensemble": EnsembleConfig(size=3, lagged=[6, 12], control=False),
    "files": FilesConfig(layout=["zarr", "ensemble"], every_hours=24),
}
DRAWN = np.random.default_rng(7).uniform(0, 1, (20, 2))
TWENTY = [pytest.mark.slow, pytest.mark.timeout(1200)]
FORECASTS = [
    pytest.param(MEMBERS, 17, DRAWN[:2], id="members-two"),
    pytest.param(MEMBERS, 17, DRAWN, id="members-twenty", marks=TWENTY),
    pytest.param(EVERYTHING, 24, DRAWN, id="all-twenty", marks=TWENTY),
    pytest.param(COMBINED, 4, DRAWN, id="combined-twenty", marks=TWENTY),
]
"""What is forecast, how many files that makes, and when it is killed, as shares of the time that it takes undisturbed:
at first, and after it went on."""


@pytest.mark.parametrize(("changes", "files", "kills"), FORECASTS)
def test_forecasts(
    tiny_run: Path, tiny_store: Path, tmp_path: Path, changes: dict[str, Any], files: int, kills: np.ndarray
) -> None:
    given = forecast_config(tiny_run, tiny_store, tmp_path / "undisturbed", lead_hours=120, **changes)
    config = replace(given, init_times=["2026-08-05", "2026-08-06"])
    ready()
    begun = time.monotonic()
    finish(forecast, config)
    took, expected = time.monotonic() - begun, contents(Path(config.output))
    assert len(expected) == files
    for number, (first, second) in enumerate(kills):
        again = replace(config, output=str(tmp_path / str(number) / "undisturbed"))
        kill_within(again, took * first)
        assert_whole(contents(Path(again.output)), expected)
        killed(forecast, again, "*", (0, took * second))
        assert_whole(contents(Path(again.output)), expected)
        finish(forecast, again)
        found = contents(Path(again.output))
        assert found.keys() == expected.keys()
        assert_whole(found, expected)
        assert list(Path(again.output).rglob("*partial*")) == []


def kill_within(config: ForecastConfig, seconds: float) -> None:
    """Forecast and kill it after ``seconds``, or earlier where it is done by then."""
    while not killed(forecast, config, "*", (0, seconds)):
        shutil.rmtree(config.output)
        seconds *= 0.8


def assert_whole(found: dict[str, Values], expected: dict[str, Values]) -> None:
    """What is there has the bits of what an undisturbed forecast left, members' files that it removed excepted."""
    assert [name for name, values in found.items() if unlike(values, expected.get(name, values))] == []


def contents(run: Path) -> dict[str, Values]:
    """What everything in a run holds that carries a final name, by that name; what is no whole file raises."""
    paths = [path for path in run.rglob("*") if "partial" not in str(path.relative_to(run))]
    inside = [path for path in paths if not any(parent.suffix == ".zarr" for parent in path.relative_to(run).parents)]
    return {str(path.relative_to(run)): values_of(path) for path in inside if path.is_file() or path.suffix == ".zarr"}


def values_of(path: Path) -> Values:
    """The arrays of a netCDF file or zarr store; of the manifest, its text."""
    if path.suffix == ".zarr":
        return {name: np.asarray(array[...]) for name, array in zarr.open_group(path, mode="r").arrays()}
    if path.suffix == ".json":
        return {"record": np.array(str(read_json(path)))}
    with netCDF4.Dataset(path) as file:
        file.set_auto_mask(False)
        return {name: np.asarray(file[name][...]) for name in file.variables}


def unlike(found: Values, expected: Values) -> list[str]:
    """Which arrays are not the same bits."""
    if found.keys() != expected.keys():
        return sorted(found.keys() ^ expected.keys())
    return [name for name, values in expected.items() if not same(found[name], values)]


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()


def test_a_scheduler_that_ends_a_forecast_leaves_whole_files_alone(
    tiny_run: Path, tiny_store: Path, tmp_path: Path
) -> None:
    many = EnsembleConfig(size=200, batch_size=3)
    given = forecast_config(tiny_run, tiny_store, tmp_path / "RUN", lead_hours=120, ensemble=many)
    process = start(forecast, given)
    while process.is_alive() and not list(tmp_path.glob("RUN/*/member_*.nc")):
        time.sleep(0.001)
    process.terminate()
    process.join(60)
    assert process.exitcode == 128 + 15
    left = [path.name for path in (tmp_path / "RUN").rglob("*") if path.is_file()]
    assert left
    assert not [name for name in left if "partial" in name]
    assert len(left) < 200
