"""What there is to train with: memory, and how fast matrices are multiplied."""

import time
from dataclasses import dataclass

import torch

from fourcast.distributed import choose_device
from fourcast.memory import free_bytes, resident_bytes
from fourcast.train.precision import AUTOCAST, set_matmul_precision

CALIBRATION_SECONDS = 0.2
SIDE = {"cpu": 1024, "cuda": 8192}
"""Of the matrices that are multiplied: large enough to keep the device busy."""


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
