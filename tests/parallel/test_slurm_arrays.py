"""Slurm arrays share an ingestion, a forecast and a verification, and end with what one job alone makes."""

from collections.abc import Iterator
from pathlib import Path

import cluster
import era5_like
import numpy as np
import pytest
import tiny
import xarray as xr
from cluster import SCRIPTS, Cluster

from fourcast.config import EnsembleConfig
from fourcast.data.ingest import ingest
from fourcast.data_config import IngestConfig
from fourcast.forecast import open_ensemble
from fourcast.forecast.ensemble import forecast
from fourcast.verify.evaluate import verify
from fourcast.verify_config import VerifyConfig

pytestmark = cluster.NEEDED
HOUR = np.timedelta64(1, "h")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster.one_node(tmp_path_factory.mktemp("cluster")) as found:
        yield found


def array_of_two(slurm: Cluster, script: str, *overrides: str) -> None:
    slurm.finish(slurm.submit(SCRIPTS / script, ["--array=1-2", "--ntasks-per-node=1"], *overrides))


def test_an_ingestion(slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1600000000")  # else two ingestions differ in when they were begun
    source = tmp_path / "source.nc"
    era5_like.analyses(("t", "msl"), era5_like.times(40)).to_netcdf(source)
    ingest(IngestConfig(source=str(source), output=str(tmp_path / "one"), part_times=8, workers=1))
    here = slurm.within(tmp_path, SOURCE_DATE_EPOCH="1600000000")
    array_of_two(here, "ingest.sbatch", f"source={source}", "output=two", "part_times=8", "workers=1")
    one, two = (
        {path.relative_to(store): path.read_bytes() for path in store.rglob("*") if path.is_file()}
        for store in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two


def test_a_forecast_split_by_initial_times_and_its_verification(
    slurm: Cluster, tiny_run: Path, tiny_store: Path, tmp_path: Path
) -> None:
    """3 August 00, 4 August 06 and 5 August 12: one for the first job, two for the second."""
    days = {"init_start": "2026-08-03", "init_end": "2026-08-05"}
    ensemble = EnsembleConfig(size=2)
    whole = forecast(
        tiny.forecast_config(
            tiny_run, tiny_store, tmp_path / "one", init_times=None, init_every_hours=30, ensemble=ensemble, **days
        )
    )
    given = [f"checkpoint={tiny_run}", f"store={tiny_store}", "device=cpu", "lead_hours=12", "ensemble.size=2"]
    given += [f"{key}={day}" for key, day in days.items()]
    here = slurm.within(tmp_path)
    array_of_two(here, "forecast.sbatch", *given, "init_every_hours=30", "output=two")
    expected, found = open_ensemble(whole), open_ensemble(tmp_path / "two")
    np.testing.assert_array_equal(np.diff(expected.init_time), 30 * HOUR)
    xr.testing.assert_equal(found.load(), expected.load())

    verify(VerifyConfig(forecast=str(whole), store=str(tiny_store), output=str(tmp_path / "scores"), plots=False))
    scored = ["forecast=two", f"store={tiny_store}", "output=shared", "plots=false"]
    array_of_two(here, "verify.sbatch", *scored)
    results = [xr.load_dataset(tmp_path / name / "scores.nc", decode_timedelta=True) for name in ("scores", "shared")]
    xr.testing.assert_equal(*results)
