"""The NVIDIA driver and its GPUs, as the system tells of them without torch."""

import ctypes
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fourcast.doctor.apart import end, ended, memory_file, said
from fourcast.doctor.finding import ABSENT, FAILED, OK, POOR, Finding

PROC = Path("/proc/driver/nvidia")
QUERY = ("nvidia-smi", "--query-gpu=driver_version,memory.total,compute_cap,name", "--format=csv,noheader,nounits")
PATIENCE = 30.0
"""Seconds for nvidia-smi, which wakes a driver that sleeps."""
HIDING = ("", "-1", "NoDevFiles")
"""Values of CUDA_VISIBLE_DEVICES by which schedulers and people give a process no GPU."""


@dataclass(frozen=True)
class Gpu:
    """A GPU; memory in bytes and compute capability where they are known."""

    name: str
    memory: int | None = None
    capability: tuple[int, int] | None = None


@dataclass(frozen=True)
class Nvidia:
    """driver: its version, "" for none. cuda: the newest CUDA it runs, None without its library. complaint: its own.

    told: false where its library is here and nothing that tells of GPUs.
    """

    driver: str = ""
    cuda: tuple[int, int] | None = None
    gpus: tuple[Gpu, ...] = ()
    complaint: str = ""
    told: bool = True


def nvidia(ask: bool, proc: Path = PROC) -> Nvidia:
    """What this process may use; nvidia-smi, which may take seconds, is run only where ``ask`` says so.

    It is also run where a driver has its library here and nothing in ``proc``, as in Windows' Linux.
    """
    version = proc / "version"
    driver = driver_version(version.read_text()) if version.exists() else ""
    models = sorted(proc.glob("gpus/*/information"))
    gpus = tuple(Gpu(model_of(path.read_text())) for path in models)
    cuda = newest_cuda()
    if os.environ.get("CUDA_VISIBLE_DEVICES") in HIDING:
        return Nvidia(driver, cuda)
    silent = cuda is not None and not version.exists()
    if shutil.which(QUERY[0]) is None:
        return Nvidia(driver, cuda, gpus, told=not silent)
    if not (ask or silent):
        return Nvidia(driver, cuda, gpus)
    status, out, err = answer()
    if status == 0:
        version_told, gpus = table(out)
        return Nvidia(version_told or driver, cuda, gpus)
    words = " ".join((out + err).split())
    if status is None:
        words = f"nothing within {PATIENCE:.0f} s: a GPU is stuck (dmesg | grep -i xid)"
    elif "no devices were found" in words.lower():
        return Nvidia(driver, cuda)
    return Nvidia(driver, cuda, gpus, words or f"status {status}, and no word")


def answer() -> tuple[int | None, str, str]:
    """Status, output and errors of QUERY; the status is None where it does not end, killed or not."""
    with memory_file() as out, memory_file() as err:
        process = subprocess.Popen(QUERY, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
        try:
            status = process.returncode if ended(process, PATIENCE) else None
        finally:
            end(process)
        return status, said(out), said(err)


def driver_version(text: str) -> str:
    """The version in /proc/driver/nvidia/version."""
    found = re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", text)
    return found[0] if found else ""


def model_of(text: str) -> str:
    """The name of a GPU in /proc/driver/nvidia/gpus/…/information."""
    found = re.search(r"^Model:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else "a GPU"


def table(text: str) -> tuple[str, tuple[Gpu, ...]]:
    """Driver and GPUs in the answer to QUERY; memory is in MiB, "[N/A]" where there is none of its own."""
    rows = [[cell.strip() for cell in line.split(",", 3)] for line in text.splitlines() if line.count(",") >= 3]
    return (rows[0][0] if rows else ""), tuple(_gpu(*row[1:]) for row in rows)


def _gpu(memory: str, capability: str, name: str) -> Gpu:
    major, _, minor = capability.partition(".")
    known = (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None
    return Gpu(name, int(memory) * 2**20 if memory.isdigit() else None, known)


def newest_cuda() -> tuple[int, int] | None:
    """The newest CUDA that the driver's library can run; None where the library is not here."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    version = ctypes.c_int(0)
    if library.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return None
    return version.value // 1000, version.value % 1000 // 10


def gpu_finding(here: Nvidia, device: str) -> Finding:
    """Whether this machine's GPUs can be reached, from ``device`` as it was asked for."""
    demanded = device.startswith("cuda")
    if here.complaint and device != "cpu":
        remedy = "after an update of the driver reboot, or reload its modules; in a container restart it"
        status = FAILED if demanded or here.driver or here.gpus else POOR
        return Finding("gpu", status, f"nvidia-smi says: {here.complaint}", remedy)
    if here.gpus and here.cuda:
        return Finding("gpu", OK, f"{listed(here.gpus)}; {driver_words(here)}", "", {"gpus": len(here.gpus)})
    if not here.told and device != "cpu":
        found = "libcuda.so.1 is here, but neither nvidia-smi nor /proc/driver/nvidia, which tell of GPUs"
        remedy = "put nvidia-smi on the PATH; docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility"
        return Finding("gpu", FAILED if demanded else POOR, found, remedy)
    if here.driver or here.gpus or (demanded and here.cuda):
        return _unreached(here, device)
    if demanded:
        remedy = "run on a GPU node (srun --gres=gpu:1, docker run --gpus all), or pass device=cpu"
        return Finding("gpu", FAILED, "device=cuda asked for, and there is no NVIDIA driver here", remedy)
    return Finding("gpu", ABSENT, "no NVIDIA GPU: everything runs on the CPU")


def _unreached(here: Nvidia, device: str) -> Finding:
    what = "no library libcuda.so.1" if here.cuda is None else "no GPU that this process may use"
    status = {"cpu": OK, "auto": POOR}.get(device, FAILED)
    remedy = "docker run --gpus all; apptainer run --nv; Slurm: --gres=gpu:1; "
    if here.cuda is None:
        remedy += "outside of containers reinstall the driver"
    else:
        remedy += "unset CUDA_VISIBLE_DEVICES where it names none; a GPU that fell out: dmesg | grep -i xid"
    found = f"driver {here.driver or 'of an unknown version'} is loaded, but {what} is here"
    return Finding("gpu", status, found, "" if status == OK else remedy)


def listed(gpus: tuple[Gpu, ...]) -> str:
    """The GPUs in words, equal ones together."""
    words = [_words(gpu) for gpu in gpus]
    return ", ".join(f"{words.count(word)} × {word}" for word in dict.fromkeys(words))


def _words(gpu: Gpu) -> str:
    memory = "" if gpu.memory is None else f" {gpu.memory / 1e9:.0f} GB"
    return gpu.name + memory + ("" if gpu.capability is None else " (compute {}.{})".format(*gpu.capability))


def driver_words(here: Nvidia) -> str:
    """The driver in words."""
    cuda = "" if here.cuda is None else " for CUDA up to {}.{}".format(*here.cuda)
    return f"driver {here.driver or 'of an unknown version'}{cuda}"
