"""Triton's cache of kernels: in the way, broken, or not to be written."""

import json
import os
from pathlib import Path

import pytest
from small_disks import on_a_disk_of_its_own

from fourcast.doctor.cache import cache_finding, cache_folder, elsewhere, way_out


def kernel(folder: Path, name: str) -> Path:
    """A kernel as Triton keeps it."""
    entry = folder / name
    entry.mkdir(parents=True)
    (entry / "convolve.cubin").write_bytes(b"\x7fELF code")
    (entry / "convolve.json").write_text('{"num_warps": 4}')
    (entry / "__grp__convolve.json").write_text(json.dumps({"child_paths": {"convolve.cubin": "elsewhere"}}))
    return entry


def test_where_it_lies():
    assert cache_folder({"HOME": "/home/a"}) == Path("/home/a/.triton/cache")
    assert cache_folder({"HOME": "/home/a", "TRITON_HOME": "/scratch"}) == Path("/scratch/.triton/cache")
    assert cache_folder({"HOME": "/home/a", "TRITON_CACHE_DIR": "/tmp/triton"}) == Path("/tmp/triton")


@pytest.mark.parametrize(("on_gpu", "status"), [(True, "failed"), (False, "poor")])
def test_there_may_be_no_home(monkeypatch, on_gpu, status):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert cache_folder({}) is None
    found = cache_finding(None, on_gpu)
    assert (found.status, "no home" in found.found) == (status, True)
    assert found.remedy == "export TRITON_CACHE_DIR=$(mktemp -d)"
    assert way_out(None) == "export FOURCAST_KERNELS=torch"


def test_another_place_is_of_ones_own_and_not_the_one_that_failed():
    assert elsewhere(Path("/home/a/.triton/cache")) == "export TRITON_CACHE_DIR=$(mktemp -d)"
    assert elsewhere(Path("/tmp/triton")).endswith("export TRITON_CACHE_DIR=$(mktemp -d -p DIR), DIR on another disk")
    assert elsewhere(Path("/tmp/triton")).startswith("docker run --tmpfs /tmp:exec, or ")


def test_a_disk_from_which_nothing_can_be_loaded(tmp_path):
    [line] = on_a_disk_of_its_own(tmp_path / "disk", "noexec,size=2m").stdout.splitlines()
    [found] = [rest for name, *rest in json.loads(line) if name == "kernel cache"]
    assert found[0] == "failed"
    assert f"{tmp_path / 'disk'} is on a disk mounted noexec" in found[1]
    assert "--tmpfs /tmp:exec" in found[2]


def test_folders_that_are_no_kernels_are_not_judged(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "empty").write_bytes(b"")
    kernel(tmp_path, "A")
    found = cache_finding(tmp_path, True)
    assert found.status == "ok"
    assert "1 kernels" in found.found


def test_a_cache_that_works_is_left_as_it_is(tmp_path):
    kernel(tmp_path / "cache", "A")
    kernel(tmp_path / "cache", "B")
    before = sorted(tmp_path.rglob("*"))
    found = cache_finding(tmp_path / "cache", True)
    assert (found.status, found.remedy) == ("ok", "")
    assert "2 kernels" in found.found
    assert sorted(tmp_path.rglob("*")) == before
    assert cache_finding(tmp_path / "none", True).status == "ok"


@pytest.mark.parametrize(("on_gpu", "status"), [(True, "failed"), (False, "poor")])
def test_a_file_in_the_way(tmp_path, on_gpu, status):
    (tmp_path / ".triton").write_text("")
    found = cache_finding(tmp_path / ".triton" / "cache", on_gpu)
    assert (found.name, found.status) == ("kernel cache", status)
    assert "is a file" in found.found
    assert f"move {tmp_path / '.triton'} away" in found.remedy
    assert "TRITON_CACHE_DIR" in found.remedy


@pytest.mark.parametrize("on_gpu", [True, False])
@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("convolve.json", b'{"num_war'),
        ("__grp__convolve.json", b"\xff\xfe\x00"),
        ("convolve.cubin", b""),
    ],
)
def test_broken_kernels(tmp_path, file, content, on_gpu):
    kernel(tmp_path, "A")
    (kernel(tmp_path, "B") / file).write_bytes(content)
    found = cache_finding(tmp_path, on_gpu)
    assert (found.name, found.status) == ("kernel cache", "failed" if on_gpu else "poor")
    assert "1 of 2 kernels are broken" in found.found
    assert str(tmp_path / "B") in found.found
    assert found.remedy.startswith(f"mv {tmp_path} {tmp_path}.broken: ")
    assert cache_finding(tmp_path, on_gpu, 0).status == "ok"
