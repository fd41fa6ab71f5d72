"""Sweeps of -m as Slurm jobs, through conf/launcher and submitit, on a cluster of one node."""

import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import cluster
import era5_like
import pytest
import tiny
from cluster import Cluster, eventually

from fourcast.checkpoint import training_checkpoints
from fourcast.data.store import open_store

pytestmark = [
    *cluster.NEEDED,
    pytest.mark.skipif(find_spec("submitit") is None, reason="needs the extra slurm: hydra-submitit-launcher"),
]
STEPS = 200


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster.one_node(tmp_path_factory.mktemp("cluster")) as found:
        yield found


def array_of(here: Cluster) -> str:
    """The number of the one array in the queue, from the folder that submitit keeps of its first job."""
    return next((here.folder / "runs/slurm").glob("*_0")).name.removesuffix("_0")


def test_shares_of_an_ingestion(slurm: Cluster, tmp_path: Path) -> None:
    source = tmp_path / "source.nc"
    era5_like.analyses(("t", "msl"), era5_like.times(16)).to_netcdf(source)
    here = slurm.within(tmp_path)
    given = [f"source={source}", "output=store", "part_times=8", "workers=1", "hydra.launcher.cpus_per_task=1"]
    here.call(here.environment["FOURCAST"], "ingest", "-m", "launcher=slurm_array", "part=1/2,2/2", *given, seconds=200)
    assert len(open_store(tmp_path / "store").times) == 16


def test_a_training_told_to_stop_saves_queues_again_and_goes_on(
    slurm: Cluster, tiny_store: Path, tmp_path: Path
) -> None:
    """Of two trainings the last is asked, as submitit lets Slurm ask, with SIGUSR2; the other is left alone."""
    here = slurm.within(tmp_path)
    launcher = ["launcher=slurm", "hydra.launcher.gpus_per_node=null", "hydra.launcher.cpus_per_task=1"]
    launcher += ["hydra.launcher.tasks_per_node=2"]
    given = [*tiny.OVERRIDES, f"data.store={tiny_store}", "checkpoint_every=20", f"validate_every={STEPS}"]
    given += [f"steps=20,{STEPS}", "output=run${steps}"]
    command = [here.environment["FOURCAST"], "train", "-m", *launcher, *given]
    with subprocess.Popen(command, env=here.environment, cwd=tmp_path) as sweep:
        run = tmp_path / f"run{STEPS}"
        eventually(lambda: bool(training_checkpoints(run)), "the first checkpoint", 200)
        job = array_of(here)
        here.call("scancel", "--signal=USR2", f"{job}_1")
        eventually(lambda: here.restarts(f"{job}_1") == [1], "the requeue")
        stopped = training_checkpoints(run)[-1].name
        assert stopped < f"step_{STEPS:08d}"
        here.hasten(f"{job}_1")
        assert sweep.wait(200) == 0
    text = (tmp_path / f"runs/slurm/{job}_1/{job}_1_0_log.out").read_text()
    assert text.count("on 2 × cpu") == 2
    assert f"from step {int(stopped.removeprefix('step_'))}" in text
    assert training_checkpoints(run)[-1].name == f"step_{STEPS:08d}"
    assert here.restarts(f"{job}_0") == [0]
    assert training_checkpoints(tmp_path / "run20")[-1].name == "step_00000020"
