"""kill −9 at any moment of an ingestion leaves nothing that looks finished and is not; a rerun ends undisturbed."""

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from killing import finish, killed, ready

from fourcast.data.ingest import ingest
from fourcast.data.store import open_store
from fourcast.data_config import IngestConfig
from fourcast.errors import InputError

INGESTION = [
    pytest.param([(5, 0.05), (26, 0.0)], id="two"),
    pytest.param([(0, float(x)) for x in np.random.default_rng(5).uniform(0, 1, 20)], id="twenty",
                 marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
]  # fmt: skip
"""(how many finished parts to wait for, how many seconds longer) for every kill; the delays of twenty are shares of the
time that an undisturbed ingestion takes."""


def analyses(path: Path, count: int) -> None:
    """A netCDF file of ``count`` states of t850."""
    times = np.datetime64("2020-01-01", "h") + 6 * np.arange(count)
    values = np.random.default_rng(3).uniform(260, 300, (count, 1, 12, 24)).astype(np.float32)
    axes = {"time": times.astype("M8[ns]"), "latitude": 82.5 - 15.0 * np.arange(12), "longitude": 15.0 * np.arange(24)}
    level = xr.Variable("level", [850], {"units": "hPa"})
    field = xr.DataArray(values, {**axes, "level": level}, ("time", "level", "latitude", "longitude"), "t")
    field.assign_attrs(units="K").to_dataset().to_netcdf(path)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def ingest_then(config: IngestConfig) -> None:
    """Ingest as if it were always the same time, which is all that may differ from one ingestion to the next."""
    os.environ["SOURCE_DATE_EPOCH"] = "1600000000"
    ingest(config)


@pytest.mark.parametrize("moments", INGESTION)
def test_ingestion(tmp_path: Path, moments: list[tuple[int, float]]) -> None:
    """By several workers: killed and restarted, a new store and one that is extended end as if undisturbed."""
    analyses(tmp_path / "source.nc", TIMES)
    config = IngestConfig(source=[str(tmp_path / "source.nc")], shard_times=2, part_times=4, workers=2, memory_gb=16)
    short, long = (replace(config, output=str(tmp_path / name), end=end) for name, end in ENDS.items())
    ready()
    begun = time.monotonic()
    finish(ingest_then, replace(short, workers=1 if len(moments) == 2 else 2))
    took = time.monotonic() - begun if len(moments) == 20 else 1.0
    shutil.copytree(short.output, long.output)
    finish(ingest_then, replace(long, workers=1))
    for i, (count, delay) in enumerate(moments):
        base = Path(short.output) if i % 2 or count > 24 else None
        given = replace(long if base else short, output=str(tmp_path / f"killed_{i}"))
        kill_within(given, base, (count, took * delay))
        readable(Path(given.output))
        finish(ingest_then, given)
        assert content(Path(given.output)) == content(Path(long.output if base else short.output))


TIMES, ENDS = 160, {"short": "2020-01-24", "long": None}


def kill_within(config: IngestConfig, base: Path | None, moment: tuple[int, float]) -> None:
    """Ingest, on a copy of ``base`` if there is one, and kill it at ``moment``, or earlier where it is done by then."""
    count, delay = moment
    alive = False
    while not alive:
        shutil.rmtree(config.output, ignore_errors=True)
        if base is not None:
            shutil.copytree(base, config.output)
        alive = killed(ingest_then, config, "ingest/parts/part_*.json", (count, delay))
        delay *= 0.8


def readable(run: Path) -> None:
    """What a killed ingestion left does not open, or holds all of its times."""
    if run.exists() and zarr.open_group(run, mode="r").attrs["complete"]:
        store = open_store(run)
        assert len(store.times) in (96, TIMES)
        assert np.isfinite(store.read(slice(None))).all()
    else:
        with pytest.raises(InputError, match=r"is unfinished|there is no store"):
            open_store(run)
