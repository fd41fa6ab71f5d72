"""Batches read ahead of the training that consumes them, by threads or by processes of their own.

Threads read straight into the batch (into pinned memory where there is a GPU); decoding holds no lock of Python's.
Processes fill buffers in shared memory, from which a batch is copied: for sources that hold the lock while they read.
"""

import itertools
import math
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourcast.errors import InputError

Float32 = NDArray[np.float32]
SHARED_MEMORY = Path("/dev/shm")
STOPS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""What schedulers send to every process of a job; the training alone acts on it: it saves, and ends its workers."""


class Samples(Protocol):
    """What is loaded: samples of one shape, which can be read by many threads, and by processes that unpickle it."""

    shape: tuple[int, ...]

    def fill(self, index: int, out: Float32, threads: int | None = None) -> None:
        """Read sample ``index`` into ``out``."""


@dataclass(frozen=True)
class Loading:
    """Who reads, and how far ahead.

    workers: threads or processes; 0 reads a batch when it is asked for. prefetch: batches being read or waiting; two
    more may be in memory, the one that is consumed and the one that comes next.
    """

    loader: str = "threads"
    workers: int = 0
    prefetch: int = 2
    start_method: str = "forkserver"


def load(samples: Samples, batches: Iterable[list[int]], loading: Loading) -> Iterator[Tensor]:
    """Batches [B, *samples.shape] float32 in the order given; pinned where there is a GPU.

    No batch may be larger than the first. What goes wrong in a worker is raised here as it was there.
    """
    if loading.workers == 0:
        return _load_now(samples, batches)
    if loading.loader == "threads":
        return _load_in_threads(samples, batches, loading)
    return _load_in_processes(samples, batches, loading)


def empty_batch(shape: tuple[int, ...]) -> Tensor:
    """Memory for a batch: pinned where there is a GPU, which copies from it by itself, else of NumPy's large pages."""
    if torch.cuda.is_available():
        return torch.empty(shape, dtype=torch.float32, pin_memory=True)
    return torch.from_numpy(np.empty(shape, np.float32))


def _load_now(samples: Samples, batches: Iterable[list[int]]) -> Iterator[Tensor]:
    for indices in batches:
        batch = empty_batch((len(indices), *samples.shape))
        for index, out in zip(indices, batch.numpy(), strict=True):
            samples.fill(index, out)
        yield batch


def _load_in_threads(samples: Samples, batches: Iterable[list[int]], loading: Loading) -> Iterator[Tensor]:
    pool = ThreadPoolExecutor(loading.workers, thread_name_prefix="loader")

    def begin(indices: list[int]) -> Callable[[], Tensor]:
        batch = empty_batch((len(indices), *samples.shape))
        parts = [pool.submit(samples.fill, i, out, 1) for i, out in zip(indices, batch.numpy(), strict=True)]

        def finish() -> Tensor:
            for part in parts:
                part.result()
            return batch

        return finish

    try:
        yield from _ahead(begin, batches, loading.prefetch)
    finally:
        pool.shutdown(cancel_futures=True)


def _ahead(
    begin: Callable[[list[int]], Callable[[], Tensor]], batches: Iterable[list[int]], depth: int
) -> Iterator[Tensor]:
    """Every batch, ``depth`` more of them begun before it is waited for."""
    begun: deque[Callable[[], Tensor]] = deque()
    for indices in batches:
        begun.append(begin(indices))
        if len(begun) > depth:
            yield begun.popleft()()
    while begun:
        yield begun.popleft()()


def _load_in_processes(samples: Samples, batches: Iterable[list[int]], loading: Loading) -> Iterator[Tensor]:
    first = list(itertools.islice(batches := iter(batches), 1))
    if not first:
        return
    shape = (len(first[0]), *samples.shape)
    _start_helpers(loading.start_method)
    with ExitStack() as stack:
        slots = [stack.enter_context(_shared(4 * math.prod(shape))) for _ in range(loading.prefetch + 1)]
        pool = ProcessPoolExecutor(
            loading.workers,
            multiprocessing.get_context(loading.start_method),
            initializer=_start_worker,
            initargs=(samples, [slot.name for slot in slots], shape),
        )
        stack.callback(pool.shutdown, cancel_futures=True)
        free = deque(range(len(slots)))

        def begin(indices: list[int]) -> Callable[[], Tensor]:
            assert len(indices) <= shape[0], "no batch may be larger than the first"
            slot = free.popleft()
            parts = [pool.submit(_fill, index, slot, place) for place, index in enumerate(indices)]

            def finish() -> Tensor:
                for part in parts:
                    part.result()
                batch = empty_batch((len(indices), *samples.shape))
                batch.copy_(torch.from_numpy(_view(slots[slot], batch.shape)))
                free.append(slot)
                return batch

            return finish

        try:
            yield from _ahead(begin, itertools.chain(first, batches), loading.prefetch)
        except BrokenProcessPool as error:
            raise InputError(
                "a process that loads data died, most often for want of memory: lower data.workers or data.prefetch, "
                "or use data.loader=threads"
            ) from error


def _start_helpers(start_method: str) -> None:
    """Start what Python needs beside the workers, deaf to ``STOPS``; workers of a fork server are so from the start."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # the line above lets SIGTERM through again
        if start_method == "forkserver":
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _shared(size: int) -> Iterator[SharedMemory]:
    """A block of shared memory for as long as it is needed; InputError where there is no room for it."""
    block = SharedMemory(create=True, size=size)
    try:
        if (file := SHARED_MEMORY / block.name).exists():
            _occupy(file, size)
        yield block
    finally:
        block.close()
        block.unlink()


def _occupy(file: Path, size: int) -> None:
    """Take the memory now: a process that wrote where there is none would be killed."""
    try:
        with file.open("r+b") as handle:
            os.posix_fallocate(handle.fileno(), 0, size)
    except OSError as error:
        raise InputError(
            f"loading by processes needs {size / 1e6:.0f} MB more in {SHARED_MEMORY} ({error.strerror}): give the "
            "container more (docker run --shm-size), or use data.loader=threads"
        ) from error


def _view(block: SharedMemory, shape: tuple[int, ...]) -> Float32:
    return np.ndarray(shape, np.float32, block.buf)


@dataclass(frozen=True)
class Worker:
    """What a loading process holds."""

    samples: Samples
    slots: list[SharedMemory]
    shape: tuple[int, ...]


worker: Worker | None = None
"""Set in a loading process when it starts: executors give their processes no other place."""


def _start_worker(samples: Samples, names: list[str], shape: tuple[int, ...]) -> None:
    global worker
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":  # elsewhere nobody says who sent a signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_leave_when_told, daemon=True).start()
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    worker = Worker(samples, [SharedMemory(name) for name in names], shape)


def _leave_with_parent() -> None:
    """End this process when the training is killed, which could not tell it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _leave_when_told() -> None:
    """End this process at the SIGTERM of the training, and not at one that a scheduler sends to all."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent.pid:
        pass
    os._exit(1)


def _fill(index: int, slot: int, place: int) -> None:
    assert worker is not None
    worker.samples.fill(index, _view(worker.slots[slot], worker.shape)[place], 1)
