"""PhysicsNeMo's ``.mdlus`` archives: weights and what they were built with, read without PhysicsNeMo.

    model.pt       the state dict, a torch file
    args.json      {"__name__": class, "__module__": where it lies, "__args__": {argument: value}}
    metadata.json  versions, not read here

The archive is a zip, in older versions a tar (source: physicsnemo/core/module.py). Members are read into memory, none
is unpacked.
"""

import json
import struct
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from fourcast.errors import InputError
from fourcast.mixer_config import AFNOConfig
from fourcast.models.pretrained import Pretrained, few

MODEL, ARGUMENTS = "model.pt", "args.json"
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, struct.error,
           ValueError, OverflowError, EOFError, RuntimeError)  # fmt: skip
"""What the readers raise on bytes that are no archive, or no longer one."""
EXPANSION = 16
"""How many times the archive's size a compressed member may have; weights hardly compress."""
LARGEST_ARGUMENTS = 2**20
NUMBERS = ("in_channels", "out_channels", "embed_dim", "depth", "mlp_ratio", "drop_rate", "num_blocks",
           "sparsity_threshold", "hard_thresholding_fraction")  # fmt: skip
PAIRS = ("inp_shape", "img_size", "patch_size")
"""Arguments of AFNO: numbers, and [rows, columns]; img_size is an older name of inp_shape."""
READ = {
    "AFNO": (*NUMBERS, *PAIRS),
    "PrecipNet": ("in_channels", "out_channels", "embed_dim", "depth", *PAIRS),
}
"""Which arguments are read, by class; those of PrecipNet that come after the depth differ in meaning."""
ALONE = "if its tensors are right all the same, unpack model.pt and import that"

Arguments = dict[str, float | list[int]]


@dataclass(frozen=True, eq=False)
class Mdlus:
    """An archive's form (zip or tar), its model.pt as bytes, and what its args.json says of the network."""

    form: str
    model: bytes
    arguments: Arguments


def read_mdlus(path: Path) -> Mdlus | None:
    """The archive, or None where the file is none, as torch's own zip files are none.

    Raises InputError where it is damaged, lacks a member, holds one that leads out of it or is larger than can be, or
    describes another network than AFNO.
    """
    form = _form(path)
    if form is None:
        return None
    try:
        members = _read_tar(path) if form == "tar" else _read_zip(path)
    except InputError:
        raise
    except (*DAMAGED, OSError) as error:
        raise InputError(f"{path} is a damaged {form} archive: {error}") from error
    return Mdlus(form, members[MODEL], _arguments(path, members[ARGUMENTS]))


def check_arguments(arguments: Arguments, pretrained: Pretrained) -> None:
    """Raise InputError where args.json says something else than the weights' shapes."""
    model, mixer = pretrained.model, pretrained.model.mixer
    assert isinstance(mixer, AFNOConfig)
    found: Arguments = {
        "inp_shape": list(pretrained.grid_shape),
        "in_channels": pretrained.in_channels,
        "out_channels": pretrained.out_channels,
        "patch_size": [model.patch_size, model.patch_size],
        "embed_dim": model.embed_dim,
        "depth": model.depth,
        "num_blocks": mixer.num_blocks,
    }
    for key, value in found.items():
        if arguments.get(key, value) != value:
            raise InputError(f"args.json says {key}={arguments[key]}, the weights are those of {key}={value}; {ALONE}")
    ratio, hidden = arguments.get("mlp_ratio", model.mlp_ratio), round(model.embed_dim * model.mlp_ratio)
    assert not isinstance(ratio, list)
    if abs(model.embed_dim * ratio - hidden) >= 1:
        raise InputError(f"args.json says mlp_ratio={ratio}, the weights have {hidden} hidden channels; {ALONE}")


def _form(path: Path) -> str | None:
    """tar or zip; tar first, as one that ends with a zip file passes for both."""
    try:
        with tarfile.open(path, "r:"):
            return "tar"
    except DAMAGED:
        pass
    try:
        with zipfile.ZipFile(path) as archive:
            return None if any(name.endswith("/data.pkl") for name in archive.namelist()) else "zip"
    except DAMAGED:
        return None


def _read_tar(path: Path) -> dict[str, bytes]:
    with tarfile.open(path, "r:") as archive:
        members = archive.getmembers()
        chosen = _choose(path, [(member.name, member.size if member.isreg() else -1) for member in members])
        streams = {name: archive.extractfile(members[index]) for name, index in chosen.items()}
        return {name: stream.read() for name, stream in streams.items() if stream is not None}


def _read_zip(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        chosen = _choose(path, [(member.filename, member.file_size) for member in members])
        return {name: archive.read(members[index]) for name, index in chosen.items()}


def _choose(path: Path, members: list[tuple[str, int]]) -> dict[str, int]:
    """The positions of the wanted members among (name, size), size -1: no regular file; InputError for odd ones."""
    names = [str(PurePosixPath(name)) for name, _ in members]
    for name in names:
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise InputError(f"{path} holds a member that leads out of the archive, {name}, and is refused")
    limits = {MODEL: EXPANSION * path.stat().st_size, ARGUMENTS: LARGEST_ARGUMENTS}
    for wanted, limit in limits.items():
        if names.count(wanted) != 1:
            raise InputError(
                f"{path} is an archive of {few(names) or 'nothing'}: expected a torch file, or PhysicsNeMo's .mdlus "
                f"with one {wanted}; unpack it and name the file of weights"
            )
        size = members[names.index(wanted)][1]
        if not 0 <= size <= limit:
            raise InputError(f"{path}: {wanted} is {_size(size)}, expected a file of at most {limit:,} bytes")
    return {wanted: names.index(wanted) for wanted in limits}


def _size(size: int) -> str:
    return "a link or folder" if size < 0 else f"{size:,} bytes long"


def _arguments(path: Path, text: bytes) -> Arguments:
    """What args.json says; InputError where it describes another class, or one with more arguments than are known."""
    try:
        record = json.loads(text)
        name, given = str(record["__name__"]), dict(record["__args__"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: args.json does not describe a model ({error}); {ALONE}") from error
    if name not in READ:
        raise InputError(f"{path} holds PhysicsNeMo's {name!r}, expected one of {', '.join(READ)}")
    unknown = [key for key, value in given.items() if key not in READ[name] and value not in ([], {}, None)]
    if unknown and name == "AFNO":
        raise InputError(f"{path}: args.json gives AFNO an unknown argument, {few(unknown)}; {ALONE}")
    read = {key: _checked(path, key, given[key]) for key in READ[name] if key in given}
    if "img_size" in read:
        read.setdefault("inp_shape", read.pop("img_size"))
    return read


def _checked(path: Path, key: str, value: Any) -> float | list[int]:
    """A value of args.json that has the type of its argument."""
    if key in PAIRS:
        if isinstance(value, list) and len(value) == 2 and all(type(item) is int and item > 0 for item in value):
            return value
        raise InputError(f"{path}: args.json says {key}={value!r}, expected [rows, columns]")
    if type(value) not in (int, float) or not 0 <= value < 2**31:
        raise InputError(f"{path}: args.json says {key}={value!r}, expected a number")
    number: float = value
    return number
