"""Processes that sum a tensor over all of them, as the gradients of a training: NCCL on GPUs, gloo on CPUs."""

import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from typing import IO, Any

from fourcast.doctor.apart import alone, end, last_words, memory_file, result_of, show, started
from fourcast.doctor.finding import OK, BreakdownError, Finding

NAME = "exchange"
SIZES = {"cpu": 1 << 20, "cuda": 1 << 26}
"""Numbers that are summed."""
REPEATS = 5
SECONDS = 90.0
REMEDY = (
    "FOURCAST_TRACEBACK=1 NCCL_DEBUG=INFO fourcast doctor tells more; docker run --ipc=host; NCCL_SOCKET_IFNAME (gloo: "
    "GLOO_SOCKET_IFNAME) names the network where there are several; NCCL_P2P_DISABLE=1 avoids GPUs' direct way"
)


def exchange(device: str) -> dict[str, Any]:
    """Be one of these processes: backend, sum of ones, seconds of one exchange, bytes."""
    import torch
    import torch.distributed as dist

    from fourcast.distributed import process_group

    with process_group(device) as process:
        size = SIZES[process.device.type]
        total = float(process.sum(torch.ones(size, device=process.device))[-1])
        process.barrier()
        began = time.perf_counter()
        for _ in range(REPEATS):
            value = process.sum(torch.zeros(size, device=process.device))
        value.sum().item()
        seconds = (time.perf_counter() - began) / REPEATS
        return {"backend": dist.get_backend(), "total": total, "seconds": seconds, "bytes": 4 * size}


def exchange_findings(device: str, count: int) -> list[Finding]:
    """Whether ``count`` processes here sum what they have, and how fast; BreakdownError where they do not."""
    answers = _answers(device, count)
    totals = {answer["total"] for answer in answers}
    if totals != {float(count)}:
        raise BreakdownError(f"the sum of ones over {count} processes is {sorted(totals)}")
    rate = answers[0]["bytes"] / max(answer["seconds"] for answer in answers) / 1e9
    kind = "GPUs by NCCL" if device == "cuda" else "processes by gloo"
    return [Finding(NAME, OK, f"{count} {kind} sum {rate:.2g} GB/s", "", {"gb_s": round(rate, 3), "processes": count})]


def _answers(device: str, count: int) -> list[dict[str, Any]]:
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    sizes = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    with ExitStack() as stack:
        processes: list[tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]] = []
        for rank in range(count):
            out, err = (stack.enter_context(memory_file()) for _ in range(2))
            environ = alone(os.environ) | meeting | sizes | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            process = started("exchange", (device,), environ, out, err)
            stack.callback(end, process)
            processes.append((process, out, err))
        late = _await([process for process, _, _ in processes])
        for process, _, err in processes:
            end(process)
            show(err)
        if late:
            numbers = ", ".join(map(str, late))
            words = f"{count} processes did not meet and sum a tensor in {SECONDS:.0f} s; not done: {numbers}"
            raise BreakdownError(words + last_words(processes[late[0]][2]))
        # Those that were ended here come last: what they had to wait for is the fault.
        return [
            result_of(*one) for one in sorted(processes, key=lambda one: one[0].returncode in (None, -signal.SIGKILL))
        ]


def _await(processes: list[subprocess.Popen[bytes]]) -> list[int]:
    """The processes that have not ended in SECONDS; none where all have ended, or one has failed."""
    until = time.monotonic() + SECONDS
    while late := [rank for rank, process in enumerate(processes) if process.poll() is None]:
        if any(process.poll() not in (None, 0) for process in processes):
            return []
        if time.monotonic() > until:
            return late
        time.sleep(0.05)
    return []


def free_port() -> int:
    """A port of this machine that is free now."""
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return int(own.getsockname()[1])
