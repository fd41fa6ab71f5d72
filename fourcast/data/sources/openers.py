"""Opening what people have as lazy datasets: netCDF, HDF5, GRIB, zarr, the Climate Data Store's ZIP, folders."""

import glob
import re
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from fourcast.data.sources.classic import expected_bytes
from fourcast.data.sources.failures import READ_ERRORS, read_errors
from fourcast.data.sources.grib import open_grib
from fourcast.data.sources.published import is_nameless, name_fields
from fourcast.errors import InputError

FILE_SUFFIXES = (
    ".nc", ".nc4", ".cdf", ".netcdf", ".h5", ".hdf5",
    ".grib", ".grib1", ".grib2", ".grb", ".grb1", ".grb2",
)  # fmt: skip
SUFFIXES = (*FILE_SUFFIXES, ".zip", ".zarr")
MAGIC = {b"CDF": "netCDF", b"\x89HDF": "netCDF", b"GRIB": "GRIB", b"PK\x03\x04": "ZIP"}
ANONYMOUS: dict[str, dict[str, Any]] = {"gs": {"token": "anon"}, "gcs": {"token": "anon"}, "s3": {"anon": True}}
"""Options of fsspec's filesystems, by the scheme of a URL, that read public data without credentials."""
PASSWORD = re.compile(r"//[^/@]*:[^/@]*@")
"""In an address, or in one of several that are chained."""


@dataclass(frozen=True)
class SourceOptions:
    """How to read what a source alone does not say.

    hdf5_channels: names of the channels of FourCastNet HDF5 files, in order, where they are not the published ones.
    storage_options: of the fsspec filesystem of a URL; None: anonymous. allow: doubtful things to accept, each by its
    kind ("bolton", "packing"), or for one variable alone ("r:bolton").
    """

    hdf5_channels: tuple[str, ...] | None = None
    storage_options: Mapping[str, Any] | None = None
    allow: tuple[str, ...] = ()

    def allows(self, kind: str, variable: str) -> bool:
        """Whether a doubtful thing about a variable is accepted."""
        return kind in self.allow or f"{variable}:{kind}" in self.allow


NO_OPTIONS = SourceOptions()


def list_sources(paths: Iterable[str]) -> list[str]:
    """Files, zarr folders and URLs behind ``paths``: a folder stands for the data files in it, in order of name."""
    found: list[str] = []
    for path in paths:
        if "://" in path:
            found.append(path)
            continue
        matches = [Path(match) for match in sorted(glob.glob(path))] or [Path(path)]  # noqa: PTH207 (absolute globs)
        found += [str(file) for match in matches for file in _data_files(match)]
    if not found:
        raise InputError("source names no file; pass source=[file, folder, glob or zarr, …]")
    return list(dict.fromkeys(found))


def _data_files(path: Path) -> list[Path]:
    try:
        if not path.exists():
            raise InputError(f"there is no source at {path}; expected a file, a folder, a glob or a zarr")
        if not path.is_dir() or is_zarr(path):
            return [path]
        files = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and not p.name.startswith("."))
    except OSError as error:
        raise InputError(f"{path} cannot be listed ({error}); allow reading it, or name its files") from error
    if not files:
        raise InputError(f"{path} holds no data file; expected names that end in {', '.join(SUFFIXES)}")
    return files


def is_zarr(path: Path) -> bool:
    """Whether a folder is a zarr group of format 2 or 3."""
    return any((path / name).is_file() for name in (".zgroup", ".zmetadata", "zarr.json"))


def open_datasets(path: str, resources: ExitStack, options: SourceOptions = NO_OPTIONS) -> list[xr.Dataset]:
    """Open one file, zarr or URL lazily; ``resources`` closes what was opened and removes what was unpacked.

    A GRIB file gives a dataset for each hypercube in it, a ZIP at least one for each file in it.
    Raises InputError where the content is unknown, truncated, or cannot be read.
    """
    if "://" in path or is_zarr(Path(path)):
        return [resources.enter_context(_open_zarr(path, options.storage_options))]
    kind = sniff(Path(path))
    if kind == "ZIP":
        members = _unpack(Path(path), resources)
        return [dataset for member in members for dataset in open_datasets(str(member), resources, options)]
    if kind == "GRIB":
        return open_grib(path, resources)
    dataset = resources.enter_context(_open_netcdf(Path(path)))
    return [name_fields(dataset, Path(path), options.hdf5_channels) if is_nameless(dataset) else dataset]


def _open_netcdf(path: Path) -> xr.Dataset:
    """Open netCDF of any format, or HDF5, lazily."""
    _refuse_truncated_classic(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", xr.SerializationWarning)
            return xr.open_dataset(path, engine="netcdf4", cache=False, decode_timedelta=True)
    except READ_ERRORS as error:
        raise InputError(f"{path} cannot be read as netCDF ({error}); it may be truncated: fetch it again") from error


def sniff(path: Path) -> str:
    """What a file is by its first bytes, whatever its name says; InputError where it is no data file."""
    if not path.is_file():
        raise InputError(f"{path} is neither a file nor a zarr; expected netCDF, GRIB, ZIP or zarr")
    try:
        with path.open("rb") as handle:
            head = handle.read(16)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}); allow reading it") from error
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            return kind
    raise InputError(f"{path} is neither netCDF, GRIB, ZIP nor zarr: it starts with {head!r}; fetch it again")


def _unpack(path: Path, resources: ExitStack) -> list[Path]:
    """Unpack the data files of a ZIP, which the Climate Data Store delivers under a netCDF name."""
    folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="fourcast-")))
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if Path(info.filename).suffix in FILE_SUFFIXES]
            if not names:
                raise InputError(f"{path} is a ZIP without netCDF or GRIB: it holds {', '.join(archive.namelist())}")
            return [Path(archive.extract(name, folder)) for name in names]
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise InputError(f"{path} is a broken ZIP ({error}); fetch it again") from error


def _refuse_truncated_classic(path: Path) -> None:
    with path.open("rb") as handle:
        if handle.read(3) != b"CDF":
            return
    found = path.stat().st_size
    try:
        expected = expected_bytes(path)
    except (struct.error, KeyError, IndexError) as error:
        raise InputError(f"{path} is a netCDF file with a damaged header; fetch it again") from error
    if found < expected:
        raise InputError(f"{path} is truncated: expected {expected} bytes, found {found}; fetch it again")


def _open_zarr(path: str, storage_options: Mapping[str, Any] | None) -> xr.Dataset:
    """Open a zarr folder, or the zarr at a URL: anonymously unless ``storage_options`` say otherwise."""
    scheme = path.partition("://")[0] if "://" in path else None
    if PASSWORD.search(path):
        raise InputError(
            f"{PASSWORD.sub('//…@', path)} was given with a password, and addresses are recorded; name it without, and "
            "give the password by the environment (netrc, AWS_*), or to ingest in storage_options="
        )
    if scheme is not None and path.endswith(FILE_SUFFIXES):
        raise InputError(f"{path} is one remote file, expected a zarr; download it and name the local copy")
    remote = None if scheme is None else dict(ANONYMOUS.get(scheme, {}) if storage_options is None else storage_options)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return xr.open_zarr(path, chunks=None, decode_timedelta=True, storage_options=remote)
    except ImportError as error:
        raise InputError(f"{path} needs a package that is missing ({error}): pip install 'fourcast[cloud]'") from error
    except read_errors(path) as error:
        raise InputError(f"{path} cannot be opened as zarr ({error})") from error
