"""Folders of tensors: what is written is what is read, and reading runs nothing."""

import errno
import io
import pickle
from enum import Enum
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint.metadata import (
    _MEM_FORMAT_ENCODING,
    BytesStorageMetadata,
    Metadata,
    TensorStorageMetadata,
)

from fourcast import sharded
from fourcast.errors import InputError

TENSORS = {
    "model.a": torch.arange(6.0).view(2, 3),
    "model.half": torch.tensor([1.5, -2.0, 0.25]).bfloat16(),
    "count": torch.tensor(5),
    "empty": torch.zeros(0, 3),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sharded.write(tmp_path / "tensors", TENSORS)
    return tmp_path / "tensors"


def test_what_is_written_is_what_is_read(folder: Path) -> None:
    found = {name: torch.full_like(tensor, 9) for name, tensor in TENSORS.items()}
    sharded.read(folder, found)
    assert [name for name, tensor in TENSORS.items() if not torch.equal(tensor, found[name])] == []
    assert sharded.names(folder) == set(TENSORS)


def test_a_part_is_read_by_itself(folder: Path) -> None:
    found = {"count": torch.tensor(0)}
    sharded.read(folder, found)
    assert found["count"].item() == 5


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"model.b": torch.zeros(2)}, "holds no tensor model.b"),
        ({"model.a": torch.zeros(3, 2)}, r"model.a has shape \(2, 3\), expected \(3, 2\)"),
    ],
)
def test_what_does_not_fit_is_named(folder: Path, wanted: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sharded.read(folder, wanted)


class Malicious:
    """Unpickled, it would make a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path, bytes]]:
        return Path.write_bytes, (self.mark, b"executed")


@pytest.mark.parametrize("wrapped", [False, True])
def test_code_in_a_description_is_refused_unexecuted(folder: Path, tmp_path: Path, wrapped: bool) -> None:
    mark = tmp_path / "mark"
    malicious = Malicious(mark)
    description = Metadata({}, planner_data=malicious) if wrapped else malicious
    (folder / ".metadata").write_bytes(pickle.dumps(description))
    with pytest.raises(InputError, match=r"damaged or refused: it names \S*(write_bytes|getattr)"):
        sharded.read(folder, {"count": torch.tensor(0)})
    assert not mark.exists()


class EarlyPickler(pickle.Pickler):
    """Writes members of enumerations as Python 3.11.2 does."""

    def reducer_override(self, value: object) -> object:
        return (getattr, (type(value), value.name)) if isinstance(value, Enum) else NotImplemented


def written_early(value: object) -> bytes:
    stream = io.BytesIO()
    EarlyPickler(stream).dump(value)
    return stream.getvalue()


def test_a_description_of_an_early_python_is_read(folder: Path) -> None:
    description = written_early(sharded.read_description(folder))
    assert b"getattr" in description
    (folder / ".metadata").write_bytes(description)
    found = {name: torch.full_like(tensor, 9) for name, tensor in TENSORS.items()}
    sharded.read(folder, found)
    assert [name for name, tensor in TENSORS.items() if not torch.equal(tensor, found[name])] == []


@pytest.mark.parametrize(
    "wanted", [(Path, "write_bytes"), (TensorStorageMetadata, "__init__"), (_MEM_FORMAT_ENCODING, "__class__")]
)
def test_attributes_of_anything_else_are_refused(folder: Path, wanted: tuple[type, str]) -> None:
    description = sharded.read_description(folder)
    description.planner_data = Attribute(*wanted)
    (folder / ".metadata").write_bytes(pickle.dumps(description))
    with pytest.raises(InputError, match="damaged or refused"):
        sharded.names(folder)


class Attribute:
    """Unpickled, it would be the attribute of something."""

    def __init__(self, of: type, name: str) -> None:
        self.wanted = of, name

    def __reduce__(self) -> tuple[object, tuple[type, str]]:
        return getattr, self.wanted


def test_a_description_that_changes_a_class_is_refused(folder: Path) -> None:
    """Its state would be set on the class that it names instead of on an object."""
    state = pickle.dumps((None, {"size": 1}), protocol=2)[2:-1]
    named = b"ctorch.distributed.checkpoint.metadata\nTensorStorageMetadata\n"
    (folder / ".metadata").write_bytes(named + state + b"b.")
    with pytest.raises(InputError, match="it changes TensorStorageMetadata"):
        sharded.names(folder)
    assert not hasattr(TensorStorageMetadata, "size")


def test_objects_among_the_tensors_are_refused(folder: Path) -> None:
    """The library would unpickle them."""
    description = sharded.read_description(folder)
    description.state_dict_metadata["count"] = BytesStorageMetadata()
    (folder / ".metadata").write_bytes(pickle.dumps(description))
    with pytest.raises(InputError, match="holds more than tensors and is refused: count"):
        sharded.read(folder, {"count": torch.tensor(0)})


def test_damage_is_named(folder: Path) -> None:
    description = (folder / ".metadata").read_bytes()
    others = [pickle.dumps(value) for value in ([1, 2], Metadata(None))]  # type: ignore[arg-type]
    for damaged in (b"", b"no pickle", description[: len(description) // 2], *others):
        (folder / ".metadata").write_bytes(damaged)
        with pytest.raises(InputError, match=r"\.metadata is damaged or refused"):
            sharded.names(folder)
    (folder / ".metadata").unlink()
    with pytest.raises(InputError, match=r"holds no tensors: \.metadata is missing"):
        sharded.names(folder)


def test_a_file_that_was_cut_is_named(folder: Path) -> None:
    (file,) = folder.glob("*.distcp")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match="is damaged"):
        sharded.read(folder, {name: torch.zeros_like(tensor) for name, tensor in TENSORS.items()})


@pytest.mark.parametrize("file", ["__0_0.distcp", ".metadata.tmp"])
@pytest.mark.parametrize("size", [3, 1_000_000])
def test_a_full_disk_is_the_disks_own_error(tmp_path: Path, file: str, size: int) -> None:
    """The library would speak of an unexpected position in a file."""
    (tmp_path / file).symlink_to("/dev/full")
    with pytest.raises(OSError) as raised:
        sharded.write(tmp_path, {"first": torch.zeros(size), "second": torch.zeros(size)})
    assert raised.value.errno == errno.ENOSPC


def test_files_that_are_missing_are_named(folder: Path) -> None:
    assert sharded.missing_files(folder) == []
    (folder / "__0_0.distcp").unlink()
    assert sharded.missing_files(folder) == ["__0_0.distcp"]
