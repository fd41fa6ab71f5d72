"""The same work in several processes of this machine, which share it out among themselves through files (see tasks)."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVarTuple

from fourcast.data.tasks import Outcome

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
Given = TypeVarTuple("Given")


def in_processes(count: int, work: Callable[[*Given], Iterator[Outcome]], *given: *Given) -> Iterator[Outcome]:
    """Let ``count`` processes call ``work(*given)``, and yield the outcome of each task once, when it is known.

    work: a function of a module, which attends to the same tasks in every process; what is given must pickle. Of a
    process that dies nothing more is heard: who counts the outcomes sees what is missing.
    """
    # The server imports everything once, has no threads, and forks the workers.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([work.__module__])
    told: set[str] = set()
    with ExitStack() as resources:
        resources.enter_context(_one_thread_each())
        open_ends: list[Connection] = []
        for _ in range(count):
            receive, send = context.Pipe(duplex=False)
            process = context.Process(target=_serve, args=(send, work, given))
            process.start()
            resources.callback(process.join)
            resources.callback(process.terminate)
            send.close()
            open_ends.append(receive)
        while open_ends:
            for end in wait(open_ends):
                assert isinstance(end, Connection)
                try:
                    outcome = end.recv()
                except EOFError:
                    open_ends.remove(end)
                    continue
                if outcome.task not in told:
                    told.add(outcome.task)
                    yield outcome


def _serve(send: Connection, work: Callable[..., Iterator[Outcome]], given: tuple[Any, ...]) -> None:
    """The life of a worker process, which ends with its parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for outcome in work(*given):
        send.send(outcome)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that start meanwhile do linear algebra on one thread, unless the environment says otherwise."""
    added = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
