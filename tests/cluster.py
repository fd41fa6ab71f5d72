"""A Slurm cluster of this machine alone, on ports of its own, for tests to submit to."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny

DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch")
PATHS = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
MISSING = [name for name in DAEMONS if shutil.which(name, path=PATHS) is None]
NEEDED = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs a Slurm of its own: {', '.join(MISSING)} not installed"),
]
"""Marks of tests that start a cluster."""
SCRIPTS = tiny.ROOT / "scripts/slurm"
ENDED_BADLY = ("FAILED", "TIMEOUT", "NODE_FAIL", "CANCELLED", "OUT_OF_MEMORY")
NODE = socket.gethostname().split(".")[0]
CONFIGURATION = """\
ClusterName=test
FirstJobId={ports[0]}
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
SchedulerParameters=sched_interval=1,batch_sched_delay=0
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
        time.sleep(0.2)


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


@dataclass(frozen=True)
class Cluster:
    """What a user does with a cluster. folder: where jobs are submitted from."""

    environment: Mapping[str, str]
    folder: Path

    def within(self, folder: Path, **variables: str) -> "Cluster":
        """The same cluster, for jobs submitted from another folder with these variables in their environment."""
        return Cluster({**self.environment, **variables}, folder)

    def call(self, *command: str, seconds: float = 60) -> str:
        done = subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def idle(self) -> bool:
        command = ["sinfo", "--noheader", "--format=%T"]
        return "idle" in subprocess.run(command, env=self.environment, capture_output=True, text=True).stdout

    def submit(self, script: Path, options: list[str], *arguments: str) -> str:
        """Submit a batch script without GPUs, its output in job-<number>.out; return the number of the job."""
        own = ["--gpus-per-node=0", "--cpus-per-task=1", "--time=10", "--output=job-%j.out", *options]
        return self.call("sbatch", "--parsable", *own, str(script), *arguments)

    def describe(self, job: str) -> list[dict[str, str]]:
        """The fields of ``scontrol show job``; of an array, of each of its jobs in the order of their places."""
        lines = self.call("scontrol", "--oneliner", "show", "job", job).splitlines()
        found = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]
        return sorted(found, key=lambda fields: int(fields.get("ArrayTaskId", "0").split("-")[0]))

    def states(self, job: str) -> list[str]:
        """The state of a job, or of each of an array."""
        return [fields["JobState"] for fields in self.describe(job)]

    def restarts(self, job: str) -> list[int]:
        """How often a job, or each of an array, was put back into the queue."""
        return [int(fields["Restarts"]) for fields in self.describe(job)]

    def hasten(self, job: str) -> None:
        """Let a job that was put back into the queue start now, and not after Slurm's two minutes."""
        time.sleep(2)  # Slurm takes a start in the second of the requeue for the job that it has just ended
        self.call("scontrol", "update", f"JobId={job}", "StartTime=now")

    def output(self) -> str:
        return "\n".join(file.read_text() for file in sorted(self.folder.glob("job-*.out")))

    def finish(self, job: str) -> None:
        """Wait until a job, or all of an array, came to a good end."""

        def finished() -> bool:
            states = self.states(job)
            assert not set(states) & set(ENDED_BADLY), f"{states}: {self.output()}"
            return set(states) == {"COMPLETED"}

        eventually(finished, f"the end of job {job}")


@contextmanager
def one_node(folder: Path) -> Iterator[Cluster]:
    """A cluster of this machine alone, of two processors, that keeps its files in ``folder``."""
    for name in ("state", "spool", "jobs"):
        (folder / name).mkdir()
    configuration, key = folder / "slurm.conf", folder / "munge.key"
    configuration.write_text(
        CONFIGURATION.format(node=NODE, user=getpass.getuser(), folder=folder, ports=(free_port(), free_port()))
    )
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    launcher = executable(folder / "fourcast", f'exec {sys.executable} -m fourcast "$@"')
    unwanted = ("SLURM_", "SBATCH_", "SUBMITIT_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    environment["PYTHONPATH"] = str(tiny.ROOT)
    environment |= {"PATH": PATHS, "SLURM_CONF": str(configuration), "FOURCAST": str(launcher), "OMP_NUM_THREADS": "1"}
    munged = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket"]
    munged += [f"--{kind}-file={folder}/munge.{kind}" for kind in ("pid", "log", "seed")]
    commands = [munged, ["slurmctld", "-D", "-i"], ["slurmd", "-D", "-N", NODE]]
    with ExitStack() as stack:
        for command in commands:
            stack.enter_context(daemon(command, environment, folder / f"{command[0]}.out"))
            time.sleep(1)
        found = Cluster(environment, folder / "jobs")
        eventually(found.idle, f"an idle node (see {folder})", 60)
        yield found


def executable(path: Path, *lines: str) -> Path:
    """A shell script of these lines."""
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path
