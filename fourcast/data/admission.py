"""Admission control: what is wrong with fields before they enter a store, and what probably caused it."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourcast.data.plausible import LEVELS, Plausible, Summary, plausible
from fourcast.grid import Grid, area_weights
from fourcast.variables import Channel, parse_channel

Float32 = NDArray[np.float32]
Floats = NDArray[np.floating]
Times = NDArray[np.datetime64]
Flags = NDArray[np.bool_]

SAMPLED_ROWS = 180
"""So many rows are enough for a mean and a spread; extremes and missing values are looked for everywhere."""
STEADY = ("sst",)
"""Variables that change once a day, so that consecutive fields may be the same."""
CAUSES: dict[str, tuple[tuple[str, float, float], ...]] = {
    "K": (("°C", 1.0, 273.15), ("°F", 5 / 9, 459.67 * 5 / 9)),
    "Pa": (("hPa", 100.0, 0.0), ("kPa", 1000.0, 0.0)),
    "m2 s-2": (("geopotential metres", 9.80665, 0.0), ("geopotential decametres", 98.0665, 0.0)),
    "%": (("a fraction from 0 to 1", 100.0, 0.0),),
    "m": (("mm", 1e-3, 0.0),),
    "kg kg-1": (("g kg-1", 1e-3, 0.0),),
    "kg m-2": (("m", 1000.0, 0.0),),
    "Pa s-1": (("hPa s-1", 100.0, 0.0), ("hPa h-1", 1 / 36, 0.0)),
}
"""Our unit → units that values may be in by mistake, and their conversion: factor, offset."""


@dataclass(frozen=True)
class Fault:
    """Something wrong with a channel at some times; channel "time" where it concerns the times themselves.

    kind: missing, infinite, range, mean, spread, repeated or duplicate.
    """

    channel: str
    times: tuple[np.datetime64, ...]
    kind: str
    message: str


def check(
    fields: Float32, times: Times, channels: tuple[str, ...], grid: Grid, allowed: Collection[str] = ()
) -> list[Fault]:
    """The faults of fields [T, C, H, W]: missing and infinite values, values that this variable cannot have, a global
    mean or spread of something else, fields that repeat, times that are there twice or out of order.

    allowed: kinds ("range") and kinds of one channel ("t850:range") that are meant; their faults are listed as well, in
    a message that says so. Means and spreads are those of the globe: of a region they say nothing.
    """
    faults = _time_faults(times)
    for i, name in enumerate(channels):
        faults += _channel_faults(fields[:, i], times, parse_channel(name), grid)
    return [_marked(fault) if is_allowed(fault, allowed) else fault for fault in faults]


def is_allowed(fault: Fault, allowed: Collection[str]) -> bool:
    """Whether a fault is allowed by its kind, or by its channel and kind."""
    return fault.kind in allowed or f"{fault.channel}:{fault.kind}" in allowed


def _marked(fault: Fault) -> Fault:
    problem = fault.message.partition("; if that is meant")[0]
    return Fault(fault.channel, fault.times, fault.kind, f"{problem}; allowed")


def _time_faults(times: Times) -> list[Fault]:
    steps = np.diff(times).astype("timedelta64[s]").astype(np.int64)
    wrong = times[1:][steps <= 0]
    if len(wrong) == 0:
        return []
    text = f"time: {len(wrong)} of {len(times)} times do not follow the one before, the first {wrong[0]}"
    return [Fault("time", tuple(wrong), "duplicate", f"{text}; sort them and keep each once")]


def _channel_faults(fields: Float32, times: Times, channel: Channel, grid: Grid) -> list[Fault]:
    """The faults of one channel [T, H, W]."""
    lowest, highest = (reduce(fields.reshape(len(times), -1), axis=1) for reduce in (np.min, np.max))
    faults = []
    broken = ~(np.isfinite(lowest) & np.isfinite(highest))
    if broken.any():
        faults += _holes(fields, times, broken, channel)
        finite = np.where(np.isfinite(fields), fields, np.nan).reshape(len(times), -1)
        lowest, highest = np.fmin.reduce(finite, axis=1), np.fmax.reduce(finite, axis=1)
    bounds = plausible(channel)
    if bounds is not None:
        moments = _moments(fields, grid) if grid.is_global else None
        faults += _implausible(times, channel, bounds, _Series(lowest, highest, moments))
    if channel.variable.name not in STEADY:
        faults += _repeated(fields, times, channel)
    return faults


def _holes(fields: Float32, times: Times, broken: Flags, channel: Channel) -> list[Fault]:
    """Faults for values that are missing and those that are infinite."""
    faults = []
    for kind, test in (("missing", np.isnan), ("infinite", np.isinf)):
        counts = np.zeros(len(times), dtype=np.int64)
        counts[broken] = test(fields[broken]).sum(axis=(1, 2))
        if counts.any():
            text = f"{channel.name} has {counts.sum()} {kind} values {_when(times, counts > 0)}"
            faults.append(_fault(channel, times[counts > 0], kind, text))
    return faults


@dataclass(frozen=True, eq=False)
class _Series:
    """Least and greatest values [T]; means and spreads [T] where the grid is global."""

    lowest: Floats
    highest: Floats
    moments: tuple[Floats, Floats] | None

    def first(self, where: Flags) -> Summary:
        """The field at the first of the times ``where``."""
        mean, spread = (None, None) if self.moments is None else (float(each[where][0]) for each in self.moments)
        return Summary(float(self.lowest[where][0]), float(self.highest[where][0]), mean, spread)


def _implausible(times: Times, channel: Channel, bounds: Plausible, found: _Series) -> list[Fault]:
    """Faults for values, means and spreads out of bounds."""
    tests = [("range", "holds", found.lowest, found.highest, (bounds.low, bounds.high))]
    if found.moments is not None:
        mean, spread = found.moments
        usual = bounds.mean - bounds.tolerance, bounds.mean + bounds.tolerance
        tests.append(("mean", "has a global mean of", mean, mean, usual))
        usual = bounds.least_spread, bounds.most_spread
        tests.append(("spread", "has a global standard deviation of", spread, spread, usual))
    faults, unit = [], channel.variable.units
    for kind, verb, lowest, highest, (low, high) in tests:
        where = (lowest < low) | (highest > high)
        if where.any():
            values = f"{_span(lowest[where], highest[where])} {unit} {_when(times, where)}"
            expected = f"expected {low:.4g} … {high:.4g} {unit}"
            text = f"{channel.name} {verb} {values}, {expected}: {_cause(channel, bounds, found.first(where))}"
            faults.append(_fault(channel, times[where], kind, text))
    return faults


def _cause(channel: Channel, bounds: Plausible, found: Summary) -> str:
    """The likeliest cause of a field that is not plausible: other units, another level, or unknown."""
    unit = channel.variable.units
    for name, factor, offset in CAUSES.get(unit, ()):
        if bounds.fits(found.converted(factor, offset)):
            return f"it looks like {name}, not {unit}; correct the units attribute of its file"
    if channel.level is not None and found.mean is not None:
        others = [Channel(channel.variable, level) for level in LEVELS if level != channel.level]
        bounds_of = {other.name: plausible(other) for other in others}
        fitting = [name for name, each in bounds_of.items() if each is not None and each.fits(found)]
        if fitting:
            return f"it looks like {' or '.join(fitting)}; are the levels of its file in the order that it states?"
    return "check the units, the variable and the level in its file"


def _repeated(fields: Float32, times: Times, channel: Channel) -> list[Fault]:
    """A fault where a field equals the one before in every point: the copy of a time, not its analysis."""
    middle = fields.shape[1] // 2
    suspected = np.flatnonzero((fields[1:, middle] == fields[:-1, middle]).all(axis=-1))
    same = np.zeros(len(times), dtype=bool)
    same[[i + 1 for i in suspected if np.array_equal(fields[i], fields[i + 1])]] = True
    if not same.any():
        return []
    text = f"{channel.name} is the same field as at the time before {_when(times, same)}"
    return [_fault(channel, times[same], "repeated", text)]


def _moments(fields: Float32, grid: Grid) -> tuple[Floats, Floats]:
    """Area mean and standard deviation [T] of fields [T, H, W] from evenly spaced rows; missing values do not count."""
    rows = slice(None, None, max(1, len(grid.latitude) // SAMPLED_ROWS))
    values, weights = fields[:, rows], area_weights(grid.latitude)[rows]
    finite = np.isfinite(values)
    if finite.all():
        mean = values.mean(axis=2, dtype=np.float64) @ weights / weights.sum()
        deviations = values - mean[:, None, None].astype(np.float32)
        square = np.einsum("thw,thw->th", deviations, deviations) / values.shape[2]
        return mean, np.sqrt(square @ weights / weights.sum())
    share = finite * weights[:, None]
    total = share.sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(finite, values, 0.0).astype(np.float64)
        mean = (mean * share).sum(axis=(1, 2)) / total
        deviations = np.where(finite, values - mean[:, None, None], 0.0)
        return mean, np.sqrt((deviations**2 * share).sum(axis=(1, 2)) / total)


def _fault(channel: Channel, times: Times, kind: str, text: str) -> Fault:
    return Fault(channel.name, tuple(times), kind, f"{text}; if that is meant, pass allow=[{channel.name}:{kind}]")


def _span(lowest: Floats, highest: Floats) -> str:
    low, high = f"{lowest.min():.4g}", f"{highest.max():.4g}"
    return low if low == high else f"{low} … {high}"


def _when(times: Times, where: Flags) -> str:
    return f"at {where.sum()} of {len(times)} times from {times[where][0]}"
