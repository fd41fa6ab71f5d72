"""Folders of named tensors, each process's share in files of its own: torch.distributed.checkpoint, read without code.

Any number of processes, under any sharding, can read what any other number wrote. The library describes a folder in a
pickle; here it is read by an unpickler that knows the few classes of such a description and refuses everything else,
and a folder that holds anything but tensors is refused, too.
"""

import pickle
import warnings
from pathlib import Path
from typing import IO, Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint import filesystem, metadata
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from fourcast.errors import InputError


def _memory_format(of: object, name: str) -> metadata._MEM_FORMAT_ENCODING:
    """What getattr stands for in descriptions by Python 3.11.0 to 3.11.3: a member of this enumeration alone."""
    if of is not metadata._MEM_FORMAT_ENCODING:
        raise pickle.UnpicklingError(f"it names getattr of {of}")
    return metadata._MEM_FORMAT_ENCODING[name]


DESCRIPTION = {
    ("builtins", "getattr"): _memory_format,
    ("torch", "Size"): torch.Size,
    ("torch.serialization", "_get_layout"): torch.serialization._get_layout,
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"): filesystem._StorageInfo,
    ("pathlib", "PosixPath"): Path,
    ("pathlib", "WindowsPath"): Path,
    ("pathlib._local", "PosixPath"): Path,
    **{
        ("torch.distributed.checkpoint.metadata", name): getattr(metadata, name)
        for name in ("Metadata", "MetadataIndex", "StorageMeta", "TensorStorageMetadata", "ChunkStorageMetadata",
                     "TensorProperties", "BytesStorageMetadata", "_MEM_FORMAT_ENCODING")
    },
    **{
        ("torch", str(dtype).removeprefix("torch.")): dtype
        for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.bool)
    },
}  # fmt: skip
"""All that the description of a folder of tensors may name."""

warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninitialized")  # it is, on purpose


class _Description(pickle._Unpickler):  # that in Python, whose operations can be refused one by one
    """Reads a folder's description; runs no constructor but those of ``DESCRIPTION``, and leaves these as they are."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in DESCRIPTION:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return DESCRIPTION[module, name]

    def set_state(self) -> None:
        """Set an object's state; that of a class would change all its objects."""
        changed = self.stack[-2]  # type: ignore[attr-defined]
        if isinstance(changed, type):
            raise pickle.UnpicklingError(f"it changes {changed.__name__}")
        pickle._Unpickler.dispatch[pickle.BUILD[0]](self)  # type: ignore[arg-type]

    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: set_state}


class _Reader(dcp.FileSystemReader):
    """The library's reader, with the description read safely and nothing but tensors let through."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> metadata.Metadata:
        description = read_description(Path(self.path))
        description.storage_meta = description.storage_meta or metadata.StorageMeta()
        description.storage_meta.load_id = self.load_id
        return description


def read_description(folder: Path) -> metadata.Metadata:
    """What tensors a folder holds, and where in it; InputError where it is damaged or holds anything else."""
    file = folder / ".metadata"
    try:
        with file.open("rb") as stream:
            found = _unpickle(stream)
        others = [name for name, kind in found.state_dict_metadata.items() if not _is_tensor(kind)]
    except FileNotFoundError as error:
        raise InputError(f"{folder} holds no tensors: {file.name} is missing") from error
    except Exception as error:  # on bytes that are no pickle the unpickler raises almost anything
        raise InputError(f"{file} is damaged or refused: {error}") from error
    if others:
        raise InputError(f"{folder} holds more than tensors and is refused: {', '.join(others[:5])}")
    return found


def _unpickle(stream: IO[bytes]) -> metadata.Metadata:
    found = _Description(stream).load()
    if not isinstance(found, metadata.Metadata):
        raise pickle.UnpicklingError(f"it describes a {type(found).__name__}")
    return found


def _is_tensor(kind: object) -> bool:
    return isinstance(kind, metadata.TensorStorageMetadata)


def names(folder: Path) -> set[str]:
    """The names of the tensors in ``folder``."""
    return set(read_description(folder).state_dict_metadata)


def read(folder: Path, tensors: dict[str, Tensor], together: bool = False) -> None:
    """Fill ``tensors``, plain or sharded, with what ``folder`` holds under their names.

    together: all processes of the group read at once, as they must where tensors are sharded. InputError where a name
    is missing or a shape differs.
    """
    described = read_description(folder).state_dict_metadata
    for name, tensor in tensors.items():
        if name not in described:
            raise InputError(f"{folder} holds no tensor {name}")
        found = tuple(described[name].size)  # type: ignore[union-attr]
        if found != tuple(tensor.shape):
            raise InputError(f"{folder}: {name} has shape {found}, expected {tuple(tensor.shape)}")
    if not tensors:
        return
    try:
        dcp.load(tensors, storage_reader=_Reader(folder), no_dist=not (together and dist.is_initialized()))
    except CheckpointException as error:
        raise InputError(f"{folder} is damaged: {_cause(error)}") from error


class Writer(dcp.FileSystemWriter):
    """The library's writer, but what goes wrong is kept in ``failure`` instead of raised: look there in every process.

    The library would send an exception with its stack to the other processes, which not every version can, and an
    error of the disk would become one of its file format.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.failure: BaseException | None = None

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write the tensors of this process."""
        try:
            return super().write_data(plan, planner)
        except Exception as error:  # all of them are for the caller
            self.failure = _disk_error(error)
        nothing: Future[list[WriteResult]] = Future()
        nothing.set_result([])
        return nothing

    def finish(self, metadata: metadata.Metadata, results: list[list[WriteResult]]) -> None:
        """Write the description."""
        try:
            super().finish(metadata, results)
        except Exception as error:  # all of them are for the caller
            self.failure = self.failure or _disk_error(error)


def write(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Write ``tensors`` of this process alone into ``folder``."""
    writer = Writer(folder)
    dcp.save(tensors, storage_writer=writer, no_dist=True)
    if writer.failure is not None:
        raise writer.failure


def missing_files(folder: Path) -> list[str]:
    """The files that the description of ``folder`` names and that are not there."""
    described = {place.relative_path for place in (read_description(folder).storage_data or {}).values()}
    return sorted(name for name in described if not (folder / name).is_file())


def _disk_error(error: BaseException) -> BaseException:
    """The disk's error behind ``error``, where there is one: a file that could not be closed, either, hides it."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, OSError):
        found = found.__cause__ or found.__context__
    return found or error


def _cause(error: CheckpointException) -> str:
    found = next((exception for exception, _ in error.failures.values()), error)
    return (str(found).strip().splitlines() or [type(found).__name__])[0]
