"""Files written in the background: nothing lost, nothing half-done, errors told, memory bounded."""

import os
import resource
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest

from fourcast.errors import InputError
from fourcast.forecast import netcdf, writer
from fourcast.forecast.netcdf import FileWriter, Header, columns_of
from fourcast.forecast.writer import BackgroundWriter, FileHandle

CHANNELS = ("t2m", "z500", "t850")
COLUMNS = columns_of(CHANNELS)
LEADS = tuple(range(0, 42, 6))
HEADER = Header(
    CHANNELS, np.array([10.0, 0.0, -5.0]), np.arange(5) * 72.0, np.datetime64("2026-08-10T00", "h"), LEADS, {"seed": 1},
    number=0,
)  # fmt: skip
LEAD_BYTES = 4 * 3 * 3 * 5


def states(number: int = 0) -> np.ndarray:
    """[lead, C, H, W]"""
    shape = (len(LEADS), len(CHANNELS), 3, 5)
    return np.random.default_rng(number).normal(280, 10, shape).astype(np.float32)


def begin(background: BackgroundWriter, folder: Path, number: int) -> FileHandle:
    return background.open(folder / f"{number}.nc", replace(HEADER, number=number), COLUMNS)


def held(path: Path) -> np.ndarray:
    with netCDF4.Dataset(path) as dataset:
        return np.stack([dataset["t2m"][:], dataset["z"][:, 0], dataset["t"][:, 1]], axis=1)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("leads_per_block", [0, 1, 3, 100])
def test_files_side_by_side_hold_what_was_handed_over(tmp_path: Path, leads_per_block: int) -> None:
    """Seven lead times in blocks of one, of three with one left over, and in one block."""
    buffer = np.empty(states()[0].shape, dtype=np.float32)
    with BackgroundWriter(block_bytes=leads_per_block * LEAD_BYTES) as background:
        handles = [begin(background, tmp_path / "run" / "a", number) for number in range(3)]
        for i_lead in range(len(LEADS)):
            for number, handle in enumerate(handles):
                buffer[:] = states(number)[i_lead]
                handle.write(i_lead, buffer)
                buffer[:] = -1  # the caller's array is its own again at once
        for handle in reversed(handles):
            handle.finish()
    assert names(tmp_path) == ["0.nc", "1.nc", "2.nc"]
    for number in range(3):
        path = tmp_path / "run" / "a" / f"{number}.nc"
        np.testing.assert_array_equal(held(path), states(number))
        assert netcdf.is_finished(path, replace(HEADER, number=number))
    assert background.bytes_written == sum(path.stat().st_size for path in tmp_path.rglob("*.nc"))


def test_files_are_the_same_as_written_in_the_foreground(tmp_path: Path) -> None:
    with BackgroundWriter() as background:
        handle = begin(background, tmp_path, 0)
        for i_lead, fields in enumerate(states()):
            handle.write(i_lead, fields)
        handle.finish()
    with FileWriter(tmp_path / "foreground.nc", HEADER, COLUMNS) as file:
        for i_lead, fields in enumerate(states()):
            file.write(i_lead, fields)
    np.testing.assert_array_equal(held(tmp_path / "0.nc"), held(tmp_path / "foreground.nc"))


def test_a_file_appears_when_it_is_finished_not_before(tmp_path: Path) -> None:
    with BackgroundWriter(block_bytes=0) as background:
        first, second = begin(background, tmp_path, 0), begin(background, tmp_path, 1)
        for i_lead, fields in enumerate(states()):
            first.write(i_lead, fields)
            second.write(i_lead, fields)
        background.flush()
        assert all(name.endswith(".partial") for name in names(tmp_path))
        under_way = background.bytes_written
        assert under_way > 0
        first.finish()
        background.flush()
        assert (tmp_path / "0.nc").exists()
        assert not (tmp_path / "1.nc").exists()
        assert background.bytes_written >= under_way
        second.finish()
    assert names(tmp_path) == ["0.nc", "1.nc"]


def test_everything_is_written_in_one_thread_that_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads, write_leads = set(), FileWriter.write_leads

    def noted(self: FileWriter, *arguments: Any) -> None:
        threads.add(threading.current_thread())
        write_leads(self, *arguments)

    monkeypatch.setattr(FileWriter, "write_leads", noted)
    with BackgroundWriter(block_bytes=0) as background:
        write_all(background, tmp_path, 2)
    assert len(threads) == 1
    assert threads != {threading.current_thread()}
    assert not threads.pop().is_alive()


def write_all(background: BackgroundWriter, folder: Path, members: int) -> None:
    handles = [begin(background, folder, number) for number in range(members)]
    for i_lead, fields in enumerate(states()):
        for handle in handles:
            handle.write(i_lead, fields)
    for handle in handles:
        handle.finish()


@pytest.mark.parametrize("what", [KeyboardInterrupt, ValueError], ids=lambda kind: kind.__name__)
def test_an_exception_of_the_caller_leaves_finished_files_alone(tmp_path: Path, what: type[BaseException]) -> None:
    def interrupted() -> None:
        with BackgroundWriter(block_bytes=0) as background:
            write_all(background, tmp_path, 1)
            background.flush()
            handles = [begin(background, tmp_path, number) for number in (1, 2)]
            handles[0].write(0, states()[0])
            raise what("mine")

    with pytest.raises(what, match="mine"):
        interrupted()
    assert names(tmp_path) == ["0.nc"]


def test_a_file_never_finished_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"never finished.*0\.nc"), BackgroundWriter() as background:
        begin(background, tmp_path, 0).write(0, states()[0])
    assert names(tmp_path) == []


def test_lead_times_come_in_order_and_all_of_them(tmp_path: Path) -> None:
    with pytest.raises(AssertionError), BackgroundWriter() as background:
        begin(background, tmp_path, 0).write(1, states()[1])
    with pytest.raises(AssertionError, match="finished after 0 of 7"), BackgroundWriter() as background:
        begin(background, tmp_path, 0).finish()
    with pytest.raises(AssertionError), BackgroundWriter() as background:
        begin(background, tmp_path, 0).write(0, states()[0].astype(np.float64))  # type: ignore[arg-type]
    assert names(tmp_path) == []


def fail_on(monkeypatch: pytest.MonkeyPatch, method: str, number: int) -> None:
    """Let one member's file fail for want of room."""
    original = getattr(FileWriter, method)

    def failing(self: FileWriter, *arguments: Any) -> Any:
        if self.header.number == number:
            raise OSError(28, "No space left on device")
        return original(self, *arguments)

    monkeypatch.setattr(FileWriter, method, failing)


@pytest.mark.parametrize("method", ["__enter__", "write_leads"])
def test_a_full_disk_is_told_at_the_next_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    fail_on(monkeypatch, method, 1)
    taken = []

    def write_two() -> None:
        with BackgroundWriter(block_bytes=0) as background:
            handles = [begin(background, tmp_path, number) for number in (0, 1)]
            for i_lead, fields in enumerate(states()):
                for handle in handles:
                    handle.write(i_lead, fields)
                    background.flush()
                    taken.append(i_lead)

    with pytest.raises(InputError, match=r"1\.nc could not be written .*No space left.*MiB are free.*output="):
        write_two()
    assert len(taken) <= 1
    assert names(tmp_path) == []


def test_a_failure_that_nobody_asked_about_is_told_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last job fails, after the last call."""
    original = FileWriter._require_all_leads

    def failing(self: FileWriter, *arguments: Any) -> None:
        if self.header.number == 1:
            raise OSError(28, "No space left on device")
        original(self, *arguments)

    monkeypatch.setattr(FileWriter, "_require_all_leads", failing)
    with (
        pytest.raises(InputError, match=r"1\.nc could not be written"),
        BackgroundWriter() as background,
    ):
        write_all(background, tmp_path, 2)
    assert names(tmp_path) == ["0.nc"]


def test_a_caller_who_ignores_a_failure_is_told_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_on(monkeypatch, "write_leads", 0)

    def ignoring() -> None:
        with BackgroundWriter(block_bytes=0) as background:
            handle = begin(background, tmp_path, 0)
            handle.write(0, states()[0])
            for _ in range(2):
                with pytest.raises(InputError):
                    background.flush()
            with pytest.raises(InputError):
                handle.write(1, states()[1])

    with pytest.raises(InputError, match="No space left"):
        ignoring()
    assert names(tmp_path) == []


def test_a_failure_is_noted_on_an_exception_of_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_on(monkeypatch, "write_leads", 0)

    def both() -> None:
        with BackgroundWriter(block_bytes=0) as background:
            begin(background, tmp_path, 0).write(0, states()[0])
            with pytest.raises(InputError):
                background.flush()
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine") as caught:
        both()
    assert "No space left" in caught.value.__notes__[0]


def test_defects_keep_their_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: FileWriter, *_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(FileWriter, "write_leads", broken)
    with pytest.raises(ZeroDivisionError), BackgroundWriter() as background:
        write_all(background, tmp_path, 1)


LIMITED = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_writer import BackgroundWriter, write_all
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
with BackgroundWriter() as background:
    write_all(background, Path({folder!r}), 2)
"""


@pytest.mark.parametrize("limit", [pytest.param(1 << 10, marks=pytest.mark.slow), 10 << 10])
def test_a_disk_that_takes_no_more_is_an_input_error(tmp_path: Path, limit: int) -> None:
    """The operating system refuses to let a file grow, as on a full disk; the library reports it when it closes."""
    code = LIMITED.format(tests=str(Path(__file__).parent), limit=limit, folder=str(tmp_path / "run"))
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 1, done.stderr
    assert "InputError" in done.stderr.splitlines()[-1]
    assert "could not be written" in done.stderr
    assert names(tmp_path) == []


def test_the_queue_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A blocked disk lets the caller run ahead by the queue's size and no further."""
    gate, handed_over, write_leads = threading.Event(), [], FileWriter.write_leads

    def blocked(self: FileWriter, *arguments: Any) -> None:
        assert gate.wait(timeout=60)
        write_leads(self, *arguments)

    monkeypatch.setattr(FileWriter, "write_leads", blocked)

    def caller() -> None:
        with BackgroundWriter(queue_bytes=3 * LEAD_BYTES, block_bytes=0) as background:
            handle = begin(background, tmp_path, 0)
            for i_lead, fields in enumerate(states()):
                handle.write(i_lead, fields)
                handed_over.append(i_lead)
            handle.finish()

    thread = threading.Thread(target=caller)
    thread.start()
    thread.join(timeout=0.3)
    ahead = len(handed_over)
    gate.set()
    thread.join(timeout=60)
    assert ahead == 3
    assert not thread.is_alive()
    np.testing.assert_array_equal(held(tmp_path / "0.nc"), states())


def test_two_blocks_larger_than_the_queue_still_pass(tmp_path: Path) -> None:
    with BackgroundWriter(queue_bytes=1, block_bytes=0) as background:
        write_all(background, tmp_path, 3)
    assert names(tmp_path) == ["0.nc", "1.nc", "2.nc"]


@pytest.mark.slow
def test_memory_does_not_grow_with_members_and_lead_times(tmp_path: Path) -> None:
    """Forty files of 50 MB one after the other through a small queue."""
    header = replace(HEADER, latitude=np.linspace(90, -90, 181), longitude=np.arange(360.0), compression=0)
    fields = np.zeros((3, 181, 360), dtype=np.float32)

    def peak(files: range) -> int:
        with BackgroundWriter(block_bytes=writer.BLOCK_BYTES) as background:
            for number in files:
                handle = background.open(tmp_path / f"{number}.nc", replace(header, number=number), COLUMNS)
                for i_lead in range(len(LEADS)):
                    handle.write(i_lead, fields)
                handle.finish()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = peak(range(4))
    assert peak(range(4, 44)) < before + (16 << 10)
