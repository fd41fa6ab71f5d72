"""``fourcast doctor`` as people, containers and schedulers run it."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fourcast.doctor import doctor as verb
from fourcast.doctor import screen
from fourcast.doctor.finding import Finding
from fourcast.doctor.nvidia import newest_cuda
from fourcast.doctor_config import DoctorConfig

GROUPS = ["machine", "software", "disk", "kernels"]
QUICK = {
    "processor", "memory", "shared memory", "gpu", "variables", "python", "torch", "triton", "compiler", "libraries",
    "extras", "output", "space", "temporary", "kernel cache",
}  # fmt: skip
LONG = {"speed", "small files", "store", "spectral mixing", "long convolution", "training", "forecast",
        "matrix products", "exchange"}  # fmt: skip
ONE_SCREEN = 45


def doctor(*overrides: str, before: tuple[str, ...] = (), **environ: str) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-m", "fourcast", "doctor", *overrides]
    root = str(Path(__file__).parents[2])
    given = {**os.environ, "PYTHONPATH": os.pathsep.join([environ.pop("PYTHONPATH", root), root]), **environ}
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=280, check=False)


def test_quick_takes_little_time_and_no_torch(tmp_path):
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = doctor("quick=true", f"output={tmp_path / 'runs'}", PYTHONPATH=str(tmp_path))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run.returncode == 0, run.stdout + run.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3
    assert run.stdout.splitlines()[-1].startswith("works")
    assert run.stderr == ""
    assert not (tmp_path / "runs").exists()


def test_json_is_one_document_with_stable_keys(fourcast, tmp_path):
    status, out, _ = fourcast("doctor", "quick=true", "json=true", f"output={tmp_path}")
    assert status == 0
    told = json.loads(out)
    assert told["works"]
    assert {finding["name"] for finding in told["findings"]} == QUICK
    assert list(dict.fromkeys(finding["group"] for finding in told["findings"])) == GROUPS
    assert {finding["status"] for finding in told["findings"]} <= {"ok", "poor", "absent"}


def test_an_output_that_cannot_be_written_ends_with_1(fourcast, tmp_path):
    (tmp_path / "runs").write_text("")
    status, shown, _ = fourcast("doctor", "quick=true", f"output={tmp_path / 'runs'}")
    assert status == 1
    assert "FAIL  output" in shown
    assert "pass output=DIR" in " ".join(shown.split())
    assert shown.splitlines()[-1].startswith("does not work yet: output")


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists() or newest_cuda() is not None, reason="there is a driver")
def test_a_gpu_that_is_asked_for_and_not_here_ends_with_1(fourcast):
    status, shown, _ = fourcast("doctor", "quick=true", "device=cuda")
    assert status == 1
    assert "run on a GPU node" in shown


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("needs=[gribs]", "found 'gribs'"),
        ("device=tpu", "device must be one of auto, cpu, cuda"),
        ("quik=true", "quik"),
    ],
)
def test_a_mistake_ends_with_2(fourcast, override, said):
    status, _, shown = fourcast("doctor", "quick=true", override)
    assert status == 2
    assert said in shown


def test_asked_to_end_it_cleans_up_first(monkeypatch, capsys):
    cleaned = []

    def examine(config: DoctorConfig) -> Iterator[screen.Grouped]:
        yield screen.Grouped("machine", Finding("processor", "ok", "two cores"))
        try:
            assert signal.getsignal(signal.SIGTERM) != before
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        finally:
            cleaned.append(True)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(verb, "examine", examine)
    with pytest.raises(SystemExit, match="143"):
        verb.doctor(DoctorConfig())
    assert cleaned == [True]
    assert signal.getsignal(signal.SIGTERM) == before
    assert "two cores" in capsys.readouterr().out


def test_with_a_home_that_cannot_be_written(tmp_path):
    run = doctor("quick=true", f"output={tmp_path}", HOME="/sys", TRITON_CACHE_DIR="")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "export TRITON_CACHE_DIR=$(mktemp -d)" in " ".join(run.stdout.split())


def test_as_a_user_whom_nobody_knows(tmp_path):
    """In a namespace that maps no user: whoever starts this is 65534 there, without any right of root's."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-U", "true"], check=False).returncode != 0:
        pytest.skip("needs the right to make a user namespace")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    run = doctor("quick=true", "json=true", f"output={locked}", before=("unshare", "-U"), HOME="/nonexistent")
    assert run.returncode == 1, run.stderr
    found = {finding["name"]: finding for finding in json.loads(run.stdout)["findings"]}
    assert f"{locked} may not be written by user 65534, group 65534" in found["output"]["found"]
    assert f"chown 65534:65534 {locked}" in found["output"]["remedy"]
    assert "/nonexistent" in found["kernel cache"]["found"]
    assert list(locked.iterdir()) == []


@pytest.mark.slow
def test_all_of_it_on_one_screen_with_a_home_that_cannot_be_written(tmp_path):
    run = doctor("device=cpu", f"output={tmp_path / 'runs'}", HOME="/nonexistent", TRITON_CACHE_DIR="/sys/triton")
    assert run.returncode == 0, run.stdout + run.stderr
    shown = run.stdout.splitlines()
    assert len(shown) <= ONE_SCREEN
    assert all(len(line) <= screen.WIDTH for line in shown)
    assert "FAIL" not in run.stdout
    assert "export TRITON_CACHE_DIR=$(mktemp -d)" in " ".join(run.stdout.split())
    assert all(f" {name} " in run.stdout for name in LONG)
    assert list(tmp_path.iterdir()) == []
