"""Trainings and forecasts on several ranks, started by torchrun or, which is faster, as if by it."""

import multiprocessing
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import NamedTuple

import torch

from fourcast.config import ForecastConfig, TrainConfig
from fourcast.forecast.ensemble import forecast
from fourcast.train.loop import train

JOB = Path(__file__)
PATIENCE = 240.0
"""Seconds until a job must have ended; the machine may be busy."""

APART = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
"""Without it, ranks that torchrun starts again find the addresses of those that died (pytorch issue 135712)."""

# The server imports torch once and has no threads, so that a child starts at once and is a clean process of its own.
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["fourcast.train.loop", "fourcast.calibrate.calibrate", "fourcast.data.ingest"])

Config = TrainConfig | ForecastConfig


def run(config: Config) -> None:
    """Do the job of ``config``."""
    train(config) if isinstance(config, TrainConfig) else forecast(config)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@contextmanager
def ranks(config: Config, count: int) -> Iterator[list[ForkServerProcess]]:
    """``count`` processes at the job of ``config``; none of them survives the block.

    What each writes to standard error is in a file beside config.output; see ``errors``.
    """
    with together(run, (config,), config.output, count) as processes:
        yield processes


@contextmanager
def together(
    job: Callable[..., None], arguments: tuple[object, ...], output: str, count: int
) -> Iterator[list[ForkServerProcess]]:
    """``count`` processes that call ``job`` with ``arguments``, likewise."""
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": str(count)}
    started = []
    try:
        for rank in range(count):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(count)} | common
            place = _Place(own if count > 1 else {}, Path(f"{output}.{rank}.err"))
            place.errors.unlink(missing_ok=True)
            process = FORKSERVER.Process(target=_rank, args=(place, job, arguments))
            process.start()
            started.append(process)
        yield started
    finally:
        for process in started:
            process.kill()
            process.join()


class _Place(NamedTuple):
    """What differs among ranks."""

    environment: dict[str, str]
    errors: Path


def _rank(place: _Place, job: Callable[..., None], arguments: tuple[object, ...]) -> None:
    os.environ.update(place.environment)
    torch.set_num_threads(1)
    with place.errors.open("w") as file:
        os.dup2(file.fileno(), 2)
    job(*arguments)


def errors(output: str, count: int) -> str:
    """What ``count`` ranks wrote to standard error in the latest job with this ``output``."""
    files = [Path(f"{output}.{rank}.err") for rank in range(count)]
    return "\n".join(file.read_text() for file in files if file.exists())


def ended(processes: list[ForkServerProcess]) -> list[int | None]:
    """Wait for processes to end; their exit statuses, None where one hangs."""
    for process in processes:
        process.join(PATIENCE)
    return [process.exitcode for process in processes]


def finish(config: Config, count: int) -> None:
    """Do the job of ``config`` on ``count`` ranks, to the end."""
    with ranks(config, count) as processes:
        assert ended(processes) == [0] * count, errors(config.output, count)


class Torchrun:
    """A run of torchrun that does the jobs of ``configs``, one after the other, on ``count`` ranks."""

    def __init__(self, folder: Path, configs: list[Config], count: int = 2, *options: str) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "jobs.pickle").write_bytes(pickle.dumps([(config, free_port()) for config in configs]))
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", *options]
        with (folder / "errors").open("w") as errors:
            self.process = subprocess.Popen([*command, str(JOB), str(folder)], stderr=errors, env=os.environ | APART)

    def __enter__(self) -> "Torchrun":
        return self

    def __exit__(self, *_: object) -> None:
        """End it; should it hang, its ranks, too."""
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            for rank in self.ranks:
                os.kill(rank, 9)

    @property
    def ranks(self) -> list[int]:
        """The process numbers of the latest ranks that have started."""
        return [int(file.read_text()) for file in sorted(self.folder.glob("rank_?"))]

    def errors(self) -> str:
        """Wait for the end; what was written to standard error, empty where all went well."""
        status = self.process.wait(PATIENCE)
        return (self.folder / "errors").read_text() if status else ""


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / f"rank_{os.environ['RANK']}").write_text(str(os.getpid()))
    for number, (config, port) in enumerate(pickle.loads((folder / "jobs.pickle").read_bytes())):
        if number:  # a group's meeting place serves once
            os.environ["MASTER_PORT"] = port
        run(config)
