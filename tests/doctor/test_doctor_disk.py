"""Folders that cannot be written, disks that are full or slow: each with its name and a way out."""

import errno
import json
import os
from pathlib import Path

import pytest
from small_disks import on_a_disk_of_its_own

from fourcast.doctor import disk
from fourcast.doctor.disk import Folder, file_system, folder, kept, latency_finding, obstacle, space, speed_finding

WAY_OUT = "pass output=DIR"


def refused(asked: Path) -> tuple[str, str]:
    found = disk.writable("output", asked, WAY_OUT)
    assert (found.name, found.status) == ("output", "failed"), found
    assert WAY_OUT in found.remedy
    return found.found, found.remedy


def test_a_folder_that_is_there_or_can_be_made_is_left_as_it_was(tmp_path):
    there = disk.writable("output", tmp_path, WAY_OUT)
    assert there.status == "ok"
    assert f"{tmp_path} can be written" in there.found
    deeper = disk.writable("output", tmp_path / "new" / "runs", WAY_OUT)
    assert deeper.status == "ok"
    assert f"not there yet and can be made in {tmp_path}" in deeper.found
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "runs").write_text("mine")
    said, remedy = refused(tmp_path / "runs" / "train")
    assert f"{tmp_path / 'runs'} is a file" in said
    assert f"move {tmp_path / 'runs'} away" in remedy
    assert (tmp_path / "runs").read_text() == "mine"


def test_a_link_that_leads_nowhere(tmp_path):
    (tmp_path / "runs").symlink_to(tmp_path / "unmounted")
    assert "a link that leads nowhere" in refused(tmp_path / "runs")[0]


def test_a_folder_of_the_system():
    said, remedy = refused(Path("/sys/fourcast/runs"))
    assert f"/sys may not be written by user {os.geteuid()}" in said or "read-only" in said
    assert "chown" in remedy or "mount" in remedy


def test_a_folder_whose_owner_took_away_the_right(tmp_path):
    (tmp_path / "runs").mkdir(mode=0o555)
    if os.access(tmp_path / "runs", os.W_OK):
        pytest.skip("this user may write everywhere")
    assert "chown" in refused(tmp_path / "runs")[1]


@pytest.mark.parametrize(
    ("number", "said", "remedy"),
    [
        (errno.ENOSPC, "the disk is full", "df -h /data"),
        (errno.EDQUOT, "your quota", "quota"),
        (errno.EROFS, "mounted read-only", "mount it for writing"),
        (errno.EACCES, "may not be written by user", "docker run --user"),
        (errno.EPERM, "may not be written by user", "chown"),
        (errno.EIO, os.strerror(errno.EIO), "dmesg"),
    ],
)
def test_every_obstacle_has_a_way_out(number, said, remedy):
    found = obstacle(OSError(number, "whatever"), Folder(Path("/data/runs"), Path("/data")), WAY_OUT)
    assert said in found[0]
    assert remedy in found[1]
    assert WAY_OUT in found[1]


def test_a_disk_that_fills_while_it_is_tried(tmp_path, monkeypatch):
    def full(path: Path, size: int) -> tuple[int, float]:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk, "timed_write", full)
    [found] = disk.speeds(tmp_path)
    assert (found.name, found.status) == ("speed", "failed")
    assert "full" in found.found
    assert "output=DIR" in found.remedy
    assert list(tmp_path.iterdir()) == []


def on_disk(*arguments: str) -> dict[str, tuple[str, str, str]]:
    """The findings by name, of which nothing may be left on the disk but what the test put there."""
    tmp_path, options, before = arguments
    told, *left = on_a_disk_of_its_own(Path(tmp_path) / "disk", options, before).stdout.splitlines()
    assert left in ([], ["ballast"])
    return {name: (status, found, remedy) for name, status, found, remedy in json.loads(told)}


def test_a_full_disk(tmp_path):
    found = on_disk(str(tmp_path), "size=40k", "head -c 100000 /dev/zero > ballast 2>/dev/null")
    status, said, remedy = found["output"]
    assert status == "failed"
    assert "the disk is full" in said
    assert "df -h" in remedy
    assert WAY_OUT in remedy
    assert found["space"][0] == "poor"
    assert "0.0 GB free" in found["space"][1]
    status, said, remedy = found["kernel cache"]
    assert (status, "full" in said, "TRITON_CACHE_DIR" in remedy) == ("failed", True, True)
    assert "speed" not in found


def test_a_disk_without_inodes(tmp_path):
    status, said, remedy = on_disk(str(tmp_path), "size=1m,nr_inodes=2", "touch ballast")["output"]
    assert (status, "inodes" in said, "df -i" in remedy) == ("failed", True, True)


def test_a_read_only_disk(tmp_path):
    status, said, remedy = on_disk(str(tmp_path), "ro", "true")["output"]
    assert (status, "read-only" in said) == ("failed", True)
    assert "mount it for writing" in remedy


def test_a_small_disk_is_not_filled_to_measure_it(tmp_path):
    found = on_disk(str(tmp_path), "size=2m", "true")
    assert found["output"][0] == "ok"
    assert "which is memory" in found["output"][1]
    assert found["speed"][0] == "absent"


def test_little_space_is_told_in_gigabytes(tmp_path):
    few = space(tmp_path, 3_200_000_000)
    assert (few.status, few.figures["free_gb"]) == ("poor", 3.2)
    assert "fourcast plan" in few.remedy
    assert space(tmp_path, 6_000_000_000).status == "ok"


def test_speeds_are_measured_and_nothing_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "MOST", 8 << 20)
    monkeypatch.setattr(disk, "LEAST", 1 << 20)
    speed, files = disk.speeds(tmp_path / "not" / "there")
    assert speed.figures["write_mb_s"] > 0
    assert speed.figures["read_mb_s"] > 0
    assert files.figures["file_ms"] > 0
    assert list(tmp_path.iterdir()) == []
    assert disk.timed_write(tmp_path / "large", 9 << 20)[0] == 12 << 20  # whole blocks of 4 MiB


@pytest.mark.parametrize(("write", "read", "status"), [(60, 110, "ok"), (40, 900, "poor"), (900, 90, "poor")])
def test_slow_disks(write, read, status):
    found = speed_finding(write, read)
    assert found.status == status
    assert ("output=DIR" in found.remedy) == (status == "poor")


def test_slow_small_files():
    assert latency_finding(12.0).status == "ok"
    assert (latency_finding(80.0).status, "copy" in latency_finding(80.0).remedy) == ("poor", True)


def test_a_store_is_read_where_there_is_one(tmp_path, tiny_store, monkeypatch):
    assert disk.store_speed(tmp_path).status == "absent"
    shards = list(disk.shards(tiny_store))
    assert len(shards) == 5  # 40 times in shards of 8
    found = disk.store_speed(tiny_store)
    assert found.status in ("ok", "poor")
    monkeypatch.setattr(disk, "SLOW_READ", 1e9)
    slow = disk.store_speed(tiny_store)
    assert (slow.status, "data.memory_gb" in slow.remedy) == ("poor", True)


def test_what_lies_in_a_container_goes_with_it(tmp_path):
    table = (
        "22 1 0:20 / / rw,relatime - overlay overlay rw\n"
        "23 22 0:21 / /fourcast rw - ext4 /dev/vda rw\n"
        "24 23 0:22 / /fourcast/runs rw shared:1 - nfs4 server:/runs rw\n"
    )
    kinds = {path: file_system(Path(path), table) for path in ("/tmp", "/fourcast/data", "/fourcast/runs/a", "/f")}
    assert kinds == {"/tmp": "overlay", "/fourcast/data": "ext4", "/fourcast/runs/a": "nfs4", "/f": "overlay"}
    (tmp_path / "mountinfo").write_text(table)
    assert "goes with it" in kept(Path("/tmp"), tmp_path / "mountinfo")
    (tmp_path / "table").write_text(
        f"22 1 0:20 / / rw - overlay overlay rw\n23 22 0:21 / {tmp_path}/far rw - nfs4 s rw\n"
    )
    (tmp_path / "far").mkdir()
    (tmp_path / "near").symlink_to(tmp_path / "far")
    assert kept(tmp_path / "near", tmp_path / "table") == " (nfs4)"
    assert kept(Path("/tmp"), tmp_path / "nothing") == ""


def test_what_is_there_of_a_folder(tmp_path):
    assert folder(tmp_path / "a" / "b") == Folder(tmp_path / "a" / "b", tmp_path)
    assert folder(tmp_path / "a" / ".." / "b") == Folder(tmp_path / "b", tmp_path)
