"""What a forecast run consists of: its manifest, its folders and which of its files are there.

RUN/forecast.json    RUN/<init_time>/member_000.nc, …    RUN/<init_time>/ensemble.nc    RUN/forecast.zarr
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import netCDF4
import numpy as np
import xarray as xr

from fourcast.errors import InputError
from fourcast.files import read_json
from fourcast.forecast.netcdf import LOCK, init_name, member_path
from fourcast.forecast.stacked import Files
from fourcast.periods import parse_time

MANIFEST = "forecast.json"
ENSEMBLE_FILE = "ensemble.nc"
ZARR = "forecast.zarr"


@dataclass(frozen=True)
class Contents:
    """Which initial times and members a run consists of."""

    run: Path
    init_times: tuple[np.datetime64, ...]
    members: tuple[int, ...]

    @property
    def member_files(self) -> Files:
        """[initial time, member]: the file of each, whether or not it is there."""
        paths = [[member_path(self.run, time, member) for member in self.members] for time in self.init_times]
        return np.array(paths, dtype=object)

    def files_named(self, name: str) -> Files:
        """[initial time]: the file of that name of each, whether or not it is there."""
        return np.array([self.run / init_name(time) / name for time in self.init_times], dtype=object)


def find_contents(run: Path, init_time: str | None = None) -> Contents:
    """What a run consists of, by its manifest or else by looking; InputError where it is none.

    Of one initial time alone where ``init_time`` names it, or where ``run`` is its folder.
    """
    folder_of = _parse_init(run.name)
    if folder_of is not None and not (run / MANIFEST).exists():
        return find_contents(run.parent, init_name(folder_of))
    if (run / MANIFEST).exists():
        content = read_json(run / MANIFEST)
        inits, members = [np.datetime64(text, "h") for text in content["init_times"]], content["members"]
    else:
        inits, members = _look(run)
    if not inits or not members:
        raise InputError(f"{run} holds no forecast (<init_time>/member_000.nc); make one with fourcast forecast")
    if init_time is not None:
        wanted = parse_time("init_time", init_time)
        if wanted not in inits:
            raise InputError(f"{run} has no initial time {init_time}; it holds {some(map(init_name, inits))}")
        inits = [wanted]
    return Contents(run, tuple(inits), tuple(members))


def require(contents: Contents, files: Files) -> Files:
    """``files`` of a run; InputError where some are not there, naming them."""
    lacking = [str(path.relative_to(contents.run)) for path in files.flat if not path.exists()]
    if lacking:
        raise InputError(
            f"{contents.run} lacks {len(lacking)} of {files.size} forecasts: {some(lacking)}; "
            "run the same fourcast forecast again to finish it"
        )
    return files


def some(names: Iterable[str]) -> str:
    """The first few of many names."""
    names = list(names)
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")


def keeps_members(contents: Contents) -> bool:
    """Whether the run was to have files of members, and not of products alone."""
    manifest = contents.run / MANIFEST
    return not manifest.exists() or read_json(manifest).get("layout") != []


def _look(run: Path) -> tuple[list[np.datetime64], list[int]]:
    """Initial times and members by the files that are there."""
    folders = {path: _parse_init(path.name) for path in sorted(run.glob("*")) if path.is_dir()}
    members = {path: _members_in(path) for path, init in folders.items() if init is not None}
    inits = [init for path, init in folders.items() if init is not None and members[path]]
    if not inits and (run / ZARR).exists():
        with xr.open_zarr(run / ZARR, chunks=None, consolidated=False) as stored:
            inits, numbers = list(stored["time"].values.astype("datetime64[h]")), stored["number"].values.tolist()
            return inits, numbers
    return inits, sorted(set().union(*members.values()))


def _members_in(folder: Path) -> set[int]:
    matches = (re.fullmatch(r"member_(\d{3,})\.nc", path.name) for path in folder.iterdir())
    members = {int(match[1]) for match in matches if match}
    if not members and (folder / ENSEMBLE_FILE).exists():
        with LOCK, netCDF4.Dataset(folder / ENSEMBLE_FILE) as combined:
            members = set(combined["number"][:].tolist())
    return members


def _parse_init(text: str) -> np.datetime64 | None:
    """The initial time that a folder is named after; None for other names."""
    try:
        time = np.datetime64(text, "h")
    except ValueError:
        return None
    return time if init_name(time) == text else None
