"""Unit texts found in files, and their exact conversion into the units of fourcast.variables."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourcast.errors import InputError

STANDARD_GRAVITY = 9.80665
"""m s-2, by definition (CGPM 1901): geopotential = standard gravity × geopotential height."""

SPELLINGS: dict[str, tuple[str, ...]] = {
    "m s-1": ("m/s", "meters per second", "metres per second"),
    "km h-1": ("km/h", "kilometers per hour", "kilometres per hour"),
    "knot": ("kt", "kts", "knots"),
    "K": ("kelvin", "degK", "degrees K"),
    "degC": ("°C", "C", "celsius", "degrees C", "degree_Celsius", "degrees_celsius", "deg C"),
    "Pa": ("pascal", "pascals"),
    "hPa": ("mbar", "mb", "millibar", "millibars", "hectopascals"),
    "m2 s-2": ("m2/s2", "J kg-1", "J/kg"),
    "gpm": ("geopotential meters", "geopotential metres"),
    "m": ("meter", "meters", "metre", "metres", "m of water equivalent"),
    "mm": ("millimeters", "millimetres"),
    "%": ("percent", "pct"),
    "1": ("(0 - 1)", "0 - 1", "(0-1)", "0-1", "fraction", "Proportion", "dimensionless"),
    "kg kg-1": ("kg/kg",),
    "g kg-1": ("g/kg",),
    "kg m-2": ("kg/m2",),
    "Pa s-1": ("Pa/s",),
    "hPa s-1": ("hPa/s", "mb/s", "mb s-1"),
    "s-1": ("1/s", "per second"),
}
"""Unit → the other texts that mean it, once ``**`` and ``^`` are gone."""

FACTORS: dict[str, dict[str, float]] = {
    "m s-1": {"km h-1": 1 / 3.6, "knot": 1852 / 3600},
    "K": {},
    "Pa": {"hPa": 100.0},
    "m2 s-2": {"gpm": STANDARD_GRAVITY},
    "%": {"1": 100.0},
    "kg kg-1": {"1": 1.0, "g kg-1": 1e-3},
    "kg m-2": {},
    "m": {"mm": 1e-3, "kg m-2": 1e-3},
    "1": {"%": 0.01},
    "Pa s-1": {"hPa s-1": 100.0},
    "s-1": {},
}
"""Our unit → the units that convert into it by a factor; metres of water are those of liquid at 1000 kg m-3."""

ALIASES = {text: unit for unit, texts in SPELLINGS.items() for text in (unit, *texts)}


@dataclass(frozen=True)
class Conversion:
    """values · factor + offset, computed in float64 where it is not the identity."""

    factor: float = 1.0
    offset: float = 0.0

    def __call__(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Apply to an array; the result is float32, and the array itself where nothing changes."""
        if self.factor == 1.0 and self.offset == 0.0:
            return values.astype(np.float32, copy=False)
        return (values.astype(np.float64) * self.factor + self.offset).astype(np.float32)


def unit_of(text: object) -> str | None:
    """The unit that a text in a file means, in our spelling; None where it is not known."""
    plain = " ".join(str(text).replace("**", "").replace("^", "").split())
    return ALIASES.get(plain) or ALIASES.get(plain.lower())


def conversion(name: str, text: object, target: str, is_height: bool = False) -> Conversion:
    """How values of ``name`` in the units ``text`` become ``target``; InputError where that is not known.

    is_height: the values are a geopotential height, so that metres mean geopotential metres.
    """
    unit = unit_of(text)
    if is_height and unit == "m":
        unit = "gpm"
    if unit == target:
        return Conversion()
    if target == "K" and unit == "degC":
        return Conversion(offset=273.15)
    if unit is not None and unit in FACTORS[target]:
        return Conversion(FACTORS[target][unit])
    known = ", ".join([target, *FACTORS[target], *(["degC"] if target == "K" else [])])
    found = "no units" if text is None or not str(text).strip() else f"{text!r}"
    raise InputError(f"{name} has {found}, expected one of: {known}; set its units attribute to what it holds")
