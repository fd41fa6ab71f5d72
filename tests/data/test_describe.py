"""What fourcast inspect says of a store: finished, under way, failed, extended, damaged."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest
from weather import LATITUDE, LONGITUDE, config, hours, store, weather, write

from fourcast.data.describe import describe_store
from fourcast.data.ingest import ingest
from fourcast.data.tasks import claim
from fourcast.data.writer import shard_file
from fourcast.data_config import InspectConfig
from fourcast.errors import InputError
from fourcast.inspect import inspect

TIMES = hours("2020-01-01", 90)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "source.nc", TIMES)


def test_a_finished_store(source: Path, tmp_path: Path) -> None:
    made = store(source, tmp_path / "store")
    text = describe_store(made.path, checksums=True)
    assert f"{made.path}: training store, 2 channels, 90 times\n" in text
    assert "no gap" in text
    numbers = [made.statistics.mean[1], made.statistics.std[1], made.statistics.tendency_std[1]]
    numbers += [made.statistics.minimum[1], made.statistics.maximum[1]]
    line = next(line for line in text.splitlines() if line.startswith("  t850"))
    assert line.split() == ["t850", "K", *(f"{x:.5g}" for x in numbers)]
    assert f"sources      {source}" in text
    assert "all shards as written" in text
    assert "at work" not in text


def test_a_damaged_shard_is_named(source: Path, tmp_path: Path) -> None:
    made = store(source, tmp_path / "store")
    file = shard_file(made.path, 7)
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    shard_file(made.path, 3).unlink()
    assert "shard 3; shard 7 not as written" in describe_store(made.path, checksums=True)


def test_an_ingestion_under_way(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "store"
    ingest(config(source, output, part="1/2"))
    for i, record in enumerate(sorted((output / "ingest/parts").iterdir())):
        os.utime(record, (1000 + 60 * i,) * 2)
    claim(output / "ingest", "part_00004")
    text = describe_store(output)
    assert "unfinished training store, 3 of 6 parts done, 2 channels, 90 times" in text
    assert "3 min 00 s for the parts" in text
    assert f"at work      part_00004: {socket.gethostname()} {os.getpid()}" in text


def test_a_failed_part_says_why(source: Path, tmp_path: Path) -> None:
    data = weather(TIMES)
    data.msl[40] /= 100
    data.to_netcdf(source)
    with pytest.raises(InputError, match="looks like hPa"):
        ingest(config(source, tmp_path / "store"))
    text = describe_store(tmp_path / "store")
    assert "5 of 6 parts done" in text
    assert "failed       part_00002: part 3 of 6 (2020-01-09T00 to 2020-01-12T18): msl" in text


def test_a_store_that_is_being_extended_is_described_as_it_is(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "store"
    store(source, output, end="2020-01-12")
    ingest(config(source, output, part="1/2"))
    text = describe_store(output)
    assert "training store, 2 channels, 48 times" in text
    assert "is being extended, 5 of 6 parts done, 2 channels, 90 times" in text


def test_a_map_of_every_channel(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    data = weather(TIMES[:4])
    data["lsm"] = (("latitude", "longitude"), np.broadcast_to(LONGITUDE < 180, (len(LATITUDE), 12)).astype("f4"))
    data.lsm.attrs["units"] = "1"
    data.to_netcdf(source)
    made = store(source, tmp_path / "store")
    inspect(InspectConfig(path=str(made.path), plot=str(tmp_path / "maps")))
    pictures = [tmp_path / "maps" / f"{name}.png" for name in ("lsm", "msl", "t850")]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    assert all(str(path) in capsys.readouterr().out for path in pictures[:1])
