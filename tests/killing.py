"""Jobs in processes of their own that are killed, as by kill −9, and started again."""

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fourcast.config import ForecastConfig
from fourcast.data_config import IngestConfig
from fourcast.verify_config import VerifyConfig

# The server imports torch once and has no threads, so that a child starts at once and is a clean process of its own.
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(
    ["fourcast.train.loop", "fourcast.forecast.ensemble", "fourcast.data.ingest", "fourcast.verify.evaluate"]
)
DEADLINE = 120.0

Job = Callable[[Any], Any]
Config = ForecastConfig | IngestConfig | VerifyConfig


def start(job: Job, config: Config | None) -> Any:
    process = FORKSERVER.Process(target=job, args=(config,))
    process.start()
    return process


def ready() -> None:
    """Wait for the server, which takes seconds to start, so that what comes next can be timed."""
    finish(id, None)


def finish(job: Job, config: Config | None) -> None:
    """Do the job, to the end."""
    process = start(job, config)
    process.join(DEADLINE)
    if process.is_alive():
        process.kill()
    process.join()
    assert process.exitcode == 0


def killed(job: Job, config: Config, pattern: str, moment: tuple[int, float]) -> bool:
    """Start ``job`` and kill it once ``moment`` has come; False where it was done before.

    moment: how many paths in config.output must match ``pattern``, and how many seconds later.
    """
    count, delay = moment
    process, limit = start(job, config), time.monotonic() + DEADLINE
    while process.is_alive() and len(list(Path(config.output).glob(pattern))) < count:
        assert time.monotonic() < limit
        time.sleep(0.001)
    process.join(delay)
    process.kill()
    process.join()
    assert process.exitcode in (0, -9)
    return bool(process.exitcode == -9)
