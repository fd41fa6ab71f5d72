"""A Slurm cluster of one node, started for the test, runs scripts/slurm/train.sbatch."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
import tiny

from fourcast.checkpoint import training_checkpoints

DAEMONS = ("munged", "slurmctld", "slurmd")
PATHS = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
MISSING = [name for name in DAEMONS if shutil.which(name, path=PATHS) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs a Slurm of its own: {', '.join(MISSING)} not installed"),
]
NODE = socket.gethostname().split(".")[0]
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=5
NodeName={node} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes={node} Default=YES MaxTime=INFINITE State=UP
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def eventually(happened: Callable[[], bool], what: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.3)


@contextmanager
def daemon(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    """A process that runs until the end of the context."""
    with log.open("w") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


class Cluster:
    """What a user does with a cluster."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.environment, self.folder = environment, folder

    def call(self, *command: str, seconds: float = 60) -> str:
        done = subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def idle(self) -> bool:
        command = ["sinfo", "--noheader", "--format=%T"]
        return "idle" in subprocess.run(command, env=self.environment, capture_output=True, text=True).stdout

    def submit(self, store: Path, run: Path, *overrides: str) -> str:
        """Start a training of two tasks; return the number of the job."""
        script = tiny.ROOT / "scripts/slurm/train.sbatch"
        options = ["--ntasks-per-node=2", "--cpus-per-task=1", "--gpus-per-node=0", "--time=10", "--output=job.out"]
        given = [*tiny.OVERRIDES, f"data.store={store}", f"output={run}", *overrides]
        return self.call("sbatch", "--parsable", *options, str(script), *given)

    def describe(self, job: str) -> dict[str, str]:
        """The fields of ``scontrol show job``."""
        words = self.call("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def output(self) -> str:
        file = self.folder / "job.out"
        return file.read_text() if file.exists() else ""

    def is_finished(self, job: str) -> bool:
        state = self.describe(job)["JobState"]
        assert state not in ("FAILED", "TIMEOUT", "NODE_FAIL", "CANCELLED"), self.output()
        return state == "COMPLETED"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of this machine alone, of two processors, on ports of its own."""
    for name in ("state", "spool", "jobs"):
        (tmp_path / name).mkdir()
    configuration, key = tmp_path / "slurm.conf", tmp_path / "munge.key"
    configuration.write_text(
        CONFIGURATION.format(node=NODE, user=getpass.getuser(), folder=tmp_path, ports=(free_port(), free_port()))
    )
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    launcher = tmp_path / "fourcast"
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -m fourcast "$@"\n')
    launcher.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
    environment["PYTHONPATH"] = str(tiny.ROOT)
    environment |= {"PATH": PATHS, "SLURM_CONF": str(configuration), "FOURCAST": str(launcher), "OMP_NUM_THREADS": "1"}
    munged = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={tmp_path}/munge.socket"]
    munged += [f"--{kind}-file={tmp_path}/munge.{kind}" for kind in ("pid", "log", "seed")]
    commands = [munged, ["slurmctld", "-D", "-i"], ["slurmd", "-D", "-N", NODE]]
    with ExitStack() as stack:
        for command in commands:
            stack.enter_context(daemon(command, environment, tmp_path / f"{command[0]}.out"))
            time.sleep(1)
        found = Cluster(environment, tmp_path / "jobs")
        eventually(found.idle, f"an idle node (see {tmp_path})", 60)
        yield found


def test_the_tasks_of_a_job_train_together(cluster: Cluster, tiny_store: Path, tmp_path: Path) -> None:
    job = cluster.submit(tiny_store, tmp_path / "run", "steps=6")
    eventually(lambda: cluster.is_finished(job), "the end of the job")
    assert "on 2 × cpu" in cluster.output()
    assert training_checkpoints(tmp_path / "run")[-1].name == "step_00000006"


def test_a_preempted_job_queues_again_and_goes_on(cluster: Cluster, tiny_store: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    job = cluster.submit(tiny_store, run, "steps=2000", "checkpoint_every=100", "validate_every=2000")
    eventually(lambda: bool(training_checkpoints(run)), "the first checkpoint")
    cluster.call("scancel", "--signal=USR1", job)
    eventually(lambda: cluster.describe(job)["Restarts"] == "1", "the requeue")
    assert "as asked; the same command goes on from there" in cluster.output()
    stopped = training_checkpoints(run)[-1].name
    assert stopped < "step_00002000"
    time.sleep(3)  # Slurm takes a start in the second of the requeue for the job that it has just ended
    cluster.call("scontrol", "update", f"JobId={job}", "StartTime=now")
    eventually(lambda: cluster.is_finished(job), "the end of the job")
    assert f"from step {int(stopped.removeprefix('step_'))}" in cluster.output()
    assert training_checkpoints(run)[-1].name == "step_00002000"


@pytest.mark.skipif(find_spec("submitit") is None, reason="needs the extra slurm: hydra-submitit-launcher")
def test_a_sweep_submits_a_job_for_every_value(cluster: Cluster, tiny_store: Path, tmp_path: Path) -> None:
    launcher = ["hydra/launcher=submitit_slurm", "hydra.launcher.tasks_per_node=2", "hydra.launcher.cpus_per_task=1"]
    given = [*tiny.OVERRIDES, f"data.store={tiny_store}", "steps=4,6", f"output={tmp_path}/run${{steps}}"]
    cluster.call(cluster.environment["FOURCAST"], "train", "-m", *launcher, *given, seconds=200)
    for steps in (4, 6):
        assert training_checkpoints(tmp_path / f"run{steps}")[-1].name == f"step_{steps:08d}"
    texts = [file.read_text() for file in cluster.folder.glob(".submitit/*/*_0_log.err")]
    assert ["on 2 × cpu" in text for text in texts] == [True, True]
