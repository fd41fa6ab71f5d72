"""What there is to train with: memory, and how fast matrices are multiplied."""

import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from fourcast.distributed import choose_device
from fourcast.train.precision import AUTOCAST, set_matmul_precision

CALIBRATION_SECONDS = 0.2
SIDE = {"cpu": 1024, "cuda": 8192}
"""Of the matrices that are multiplied: large enough to keep the device busy."""
STATUS = Path("/proc/self/statm")
PEAK = Path("/proc/self/status")
MEMORY = Path("/proc/meminfo")
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Of the container or job, in versions 2 and 1 of Linux's control groups."""


@dataclass(frozen=True)
class Machine:
    """What each of ``processes`` that train together has.

    capacity: bytes of memory of its device. resident: what the interpreter and its libraries hold of the host's memory
    before anything is trained. speed: operations a second in products of matrices, None where it cannot be known here.
    """

    on_gpu: bool
    processes: int
    capacity: float
    resident: int
    speed: float | None


def this_machine(device: str, precision: str, processes: int, memory_gb: float | None) -> Machine:
    """The machine this runs on, or, with ``memory_gb`` for every process, another one with such a ``device``.

    On CPUs all processes are taken to share the memory of this machine. InputError for a device that is not here,
    unless its memory is given.
    """
    if memory_gb is not None and device == "cuda" and not torch.cuda.is_available():
        return Machine(True, processes, memory_gb * 1e9, resident_bytes(), None)
    own = choose_device(device, 0)
    free = free_bytes(own) / (1 if own.type == "cuda" else processes)
    capacity = free if memory_gb is None else memory_gb * 1e9
    speed = matmul_speed(own, precision)
    return Machine(own.type == "cuda", processes, capacity, resident_bytes(), speed)


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


@torch.no_grad()
def matmul_speed(device: torch.device, precision: str) -> float:
    """Operations a second of products of square matrices on ``device`` in the type that ``precision`` computes in."""
    before = torch.get_float32_matmul_precision()
    set_matmul_precision(precision)
    try:
        side = SIDE[device.type]
        matrix = torch.zeros(side, side, device=device, dtype=AUTOCAST.get(precision, torch.float32))
        _multiply(matrix, 1)
        begin, done = time.perf_counter(), 0
        while time.perf_counter() - begin < CALIBRATION_SECONDS:
            _multiply(matrix, 4)
            done += 4
        return 2 * side**3 * done / (time.perf_counter() - begin)
    finally:
        set_matmul_precision("tf32" if before == "high" else "fp32")
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)  # the matrices are no part of what a training holds


def _multiply(matrix: torch.Tensor, times: int) -> None:
    for _ in range(times):
        matrix @ matrix
    if matrix.is_cuda:
        torch.cuda.synchronize(matrix.device)
