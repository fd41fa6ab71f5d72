"""Checkpoints written while training goes on: one at a time, sharded over processes, whole or not at all."""

import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.distributed import checkpoint as dcp

from fourcast import sharded
from fourcast.checkpoint import TENSORS, Card, write_card
from fourcast.distributed import Process
from fourcast.files import partial_path, write_json
from fourcast.train.run import prune, remember_best


class Saver:
    """Writes a run's checkpoints; every process calls the same methods in the same order.

    A checkpoint is copied to the host, written by all processes into one folder under a temporary name, and given its
    own name by the first process once every file is on disk. An error of the disk is raised in all processes by the
    next ``save`` or ``finish``; what was there before stays. Call ``close`` however the training ends.
    """

    def __init__(self, run: Path, card: Card, process: Process, keep: int, in_background: bool) -> None:
        self.run, self.card, self.process, self.keep, self.in_background = run, card, process, keep, in_background
        self.group = dist.new_group(backend="gloo") if process.world_size > 1 else None  # not disturbed by the training
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="saver")
        self.writing: Future[None] | None = None

    def save(self, tensors: dict[str, Tensor], state: dict[str, Any], scores: dict[str, float]) -> None:
        """Begin to write the checkpoint of ``state``, after the one before it is done."""
        self.finish()
        path = self.run / "checkpoints" / f"step_{state['position']['step']:08d}"
        temporary = Path(self.process.broadcast(str(partial_path(path))))
        self._agree(_make_folder(temporary) if self.process.is_first else None)
        writer = sharded.Writer(temporary / TENSORS)
        written = dcp.async_save(tensors, storage_writer=writer, process_group=self.group)
        assert isinstance(written, Future)
        self.writing = self.thread.submit(self._conclude, written, writer, path, {**state, "scores": scores})
        if not self.in_background:
            self.finish()

    def finish(self) -> None:
        """Wait until what is being written is there; raise, in all processes, what went wrong."""
        writing, self.writing = self.writing, None
        self._agree(None if writing is None else writing.exception())

    def close(self) -> None:
        """Wait for what this process still writes, so that it never ends in the midst of it; ask no other process."""
        self.thread.shutdown()

    def _agree(self, error: BaseException | None) -> None:
        """Raise ``error`` here, and in the other processes that there was one."""
        failed = self.process.any(error is not None)
        if error is not None:
            raise error
        if failed:
            raise OSError(f"a checkpoint could not be written to {self.run}; the first process says why")

    def _conclude(self, written: Future[Any], writer: sharded.Writer, path: Path, position: dict[str, Any]) -> None:
        """Give a checkpoint its name once all of it is written; this runs beside the training."""
        temporary = Path(writer.path).parent
        try:
            written.result()
            self._require_written(writer)
            if self.process.is_first:
                write_json(temporary / "position.json", position)
                write_card(temporary, self.card)
                temporary.rename(path)
                remember_best(path, position["scores"])
                prune(self.run, self.keep)
        except BaseException:
            if self.process.is_first:
                shutil.rmtree(temporary, ignore_errors=True)
            raise

    def _require_written(self, writer: sharded.Writer) -> None:
        """Raise OSError in all processes where one of them could not write."""
        own = None if writer.failure is None else str(writer.failure)
        failures: list[str | None] = [own] * self.process.world_size
        if self.group is not None:
            dist.all_gather_object(failures, own, group=self.group)
        if found := [failure for failure in failures if failure is not None]:
            raise OSError(f"{writer.path} could not be written: {found[0]}") from writer.failure
        if self.process.is_first and (missing := sharded.missing_files(Path(writer.path))):
            raise OSError(
                f"{', '.join(missing[:3])} of other processes never appeared in {writer.path}; put output= on a file "
                "system that all nodes share"
            )


def _make_folder(path: Path) -> OSError | None:
    """Make ``path``; return the error where that fails."""
    try:
        path.mkdir(parents=True)
    except OSError as error:
        return error
    return None
