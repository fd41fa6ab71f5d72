"""Opening what people have: netCDF, GRIB, zarr, the Climate Data Store's ZIP, folders and globs, as lazy datasets."""

import glob
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import xarray as xr

from fourcast.data.sources.classic import expected_bytes
from fourcast.errors import InputError

SUFFIXES = (".nc", ".nc4", ".cdf", ".netcdf", ".grib", ".grib1", ".grib2", ".grb", ".grb1", ".grb2", ".zip", ".zarr")
MAGIC = {b"CDF": "netCDF", b"\x89HDF": "netCDF", b"GRIB": "GRIB", b"PK\x03\x04": "ZIP"}
GRIB_KEYS = ["expver", "stream"]
READ_ERRORS = (OSError, ValueError, RuntimeError, KeyError, IndexError, EOFError, AttributeError, TypeError)
"""What netCDF4, zarr, cfgrib and xarray raise at files that they cannot read."""


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
    if not path.exists():
        raise InputError(f"there is no source at {path}; expected a file, a folder, a glob or a zarr")
    if not path.is_dir() or is_zarr(path):
        return [path]
    files = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and not p.name.startswith("."))
    if not files:
        raise InputError(f"{path} holds no data file; expected names that end in {', '.join(SUFFIXES)}")
    return files


def is_zarr(path: Path) -> bool:
    """Whether a folder is a zarr group of format 2 or 3."""
    return any((path / name).is_file() for name in (".zgroup", ".zmetadata", "zarr.json"))


def open_datasets(path: str, resources: ExitStack) -> list[xr.Dataset]:
    """Open one file, zarr or URL lazily; ``resources`` closes what was opened and removes what was unpacked.

    A GRIB file gives a dataset for each hypercube in it, a ZIP at least one for each file in it.
    Raises InputError where the content is unknown, truncated, or cannot be read.
    """
    if "://" in path or is_zarr(Path(path)):
        return [resources.enter_context(_open_zarr(path))]
    kind = sniff(Path(path))
    if kind == "ZIP":
        return [d for member in _unpack(Path(path), resources) for d in open_datasets(str(member), resources)]
    if kind == "GRIB":
        return _open_grib(path, resources)
    _refuse_truncated_classic(Path(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", xr.SerializationWarning)
            dataset = xr.open_dataset(path, engine="netcdf4", cache=False, decode_timedelta=True)
    except READ_ERRORS as error:
        raise InputError(f"{path} cannot be read as netCDF ({error}); it may be truncated: fetch it again") from error
    return [resources.enter_context(dataset)]


def sniff(path: Path) -> str:
    """What a file is by its first bytes, whatever its name says; InputError where it is no data file."""
    if not path.is_file():
        raise InputError(f"{path} is neither a file nor a zarr; expected netCDF, GRIB, ZIP or zarr")
    with path.open("rb") as handle:
        head = handle.read(16)
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            return kind
    raise InputError(f"{path} is neither netCDF, GRIB, ZIP nor zarr: it starts with {head!r}; fetch it again")


def _unpack(path: Path, resources: ExitStack) -> list[Path]:
    """Unpack the data files of a ZIP, which the Climate Data Store delivers under a netCDF name."""
    folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="fourcast-")))
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if Path(info.filename).suffix in SUFFIXES[:-2]]
            if not names:
                raise InputError(f"{path} is a ZIP without netCDF or GRIB: it holds {', '.join(archive.namelist())}")
            return [Path(archive.extract(name, folder)) for name in names]
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise InputError(f"{path} is a broken ZIP ({error}); fetch it again") from error


def _open_grib(path: str, resources: ExitStack) -> list[xr.Dataset]:
    """Open every hypercube of a GRIB file; its index, which each of them needs, lies in a temporary folder."""
    try:
        import cfgrib
    except ImportError as error:
        raise InputError(f"{path} is GRIB, for which cfgrib is missing: pip install 'fourcast[grib]'") from error
    _refuse_truncated_grib(Path(path))
    folder = resources.enter_context(tempfile.TemporaryDirectory(prefix="fourcast-"))
    options = {"indexpath": f"{folder}/{{short_hash}}.idx", "read_keys": GRIB_KEYS}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return cfgrib.open_datasets(path, backend_kwargs=options, cache=False, decode_timedelta=True)
    except (*READ_ERRORS, cfgrib.DatasetBuildError) as error:
        raise InputError(f"{path} cannot be read as GRIB ({error!r}); it may be damaged: fetch it again") from error


def _refuse_truncated_grib(path: Path) -> None:
    """A GRIB message ends with 7777; without this look, readers drop an incomplete last message silently."""
    with path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - 8192))
        tail = handle.read().rstrip(b"\0\n\r ")
    if not tail.endswith(b"7777"):
        raise InputError(f"{path} is a truncated GRIB file: it does not end with 7777; fetch it again")


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


def _open_zarr(path: str) -> xr.Dataset:
    anonymous = {"token": "anon"} if path.startswith(("gs://", "gcs://")) else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return xr.open_zarr(path, chunks=None, decode_timedelta=True, storage_options=anonymous)
    except ImportError as error:
        raise InputError(f"{path} needs a package that is not installed ({error}); pip install it") from error
    except READ_ERRORS as error:
        raise InputError(f"{path} cannot be opened as zarr ({error})") from error
