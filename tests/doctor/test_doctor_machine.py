"""Processors, memory and GPUs, read from folders laid out as Linux lays out its own."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fourcast.doctor import hardware
from fourcast.doctor import nvidia as asked
from fourcast.doctor.nvidia import Gpu, Nvidia, driver_version, gpu_finding, model_of, nvidia, table
from fourcast.doctor.surroundings import variables_finding

H200 = Gpu("NVIDIA H200", 143_771 << 20, (9, 0))


def system(root: Path, **files: str) -> Path:
    """A root folder with files whose names have __ for /."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_quota_below_the_cores_is_told_with_the_threads_to_set(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    root = system(tmp_path, proc__self__cgroup="0::/job/step\n", proc__cpuinfo="model name\t: A Chip\n")
    for group, text in {"": "max 100000", "job": "250000 100000", "job/step": "400000 100000"}.items():
        system(root / "sys/fs/cgroup" / group, **{"cpu.max": text})
    found = hardware.processor(root, affinity=8)
    assert found.status == "poor"
    assert "A Chip" in found.found
    assert "time of 2.5" in found.found
    assert "OMP_NUM_THREADS=2" in found.remedy
    assert found.figures["quota_cores"] == 2.5
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert hardware.processor(root, affinity=8).status == "ok"


def test_quotas_of_the_first_control_groups(tmp_path):
    root = system(tmp_path, proc__self__cgroup="3:cpu,cpuacct:/docker\n2:memory:/docker\n")
    system(root / "sys/fs/cgroup/cpu/docker", **{"cpu.cfs_quota_us": "150000", "cpu.cfs_period_us": "100000"})
    system(root / "sys/fs/cgroup/cpu", **{"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"})
    assert list(hardware.cpu_quotas(root)) == [1.5]


def test_memory_is_limited_by_the_container(tmp_path):
    root = system(
        tmp_path,
        proc__meminfo="MemTotal: 100000000 kB\nMemAvailable: 90000000 kB\nHugePages_Total: 0\n",
        proc__self__cgroup="0::/\n",
    )
    free = hardware.memory(root)
    assert (free.status, free.figures["limit_gb"]) == ("ok", 102.4)
    assert "limit" not in free.found
    system(root / "sys/fs/cgroup", **{"memory.max": "2000000000\n"})
    tight = hardware.memory(root)
    assert tight.status == "poor"
    assert "a limit of 2 GB" in tight.found
    assert "--memory" in tight.remedy


def test_small_shared_memory_is_told_with_the_ways_to_enlarge_it(tmp_path):
    def docker(folder: Path) -> os.statvfs_result:
        return os.statvfs_result((4096, 4096, 16384, 16384, 16384, 0, 0, 0, 0, 255))

    small = hardware.shared_memory(tmp_path, docker)
    assert small.status == "poor"
    assert small.figures["size_gb"] == 0.067
    assert "--ipc=host" in small.remedy
    assert "emptyDir" in small.remedy
    assert "mount -o remount,size=8g /dev/shm" in small.remedy
    assert "dead jobs" in small.remedy
    assert hardware.shared_memory(tmp_path / "none").status == "absent"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n", "535.183.01"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n", "580.65.06"),
        ("NVRM version: something else\nGCC version: gcc 12.2.0\n", ""),
    ],
)
def test_version_of_the_driver(text, version):
    assert driver_version(text) == version


def test_answer_of_nvidia_smi():
    text = "580.65.06, 143771, 9.0, NVIDIA H200\n580.65.06, [N/A], 12.1, NVIDIA GB10, of a kind\n"
    assert table(text) == ("580.65.06", (H200, Gpu("NVIDIA GB10, of a kind", None, (12, 1))))
    assert table("") == ("", ())


def test_gpus_without_nvidia_smi_have_at_least_a_name(tmp_path):
    system(tmp_path, version="NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun\n")
    system(tmp_path / "gpus/0000:01:00.0", information="Model: \t\t NVIDIA H200\nIRQ:   1\n")
    here = nvidia(False, tmp_path)
    assert (here.driver, here.gpus) == ("580.65.06", (Gpu("NVIDIA H200"),))
    assert model_of("IRQ: 1\n") == "a GPU"


@pytest.fixture
def gpu_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A node with one GPU, a library for CUDA 13.0 and an nvidia-smi that is the shell script given."""
    proc = system(tmp_path / "proc", version="NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun\n")
    system(proc / "gpus/0000:01:00.0", information="Model: \t\t NVIDIA H200\nIRQ:   1\n")
    monkeypatch.setattr(asked, "newest_cuda", lambda: (13, 0))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def node(script: str) -> Path:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
        return proc

    return node


def test_what_nvidia_smi_tells_counts(gpu_node):
    proc = gpu_node("echo a warning >&2; echo '580.65.06, 143771, 9.0, NVIDIA H200'")
    assert nvidia(True, proc) == Nvidia("580.65.06", (13, 0), (H200,))
    assert nvidia(False, proc) == Nvidia("580.65.06", (13, 0), (Gpu("NVIDIA H200"),))
    assert nvidia(True, gpu_node("exit 9")).complaint == "status 9, and no word"


def test_a_driver_of_which_linux_does_not_tell_is_asked_also_in_haste(gpu_node, tmp_path):
    gpu_node("echo '580.65.06, 143771, 9.0, NVIDIA H200'")
    assert nvidia(False, tmp_path / "nothing") == Nvidia("580.65.06", (13, 0), (H200,))


@pytest.mark.parametrize(("device", "status"), [("auto", "poor"), ("cuda", "failed"), ("cpu", "absent")])
def test_gpus_that_nothing_tells_of_are_not_denied(gpu_node, monkeypatch, tmp_path, device, status):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    found = gpu_finding(nvidia(False, tmp_path / "nothing"), device)
    assert found.status == status
    assert ("neither nvidia-smi nor /proc/driver/nvidia" in found.found) == (status != "absent")
    assert "no NVIDIA driver" not in found.found


def test_a_driver_whose_gpus_are_hidden_is_not_denied(gpu_node, monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = gpu_finding(nvidia(False, tmp_path / "nothing"), "cuda")
    assert (found.status, "no GPU that this process may use" in found.found) == ("failed", True)


def test_a_stuck_gpu_holds_nobody_up(gpu_node, monkeypatch):
    monkeypatch.setattr(asked, "PATIENCE", 0.3)
    began = time.monotonic()
    here = nvidia(True, gpu_node("trap '' TERM; sleep 60"))
    assert time.monotonic() - began < 20
    assert here.complaint == "nothing within 0 s: a GPU is stuck (dmesg | grep -i xid)"
    assert gpu_finding(here, "auto").status == "failed"


@pytest.mark.parametrize("hidden", [None, "", "-1", "NoDevFiles"])
def test_a_job_without_gpu_on_a_node_with_gpus(gpu_node, monkeypatch, hidden):
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    here = nvidia(
        True, gpu_node("echo No devices were found; exit 6" if hidden is None else "echo never asked; exit 9")
    )
    assert here == Nvidia("580.65.06", (13, 0))
    found, demanded = gpu_finding(here, "auto"), gpu_finding(here, "cuda")
    assert (found.status, demanded.status, gpu_finding(here, "cpu").status) == ("poor", "failed", "ok")
    assert "no GPU that this process may use" in found.found
    assert "--gres" in found.remedy
    assert "CUDA_VISIBLE_DEVICES" in found.remedy


def test_an_image_with_nvidia_smi_on_a_node_without_driver():
    here = Nvidia(complaint="NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.")
    assert [gpu_finding(here, device).status for device in ("auto", "cuda", "cpu")] == ["poor", "failed", "absent"]


def test_a_machine_without_gpu_works_unless_one_is_asked_for():
    for device in ("auto", "cpu"):
        found = gpu_finding(Nvidia(), device)
        assert (found.status, found.remedy) == ("absent", "")
        assert "CPU" in found.found
    demanded = gpu_finding(Nvidia(), "cuda")
    assert demanded.status == "failed"
    assert "device=cpu" in demanded.remedy
    assert "--gpus all" in demanded.remedy


@pytest.mark.parametrize(("device", "status"), [("auto", "poor"), ("cuda", "failed"), ("cpu", "ok")])
def test_a_gpu_that_the_container_hides(device, status):
    found = gpu_finding(Nvidia("580.65.06", None, (Gpu("NVIDIA H200"),)), device)
    assert found.status == status
    assert "libcuda.so.1" in found.found
    assert ("docker run --gpus all" in found.remedy) == (status != "ok")


def test_a_driver_that_complains():
    here = Nvidia("580.65.06", None, (), "Failed to initialize NVML: Driver/library version mismatch")
    found = gpu_finding(here, "auto")
    assert found.status == "failed"
    assert "version mismatch" in found.found
    assert "reboot" in found.remedy


def test_gpus_that_work_are_listed_once():
    found = gpu_finding(Nvidia("580.65.06", (13, 0), (H200, H200)), "auto")
    assert found.status == "ok"
    assert found.found == "2 × NVIDIA H200 151 GB (compute 9.0); driver 580.65.06 for CUDA up to 13.0"


def test_variables_of_a_launcher_are_shown_and_no_others():
    found = variables_finding({"SLURM_JOB_ID": "7", "RANK": "0", "AWS_SECRET_ACCESS_KEY": "hush"})
    assert (found.status, found.found) == ("ok", "RANK=0, SLURM_JOB_ID=7")
    assert variables_finding({}).status == "absent"
    assert variables_finding({"CUDA_VISIBLE_DEVICES": ""}).found == "CUDA_VISIBLE_DEVICES="
    assert "unset" in variables_finding({"TRITON_INTERPRET": "1"}).remedy
