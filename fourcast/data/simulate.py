"""``fourcast simulate``: run a simulated planet into one ERA5-like CF netCDF file that says it is synthetic."""

import json
import logging
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from fourcast import __version__
from fourcast.data.planets.planet import BLOCK_STATES, Planet, States, steps_in
from fourcast.data.planets.qg3 import qg3
from fourcast.data.planets.speedy import speedy
from fourcast.data_config import SimulateConfig
from fourcast.files import refuse_existing, whole_file
from fourcast.progress import progress
from fourcast.variables import BY_NAME

log = logging.getLogger(__name__)
HORIZONTAL = ("latitude", "longitude")


def simulate(config: SimulateConfig) -> Path:
    """Simulate ``config.planet`` into ``config.output`` and return its path.

    A finished file of the same planet is left as it is. Raises InputError where another file lies there and
    ``overwrite`` is false, where a setting does not suit the planet, and where speedy's library is not installed.
    """
    path = Path(config.output)
    if path.exists() and not config.overwrite and _planet_of(path) == asdict(config.planet):
        log.info("%s already holds this planet: nothing to do", path)
        return path
    refuse_existing(path, config.overwrite)
    planet = qg3(config.planet) if config.planet.name == "qg3" else speedy(config.planet)
    count = steps_in(config.planet.days, "planet.days")
    log.info("simulating %s; first a spin-up of %g days", planet.source, config.planet.spinup_days)
    with whole_file(path) as temporary, netCDF4.Dataset(temporary, "w", format="NETCDF4") as file:
        _define(file, planet, config)
        for block in progress(planet.states, -(-count // BLOCK_STATES), "blocks of ten days:"):
            _append(file, block)
    log.info("%s holds %d states of a simulated planet", path, count)
    return path


def _planet_of(path: Path) -> dict[str, Any] | None:
    """The planet's configuration stored in a file; None where it is no file of ours."""
    try:
        with netCDF4.Dataset(path) as file:
            stored = file.getncattr("fourcast_config")
    except (OSError, AttributeError):
        return None
    return json.loads(stored)["planet"]


def _define(file: netCDF4.Dataset, planet: Planet, config: SimulateConfig) -> None:
    file.setncatts(_global_attributes(planet, config))
    _coordinate(file, "time", None, {"units": "hours since 1970-01-01 00:00:00", "calendar": "standard", "axis": "T"})
    _coordinate(file, "latitude", planet.grid.latitude, {"units": "degrees_north", "axis": "Y"})
    _coordinate(file, "longitude", planet.grid.longitude, {"units": "degrees_east", "axis": "X"})
    for name, pressures in planet.levels.items():
        dimensions = ("time", *_level_dimension(file, name, pressures), *HORIZONTAL)
        _variable(file, name, dimensions, planet.comments.get(name))
    for name, values in planet.static.items():
        _variable(file, name, HORIZONTAL, planet.comments.get(name))
        file[name][:] = values


def _global_attributes(planet: Planet, config: SimulateConfig) -> dict[str, Any]:
    return {
        "Conventions": "CF-1.11",
        "title": "SYNTHETIC weather of a simulated planet: neither observed nor analysed",
        "synthetic": "true",
        "source": planet.source,
        "history": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} fourcast {__version__} simulate",
        "seed": np.int64(config.planet.seed),
        "fourcast_config": json.dumps(asdict(config)),
    }


def _level_dimension(file: netCDF4.Dataset, name: str, pressures: tuple[int, ...]) -> tuple[str, ...]:
    """The dimension of these pressures: ``level``, or ``level_<name>`` where that one is taken by others."""
    if not pressures:
        return ()
    attributes = {"standard_name": "air_pressure", "units": "hPa", "positive": "down", "axis": "Z"}
    dimension = "level"
    if dimension in file.dimensions and tuple(file[dimension][:]) != pressures:
        dimension = f"level_{name}"
    if dimension not in file.dimensions:
        _coordinate(file, dimension, np.array(pressures, dtype=np.float64), attributes)
    return (dimension,)


def _coordinate(file: netCDF4.Dataset, name: str, values: np.ndarray | None, attributes: dict[str, str]) -> None:
    """A dimension with its coordinate variable; unlimited, and integer, where there are no values yet."""
    file.createDimension(name, None if values is None else len(values))
    variable = file.createVariable(name, "i8" if values is None else "f8", (name,))
    variable.setncatts({"standard_name": name, "long_name": name, **attributes})
    if values is not None:
        variable[:] = values


def _variable(file: netCDF4.Dataset, name: str, dimensions: tuple[str, ...], comment: str | None) -> None:
    row = BY_NAME[name]
    chunks = [1 if d == "time" else len(file.dimensions[d]) for d in dimensions]
    variable = file.createVariable(
        name, "f4", dimensions, compression="zlib", complevel=1, shuffle=True, chunksizes=chunks, fill_value=False
    )
    attributes = {
        "standard_name": row.standard_name,
        "long_name": row.long_name.replace("_", " "),
        "units": row.units,
        "cell_methods": row.cell_methods,
        "comment": comment,
    }
    variable.setncatts({key: value for key, value in attributes.items() if value is not None})


def _append(file: netCDF4.Dataset, block: States) -> None:
    begin = len(file.dimensions["time"])
    place = slice(begin, begin + len(block.times))
    file["time"][place] = block.times.astype("datetime64[h]").astype(np.int64)
    for name, values in block.fields.items():
        if not np.isfinite(values).all():
            raise FloatingPointError(f"{name} is not finite after {block.times[0]}: the simulation has blown up")
        file[name][place] = values
