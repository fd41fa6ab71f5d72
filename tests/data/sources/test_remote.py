"""Zarr behind a URL: in fsspec's memory, and over HTTP from a server on this machine."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from era5_like import analyses, as_arco, times

from fourcast.data.sources.failures import unreadable
from fourcast.data.sources.openers import ANONYMOUS, SourceOptions
from fourcast.data.sources.source import open_source
from fourcast.errors import InputError


class Server:
    """An HTTP server of a folder that remembers what was asked of it."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, format: str, *arguments: object) -> None:
                asked.append(self.path)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    pytest.importorskip("aiohttp")
    server = Server(tmp_path)
    yield server
    server.server.shutdown()
    server.server.server_close()


def write_arco(path: Path, zarr_format: int) -> xr.Dataset:
    """ARCO-ERA5 in small: hourly, all levels of a time in one chunk, and long before and after what is filled."""
    data = as_arco(analyses(("t", "q", "msl"), times(48, hours=1)))
    data.attrs = {"valid_time_start": "2020-01-01", "valid_time_stop": "2020-01-01"}
    chunks = {str(name): {"chunks": (1, *array.shape[1:])} for name, array in data.data_vars.items()}
    data.to_zarr(path, zarr_format=zarr_format, encoding=chunks, consolidated=True)
    return data


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_http(tmp_path: Path, server: Server, zarr_format: int) -> None:
    data = write_arco(tmp_path / "era5.zarr", zarr_format)
    with open_source([f"{server.url}/era5.zarr"]) as source:
        when, _ = source.times(("t500", "msl"))
        assert (len(when), str(when[-1])) == (24, "2020-01-01T23:00:00")
        server.asked.clear()
        fields = source.read(when[6:8], ("msl", "r850", "t500", "t850"))
    np.testing.assert_array_equal(fields[:, 2:], data.temperature[6:8])
    np.testing.assert_array_equal(fields[:, 0], data.mean_sea_level_pressure[6:8])
    chunks = [path for path in server.asked if "/temperature/" in path]
    assert len(chunks) == 2, "a chunk of all levels was fetched more than once"


def test_memory() -> None:
    fsspec = pytest.importorskip("fsspec")
    data = analyses(("t", "msl"))
    data.to_zarr("memory://here/era5.zarr")
    try:
        with open_source(["memory://here/era5.zarr"], options=SourceOptions(storage_options={})) as source:
            np.testing.assert_array_equal(source.read(data.time.values, ("msl",))[:, 0], data.msl)
    finally:
        fsspec.filesystem("memory").rm("/here", recursive=True)


@pytest.mark.parametrize(("url", "given", "expected"), [
    ("gs://bucket/era5.zarr", None, {"token": "anon"}),
    ("s3://bucket/era5.zarr", None, {"anon": True}),
    ("https://host/era5.zarr", None, {}),
    ("s3://bucket/era5.zarr", {"key": "k", "secret": "s"}, {"key": "k", "secret": "s"}),
])  # fmt: skip
def test_credentials_are_none_unless_given(
    monkeypatch: pytest.MonkeyPatch, url: str, given: dict | None, expected: dict
) -> None:
    seen = []

    def open_zarr(path: str, **options: object) -> xr.Dataset:
        seen.append((path, options["storage_options"]))
        return analyses()

    monkeypatch.setattr(xr, "open_zarr", open_zarr)
    with open_source([url], options=SourceOptions(storage_options=given)) as source:
        assert source.channels == ("msl", "t500", "t850")
    assert seen == [(url, expected)]
    assert ANONYMOUS["s3"] == {"anon": True}, "the defaults must not change"


def test_an_absent_zarr_is_named(tmp_path: Path, server: Server) -> None:
    with pytest.raises(InputError, match=r"absent\.zarr cannot be opened as zarr"):
        open_source([f"{server.url}/absent.zarr"]).__enter__()


def test_a_server_that_is_gone_is_named(tmp_path: Path, server: Server) -> None:
    write_arco(tmp_path / "era5.zarr", 2)
    with open_source([f"{server.url}/era5.zarr"]) as source:
        server.server.shutdown()
        server.server.server_close()
        with pytest.raises(OSError, match=r"temperature cannot be read .*run the same again"):
            source.read(source.times(("t500",))[0][:1], ("t500",))


def test_a_server_in_trouble_is_named(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    write_arco(tmp_path / "era5.zarr", 2)
    with open_source([f"{server.url}/era5.zarr"]) as source:
        monkeypatch.setattr(SimpleHTTPRequestHandler, "do_GET", lambda self: self.send_error(503))
        with pytest.raises(OSError, match=r"temperature cannot be read .*503"):
            source.read(source.times(("t500",))[0][:1], ("t500",))


@pytest.mark.parametrize("before", ["https://", "simplecache::https://"])
@pytest.mark.parametrize("user", ["me:secret", ":secret", "me:sec[ret"])
def test_a_password_in_an_address_is_refused_and_not_told(before: str, user: str) -> None:
    with pytest.raises(InputError, match=r"https://…@host/era5\.zarr was given with a password") as raised:
        open_source([f"{before}{user}@host/era5.zarr"]).__enter__()
    assert "sec" not in str(raised.value)


def test_damage_is_no_servers_fault() -> None:
    for path, error in [("file:///a.zarr", OSError("x")), ("gs://a.zarr", RuntimeError("error during blosc"))]:
        assert isinstance(unreadable(path, "t", error, "fetch it again"), InputError)
    assert isinstance(unreadable("gs://a.zarr", "t", TimeoutError("x"), "fetch it again"), OSError)


def test_an_ingestion_goes_on_once_its_server_has_recovered(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, fourcast: Callable[..., tuple[int, str, str]]
) -> None:
    write_arco(tmp_path / "era5.zarr", 2)
    command = ("ingest", f"source={server.url}/era5.zarr", "channels=[t500]", "output=store", "climatology_harmonics=0")
    get = SimpleHTTPRequestHandler.do_GET
    with monkeypatch.context() as patch:
        trouble = lambda self: self.send_error(503) if "/temperature/0" in self.path else get(self)  # noqa: E731
        patch.setattr(SimpleHTTPRequestHandler, "do_GET", trouble)
        status, _, said = fourcast(*command)
    assert (status, "503" in said, "run the same again" in said) == (1, True, True), said
    status, _, said = fourcast(*command)
    assert status == 0, said


def test_a_remote_file_is_refused() -> None:
    with pytest.raises(InputError, match="one remote file, expected a zarr; download it"):
        open_source(["https://host/era5.nc"]).__enter__()


def test_a_scheme_without_its_package_says_what_to_install() -> None:
    with pytest.raises(InputError, match=r"unheard://x/y\.zarr"):
        open_source(["unheard://x/y.zarr"]).__enter__()
