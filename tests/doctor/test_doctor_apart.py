"""Checks in processes of their own: what becomes of one that raises, crashes or hangs."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fourcast.doctor import apart as processes
from fourcast.doctor import disk, doctor, exchange, packages
from fourcast.doctor.apart import alone, apart, memory_file, result_of
from fourcast.doctor.cache import cache_folder
from fourcast.doctor.doctor import _compiled, _disk, _kernels, _trained, examine
from fourcast.doctor.finding import BreakdownError
from fourcast.doctor.screen import works
from fourcast.doctor_config import DoctorConfig


def broken(folder: Path, library: str, code: str) -> dict[str, str]:
    """An environment in which importing ``library`` runs ``code``."""
    (folder / f"{library}.py").write_text(f"import os, signal, sys, time\n{code}\n")
    return {**os.environ, "PYTHONPATH": str(folder)}


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ImportError('libcudart.so.13: cannot open shared object file')", "^ImportError: libcudart.so.13"),
        ("print('last words', file=sys.stderr); os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV; it said last: last w"),
        ("os.kill(os.getpid(), signal.SIGILL)", "died of SIGILL .built for another processor"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "out of memory"),
        ("os._exit(3)", "ended with status 3"),
    ],
)
def test_a_broken_library_is_named(tmp_path, code, said):
    with pytest.raises(BreakdownError, match=said):
        apart("torch", seconds=60, environ=broken(tmp_path, "torch", code))


def test_a_check_that_hangs_is_ended(tmp_path):
    mark = tmp_path / "mark"
    environ = broken(tmp_path, "torch", f"time.sleep(2); open({str(mark)!r}, 'w').close()")
    began = time.monotonic()
    with pytest.raises(BreakdownError, match="no result after 0 s"):
        apart("torch", seconds=0.3, environ=environ)
    assert time.monotonic() - began < 2
    assert not mark.exists()


@pytest.fixture
def immortal(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Processes that end none of theirs, as where a driver holds them; those that would have been killed."""
    kill, spared = os.killpg, list[int]()
    monkeypatch.setattr(os, "killpg", lambda group, number: spared.append(group))
    yield spared
    for group in set(spared):
        kill(group, signal.SIGKILL)


@pytest.mark.filterwarnings("ignore:subprocess .* is still running")
def test_a_check_that_cannot_be_killed_is_left_behind(tmp_path, monkeypatch, immortal, capfd):
    mark = tmp_path / "mark"

    def in_vain(process: subprocess.Popen[bytes], seconds: float) -> bool:
        while not mark.exists():
            time.sleep(0.01)
        return False

    monkeypatch.setenv("FOURCAST_TRACEBACK", "1")
    monkeypatch.setattr(processes, "ended", in_vain)
    code = f"print('NCCL says', file=sys.stderr, flush=True); open({str(mark)!r}, 'w').close(); time.sleep(60)"
    with pytest.raises(BreakdownError, match=r"no result after 9 s, and it cannot be killed: .*; it said last: NCCL"):
        apart("torch", seconds=9.0, environ=broken(tmp_path, "torch", code))
    assert len(immortal) == 1
    assert "NCCL says" in capfd.readouterr().err


def test_a_process_without_a_status_cannot_be_killed():
    with memory_file() as out, memory_file() as err:
        process = subprocess.Popen(["sleep", "60"])
        try:
            with pytest.raises(BreakdownError, match="cannot be killed"):
                result_of(process, out, err)
        finally:
            process.kill()
            process.wait()


def test_a_disk_that_does_not_answer_is_named(tmp_path, monkeypatch):
    (tmp_path / "fields").mkdir()
    os.mkfifo(tmp_path / "fields" / "c")  # opening it waits for a writer
    monkeypatch.setitem(doctor.SECONDS, "store", 0.5)
    *_, found = [one.finding for one in _disk(DoctorConfig(store=str(tmp_path)), False, False)]
    assert (found.name, found.status) == ("store", "failed")
    assert "no result after 0 s" in found.found
    assert f"mount and dmesg say of the disk of {tmp_path}" in found.remedy


def test_a_training_that_is_killed_leaves_nothing_on_the_disk(tmp_path, monkeypatch):
    def killed(name: str, *arguments: Any, seconds: float) -> Any:
        if name != "training":
            return apart(name, *arguments, seconds=seconds)
        assert arguments == (str(tmp_path), "auto")
        process = subprocess.Popen(["true"])
        process.wait()
        (tmp_path / f"{disk.TRIAL}.{socket.gethostname()}-{process.pid}.partial" / "store.zarr").mkdir(parents=True)
        raise BreakdownError("the process died of SIGKILL")

    monkeypatch.setattr(doctor, "apart", killed)
    with pytest.raises(BreakdownError, match="SIGKILL"):
        _trained(DoctorConfig(output=str(tmp_path)), True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_is_asked_to_end_ends_what_it_started(number):
    program = (
        "import os, signal, subprocess\n"
        "from fourcast.doctor.apart import end, orderly_end\n"
        "with orderly_end():\n"
        "    child = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        "    try:\n"
        "        print(child.pid, flush=True)\n"
        f"        os.kill(os.getpid(), {int(number)})\n"
        "        child.wait()\n"
        "    finally:\n"
        "        end(child)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 128 + number, run.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(run.stdout), 0)


def test_peers_and_the_interpreter_stay_outside():
    environ = {"RANK": "3", "WORLD_SIZE": "4", "MASTER_ADDR": "a", "SLURM_STEP_NUM_TASKS": "4", "TRITON_INTERPRET": "1"}
    assert alone({**environ, "PATH": "/bin", "SLURM_JOB_ID": "7"}) == {"PATH": "/bin", "SLURM_JOB_ID": "7"}


@pytest.mark.slow
def test_a_torch_that_crashes_hides_nothing_else(tmp_path, monkeypatch):
    broken(tmp_path, "torch", "os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = {one.finding.name: one.finding for one in examine(DoctorConfig(output=str(tmp_path / "runs")))}
    assert found["torch"].status == "failed"
    assert "SIGSEGV" in found["torch"].found
    assert found["torch"].remedy.startswith("FOURCAST_TRACEBACK=1")
    assert f"'torch=={packages.version_of('torch')}'" in found["torch"].remedy
    assert {name: found[name].status for name in ("output", "libraries", "kernel cache")} == dict.fromkeys(
        ("output", "libraries", "kernel cache"), "ok"
    )
    assert {found[name].found for name in ("kernels", "training")} == {"not tried: torch cannot be loaded"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["torch.py"]


@pytest.mark.slow
def test_the_compiler_goes_through_the_cache(tmp_path, monkeypatch):
    pytest.importorskip("triton")
    cache = tmp_path / "cache"
    monkeypatch.setenv("TRITON_CACHE_DIR", str(cache))
    assert cache_folder(os.environ) == cache
    [found] = _compiled(str(cache))
    assert found.status == "ok"
    assert list(cache.rglob("product.cubin"))
    [metadata] = [path for path in cache.rglob("product.json") if not path.name.startswith("__grp__")]
    metadata.write_text('{"num_war')
    looked, compiler, _ = _kernels(DoctorConfig(), False, None)
    for one in (looked, compiler):
        assert one.finding.status == "poor", one
        assert f"mv {cache} {cache}.broken" in one.finding.remedy
    assert works([looked, compiler])


@pytest.mark.slow
def test_a_cache_in_the_way_is_gone_round_without_a_gpu(tmp_path):
    pytest.importorskip("triton")
    (tmp_path / "cache").write_text("")
    assert [found.status for found in _compiled(str(tmp_path / "cache"))] == ["ok"]


@pytest.mark.slow
def test_processes_sum_what_they_have():
    [found] = exchange.exchange_findings("cpu", 2)
    assert (found.status, found.figures["processes"]) == ("ok", 2)


@pytest.mark.slow
def test_processes_that_die_end_the_exchange(monkeypatch, tmp_path):
    broken(tmp_path, "torch", "if os.environ['RANK'] == '1': sys.exit('no such network')\ntime.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    began = time.monotonic()
    with pytest.raises(BreakdownError, match="no such network"):
        exchange.exchange_findings("cpu", 2)
    assert time.monotonic() - began < 30


@pytest.mark.slow
def test_processes_that_do_not_meet_are_numbered(monkeypatch, tmp_path, capfd):
    broken(tmp_path, "torch", "print('rank', os.environ['RANK'], 'waits', file=sys.stderr, flush=True); time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("FOURCAST_TRACEBACK", "1")
    monkeypatch.setattr(exchange, "SECONDS", 4.0)
    with pytest.raises(BreakdownError, match="in 4 s; not done: 0, 1; it said last: rank 0 waits"):
        exchange.exchange_findings("cpu", 2)
    assert "rank 1 waits" in capfd.readouterr().err


def test_the_ways_out_of_an_exchange_that_fails():
    assert "NCCL_DEBUG=INFO" in exchange.REMEDY
    assert "--ipc=host" in exchange.REMEDY
