"""GRIB 1 and 2 through cfgrib, as one lazy dataset for each hypercube, with nothing written beside the file."""

import tempfile
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import xarray as xr

from fourcast.data.sources.failures import READ_ERRORS
from fourcast.errors import InputError

READ_KEYS = ["expver", "stream", "class"]
PRECIPITATION, ERA5 = 228, "ea"
"""GRIB parameter number and class of the sums over one hour, which ERA5 calls total precipitation."""


def open_grib(path: str, resources: ExitStack) -> list[xr.Dataset]:
    """Open every hypercube of each ERA5 version in a GRIB file; ``resources`` removes the index, which they need.

    Raises InputError where the file is truncated or damaged, or cfgrib is missing.
    """
    try:
        import cfgrib
    except ImportError as error:
        raise InputError(f"{path} is GRIB, for which cfgrib is missing: pip install 'fourcast[grib]'") from error
    _refuse_truncated(Path(path))
    folder = resources.enter_context(tempfile.TemporaryDirectory(prefix="fourcast-"))
    options = {"indexpath": f"{folder}/{{short_hash}}.idx", "read_keys": READ_KEYS}
    try:
        versions = _versions(path)
        filters = [{"expver": version} for version in versions] if len(versions) > 1 else [{}]
        return [each for chosen in filters for each in _open_cubes(path, {**options, "filter_by_keys": chosen})]
    except (*READ_ERRORS, cfgrib.DatasetBuildError) as error:
        raise InputError(f"{path} cannot be read as GRIB ({error!r}); it may be damaged: fetch it again") from error


def _versions(path: str) -> list[str]:
    """The ERA5 versions in a file: cfgrib would take the first for all."""
    import eccodes

    index = eccodes.codes_index_new_from_file(path, ["expver"])
    try:
        return sorted(set(eccodes.codes_index_get_string(index, "expver")))
    finally:
        eccodes.codes_index_release(index)


def _open_cubes(path: str, options: dict[str, Any]) -> list[xr.Dataset]:
    """The hypercubes that ``options`` choose, with ERA5's hourly precipitation by the hour at which it ends.

    GRIB keeps it by the start of a forecast and the step from there, which makes a hypercube with holes.
    """
    import cfgrib

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        cubes = cfgrib.open_datasets(path, backend_kwargs=options, cache=False, decode_timedelta=True)
        sums = [(i, str(name)) for i, cube in enumerate(cubes) for name in cube.data_vars if _is_hourly(cube[name])]
        if not sums:
            return cubes
        for i, name in sums:
            cubes[i] = cubes[i].drop_vars(name)
        wanted = {**options["filter_by_keys"], "paramId": PRECIPITATION}
        chosen = {**options, "filter_by_keys": wanted, "time_dims": ("valid_time",)}
        hourly = xr.open_dataset(path, engine="cfgrib", backend_kwargs=chosen, cache=False, decode_timedelta=True)
        return [*(cube for cube in cubes if cube.data_vars), hourly]


def _is_hourly(array: xr.DataArray) -> bool:
    known = (array.attrs.get("GRIB_paramId"), array.attrs.get("GRIB_class"), array.attrs.get("GRIB_stepType"))
    return known == (PRECIPITATION, ERA5, "accum") and "step" in array.coords


def _refuse_truncated(path: Path) -> None:
    """A GRIB message ends with 7777; without this look, readers drop an incomplete last message silently."""
    with path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - 8192))
        tail = handle.read().rstrip(b"\0\n\r ")
    if not tail.endswith(b"7777"):
        raise InputError(f"{path} is a truncated GRIB file: it does not end with 7777; fetch it again")
