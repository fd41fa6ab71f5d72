"""``fourcast fetch``: ERA5 from the Climate Data Store, month by month, whole files only, none of them twice."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np

from fourcast.data.cds import Request, plan_requests
from fourcast.data.sources.pieces import Piece
from fourcast.data.sources.source import open_source
from fourcast.data_config import FetchConfig
from fourcast.errors import InputError
from fourcast.files import read_json, sha256, whole_file, write_json
from fourcast.progress import progress

log = logging.getLogger(__name__)
PRELIMINARY = "0005"
TOO_LARGE = ("too large", "cost limit")
HOPELESS = (
    "400 client error", "401 client error", "403 client error", "authentication failed", "licence", "no space left",
)  # fmt: skip
"""What the texts of the store's errors contain that splitting, or the user, but not patience, can mend."""
FIRST_WAIT, LONGEST_WAIT = 10.0, 600.0
"""Seconds between attempts, doubling from the first to the longest."""


class Client(Protocol):
    """What is needed of ``cdsapi.Client``."""

    def retrieve(self, name: str, request: dict[str, Any], target: str) -> Any:
        """Wait for a request and download its result into the file ``target``."""


def fetch(config: FetchConfig, client: Client | None = None, sleep: Callable[[float], None] = time.sleep) -> Path:
    """Download what ``config`` names into the folder ``config.output`` and return it.

    Files that are there are kept and not asked for again. client: None opens the Climate Data Store's own, which needs
    credentials. Raises InputError where it cannot be opened, or refuses a request for good.
    """
    folder = Path(config.output)
    requests = list(plan_requests(config))
    manifest = _Manifest.open(folder / "manifest.json")
    todo = [request for request in requests if not manifest.has(request, config.replace_preliminary)]
    log.info("%d of %d requests are done already", len(requests) - len(todo), len(requests))
    if todo:
        fetcher = Fetcher(client or _open_client(), folder, config.attempts, sleep, config.replace_preliminary)
        _run(fetcher, todo, manifest, config.parallel)
    print(f"{folder} holds {len(requests)} requests from {config.start} to {config.end} in {manifest.files} files")
    return folder


@dataclass(frozen=True)
class Fetched:
    """A file and what was asked for; preliminary: whether any of it is preliminary ERA5."""

    request: Request
    path: Path
    preliminary: bool


@dataclass(frozen=True)
class Fetcher:
    """Fetches one request at a time into ``folder``; several threads may share it.

    replace_preliminary: files of preliminary ERA5 do not count as fetched.
    """

    client: Client
    folder: Path
    attempts: int
    sleep: Callable[[float], None]
    replace_preliminary: bool
    reading: Lock = field(default_factory=Lock)
    """The netCDF library must not be used by two threads at once."""

    def get(self, request: Request) -> list[Fetched]:
        """The files of a request: one, or several where it is too large for the Climate Data Store.

        Raises InputError where it is refused, or fails as often as is allowed.
        """
        path = self.folder / request.file
        before = self._before(request, path)
        if before is not None:
            return [before]
        for attempt in range(1, self.attempts + 1):
            try:
                return [self._download(request, path)]
            except Exception as error:  # the client raises bare Exception
                text = str(error).lower()
                if any(sign in text for sign in TOO_LARGE):
                    log.info("%s is too large for one request: halved", request.file)
                    return [part for half in request.halves() for part in self.get(half)]
                if attempt == self.attempts or any(sign in text for sign in HOPELESS):
                    raise InputError(f"{request.file} could not be fetched in {attempt} attempts: {error}") from error
                wait = min(FIRST_WAIT * 2 ** (attempt - 1), LONGEST_WAIT)
                log.warning("%s failed (%s); again in %.0f s", request.file, error, wait)
                self.sleep(wait)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _download(self, request: Request, path: Path) -> Fetched:
        with whole_file(path) as temporary:
            self.client.retrieve(request.dataset, request.body(), str(temporary))
            return Fetched(request, path, self._is_preliminary(temporary, request))

    def _before(self, request: Request, path: Path) -> Fetched | None:
        """What was fetched before, and perhaps changed since; None where it does not do."""
        if not path.exists():
            return None
        try:
            found = Fetched(request, path, self._is_preliminary(path, request))
        except InputError as error:
            log.warning("%s is fetched again: %s", path, error)
            return None
        return None if found.preliminary and self.replace_preliminary else found

    def _is_preliminary(self, path: Path, request: Request) -> bool:
        """Whether any of a file is preliminary.

        Raises InputError where it cannot be read, or lacks a variable, level or time that was asked for.
        """
        with self.reading, open_source([str(path)]) as source:
            pieces = source.pieces
        lacking = sorted(_lacking(request, pieces))
        if lacking:
            more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
            raise InputError(
                f"the download lacks {', '.join(lacking[:5])}{more}; where ERA5 does not reach so far yet, choose an "
                "earlier end"
            )
        return any(PRELIMINARY in piece.axes.expver for piece in pieces if piece.axes.expver is not None)


def _lacking(request: Request, pieces: Iterable[Piece]) -> set[str]:
    """Variables, levels and times that a request's file should hold and does not."""
    found: dict[str, list[Piece]] = {name: [] for name in request.wanted}
    for piece in pieces:
        if piece.variable.name in found:
            found[piece.variable.name].append(piece)
    lacking = {name for name, its in found.items() if not its}
    for name, its in found.items():
        if its:
            channels = {channel for piece in its for channel in piece.channels}
            lacking |= {f"{name}{level}" for level in request.levels} - channels
            if request.stream != "static":
                times = np.concatenate([piece.axes.times for piece in its])
                lacking |= {f"{name} at {time}" for time in request.times[~np.isin(request.times, times)]}
    return lacking


def _run(fetcher: Fetcher, requests: list[Request], manifest: "_Manifest", parallel: int) -> None:
    """Fetch all requests, ``parallel`` at a time; after a failure those under way end and no other begins."""
    with ThreadPoolExecutor(parallel) as pool:
        finished = _finished(pool, fetcher, requests, parallel)
        for request, parts in progress(finished, len(requests), "fetching, requests"):
            manifest.add(request, parts)


def _finished(
    pool: ThreadPoolExecutor, fetcher: Fetcher, requests: list[Request], parallel: int
) -> Iterator[tuple[Request, list[Fetched]]]:
    """Requests with their files as they finish; the next begins once a finished one has been taken."""
    todo = iter(requests)
    waiting: dict[Future, Request] = {}
    while True:
        for request in islice(todo, parallel - len(waiting)):
            waiting[pool.submit(fetcher.get, request)] = request
        if not waiting:
            return
        done, _ = wait(waiting, return_when=FIRST_COMPLETED)
        for future in done:
            yield waiting.pop(future), future.result()


@dataclass
class _Manifest:
    """``manifest.json``: the files of every finished request; of every file, what was asked for and its digest."""

    path: Path
    content: dict[str, dict[str, Any]]

    @classmethod
    def open(cls, path: Path) -> "_Manifest":
        return cls(path, read_json(path) if path.exists() else {"requests": {}, "files": {}})

    @property
    def files(self) -> int:
        return len(self.content["files"])

    def has(self, request: Request, final: bool) -> bool:
        """Whether all files of a request are there, as long as they were, and without preliminary data if ``final``."""
        names = self.content["requests"].get(request.file)
        return names is not None and all(self._is_whole(name, final) for name in names)

    def _is_whole(self, name: str, final: bool) -> bool:
        path, known = self.path.parent / name, self.content["files"][name]
        return path.exists() and path.stat().st_size == known["bytes"] and not (final and known["preliminary"])

    def add(self, request: Request, parts: list[Fetched]) -> None:
        """Record the files of a finished request."""
        for part in parts:
            self.content["files"][part.path.name] = {
                "dataset": part.request.dataset,
                "request": part.request.body(),
                "bytes": part.path.stat().st_size,
                "sha256": sha256(part.path),
                "preliminary": part.preliminary,
                "fetched": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            }
        self.content["requests"][request.file] = [part.path.name for part in parts]
        write_json(self.path, self.content)


def _open_client() -> Client:
    try:
        import cdsapi
    except ImportError as error:
        raise InputError("fetch needs the Climate Data Store's client: pip install 'fourcast[cloud]'") from error
    try:
        return cdsapi.Client(quiet=True, progress=False)
    except Exception as error:  # the client raises bare Exception
        raise InputError(
            f"the Climate Data Store's client does not start ({error}); put url and key from "
            "https://cds.climate.copernicus.eu/how-to-api into ~/.cdsapirc"
        ) from error
