"""What memory this process holds, has held and may hold, as the system says it."""

import resource
import sys
from pathlib import Path

import torch

STATUS = Path("/proc/self/statm")
PEAK = Path("/proc/self/status")
MEMORY = Path("/proc/meminfo")
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Of the container or job, in versions 2 and 1 of Linux's control groups."""


def resident_bytes() -> int:
    """What this process holds of the host's memory now; where the system does not say, the most that it ever held."""
    if not STATUS.exists():
        return peak_memory(torch.device("cpu"))
    return int(STATUS.read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def free_bytes(device: torch.device) -> float:
    """What a process may hold: a GPU's free memory, or the host's with what this process holds, within its limits.

    Infinite where the system does not say.
    """
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return min(_available(MEMORY) + resident_bytes(), *(_limit(path) for path in LIMITS))


def _available(path: Path) -> float:
    """Linux's estimate of what new programs may take without swapping."""
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return float(found[0]) if found else float("inf")


def _limit(path: Path) -> float:
    text = path.read_text(encoding="ascii").strip() if path.exists() else "max"
    return float("inf") if text == "max" else float(text)


def peak_memory(device: torch.device) -> int:
    """The most that this process has held of ``device``: on a GPU tensors alone, on a CPU everything.

    Linux keeps the peak by name; elsewhere getrusage says it, which counts what started this process, too.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if PEAK.exists():
        lines = dict(line.split(":", 1) for line in PEAK.read_text(encoding="ascii").splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
