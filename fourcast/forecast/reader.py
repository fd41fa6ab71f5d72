"""Open a forecast run lazily: all its initial times and members as one xarray Dataset.

Dimensions (init_time, number, lead_time, level, latitude, longitude). Nothing but one header is read until values
are asked for, and then only the slabs asked for, through xarray's interface for backends; dask is not needed.
"""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray, CachingFileManager
from xarray.core import indexing

from fourcast.config import parse_time
from fourcast.errors import InputError
from fourcast.files import read_json
from fourcast.forecast.netcdf import init_name, member_path
from fourcast.variables import parse_channel

MANIFEST = "forecast.json"
_LOCK = threading.Lock()
"""The netCDF library is not thread-safe."""


@dataclass(frozen=True)
class RunFiles:
    """Which initial times and members a run consists of; all their files exist."""

    run: Path
    init_times: tuple[np.datetime64, ...]
    members: tuple[int, ...]

    def path(self, i_init: int, i_member: int) -> Path:
        """The file of one initial time and member, by position."""
        return member_path(self.run, self.init_times[i_init], self.members[i_member])


def open_run(run: str | Path, init_time: str | None = None) -> xr.Dataset:
    """Open a finished forecast run, or one initial time of it (``init_time``, or the path of its folder).

    Variables are (init_time, number, lead_time[, level], latitude, longitude) with valid_time(init_time,
    lead_time); the attribute ``channels`` lists what they hold, and other levels are NaN. InputError where there
    is no run, where forecasts are missing, or where ``init_time`` is not in it.
    """
    run = Path(run)
    chosen = _parse_init(run.name) if run.is_dir() and _members_in(run) else None
    if chosen is not None:
        run, init_time = run.parent, init_name(chosen)
    files = find_files(run, init_time)
    with _LOCK, netCDF4.Dataset(files.path(0, 0)) as first:
        first.set_auto_mask(False)
        return _assemble(files, first)


def channel(dataset: xr.Dataset, name: str) -> xr.DataArray:
    """One channel of an opened run by name, as in ``channel(dataset, "t850")``; still lazy."""
    if name not in dataset.attrs["channels"]:
        held = ", ".join(dataset.attrs["channels"])
        raise InputError(f"the forecast has no channel {name}; it holds {held}. Ask for one of these")
    parsed = parse_channel(name)
    array = dataset[parsed.variable.name]
    return array if parsed.level is None else array.sel(level=parsed.level)


def find_files(run: Path, init_time: str | None) -> RunFiles:
    """Find the files of a run, by its manifest or else by looking; InputError names what is missing."""
    manifest = run / MANIFEST
    if manifest.exists():
        content = read_json(manifest)
        inits = [np.datetime64(text, "h") for text in content["init_times"]]
        members = [int(member) for member in content["members"]]
    else:
        found = {_parse_init(folder.name): _members_in(folder) for folder in sorted(run.glob("*")) if folder.is_dir()}
        inits = sorted(init for init, held in found.items() if init is not None and held)
        members = sorted(set().union(*(found[init] for init in inits)))
    if not inits or not members:
        raise InputError(f"{run} holds no forecast (<init_time>/member_000.nc); make one with fourcast forecast")
    if init_time is not None:
        wanted = parse_time("init_time", init_time)
        if wanted not in inits:
            raise InputError(f"{run} has no initial time {init_time}; it holds {_some(map(str, inits))}")
        inits = [wanted]
    files = RunFiles(run, tuple(inits), tuple(members))
    _require_all(files)
    return files


def _require_all(files: RunFiles) -> None:
    paths = [files.path(i, m) for i in range(len(files.init_times)) for m in range(len(files.members))]
    missing = [str(path.relative_to(files.run)) for path in paths if not path.exists()]
    if missing:
        raise InputError(
            f"{files.run} lacks {len(missing)} of {len(paths)} forecasts: {_some(missing)}; "
            "run the same fourcast forecast again to finish it"
        )


def _members_in(folder: Path) -> set[int]:
    matches = (re.fullmatch(r"member_(\d{3,})\.nc", path.name) for path in folder.iterdir())
    return {int(match[1]) for match in matches if match}


def _parse_init(text: str) -> np.datetime64 | None:
    try:
        return np.datetime64(text, "h")
    except ValueError:
        return None


def _some(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")


class _StackedFiles(BackendArray):
    """One variable over all files of a run: (init_time, number) choose files, the rest is read from them."""

    def __init__(self, managers: list[list[CachingFileManager]], name: str, shape: tuple[int, ...]) -> None:
        self.managers = managers
        self.name = name
        self.shape = (len(managers), len(managers[0]), *shape)
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[np.float32]:
        picks = [np.arange(size)[k] for size, k in zip(self.shape, key, strict=True)]
        values = np.empty([pick.size for pick in picks], dtype=np.float32)
        for a, i_init in enumerate(np.atleast_1d(picks[0])):
            for b, i_member in enumerate(np.atleast_1d(picks[1])):
                with _LOCK:
                    slab = self.managers[i_init][i_member].acquire()[self.name][key[2:]]
                values[a, b] = slab.reshape(values.shape[2:])
        return values.reshape([pick.size for pick in picks if pick.ndim])


def _open_member(path: Path, sizes: tuple[tuple[str, int], ...]) -> Any:
    dataset = netCDF4.Dataset(path)
    found = _sizes(dataset)
    if found != sizes:
        dataset.close()
        raise InputError(
            f"{path} has dimensions {dict(found)}, the first file of its run {dict(sizes)}: they come from different "
            "forecasts; make the run again with overwrite=true"
        )
    dataset.set_auto_maskandscale(False)
    for variable in dataset.variables.values():
        if variable.ndim >= 3:  # by default the library hoards tens of megabytes a variable and file
            variable.set_var_chunk_cache(size=1)
    return dataset


def _sizes(dataset: Any) -> tuple[tuple[str, int], ...]:
    return tuple((name, len(dim)) for name, dim in dataset.dimensions.items())


def _assemble(files: RunFiles, first: Any) -> xr.Dataset:
    sizes = _sizes(first)
    managers = [
        [CachingFileManager(_open_member, files.path(i, m), sizes) for m in range(len(files.members))]
        for i in range(len(files.init_times))
    ]
    attributes = {name: first.getncattr(name) for name in first.ncattrs()}
    attributes["channels"] = tuple(attributes["channels"].split())
    fields = {}
    for name in dict.fromkeys(parse_channel(name).variable.name for name in attributes["channels"]):
        variable = first[name]
        dims = ("init_time", "number", "lead_time", *variable.dimensions[1:])
        stacked = indexing.LazilyIndexedArray(_StackedFiles(managers, name, variable.shape))
        kept = {k: variable.getncattr(k) for k in ("standard_name", "long_name", "units", "cell_methods")}
        fields[name] = xr.Variable(dims, stacked, kept)
    for varying in ("init_time", "member"):
        del attributes[varying]
    return xr.Dataset(fields, _coordinates(files, first), attributes)


def _coordinates(files: RunFiles, first: Any) -> Mapping[str, Any]:
    inits = np.array(files.init_times).astype("datetime64[ns]")
    leads = first["forecast_period"][:].astype("timedelta64[h]").astype("timedelta64[ns]")

    def copied(name: str) -> tuple[str, Any, dict[str, str]]:
        return name, first[name][:], {k: first[name].getncattr(k) for k in first[name].ncattrs()}

    return {
        "init_time": ("init_time", inits, {"standard_name": "forecast_reference_time"}),
        "number": ("number", np.array(files.members), {"standard_name": "realization", "units": "1"}),
        "lead_time": ("lead_time", leads, {"standard_name": "forecast_period"}),
        "valid_time": (("init_time", "lead_time"), inits[:, None] + leads, {"standard_name": "time"}),
        **{name: copied(name) for name in ("level", "latitude", "longitude") if name in first.variables},
    }
