"""Batches read ahead: the same whoever reads them, bounded, and loud about what goes wrong."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import CHANNELS

from fourcast.data import loader
from fourcast.data.dataset import Span, Windows
from fourcast.data.loader import Loading, load
from fourcast.data.series import open_series
from fourcast.errors import InputError

BATCHES = [[3, 1, 2], [0, 0, 5], [7], [4, 6, 30], [1, 2]]
WAYS = [
    Loading(),
    Loading("threads", 1, 1),
    Loading("threads", 3, 4),
    pytest.param(Loading("processes", 2, 2), marks=pytest.mark.slow),
    pytest.param(Loading("processes", 2, 1, "spawn"), marks=pytest.mark.slow),
    Loading("processes", 2, 3, "fork"),
]
PROCESSES = Loading("processes", 2, 1, "fork")


@pytest.fixture
def windows(tiny_store: Path) -> Windows:
    return Windows(open_series([str(tiny_store)]), CHANNELS, [(None, None)], Span(1, 2), in_memory=False)


@pytest.mark.parametrize("loading", WAYS, ids=str)
def test_batches_come_in_order_and_whole(windows: Windows, loading: Loading) -> None:
    found = list(load(windows, iter(BATCHES), loading))
    assert [len(batch) for batch in found] == [3, 3, 1, 3, 2]
    for batch, indices in zip(found, BATCHES, strict=True):
        expected = np.stack([windows[i] for i in indices])
        np.testing.assert_array_equal(batch.numpy(), expected)


@pytest.mark.parametrize("loading", [Loading(), Loading("threads", 2), PROCESSES], ids=str)
def test_nothing_to_load_is_no_batch(windows: Windows, loading: Loading) -> None:
    assert list(load(windows, [], loading)) == []


class Numbers:
    """Samples that hold their index; which threads read them, and how many batches were begun, is remembered."""

    shape = (2, 3)

    def __init__(self, fault: int = -1) -> None:
        self.fault = fault
        self.threads: set[int] = set()
        self.read: list[int] = []

    def fill(self, index: int, out: np.ndarray, threads: int | None = None) -> None:
        if index == self.fault:
            raise InputError(f"shard {index} is damaged")
        time.sleep(0.01)
        self.threads.add(threading.get_ident())
        self.read.append(index)
        out[:] = index


@pytest.mark.parametrize("loading", [Loading(), Loading("threads", 2), PROCESSES], ids=str)
def test_what_goes_wrong_in_a_worker_is_raised_by_name(loading: Loading) -> None:
    batches = load(Numbers(fault=5), ([i, i] for i in range(100)), loading)
    found = [int(next(batches)[0, 0, 0]) for _ in range(5)]
    assert found == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match=r"^shard 5 is damaged$"):
        next(batches)


def test_threads_read_a_bounded_number_of_batches_ahead() -> None:
    numbers = Numbers()
    batches = load(numbers, ([i, i] for i in range(1000)), Loading("threads", 4, prefetch=3))
    next(batches)
    time.sleep(0.2)
    # Batch 0 was handed out, 1 to 3 are ahead.
    assert sorted(set(numbers.read)) == [0, 1, 2, 3]
    assert len(numbers.threads) > 1
    assert threading.get_ident() not in numbers.threads


def test_a_loader_that_is_left_ends_its_threads() -> None:
    batches = load(Numbers(), ([i] for i in range(1000)), Loading("threads", 3))
    next(batches)
    assert any(thread.name.startswith("loader") for thread in threading.enumerate())
    batches.close()  # type: ignore[attr-defined]
    assert not any(thread.name.startswith("loader") for thread in threading.enumerate())


class Fatal(Numbers):
    """Its process is killed at the fourth sample, as the kernel does when memory runs out."""

    def fill(self, index: int, out: np.ndarray, threads: int | None = None) -> None:
        if index == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        super().fill(index, out, threads)


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[SharedMemory]:
    """Every block of shared memory that a loader makes."""
    made: list[SharedMemory] = []

    def remembered(name: str | None = None, create: bool = False, size: int = 0) -> SharedMemory:
        made.append(SharedMemory(name, create, size))
        return made[-1]

    monkeypatch.setattr(loader, "SharedMemory", remembered)
    return made


def are_gone(blocks: list[SharedMemory]) -> bool:
    return len(blocks) > 0 and not any((loader.SHARED_MEMORY / block.name).exists() for block in blocks)


def test_a_process_that_dies_is_named_and_leaves_no_memory_behind(blocks: list[SharedMemory]) -> None:
    batches = load(Fatal(), ([i] for i in range(10)), PROCESSES)
    with pytest.raises(InputError, match=r"a process that loads data died, most often for want of memory: lower"):
        list(batches)
    assert are_gone(blocks)


def test_want_of_shared_memory_is_named(monkeypatch: pytest.MonkeyPatch, blocks: list[SharedMemory]) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"needs 0 MB more in /dev/shm \(No space left on device\): give the"):
        list(load(Numbers(), [[1]], PROCESSES))
    assert are_gone(blocks)


@pytest.mark.gpu
def test_batches_are_pinned_where_there_is_a_gpu(windows: Windows) -> None:
    for loading in (Loading(), Loading("threads", 2), Loading("processes", 2)):
        batch = next(load(windows, [[0, 1]], loading))
        assert batch.is_pinned()
        assert torch.equal(batch.to("cuda", non_blocking=True).cpu(), batch)


ENDLESS = """
import sys
sys.path.insert(0, sys.argv[1])
from test_loader import Numbers
from fourcast.data.loader import Loading, load
from multiprocessing import active_children

if __name__ == "__main__":
    for batch in load(Numbers(), ([i] for i in range(10**9)), Loading("processes", 2, 1, sys.argv[2])):
        print(*(child.pid for child in active_children()), flush=True)
"""


def is_running(process: int) -> bool:
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_processes_end_with_a_training_that_is_killed(tmp_path: Path, method: str) -> None:
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    paths = os.pathsep.join(str(path) for path in (Path(__file__).parent, Path(__file__).parent.parent))
    training = subprocess.Popen(
        [sys.executable, script, Path(__file__).parent, method], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert training.stdout is not None
    workers = [int(word) for word in training.stdout.readline().split()]
    assert len(workers) == 2
    maps = "".join(Path(f"/proc/{worker}/maps").read_text() for worker in workers)
    blocks = set(re.findall(r"/dev/shm/psm_\w+", maps))
    assert len(blocks) == 2
    training.kill()
    training.wait()
    deadline = time.monotonic() + 20
    while any(is_running(worker) for worker in workers) or any(Path(block).exists() for block in blocks):
        assert time.monotonic() < deadline, "workers or their memory outlive the training"
        time.sleep(0.1)


DEAF = """
import signal, sys, time
sys.path.insert(0, sys.argv[1])
from test_loader import Numbers
from fourcast.data.loader import Loading, load

if __name__ == "__main__":
    heard = []
    signal.signal(int(sys.argv[2]), lambda number, frame: heard.append(number))
    for step, batch in enumerate(load(Numbers(), ([i] for i in range(60)), Loading("processes", 2, 1))):
        assert batch.flatten()[0] == step
        if step == 20:
            print("reading", flush=True)
            while not heard:
                time.sleep(0.01)
            time.sleep(0.5)
    print(step)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="nobody says who sent a signal")
@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_what_a_scheduler_sends_to_all_ends_no_reading(tmp_path: Path, asked: signal.Signals) -> None:
    """The training, which heeds it, gets the batches that it still asks for."""
    script = tmp_path / "deaf.py"
    script.write_text(DEAF)
    paths = os.pathsep.join(str(path) for path in (Path(__file__).parent, Path(__file__).parent.parent))
    training = subprocess.Popen(
        [sys.executable, script, Path(__file__).parent, str(int(asked))],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": paths}, start_new_session=True,
    )  # fmt: skip
    assert training.stdout is not None
    assert training.stdout.readline() == "reading\n"
    os.killpg(training.pid, asked)
    said = training.communicate(timeout=60)
    assert (training.returncode, *said) == (0, "59\n", "")
