"""Being asked to stop is noted, and only while a training listens."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiny

from fourcast.distributed import Process, process_group
from fourcast.train import loop
from fourcast.train.signals import HEEDED, stop_requests


@pytest.mark.parametrize("number", HEEDED)
def test_a_signal_is_noted_and_ends_nothing(number: signal.Signals) -> None:
    with stop_requests() as request:
        assert request.name is None
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # schedulers may ask again
        assert request.name == number.name


def test_signals_do_afterwards_what_they_did_before() -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: received.append(number))
    try:
        with pytest.raises(ZeroDivisionError), stop_requests() as request:
            raise ZeroDivisionError
        os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert received == [signal.SIGUSR1]
    assert request.name is None
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_signals_are_heeded_until_the_processes_have_parted(
    monkeypatch: pytest.MonkeyPatch, tiny_store: Path, tmp_path: Path
) -> None:
    @contextmanager
    def slow_to_part(device: str) -> Iterator[Process]:
        with process_group(device) as process:
            yield process
        os.kill(os.getpid(), signal.SIGTERM)

    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    monkeypatch.setattr(loop, "process_group", slow_to_part)
    try:
        loop.train(tiny.train_config(tiny_store, tmp_path / "run", steps=1))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == []
