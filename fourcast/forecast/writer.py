"""Forecast files written in the background: one thread does all the writing of a process, the netCDF library being
not thread-safe, while the model computes.

Fields are copied as they are handed over, several lead times of a file into one block, and blocks wait in a queue of
bounded size. What goes wrong is raised at the next call and at the end; then no file that is not finished is left,
neither under its name nor under a temporary one.
"""

import shutil
import threading
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np

from fourcast.errors import InputError
from fourcast.forecast.netcdf import LOCK, Column, FileWriter, Float32, Header

QUEUE_BYTES = 4 << 20
"""Of fields that wait or are being written; two blocks always may."""
BLOCK_BYTES = 512 << 10
"""About the size of a block, in which small fields share the overhead of a call; it has one lead time at least."""

Job = tuple[int, FileWriter, Callable[[], object]]


class BackgroundWriter:
    """Context manager around the writing of any number of files at a time; call it from one thread.

    Left without an exception, it waits for all files, each of which must have been finished. Left with one, it drops
    what waits. InputError names a file that could not be written.
    """

    def __init__(self, queue_bytes: int = QUEUE_BYTES, block_bytes: int = BLOCK_BYTES) -> None:
        self.bytes_written = 0
        """On disk so far, in finished files and in those under way."""
        self.block_bytes = block_bytes
        self._queue_bytes = queue_bytes
        self._jobs: deque[Job] = deque()
        self._blocks: list[int] = []
        self._busy = False
        self._closing = False
        self._error: BaseException | None = None
        self._files: list[FileWriter] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="netCDF")

    def __enter__(self) -> "BackgroundWriter":
        self._thread.start()
        return self

    def open(self, path: Path, header: Header, columns: tuple[Column, ...]) -> "FileHandle":
        """Begin a file, which appears as ``path`` once it is finished."""
        return FileHandle(self, FileWriter(path, header, columns))

    def flush(self) -> None:
        """Wait until everything that was handed over as whole blocks is written and what was finished is there."""
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or not (self._jobs or self._busy))
            self._raise_error()

    def put(self, size: int, file: FileWriter, action: Callable[[], object]) -> None:
        """Queue ``action`` on ``file``, which holds a block of ``size`` bytes or 0; wait where the queue is full."""
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or self._has_room(size))
            self._raise_error()
            self._jobs.append((size, file, action))
            self._blocks += [size] * (size > 0)
            self._changed.notify_all()

    def start(self, file: FileWriter) -> None:
        """In the background: open a file."""
        file.__enter__()
        self._files.append(file)

    def finish(self, file: FileWriter) -> None:
        """In the background: close a file, all of whose lead times are written."""
        self._files.remove(file)
        file.__exit__(None, None, None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            if error is not None:
                self._jobs.clear()
                self._error = self._error or _AbandonedError()
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        if error is None:
            self._raise_error()
        elif self._error is not error and not isinstance(self._error, _AbandonedError):
            error.add_note(f"Meanwhile in the background: {self._error!r}")

    def _has_room(self, size: int) -> bool:
        return size == 0 or len(self._blocks) < 2 or sum(self._blocks) + size <= self._queue_bytes

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        """Do one job after the other, in the background; on an error drop all files."""
        try:
            while (job := self._next()) is not None:
                self._do(*job)
            self._raise_error()
            assert not self._files, f"never finished: {[str(file.path) for file in self._files]}"
        except BaseException as error:
            self._drop_files(error)
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _next(self) -> Job | None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._jobs or self._closing)
            self._busy = bool(self._jobs)
            return self._jobs.popleft() if self._jobs else None

    def _do(self, size: int, file: FileWriter, action: Callable[[], object]) -> None:
        before = file.size
        try:
            with LOCK:
                action()
        except (OSError, RuntimeError) as error:
            raise write_error(file.path, error) from error
        self.bytes_written += file.size - before
        with self._changed:
            if size:
                self._blocks.remove(size)

    def _drop_files(self, error: BaseException) -> None:
        """Remove all files under way because of ``error``, which is told what else goes wrong in this."""
        try:
            with LOCK, ExitStack() as stack:
                for file in self._files:
                    stack.push(file)
                raise error
        except BaseException as last:
            if last is not error:
                error.add_note(f"Dropping files: {last!r}")


class _AbandonedError(Exception):
    """The program left the background writer with an exception of its own."""


class FileHandle:
    """One file of a BackgroundWriter, which takes its lead times in order."""

    def __init__(self, background: BackgroundWriter, file: FileWriter) -> None:
        header = file.header
        self._background = background
        self._file = file
        self._shape = (len(file.columns), len(header.latitude), len(header.longitude))
        self._per_block = max(1, background.block_bytes // (4 * int(np.prod(self._shape))))
        self._taken = 0
        self._held = 0
        self._block = self._no_block = np.empty((0, *self._shape), dtype=np.float32)
        background.put(0, file, partial(background.start, file))

    def write(self, i_lead: int, fields_CHW: Float32) -> None:
        """Take the fields of lead time ``i_lead``, in physical units; the array may be reused at once."""
        leads = len(self._file.header.lead_hours)
        assert i_lead == self._taken < leads, (self._file.path, i_lead, self._taken)
        assert fields_CHW.shape == self._shape, (fields_CHW.shape, self._shape)
        assert fields_CHW.dtype == np.float32, fields_CHW.dtype
        if not self._held:
            self._block = np.empty((min(self._per_block, leads - i_lead), *self._shape), dtype=np.float32)
        self._block[self._held] = fields_CHW
        self._held += 1
        self._taken += 1
        if self._held == len(self._block):
            block, self._block, self._held = self._block, self._no_block, 0
            action = partial(self._file.write_leads, self._taken - len(block), block)
            self._background.put(block.nbytes, self._file, action)

    def finish(self) -> None:
        """Let the file appear; all lead times must have been handed over."""
        leads = len(self._file.header.lead_hours)
        assert self._taken == leads, f"{self._file.path}: finished after {self._taken} of {leads} lead times"
        self._background.put(0, self._file, partial(self._background.finish, self._file))


def write_error(path: Path, error: Exception) -> InputError:
    """Which file it was, and how full its disk is: the library itself says no more than "HDF error"."""
    folder = next(parent for parent in path.parents if parent.exists())
    free = shutil.disk_usage(folder).free
    return InputError(
        f"{path} could not be written ({error}; {free / 2**20:.0f} MiB are free there); "
        "make room or choose another output=, then run the same again: finished files are kept"
    )
