"""SPEEDY: a primitive-equation climate model with moist physics, eight levels and the Earth's own ground and seas.

The model is the library jcm (dynamical core dinosaur, SPEEDY physics after Molteni 2003, Clim. Dyn. 20, 175-191), an
extra: ``pip install fourcast[planet]``. Orography, land fraction and the climatology of sea-surface temperature, sea
ice, soil and snow come with the library. Its sigma levels are interpolated to pressure.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from fourcast.data.planets.planet import (
    BLOCK_STATES,
    GRAVITY,
    STEP_HOURS,
    Float32,
    Planet,
    States,
    Times,
    block_times,
    steps_in,
)
from fourcast.data.planets.pressure_levels import (
    Array,
    interpolate,
    interpolate_geopotential,
    interpolate_temperature,
    sea_level_pressure,
)
from fourcast.data_config import PlanetConfig
from fourcast.errors import InputError
from fourcast.grid import Grid
from fourcast.periods import parse_time

if TYPE_CHECKING:
    from jcm.forcing import ForcingData
    from jcm.model import Model

TRUNCATIONS = (21, 31, 42)
SIGMA_LEVELS = 8
HIGHEST_LEVEL = 50
REFERENCE_PRESSURE = 1e5
WATER_DENSITY = 1000.0
SURFACE = ("t2m", "u10m", "v10m", "sp", "msl", "tp06", "sst")
COMMENTS = {
    "t2m": "SPEEDY's near-surface air temperature",
    "u10m": "SPEEDY's near-surface wind, from the lowest model level",
    "v10m": "SPEEDY's near-surface wind, from the lowest model level",
    "msl": "continued from the lowest model level with 6.5 K per km",
    "tp06": "not accumulated: the precipitation rate at this instant times 6 hours",
    "sst": "prescribed climatology of the day, filled in over land",
}


def speedy(config: PlanetConfig) -> Planet:
    """The planet of ``config``, spun up when its first state is read; InputError without the library jcm."""
    _check(config)
    try:
        import jcm
        from jcm.forcing import ForcingData
        from jcm.model import Model
        from jcm.physics.speedy.speedy_coords import get_speedy_coords
        from jcm.terrain import TerrainData
    except ImportError as error:
        raise InputError(
            f"planet.name=speedy needs the library jcm ({error}); install it with: pip install fourcast[planet]"
        ) from error
    first = parse_time("planet.start", config.start)
    spinup, count = steps_in(config.spinup_days, "planet.spinup_days"), steps_in(config.days, "planet.days")
    begin = first - (spinup + 1) * np.timedelta64(STEP_HOURS, "h")

    coords = get_speedy_coords(SIGMA_LEVELS, config.truncation)
    climatology = Path(jcm.__file__).parent / "data" / "bc" / "t30" / "clim"
    terrain = TerrainData.from_file(climatology / "terrain.nc", coords)
    forcing = ForcingData.from_file(climatology / "forcing.nc", coords)
    model = Model(coords=coords, terrain=terrain, start_time=str(begin.astype("datetime64[s]")))
    model.bootstrap_state(model.initial_state(random_seed=config.seed))

    pressures = tuple(config.levels)
    return Planet(
        source=f"SPEEDY physics and dinosaur dynamics, library jcm, T{config.truncation}, {SIGMA_LEVELS} levels",
        grid=Grid(np.rad2deg(coords.horizontal.latitudes)[::-1], np.rad2deg(coords.horizontal.longitudes)),
        levels=dict.fromkeys("uvtzq", pressures) | dict.fromkeys(SURFACE, ()),
        static={
            "z_sfc": _maps(GRAVITY * np.asarray(terrain.orog)),
            "lsm": _maps(np.asarray(terrain.fmask)),
        },
        comments=COMMENTS,
        states=_states(model, forcing, spinup, block_times(first, count), pressures),
    )


def _check(config: PlanetConfig) -> None:
    if config.truncation not in TRUNCATIONS:
        raise InputError(f"planet.truncation must be one of {TRUNCATIONS} for speedy, found {config.truncation}")
    increasing = bool(config.levels) and config.levels == sorted(set(config.levels))
    if not increasing or config.levels[0] < HIGHEST_LEVEL:
        raise InputError(
            f"planet.levels must be pressures of {HIGHEST_LEVEL} hPa and more, increasing; found {config.levels}"
        )


def _states(
    model: "Model", forcing: "ForcingData", spinup: int, blocks: Iterator[Times], pressures: tuple[int, ...]
) -> Iterator[States]:
    for _ in range(spinup // BLOCK_STATES):
        _advance(model, forcing, BLOCK_STATES)
    if spinup % BLOCK_STATES:
        _advance(model, forcing, spinup % BLOCK_STATES)
    sst_DHW = _maps(np.asarray(forcing.sea_surface_temperature.values))
    for times in blocks:
        output = _advance(model, forcing, len(times))
        yield States(times, {**fields(output, pressures), "sst": sst_DHW[_day_of_year(times)]})


def _advance(model: "Model", forcing: "ForcingData", states: int) -> xr.Dataset:
    """The next states, every six hours."""
    run = model.resume(forcing=forcing, save_interval=f"{STEP_HOURS} hours", total_time=f"{states * STEP_HOURS} hours")
    return run.to_xarray()


def fields(output: xr.Dataset, pressures: tuple[int, ...]) -> dict[str, Float32]:
    """Our variables from the library's: [T, P, H, W] at ``pressures`` in hPa, and [T, H, W] at the surface."""
    output = output.sortby("level").sortby("lat", ascending=False)
    column = {name: _values(output, name) for name in ("u_wind", "v_wind", "temperature", "geopotential")}
    sp_THW = _values(output, "normalized_surface_pressure") * REFERENCE_PRESSURE
    p_TLHW = output["level"].values[:, None, None] * sp_THW[:, None]
    p_P = 100.0 * np.array(pressures)
    t_TLHW, z_TLHW = column["temperature"], column["geopotential"]
    result = {
        "u": interpolate(column["u_wind"], p_TLHW, p_P),
        "v": interpolate(column["v_wind"], p_TLHW, p_P),
        "t": interpolate_temperature(t_TLHW, p_TLHW, p_P),
        "z": interpolate_geopotential(z_TLHW, t_TLHW, p_TLHW, p_P),
        "q": interpolate(_values(output, "specific_humidity"), p_TLHW, p_P),
        "t2m": _values(output, "surface_flux.t0"),
        "u10m": _values(output, "surface_flux.u0"),
        "v10m": _values(output, "surface_flux.v0"),
        "sp": sp_THW,
        "msl": sea_level_pressure(z_TLHW, t_TLHW, p_TLHW),
        "tp06": _values(output, "surface_exchange.precipitation") * STEP_HOURS * 3600 / WATER_DENSITY,
    }
    return {name: values.astype(np.float32) for name, values in result.items()}


def _values(output: xr.Dataset, name: str) -> Array:
    wanted = ("time", "level", "lat", "lon") if "level" in output[name].dims else ("time", "lat", "lon")
    return output[name].transpose(*wanted).values.astype(np.float64)


def _maps(field_WH: np.ndarray) -> Float32:
    """The library's [..., longitude, latitude from the south] as maps [..., latitude from the north, longitude]."""
    return np.ascontiguousarray(field_WH.swapaxes(-1, -2)[..., ::-1, :], dtype=np.float32)


def _day_of_year(times: Times) -> np.ndarray:
    """Index into a table of 365 days; a leap year's last day takes the last entry."""
    days = times.astype("datetime64[D]") - times.astype("datetime64[Y]").astype("datetime64[D]")
    return np.minimum(days.astype(int), 364)
