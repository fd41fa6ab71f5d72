"""Which initial times, lead times and members a file's arrays are of, by the names that forecasts are written with.

An initial time is forecast_reference_time, init_time and the like, a lead time forecast_period, step,
prediction_timedelta and the like, by name or by CF's standard name. ``time`` is the initial time where a lead time
stands beside it and no other initial time does, as in WeatherBench 2 and in GRIB; otherwise it is the valid time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fourcast.data.sources.axes import MEMBERS, STEPS
from fourcast.errors import InputError

Hours = NDArray[np.int64]
Case = tuple[int, int]
"""Initial time in hours since 1970, and lead time in hours."""

INITS = (
    "forecast_reference_time", "init_time", "initial_time", "initialization_time", "reference_time", "init",
    "forecast_initial_time", "analysis_time",
)  # fmt: skip
LEADS = (*STEPS, "lead", "leadtime", "forecast_hour", "fhour", "forecast_step")
NUMBERS = (*MEMBERS, "ensemble_member", "realisation", "ens", "sample")
VALIDS = ("valid_time", "time")
UNIT_HOURS = {"h": 1.0, "d": 24.0, "m": 1 / 60, "s": 1 / 3600}
"""Hours in a unit of time, by its first letter."""
STATED = ("forecast_reference_time", "init_time", "initial_time", "initialization_time", "reference_time")
"""Attributes of a file that may say from when its forecast is."""
LONGEST_ASSUMED = np.timedelta64(46 * 24, "h")
"""No forecast from a single initial time is longer, among those that do not say from when they are."""


@dataclass(frozen=True, eq=False)
class CaseAxes:
    """Where the cases of a dataset lie.

    dims: the dimensions that choose a case. places: case → position along each of dims. member_dim: the dimension of
    members, if any. members: their numbers along it. others: coordinates that were understood and are of no further
    use. assumed: whether the initial time is but the first valid time.
    """

    dims: tuple[str, ...]
    places: Mapping[Case, tuple[int, ...]]
    member_dim: str | None
    members: tuple[int, ...]
    others: tuple[str, ...]
    assumed: bool


def case_axes(dataset: xr.Dataset) -> CaseAxes:
    """The cases and members of a dataset; InputError, to be prefixed by its path, where they cannot be told."""
    init = _find(dataset, INITS, "forecast_reference_time")
    lead = _find(dataset, LEADS, "forecast_period")
    valid = next((name for name in VALIDS if name in dataset.coords and name not in (init, lead)), None)
    number = _find(dataset, NUMBERS, "realization")
    if init is None and lead is not None and "time" in dataset.coords and not _is_valid_time(dataset, lead):
        init = "time"
    dims, places = _places(dataset, init, lead, valid)
    member_dim, members = _members(dataset, number)
    others = tuple(name for name in map(str, dataset.coords) if name in (init, lead, number, *VALIDS))
    assumed = init is None and lead is None and not any(name in dataset.attrs for name in STATED)
    return CaseAxes(dims, places, member_dim, members, others, assumed)


def with_coordinates(dataset: xr.Dataset) -> xr.Dataset:
    """The same with times and members among the coordinates, which files need not say of them."""
    names = [name for name in (*INITS, *LEADS, *NUMBERS, *VALIDS) if name in dataset.data_vars]
    standard = ("forecast_reference_time", "forecast_period", "realization")
    names += [str(n) for n, array in dataset.data_vars.items() if array.attrs.get("standard_name") in standard]
    return dataset.set_coords([name for name in dict.fromkeys(names) if dataset[name].ndim <= 1])


def _find(dataset: xr.Dataset, names: tuple[str, ...], standard_name: str) -> str | None:
    """The coordinate, or bare dimension, of one of ``names``, or else the one of that standard name."""
    by_name = next((n for n in names if n in dataset.coords or n in dataset.dims), None)
    stated = (str(n) for n, c in dataset.coords.items() if c.attrs.get("standard_name") == standard_name)
    return by_name or next(stated, None)


def _is_valid_time(dataset: xr.Dataset, lead: str) -> bool:
    """Whether ``time`` is CF's valid time, along which, or for which, the forecast period is given."""
    if lead in dataset.dims or lead not in dataset.coords:
        return False
    return dataset[lead].ndim == 1 or lead == "forecast_period"


def _places(
    dataset: xr.Dataset, init: str | None, lead: str | None, valid: str | None
) -> tuple[tuple[str, ...], dict[Case, tuple[int, ...]]]:
    if init is not None and lead is not None and dataset[lead].dims != dataset[init].dims:
        return _product(_axis(dataset, init, _times), _axis(dataset, lead, _leads))
    if init is not None and lead is not None:
        return _pairs(dataset, init, _times(dataset, init), _leads(dataset, lead))
    if valid is None:
        raise InputError(
            "has no times of a forecast, expected an initial time (forecast_reference_time, init_time, time) and a "
            "lead time (forecast_period, step, lead_time, prediction_timedelta) or a valid time"
        )
    valid_times = _times(dataset, valid)
    if lead is not None and dataset[lead].dims not in ((), dataset[valid].dims):
        raise InputError(f"has {lead} beside {valid} as dimensions; give the initial time instead of {valid}")
    if lead is not None:
        leads = np.broadcast_to(_leads(dataset, lead), valid_times.shape)
        return _pairs(dataset, valid, valid_times - leads, leads)
    inits = _stated_init(dataset, valid_times) if init is None else _times(dataset, init)
    if init is not None and inits.size > 1 and dataset[init].dims != dataset[valid].dims:
        raise InputError(f"has {init} and {valid} as dimensions; give the lead time instead of {valid}")
    inits = np.broadcast_to(inits, valid_times.shape)
    return _pairs(dataset, valid, inits, valid_times - inits)


def _stated_init(dataset: xr.Dataset, valid_times: Hours) -> Hours:
    """The initial time that attributes state, or else the first valid time; InputError for times like analyses'."""
    for name in STATED:
        if name in dataset.attrs:
            try:
                text = str(dataset.attrs[name]).replace(" ", "T").removesuffix("Z")
                return _whole_hours(name, np.array([np.datetime64(text, "s")]))
            except ValueError as error:
                raise InputError(f"has the attribute {name} {dataset.attrs[name]!r}, expected a time") from error
    first, last = valid_times.min(keepdims=True), valid_times.max()
    if last - first[0] > LONGEST_ASSUMED:
        raise InputError(
            f"states no initial time, and its {valid_times.size} times from {first[0]} to {last} are too many days for "
            "one forecast; give it a forecast_reference_time, or pass analyses as store="
        )
    return first


def _axis(dataset: xr.Dataset, name: str, values: Callable[[xr.Dataset, str], Hours]) -> tuple[str | None, Hours]:
    if dataset[name].ndim > 1:
        raise InputError(f"has {name} of dimensions {dataset[name].dims}, expected one at most")
    return (str(dataset[name].dims[0]) if dataset[name].ndim else None), values(dataset, name)


def _product(
    inits: tuple[str | None, Hours], leads: tuple[str | None, Hours]
) -> tuple[tuple[str, ...], dict[Case, tuple[int, ...]]]:
    """Every lead time from every initial time."""
    axes = (inits, leads)
    dims = tuple(dim for dim, _ in axes if dim is not None)
    for (_, values), what in zip(axes, ("initial times", "lead times"), strict=True):
        _refuse_repeats(what, values)
    places = {}
    for i, init in enumerate(inits[1].tolist()):
        for j, lead in enumerate(leads[1].tolist()):
            places[init, lead] = tuple(p for p, (dim, _) in zip((i, j), axes, strict=True) if dim is not None)
    return dims, places


def _pairs(
    dataset: xr.Dataset, along: str, inits: Hours, leads: Hours
) -> tuple[tuple[str, ...], dict[Case, tuple[int, ...]]]:
    """A case at each place along the dimension of ``along``, or the only one where it has none."""
    if dataset[along].ndim > 1:
        raise InputError(f"has {along} of dimensions {dataset[along].dims}, expected one at most")
    inits, leads = np.broadcast_arrays(np.atleast_1d(inits), np.atleast_1d(leads))
    dims = tuple(str(dim) for dim in dataset[along].dims)
    places: dict[Case, tuple[int, ...]] = {
        case: (place,) if dims else () for place, case in enumerate(zip(inits.tolist(), leads.tolist(), strict=True))
    }
    if len(places) != len(inits):
        raise InputError(f"repeats cases along {along}; each initial and lead time may be there once")
    if leads.min() < 0:
        raise InputError(f"has valid times before the initial time by {-leads.min()} h; correct one of them")
    return dims, places


def _refuse_repeats(what: str, values: Hours) -> None:
    if len(np.unique(values)) != len(values):
        raise InputError(f"repeats {what}; each may be there once")


def _times(dataset: xr.Dataset, name: str) -> Hours:
    """A coordinate's times in hours since 1970."""
    _require_values(dataset, name)
    values = np.atleast_1d(dataset[name].values)
    if not np.issubdtype(values.dtype, np.datetime64):
        raise InputError(f"has {name} with the calendar of a model or unknown units, expected standard dates")
    if np.isnat(values).any():
        raise InputError(f"has {int(np.isnat(values).sum())} missing values in {name}")
    return _whole_hours(name, values)


def _whole_hours(name: str, values: NDArray[np.datetime64]) -> Hours:
    hours = values.astype("datetime64[h]")
    if np.any(hours != values):
        raise InputError(f"has {name} {values[hours != values][0]}, expected full hours")
    return hours.astype(np.int64)


def _leads(dataset: xr.Dataset, name: str) -> Hours:
    """A coordinate's lead times in hours; numbers without units are hours."""
    _require_values(dataset, name)
    values = np.atleast_1d(dataset[name].values)
    if np.issubdtype(values.dtype, np.timedelta64):
        hours = values / np.timedelta64(1, "h")
    elif np.issubdtype(values.dtype, np.number):
        hours = values * _hours_in(name, str(dataset[name].attrs.get("units", "hours")))
    else:
        raise InputError(f"has {name} of type {values.dtype}, expected time spans or numbers of hours")
    if np.isnan(hours).any() or np.any(np.abs(hours - np.rint(hours)) > 1e-6) or hours.min() < 0:
        raise InputError(f"has {name} of {', '.join(f'{x:g}' for x in hours[:5])} h, expected whole hours from 0 on")
    return np.rint(hours).astype(np.int64)


def _require_values(dataset: xr.Dataset, name: str) -> None:
    if name not in dataset.coords:
        raise InputError(f"has a dimension {name} without values, expected its times")


def _hours_in(name: str, units: str) -> float:
    if units == "1" or units.lower()[:1] not in UNIT_HOURS or units.lower().startswith("mo"):
        raise InputError(f"has {name} in {units!r}, expected hours")
    return UNIT_HOURS[units.lower()[0]]


def _members(dataset: xr.Dataset, name: str | None) -> tuple[str | None, tuple[int, ...]]:
    """The dimension and numbers of members: (0,) where nothing is said, 1, 2, … where they go by no numbers."""
    if name is None:
        return None, (0,)
    if name not in dataset.coords:
        return name, tuple(range(1, dataset.sizes[name] + 1))
    coordinate = dataset[name]
    if coordinate.ndim > 1:
        raise InputError(f"has {name} of dimensions {coordinate.dims}, expected one at most")
    values = np.atleast_1d(coordinate.values)
    dim = str(coordinate.dims[0]) if coordinate.ndim else None
    if not np.issubdtype(values.dtype, np.number) or np.any(values != np.rint(values)):
        return dim, tuple(range(1, len(values) + 1))
    _refuse_repeats(f"members in {name}", values)
    return dim, tuple(int(value) for value in values)
