"""What the manifests of docker/kubernetes start runs, shares its work, and ends with the right status."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import tiny
from manifests import FOLDER, LAUNCHER, command, environment

from fourcast.checkpoint import training_checkpoints
from fourcast.train.signals import EXIT_INTERRUPTED

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


STATUSES = """
import sys
sys.path.insert(0, {folder!r})
import torchrun
if __name__ == "__main__":
    for code in ("0", "2", "75", "1", "kill"):
        program = "import os; os.kill(os.getpid(), 9)" if code == "kill" else "raise SystemExit(" + code + ")"
        words = ["--nproc-per-node=2", "--master-port={port}", "--no-python", sys.executable, "-c", program]
        print(torchrun.status(words), flush=True)
"""


def test_torchrun_ends_as_what_it_ran(tmp_path: Path) -> None:
    script = tmp_path / "statuses.py"
    script.write_text(STATUSES.format(folder=str(FOLDER), port=free_port()))
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert ended.stdout.split() == ["0", "2", "75", "1", str(128 + signal.SIGKILL)], ended.stderr


Pod = subprocess.Popen[str]


@pytest.fixture
def started() -> Iterator[Callable[[list[str], dict[str, str]], Pod]]:
    """Starts a command with variables beside this process's, its words of errors kept, and kills it at the end."""
    with ExitStack() as running:

        def start(words: list[str], variables: dict[str, str]) -> Pod:
            pod = subprocess.Popen(words, env={**os.environ, **variables}, stderr=subprocess.PIPE, text=True)
            running.callback(pod.communicate)
            running.callback(pod.kill)
            return pod

        yield start


@pytest.fixture
def trained(tmp_path: Path, tiny_store: Path, started: Callable[..., Pod]) -> Callable[..., Pod]:
    """Starts a tiny training by the TrainJob's command, told of its processes as Kubeflow Trainer does it."""

    def start(processes: int, *overrides: str) -> Pod:
        words = command("TrainJob-fourcast-train")
        options = words[2 : words.index("train") + 1]
        pet = {"NNODES": "1", "NPROC_PER_NODE": str(processes), "NODE_RANK": "0", "MASTER_ADDR": "localhost"}
        variables = {f"PET_{key}": value for key, value in {**pet, "MASTER_PORT": str(free_port())}.items()}
        given = [f"data.store={tiny_store}", f"output={tmp_path / 'run'}", *tiny.OVERRIDES, *overrides]
        return started([sys.executable, LAUNCHER, *options, *given], {**variables, "OMP_NUM_THREADS": "1"})

    return start


def test_a_training_is_told_of_its_processes_and_saves_when_stopped(
    trained: Callable[..., Pod], tmp_path: Path
) -> None:
    process = trained(2, "steps=100000")
    log = tmp_path / "run" / "log.jsonl"
    for _ in range(1200):
        if process.poll() is not None or (log.exists() and log.read_text()):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == EXIT_INTERRUPTED, said
    assert "on 2 × " in said
    assert training_checkpoints(tmp_path / "run")


def test_a_mistake_ends_a_training_for_good(trained: Callable[..., Pod]) -> None:
    process = trained(1, "data.store=/nowhere")
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 2, said
    assert "/nowhere" in said


@pytest.fixture
def forecasting(tmp_path: Path, tiny_run: Path, tiny_store: Path, started: Callable[..., Pod]) -> Callable[..., Pod]:
    """Starts the pod of a forecast Job by its own command, for a tiny run in ``tmp_path``."""
    program = tmp_path / "bin" / "fourcast"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m fourcast "$@"\n')
    program.chmod(0o755)
    given = [f"checkpoint={tiny_run}", f"store={tiny_store}", f"output={tmp_path / 'run'}", "device=cpu"]

    def start(name: str, index: int, *overrides: str, shares: int = 1) -> Pod:
        variables = {"PATH": f"{program.parent}:{os.environ['PATH']}", "SHARES": str(shares), "OMP_NUM_THREADS": "1"}
        place = {"JOB_COMPLETION_INDEX": environment(name, index)["JOB_COMPLETION_INDEX"]}
        return started([*command(name, index), *given, *overrides], {**variables, **place})

    return start


def made(run: Path) -> list[str]:
    return sorted(str(path.relative_to(run)) for path in run.rglob("*.nc"))


def test_pods_share_a_forecast_and_one_combines_it(forecasting: Callable[..., Pod], tmp_path: Path) -> None:
    """In calls of eight members, two to an initial time: two calls for either pod."""
    run, days = tmp_path / "run", [tiny.INIT, "2026-08-06T12"]
    given = [f"init_times=[{','.join(days)}]", "lead_hours=12", "ensemble.size=10", "ensemble.exact=true"]
    given += ["files.layout=[ensemble]"]
    pods = [forecasting("Job-fourcast-forecast", index, *given, shares=2) for index in range(2)]
    said = [pod.communicate(timeout=120)[1] for pod in pods]
    assert [pod.returncode for pod in pods] == [0, 0], said
    assert [f"share {part}/2 of {run} is done" in text for part, text in zip((1, 2), said, strict=True)] == [True, True]
    assert made(run) == [f"{day}/member_00{member}.nc" for day in days for member in range(10)]
    whole = forecasting("Job-fourcast-combine", 0, *given)
    assert whole.wait(timeout=120) == 0
    assert made(run) == [f"{day}/ensemble.nc" for day in days]


def test_a_lost_pod_is_replaced_alone(forecasting: Callable[..., Pod], tmp_path: Path) -> None:
    """In calls of eight members, four for either pod, the second of which ends when the first call is done."""
    run = tmp_path / "run"
    given = [f"init_times=[{tiny.INIT}]", "lead_hours=2400", "ensemble.size=64", "ensemble.exact=true"]
    given += ["ensemble.batch_size=8"]
    lost = forecasting("Job-fourcast-forecast", 1, *given, shares=2)
    while lost.poll() is None and not made(run):
        time.sleep(0.01)
    lost.terminate()
    assert lost.wait(timeout=60) == 128 + signal.SIGTERM
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.nc")}
    assert 0 < len(before) < 32
    assert forecasting("Job-fourcast-forecast", 1, *given, shares=2).wait(timeout=120) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert made(run) == [f"{tiny.INIT}/member_0{member}.nc" for member in range(32, 64)]
