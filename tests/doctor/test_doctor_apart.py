"""Checks in processes of their own: what becomes of one that raises, crashes or hangs."""

import os
import time
from pathlib import Path

import pytest

from fourcast.doctor import exchange
from fourcast.doctor.apart import alone, apart
from fourcast.doctor.cache import cache_folder
from fourcast.doctor.doctor import _compiled, _kernels, examine
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
    assert "pip install --force-reinstall torch" in found["torch"].remedy
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
    [found] = _compiled(cache)
    assert found.status == "ok"
    assert list(cache.rglob("product.cubin"))
    [metadata] = [path for path in cache.rglob("product.json") if not path.name.startswith("__grp__")]
    metadata.write_text('{"num_war')
    looked, compiler, _ = _kernels(DoctorConfig(), False, None)
    for one in (looked, compiler):
        assert one.finding.status == "failed", one
        assert f"rm -r {cache}" in one.finding.remedy
    assert not works([looked, compiler])


@pytest.mark.slow
def test_a_cache_in_the_way_is_gone_round_without_a_gpu(tmp_path):
    pytest.importorskip("triton")
    (tmp_path / "cache").write_text("")
    assert [found.status for found in _compiled(tmp_path / "cache")] == ["ok"]


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
    assert "NCCL_DEBUG=INFO" in exchange.REMEDY
    assert "--ipc=host" in exchange.REMEDY
