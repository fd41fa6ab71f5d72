"""How product files describe themselves and their variables, in CF's terms."""

from dataclasses import replace

from fourcast.forecast.events import Event
from fourcast.forecast.member_statistics import MEAN, SPREAD, Statistic
from fourcast.forecast.netcdf import Attributes, Column, columns_of

PROBABILITY = "probability"
"""The file of all events."""
METHODS = {
    MEAN.name: "sum over members in float64 divided by their number",
    SPREAD.name: "standard deviation of members with divisor M - 1, in float64",
    PROBABILITY: "fraction of members in which the event happens; values and thresholds are compared in float32",
}
ORDERED = "linear interpolation between order statistics (type 7 of Hyndman and Fan 1996), in float64"
CELL_METHODS = {0.0: "minimum", 0.5: "median", 1.0: "maximum"}
"""Quantiles that CF has a cell method for."""


def product_attributes(name: str, members: tuple[int, ...]) -> dict[str, str | int | float]:
    """Which product a file holds, how it came about and of which members."""
    return {
        "title": f"Weather forecast, {name.replace('_', ' ')} of {len(members)} members",
        "product": name,
        "method": METHODS.get(name, ORDERED),
        "member_count": len(members),
        "members": ranges(members),
    }


def statistic_column(statistic: Statistic, column: Column) -> Column:
    """A variable's statistic over members, under the variable's own name."""
    attributes: dict[str, str | int | float] = dict(column.attributes)
    attributes["long_name"] = f"{attributes['long_name']}, ensemble {statistic.name.replace('_', ' ')}"
    attributes["cell_methods"] = f"{attributes['cell_methods']}{_over_members(statistic)}"
    if statistic == SPREAD and "units_metadata" in attributes:
        attributes["units_metadata"] = "temperature: difference"
    if statistic.kind == "quantile":
        attributes["quantile"] = statistic.quantile
    return replace(column, attributes=attributes)


def _over_members(statistic: Statistic) -> str:
    if statistic.kind != "quantile":
        return " realization: mean" if statistic == MEAN else " realization: standard_deviation"
    method = CELL_METHODS.get(statistic.quantile)
    return f" realization: {method}" if method else ""


def event_column(event: Event) -> Column:
    """The probability of an event. It has no dimension for levels: that of its channel is in its names."""
    (column,) = columns_of((event.channel,))
    given = column.attributes
    level = "" if column.level is None else f" at {column.level} hPa"
    attributes: Attributes = {
        "long_name": f"probability of {given['long_name']}{level} {event.condition} {given['units']}",
        "units": "1",
        "cell_methods": f"{given['cell_methods']} realization: mean (of 1 where the event happens, else 0)",
        "comparison": event.comparison,
        "threshold": event.threshold,
        "threshold_units": given["units"],
    }
    return replace(column, name=event.name, level=None, attributes=attributes)


def ranges(numbers: tuple[int, ...]) -> str:
    """``0-49``, ``0-3 7``."""
    breaks = [i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1] + 1]
    runs = [numbers[a:b] for a, b in zip([0, *breaks], [*breaks, len(numbers)], strict=True)]
    return " ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
