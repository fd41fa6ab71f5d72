"""PhysicsNeMo's archives, made by hand as it makes them."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fourcast.config import ModelConfig
from fourcast.errors import InputError
from fourcast.mixer_config import AFNOConfig
from fourcast.models.build import build_network
from fourcast.models.mdlus import Mdlus, check_arguments, read_mdlus
from fourcast.models.pretrained import interpret

GIVEN = {
    "inp_shape": [8, 12], "in_channels": 3, "out_channels": 2, "patch_size": [2, 2], "embed_dim": 12, "depth": 2,
    "mlp_ratio": 2.5, "drop_rate": 0.0, "num_blocks": 3, "sparsity_threshold": 0.02, "hard_thresholding_fraction": 0.5,
}  # fmt: skip
"""The arguments with which PhysicsNeMo would build the network of ``tensors``; its fraction and grid no shape tells."""


def tensors() -> dict[str, Tensor]:
    config = ModelConfig(patch_size=2, embed_dim=12, depth=2, mixer=AFNOConfig(num_blocks=3), mlp_ratio=2.5)
    state = build_network(config, (3, 2), (8, 12)).state_dict()
    return {name: value for name, value in state.items() if not name.startswith("norm.")}


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def arguments(name: str = "AFNO", **changes: object) -> bytes:
    record = {"__name__": name, "__module__": "physicsnemo.models.afno.afno", "__args__": {**GIVEN, **changes}}
    return json.dumps(record).encode()


def members(**changes: bytes | None) -> dict[str, bytes]:
    """What an archive holds; changes by the name's first part, None: left out."""
    whole = {"model": saved(tensors()), "args": arguments(), "metadata": b'{"mdlus_file_version": "0.1.0"}'}
    names = {"model": "model.pt", "args": "args.json", "metadata": "metadata.json"}
    return {names[key]: text for key, text in {**whole, **changes}.items() if text is not None}


def as_zip(path: Path, content: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, text in content.items():
            archive.writestr(name, text)
    return path


def as_tar(path: Path, content: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, text in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    return path


def read(path: Path) -> Mdlus:
    archive = read_mdlus(path)
    assert archive is not None
    return archive


@pytest.mark.parametrize(("pack", "form"), [(as_zip, "zip"), (as_tar, "tar")])
@pytest.mark.parametrize("folder", ["", "./"])
def test_both_forms_are_read(tmp_path: Path, pack: Callable[..., Path], form: str, folder: str) -> None:
    content = members()
    archive = read(pack(tmp_path / "fcn.mdlus", {folder + name: text for name, text in content.items()}))
    assert (archive.form, archive.model, archive.arguments) == (form, content["model.pt"], GIVEN)


def test_a_tar_that_ends_with_a_zip_file_is_a_tar(tmp_path: Path) -> None:
    path = as_tar(tmp_path / "fcn.mdlus", dict(reversed(members().items())))
    assert zipfile.is_zipfile(path)
    assert read(path).form == "tar"


def test_a_compressed_zip_is_read(tmp_path: Path) -> None:
    assert read(as_zip(tmp_path / "fcn.mdlus", members(), zipfile.ZIP_DEFLATED)).arguments == GIVEN


@pytest.mark.parametrize("content", [b"", b"no archive", saved({"model_state": {}}), bytes(100)])
def test_other_files_are_left_to_torch(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "backbone.ckpt"
    path.write_bytes(content)
    assert read_mdlus(path) is None


def test_a_zip_of_a_version_to_come_is_left_to_torch(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "fcn.mdlus", {"model.pt": b""})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 6] = 99  # the version needed to extract, in the central directory
    path.write_bytes(content)
    assert read_mdlus(path) is None


def test_arguments_by_their_older_name(tmp_path: Path) -> None:
    older = {key: value for key, value in GIVEN.items() if key != "inp_shape"}
    text = json.dumps({"__name__": "AFNO", "__module__": "modulus", "__args__": {**older, "img_size": [8, 12]}})
    archive = read(as_zip(tmp_path / "fcn.mdlus", members(args=text.encode())))
    assert archive.arguments == {**older, "inp_shape": [8, 12]}


def test_what_comes_after_the_depth_is_not_read_of_the_precipitation_model(tmp_path: Path) -> None:
    archive = read(as_tar(tmp_path / "p.mdlus", members(args=arguments("PrecipNet", num_blocks=99, args=[], eps=1))))
    assert archive.arguments.keys() == {"inp_shape", "in_channels", "out_channels", "patch_size", "embed_dim", "depth"}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"model": None}, "is an archive of args.json, metadata.json: expected .* one model.pt; unpack it"),
    "no arguments": ({"args": None}, "expected .* one args.json"),
    "no JSON": ({"args": b"\x80\x02}"}, "args.json does not describe a model .*unpack model.pt and import that"),
    "a list": ({"args": b"[1]"}, "args.json does not describe a model"),
    "no __args__": ({"args": b'{"__name__": "AFNO"}'}, "args.json does not describe a model"),
    "deep nesting": ({"args": b"[" * 100_000}, "args.json does not describe a model"),
    "long arguments": ({"args": b" " * (2**20 + 1)}, "args.json is 1,048,577 bytes long, expected a file of at most"),
    "another class": ({"args": arguments("SFNO")}, "holds PhysicsNeMo's 'SFNO', expected one of AFNO, PrecipNet"),
    "a class that is no name": ({"args": b'{"__name__": [], "__args__": {}}'}, r"holds PhysicsNeMo's '\[\]'"),
    "an unknown argument": ({"args": arguments(activation="silu")}, "gives AFNO an unknown argument, activation"),
    "words for a number": ({"args": arguments(depth="12")}, "says depth='12', expected a number"),
    "not a number": ({"args": arguments(mlp_ratio=float("nan"))}, "says mlp_ratio=nan, expected a number"),
    "yes for a number": ({"args": arguments(depth=True)}, "says depth=True, expected a number"),
    "three for a pair": ({"args": arguments(inp_shape=[1, 8, 16])}, r"says inp_shape=\[1, 8, 16\], expected \[rows"),
}


@pytest.mark.parametrize("pack", [as_zip, as_tar])
@pytest.mark.parametrize("fault", REFUSED)
def test_archives_that_hold_something_else_are_refused(tmp_path: Path, fault: str, pack: Callable[..., Path]) -> None:
    changes, message = REFUSED[fault]
    with pytest.raises(InputError, match=message):
        read_mdlus(pack(tmp_path / "fcn.mdlus", members(**changes)))


@pytest.mark.parametrize("pack", [as_zip, as_tar])
@pytest.mark.parametrize("name", ["../args.json", "/etc/args.json", "a/../../b"])
def test_members_that_lead_out_of_the_archive_are_refused(tmp_path: Path, name: str, pack: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=f"a member that leads out of the archive, {name}, and is refused"):
        read_mdlus(pack(tmp_path / "fcn.mdlus", {**members(), name: b"x"}))


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"with one model.pt"):
        read_mdlus(as_tar(tmp_path / "fcn.mdlus", {**members(), "./model.pt": b"x"}))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_a_model_that_is_no_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    path = as_tar(tmp_path / "fcn.mdlus", members(model=None))
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("model.pt")
        link.type, link.linkname = kind, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(InputError, match=r"model.pt is a link or folder, expected a file of at most"):
        read_mdlus(path)


def test_sizes_beyond_the_archive_are_refused(tmp_path: Path) -> None:
    tar = tmp_path / "tar.mdlus"
    entry = tarfile.TarInfo("model.pt")
    entry.size = 10**15
    tar.write_bytes(entry.tobuf() + b"few")
    with pytest.raises(InputError, match=r"tar.mdlus is a damaged tar archive"):
        read_mdlus(tar)
    bomb = as_zip(tmp_path / "zip.mdlus", members(model=bytes(2**20)), zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match=r"model.pt is 1,048,576 bytes long, expected a file of at most"):
        read_mdlus(bomb)


def test_a_sparse_member_of_absurd_size_is_refused(tmp_path: Path) -> None:
    path = as_tar(tmp_path / "fcn.mdlus", members(model=None))
    with tarfile.open(path, "a") as archive:
        hole = tarfile.TarInfo("model.pt")
        hole.pax_headers = {"GNU.sparse.size": str(10**13), "GNU.sparse.numblocks": "0", "GNU.sparse.map": "0,0"}
        archive.addfile(hole)
    with pytest.raises(InputError, match=r"model.pt is 10,000,000,000,000 bytes long"):
        read_mdlus(path)


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    path = as_tar(tmp_path / "fcn.mdlus", members())
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(InputError, match=r"fcn.mdlus is a damaged tar archive: unexpected end of data"):
        read_mdlus(path)
    whole = bytearray(as_zip(path, members()).read_bytes())
    whole[len(whole) // 2] ^= 255
    path.write_bytes(whole)
    with pytest.raises(InputError, match=r"fcn.mdlus is a damaged zip archive: Bad CRC-32 for file 'model.pt'"):
        read_mdlus(path)


DISAGREEING = {
    "inp_shape": ([12, 8], "inp_shape=[12, 8], the weights are those of inp_shape=[8, 12]"),
    "in_channels": (20, "in_channels=20, the weights are those of in_channels=3"),
    "out_channels": (3, "out_channels=3, the weights are those of out_channels=2"),
    "patch_size": ([2, 4], "patch_size=[2, 4], the weights are those of patch_size=[2, 2]"),
    "embed_dim": (24, "embed_dim=24, the weights are those of embed_dim=12"),
    "depth": (12, "depth=12, the weights are those of depth=2"),
    "mlp_ratio": (4.0, "mlp_ratio=4.0, the weights have 30 hidden channels"),
    "num_blocks": (4, "num_blocks=4, the weights are those of num_blocks=3"),
}


@pytest.mark.parametrize("key", DISAGREEING)
def test_arguments_that_disagree_with_shapes_are_refused(key: str) -> None:
    found = interpret(tensors(), [8, 12], 0.5, 0.02)
    check_arguments(dict(GIVEN), found)  # type: ignore[arg-type]
    value, message = DISAGREEING[key]
    with pytest.raises(InputError) as caught:
        check_arguments({**GIVEN, key: value}, found)  # type: ignore[dict-item]
    assert str(caught.value).startswith(f"args.json says {message}; if its tensors are right all the same")


def test_a_ratio_is_rounded_down() -> None:
    found = interpret(tensors(), [8, 12], 1.0)
    check_arguments({"mlp_ratio": 30.9 / 12}, found)
    with pytest.raises(InputError, match="mlp_ratio"):
        check_arguments({"mlp_ratio": 31 / 12}, found)
