"""Processors, memory and shared memory, within the limits of a container or job. Reads files only; no torch."""

import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from fourcast.doctor.finding import ABSENT, OK, POOR, Finding

ROOT = Path("/")
GB = 1e9
LEAST_MEMORY = 4 * GB
LEAST_SHARED = 1 * GB
SHARED = "dev/shm"


def processor(root: Path = ROOT, affinity: int | None = None) -> Finding:
    """The processor, the cores of this machine, and how many of them this process may use."""
    here = os.cpu_count() or 1
    usable = affinity or (len(os.sched_getaffinity(0)) if sys.platform == "linux" else here)
    quota = min([usable, *cpu_quotas(root)])
    figures = {"cores": here, "usable_cores": usable, "quota_cores": quota}
    found = f"{model_name(root)}, {here} cores" + (f", {usable} of them ours" if usable < here else "")
    if quota < usable and "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, int(quota))
        remedy = f"export OMP_NUM_THREADS={threads}, or {usable} threads wait for each other"
        return Finding("processor", POOR, f"{found}, time of {quota:g}", remedy, figures)
    return Finding("processor", OK, found, "", figures)


def model_name(root: Path = ROOT) -> str:
    """What Linux calls the processor; of some it tells only the family."""
    path = root / "proc/cpuinfo"
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def cpu_quotas(root: Path = ROOT) -> Iterator[float]:
    """How many cores' time each control group above this process may take, in versions 2 and 1."""
    for text in in_groups(root, "", "cpu.max"):
        quota, period = text.split()
        if quota != "max":
            yield int(quota) / int(period)
    periods = in_groups(root, "cpu", "cpu.cfs_period_us")
    for text, period in zip(in_groups(root, "cpu", "cpu.cfs_quota_us"), periods, strict=False):
        if int(text) > 0:
            yield int(text) / int(period)


def in_groups(root: Path, controller: str, name: str) -> Iterator[str]:
    """What the files ``name`` say, from the control group of this process up to that of the container or machine."""
    path = root / "proc/self/cgroup"
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    own = next((row[2] for row in rows if controller in row[1].split(",")), "/")
    top = root / "sys/fs/cgroup" / controller
    for group in (Path(own), *Path(own).parents):
        file = top / str(group).lstrip("/") / name
        if file.exists():
            yield file.read_text().strip()


def memory(root: Path = ROOT) -> Finding:
    """The machine's memory, what of it is free, and the limit of the container or job."""
    path = root / "proc/meminfo"
    if not path.exists():
        return Finding("memory", ABSENT, "not known: this system has no /proc/meminfo")
    lines = path.read_text().splitlines()
    known = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if ":" in line}
    total, free = known["MemTotal"], known["MemAvailable"]
    texts = [*in_groups(root, "", "memory.max"), *in_groups(root, "memory", "memory.limit_in_bytes")]
    limit = min([float(total), *(float(text) for text in texts if text != "max")])
    figures = {"total_gb": round(total / GB, 3), "free_gb": round(free / GB, 3), "limit_gb": round(limit / GB, 3)}
    found = f"{total / GB:.0f} GB, {free / GB:.0f} GB free"
    if limit < total:
        found += f"; a limit of {limit / GB:.3g} GB for this container or job"
    if min(free, limit) >= LEAST_MEMORY:
        return Finding("memory", OK, found, "", figures)
    remedy = "ask for more (srun --mem=32G, docker run --memory=32g), or train small: fourcast plan says what it takes"
    return Finding("memory", POOR, found, remedy, figures)


def shared_memory(
    folder: Path = ROOT / SHARED, statistics: Callable[[Path], os.statvfs_result] = os.statvfs
) -> Finding:
    """/dev/shm, through which NCCL and the worker processes of a loader hand on what they have."""
    remedy = (
        "docker run --ipc=host or --shm-size=8g; Kubernetes: an emptyDir with medium: Memory at /dev/shm; outside of "
        "containers remove what dead jobs left there, or as root mount -o remount,size=8g /dev/shm"
    )
    if not folder.is_dir():
        return Finding("shared memory", ABSENT, f"no {folder}", remedy)
    seen = statistics(folder)
    size, free = seen.f_frsize * seen.f_blocks, seen.f_frsize * seen.f_bavail
    figures = {"size_gb": round(size / GB, 3), "free_gb": round(free / GB, 3)}
    found = f"{size / GB:.3g} GB in {folder}, {free / GB:.3g} GB free"
    if free >= LEAST_SHARED:
        return Finding("shared memory", OK, found, "", figures)
    found += ": too little for NCCL and for data.loader=processes"
    return Finding("shared memory", POOR, found, remedy, figures)
