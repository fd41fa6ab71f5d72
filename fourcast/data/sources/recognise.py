"""Which variable of ours an array in a file is, and on which pressure levels it lies, or why it is none.

Arrays are known by GRIB parameter number, by name (ours, ERA5's long name, Climate Data Store and ECMWF short
names), or by CF standard name. A channel arises from a variable and its level, so the Climate Data Store's ``u10``
is the wind at 10 metres and ``u`` on a level of 10 hPa is the channel u10.
"""

import re

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fourcast.data.sources.axes import STEPS
from fourcast.data.sources.units import unit_of
from fourcast.errors import InputError
from fourcast.variables import BY_NAME, VARIABLES, Variable, parse_channel

HEIGHT_NAMES = {
    "gh": "z", "zg": "z", "hgt": "z", "geopotential_height": "z",
    "orog": "z_sfc", "orography": "z_sfc", "surface_altitude": "z_sfc",
}  # fmt: skip
HEIGHT_GRIB_IDS = {156: "z", 228002: "z_sfc"}
PRESSURE_NAMES = ("pressure_level", "level", "isobaricinhpa", "isobaricinpa", "plev", "lev", "pressure", "air_pressure")
OTHER_LEVELS = re.compile(r"hybrid|sigma|model[_ ]level|\beta\b|depth|height|altitude|potential|isentropic")
METRES_ABOVE_GROUND = 2
"""In a name such as t2 without a level coordinate this number means metres, not hPa."""
TO_HPA = {"hPa": 1.0, "Pa": 0.01}
HOURLY_PRECIPITATION = Variable(
    "tp", "total_precipitation", "lwe_thickness_of_precipitation_amount", "m", (228,), cell_methods="time: sum"
)
"""ERA5's accumulation over the hour that ends at its time: no channel, but what tp06 is the sum of."""
SAME_STANDARD_NAME = {"air_pressure_at_sea_level": "air_pressure_at_mean_sea_level"}


def identify(array: xr.DataArray, on_levels: bool) -> tuple[Variable, int | None]:
    """The variable that ``array`` is, and the level where its name carries one (``z500`` without a level axis).

    Raises InputError with the reason where the array cannot be used.
    """
    name, attributes = str(array.name), array.attrs
    candidates = _by_grib_id(attributes) or _by_name(name, attributes) or _by_standard_name(array, on_levels)
    fitting = [v for v in candidates if v.levels == on_levels]
    step_type = attributes.get("GRIB_stepType", "instant")
    if fitting and fitting[0].cell_methods is None and step_type != "instant":
        raise InputError(f"{name} is no analysis: its GRIB step type is {step_type!r}, expected 'instant'")
    if fitting and fitting[0] == HOURLY_PRECIPITATION and _is_forecast(array):
        raise InputError(f"{name} sums from the start of a forecast, expected ERA5's sums over one hour")
    if fitting and fitting[0].static and attributes.get("GRIB_typeOfLevel", "surface") != "surface":
        raise InputError(f"{name} does not lie at the surface{_other_level(array)}")
    if fitting:
        return fitting[0], None
    if candidates:
        lies = "has no pressure level" if candidates[0].levels else "lies on pressure levels but is a surface variable"
        raise InputError(f"{name} {lies}{_other_level(array)}")
    return _by_channel_name(array, on_levels)


def is_height(array: xr.DataArray) -> bool:
    """Whether an array is a geopotential height rather than a geopotential."""
    names = {str(array.name), array.attrs.get("standard_name")}
    return bool(names & HEIGHT_NAMES.keys()) or array.attrs.get("GRIB_paramId") in HEIGHT_GRIB_IDS


def is_bolton(array: xr.DataArray) -> bool:
    """Whether an array is WeatherBench 2's relative humidity: a fraction, by Bolton's (1980) saturation over water."""
    return str(array.name) == "relative_humidity" and unit_of(array.attrs.get("units", "1")) == "1"


def refuse_contradiction(array: xr.DataArray) -> None:
    """Raise InputError where the long name states other units, as in ``height [m]``, than the attribute does."""
    stated = re.search(r"\[(.+)\]\s*$", str(array.attrs.get("long_name", "")))
    units = array.attrs.get("units")
    if stated and unit_of(stated[1]) and unit_of(stated[1]) != unit_of(units):
        raise InputError(f"{array.name} contradicts itself: its long name says [{stated[1]}], its units {units!r}")


def pressures(coordinate: xr.DataArray) -> NDArray[np.float64]:
    """Values of a level coordinate in hPa; InputError where it is no pressure or cannot be told."""
    words = f"{coordinate.name} {coordinate.attrs.get('long_name', '')} {coordinate.attrs.get('standard_name', '')}"
    values = np.atleast_1d(np.asarray(coordinate.values))
    if OTHER_LEVELS.search(words.lower()) or not np.issubdtype(values.dtype, np.number):
        raise InputError(f"lies on {coordinate.name} levels, not on pressure levels")
    values, text = values.astype(np.float64), coordinate.attrs.get("units")
    unit = unit_of(text) if text else _unnamed_unit(coordinate, values)
    if unit is None or unit not in TO_HPA:
        raise InputError(f"lies on levels {coordinate.name!r} in {text or 'no units'}, expected hPa or Pa")
    return values * TO_HPA[unit]


def _unnamed_unit(coordinate: xr.DataArray, values: NDArray[np.float64]) -> str | None:
    """hPa for levels without units whose name says pressure and whose values cannot be numbers of model levels."""
    counted = len(values) > 3 and bool(np.all(np.abs(np.diff(values)) == 1))
    known = str(coordinate.name).lower() in PRESSURE_NAMES
    return "hPa" if known and not counted and values.min() >= 1 and values.max() <= 1100 else None


def _is_forecast(array: xr.DataArray) -> bool:
    return any(name in array.coords and bool(array[name].values.astype(np.int64).any()) for name in STEPS)


def _by_grib_id(attributes: dict) -> list[Variable]:
    number = int(attributes.get("GRIB_paramId", 0))
    if number in HEIGHT_GRIB_IDS:
        return [BY_NAME[HEIGHT_GRIB_IDS[number]]]
    return [v for v in (*VARIABLES, HOURLY_PRECIPITATION) if number in v.grib_ids]


def _by_name(name: str, attributes: dict) -> list[Variable]:
    if name in HEIGHT_NAMES:
        return [BY_NAME[HEIGHT_NAMES[name]]]
    if name in ("u100", "v100") and "100" not in str(attributes.get("long_name", "")):
        raise InputError(f"{name} may mean 100 hPa or 100 metres; name it {name}m, or give it a level coordinate")
    if name in (HOURLY_PRECIPITATION.name, HOURLY_PRECIPITATION.long_name):
        return [HOURLY_PRECIPITATION]
    if name == "z":
        return [BY_NAME["z"], BY_NAME["z_sfc"]]
    return [v for v in VARIABLES if name in (v.name, v.long_name, *v.aliases)]


def _by_standard_name(array: xr.DataArray, on_levels: bool) -> list[Variable]:
    name = array.attrs.get("standard_name")
    name = SAME_STANDARD_NAME.get(str(name), name)
    if name in HEIGHT_NAMES:
        return [BY_NAME[HEIGHT_NAMES[name]]]
    # A file may give all its variables the height of one of them.
    stated = not on_levels and "height" in array.coords and array.coords["height"].ndim == 0
    height = float(array.coords["height"]) if stated else None
    found = [v for v in VARIABLES if v.standard_name == name and v.levels == on_levels and v.height == height]
    return [v for v in found if v.cell_methods is None]


def _by_channel_name(array: xr.DataArray, on_levels: bool) -> tuple[Variable, int | None]:
    """The variable and level that a name such as t850 states; "r2" is more likely a field at two metres."""
    try:
        channel = parse_channel(str(array.name))
    except InputError:
        channel = None
    off_pressure = array.attrs.get("GRIB_typeOfLevel", "isobaricInhPa") != "isobaricInhPa"
    if channel is None or on_levels or off_pressure or channel.level == METRES_ABOVE_GROUND:
        raise InputError(f"{array.name} is not a variable that fourcast knows{_other_level(array)}")
    return channel.variable, channel.level


def _other_level(array: xr.DataArray) -> str:
    kind = array.attrs.get("GRIB_typeOfLevel")
    return f" (GRIB level type {kind})" if kind else ""
