"""THE table of variables: names in every vocabulary, units, and CF metadata.

A *variable* is a physical quantity (``t``, ``t2m``); a *channel* is one 2-D field by name: a surface variable
under its own name (``t2m``, ``msl``) or a pressure-level variable with its level in hPa (``t850``). The names are
those of earth2studio. Mind ``u100`` (100 hPa) and ``u100m`` (100 metres above the ground).

To add a variable, add a row: its names in files, each once, and where its unit is new its spellings in
data/sources/units.py. An accumulation carries its hours in its name, because files do not state them: tp06 does not
claim ``tp`` (GRIB 228), which in ERA5 is hourly.

Sources: ECMWF parameter database (GRIB parameter numbers, short names), Climate Data Store and ARCO-ERA5
variable names, CF standard-name table version 93.
"""

import re
from dataclasses import dataclass, field

from fourcast.errors import InputError


@dataclass(frozen=True)
class Variable:
    """One row of the table.

    name: ours. long_name: ERA5's long name, as ARCO-ERA5 and WeatherBench 2 write it. standard_name: CF's. units: the
    units in our stores and files. grib_ids: ECMWF parameter numbers. aliases: other names found in files (Climate
    Data Store netCDF, ECMWF and GRIB short names). levels: whether it lies on pressure levels. height: metres above
    the ground for CF's scalar height coordinate. positive: negative values are impossible. cell_methods: CF cell
    methods for accumulations. static: the same at all times, so not a channel to forecast.
    """

    name: str
    long_name: str
    standard_name: str
    units: str
    grib_ids: tuple[int, ...] = ()
    aliases: tuple[str, ...] = ()
    levels: bool = False
    height: float | None = None
    positive: bool = False
    cell_methods: str | None = None
    static: bool = False


def _level(
    name: str, long_name: str, standard_name: str, units: str, grib_id: int, *, positive: bool = False
) -> Variable:
    return Variable(name, long_name, standard_name, units, (grib_id,), levels=True, positive=positive)


VARIABLES: tuple[Variable, ...] = (
    _level("u", "u_component_of_wind", "eastward_wind", "m s-1", 131),
    _level("v", "v_component_of_wind", "northward_wind", "m s-1", 132),
    _level("w", "vertical_velocity", "lagrangian_tendency_of_air_pressure", "Pa s-1", 135),
    _level("z", "geopotential", "geopotential", "m2 s-2", 129),
    _level("t", "temperature", "air_temperature", "K", 130, positive=True),
    _level("r", "relative_humidity", "relative_humidity", "%", 157),
    _level("q", "specific_humidity", "specific_humidity", "kg kg-1", 133),
    _level("ws", "wind_speed", "wind_speed", "m s-1", 10, positive=True),
    _level("vo", "vorticity", "atmosphere_upward_relative_vorticity", "s-1", 138),
    Variable("u10m", "10m_u_component_of_wind", "eastward_wind", "m s-1", (165,), ("u10", "10u"), height=10.0),
    Variable("v10m", "10m_v_component_of_wind", "northward_wind", "m s-1", (166,), ("v10", "10v"), height=10.0),
    Variable("u100m", "100m_u_component_of_wind", "eastward_wind", "m s-1", (228246,), ("u100", "100u"), height=100.0),
    Variable("v100m", "100m_v_component_of_wind", "northward_wind", "m s-1", (228247,), ("v100", "100v"), height=100.0),
    Variable("ws10m", "10m_wind_speed", "wind_speed", "m s-1", (207,), ("si10", "10si"), height=10.0, positive=True),
    Variable(
        "ws100m", "100m_wind_speed", "wind_speed", "m s-1", (228249,), ("si100", "100si"),
        height=100.0, positive=True,
    ),
    Variable("t2m", "2m_temperature", "air_temperature", "K", (167,), ("2t",), height=2.0, positive=True),
    Variable(
        "d2m", "2m_dewpoint_temperature", "dew_point_temperature", "K", (168,), ("2d",),
        height=2.0, positive=True,
    ),
    Variable("sp", "surface_pressure", "surface_air_pressure", "Pa", (134,), positive=True),
    Variable(
        "msl", "mean_sea_level_pressure", "air_pressure_at_mean_sea_level", "Pa", (151,), ("prmsl",),
        positive=True,
    ),
    Variable("tcwv", "total_column_water_vapour", "atmosphere_mass_content_of_water_vapor", "kg m-2", (137,)),
    Variable("sst", "sea_surface_temperature", "sea_surface_temperature", "K", (34,), positive=True),
    Variable(
        "tp06", "total_precipitation_6hr", "lwe_thickness_of_precipitation_amount", "m",
        cell_methods="time: sum",
    ),
    Variable("z_sfc", "geopotential_at_surface", "surface_geopotential", "m2 s-2", (129,), ("z_surface",), static=True),
    Variable("lsm", "land_sea_mask", "land_area_fraction", "1", (172,), static=True),
)  # fmt: skip

BY_NAME: dict[str, Variable] = {variable.name: variable for variable in VARIABLES}

_FOURCASTNET_20 = (
    "u10m", "v10m", "t2m", "sp", "msl", "t850", "u1000", "v1000", "z1000", "u850",
    "v850", "z850", "u500", "v500", "z500", "t500", "z50", "r500", "r850", "tcwv",
)  # fmt: skip
_FOURCASTNET_26 = (*_FOURCASTNET_20, "u100m", "v100m", "u250", "v250", "z250", "t250")
_FOURCASTNET_34 = (*_FOURCASTNET_26, "u100", "v100", "z100", "t100", "u900", "v900", "z900", "t900")
CHANNEL_SETS: dict[str, tuple[str, ...]] = {
    "fourcastnet20": _FOURCASTNET_20,
    "fourcastnet26": _FOURCASTNET_26,
    "fourcastnet34": _FOURCASTNET_34,
}
"""The published sets in the order of their weights; conf/channel_set/ has each as a file."""


@dataclass(frozen=True)
class Channel:
    """One 2-D field: a variable, on a pressure level in hPa where it has levels."""

    variable: Variable
    level: int | None = None
    name: str = field(init=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.variable.name + ("" if self.level is None else str(self.level)))


def parse_channel(name: str) -> Channel:
    """``t850`` → temperature at 850 hPa, ``t2m`` → 2-metre temperature; InputError names an unknown channel."""
    surface = BY_NAME.get(name)
    if surface is not None and not surface.levels:
        return Channel(surface)
    match = re.fullmatch(r"([a-z]+)(\d+)", name)
    variable = BY_NAME.get(match[1]) if match else None
    if match is None or variable is None or not variable.levels or not 1 <= int(match[2]) <= 1100:
        raise InputError(
            f"unknown channel {name!r}: expected a surface variable ({_names(levels=False)}) or one of "
            f"{_names(levels=True)} followed by a pressure in hPa, as in t850"
        )
    return Channel(variable, int(match[2]))


def parse_channels(names: list[str] | tuple[str, ...]) -> tuple[Channel, ...]:
    """Parse names in order; a published set (fourcastnet20, fourcastnet26, fourcastnet34) stands for its channels."""
    names = [channel for name in names for channel in CHANNEL_SETS.get(name, (name,))]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"channels are listed twice: {', '.join(repeated)}; name each channel once")
    return tuple(parse_channel(name) for name in names)


def _names(levels: bool) -> str:
    return ", ".join(v.name for v in VARIABLES if v.levels == levels and not v.static)
