"""Being asked to stop: a scheduler's signal is noted, and the loop acts on it between two steps."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 75
"""Exit status of a training that a signal stopped after saving: run the same command again (sysexits' EX_TEMPFAIL)."""
HEEDED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""What schedulers send before they end a job: Slurm when it preempts, our batch scripts, submitit."""


class StopRequest:
    """Which signal asked this process to stop, if any."""

    def __init__(self) -> None:
        self.name: str | None = None

    def note(self, number: int, frame: FrameType | None) -> None:
        """Remember a signal; this is the handler."""
        self.name = signal.Signals(number).name


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Note the signals HEEDED instead of dying of them; outside, they do what they did before."""
    request = StopRequest()
    before = {number: signal.signal(number, request.note) for number in HEEDED}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
