"""What pictures of trainings and of verifications share: maps, line styles, units. matplotlib is imported to draw."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fourcast.grid import Grid, closes_circle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Field = NDArray[np.float32] | NDArray[np.float64]
COLOURS = {"blue": "#0072B2", "vermilion": "#D55E00", "green": "#009E73", "grey": "#767676", "black": "#000000"}
"""Okabe & Ito's, and a grey: they do not depend on telling red from green."""
DIVERGING = ("RdBu_r", "PuOr_r")
"""Colour maps whose middle means zero: of signed quantities, and of errors."""
FROM_ZERO = "cividis"
"""The colour map of what is never negative, as spreads."""
SIGNED = (
    "eastward_wind",
    "northward_wind",
    "lagrangian_tendency_of_air_pressure",
    "atmosphere_upward_relative_vorticity",
)
"""Standard names of quantities that are of both signs."""
TITLE = 0.5
"""Inches above all panels."""
WIDEST = 720
"""More columns than this would not be seen on a map."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One map: field [H, W], its colour map, and the levels between which it is coloured."""

    title: str
    field: Field
    colours: str
    levels: Field


def draw_maps(panels: Sequence[Panel], grid: Grid, land: Field | None, label: str) -> "Figure":
    """An even number of maps with a colour bar each; land: the land–sea mask [H, W] whose coast is drawn."""
    figure, axes = rows_of_two(len(panels) // 2, (6.0, 3.9), foot=0.1)
    for axis, panel in zip(chain(*axes), panels, strict=True):
        longitude, latitude, shown = centred(panel.field, grid)
        beyond = (shown < panel.levels[0]) | (shown > panel.levels[-1])
        extend = "both" if beyond.any() else "neither"
        drawn = axis.contourf(longitude, latitude, shown, panel.levels, cmap=panel.colours, extend=extend)
        bar = figure.colorbar(drawn, ax=axis, orientation="horizontal", label=label, shrink=0.8, aspect=35, pad=0.1)
        every = -(-len(panel.levels) // 8)
        bar.set_ticks(panel.levels[len(panel.levels) // 2 % every :: every].tolist())
        if land is not None:
            axis.contour(longitude, latitude, centred(land, grid)[2], [0.5], colors="black", linewidths=0.6)
        axis.set_title(panel.title, fontsize=10)
        _degrees(axis)
    return figure


def rows_of_two(count: int, inches: tuple[float, float], foot: float) -> tuple["Figure", list[list["Axes"]]]:
    """A figure of ``count`` rows of two panels, each (width, height) ``inches`` with its margins, and room below.

    Margins are given, not found by a layout engine, which would draw everything three times.
    """
    from matplotlib.figure import Figure

    width, height = inches
    figure = Figure(figsize=(2 * width, count * height + TITLE + foot))
    axes = figure.subplots(count, 2, squeeze=False)
    figure.subplots_adjust(
        left=0.35 / width,
        right=1 - 0.15 / width,
        bottom=(foot + 0.4) / figure.get_figheight(),
        top=1 - (TITLE + 0.3) / figure.get_figheight(),
        wspace=0.2,
        hspace=0.8 / (height - 0.8),
    )
    return figure, axes.tolist()


def _degrees(axis: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_aspect("equal")
    for direction in (axis.xaxis, axis.yaxis):
        direction.set_major_locator(MaxNLocator(6, steps=[1, 1.5, 3, 6, 10]))
    axis.xaxis.set_major_formatter(lambda x, _: f"{abs(x):g}°" + ("E" if x > 0 else "W" if x < 0 else ""))
    axis.yaxis.set_major_formatter(lambda y, _: f"{abs(y):g}°" + ("N" if y > 0 else "S" if y < 0 else ""))


def round_levels(fields: Sequence[Field], colours: str) -> Field:
    """About twenty round levels over the fields' range; from 0 on, or symmetric about it, as ``colours`` asks.

    What is not finite does not count.
    """
    from matplotlib.ticker import MaxNLocator

    values = np.concatenate([field[np.isfinite(field)] for field in fields])
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    if colours == FROM_ZERO:
        low = 0.0
    if colours in DIVERGING:
        low, high = -max(-low, high), max(-low, high)
    return np.asarray(MaxNLocator(20, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))


def centred(field: Field, grid: Grid) -> tuple[Field, Field, Field]:
    """Longitudes, latitudes and field [H, W] as drawn: round the globe it goes from −180 to 180 and closes the circle.

    Rows and columns are thinned out to what can be seen.
    """
    longitude, step = grid.longitude, -(-len(grid.longitude) // WIDEST)
    order = np.arange(len(longitude))
    if closes_circle(longitude):
        longitude = (longitude + 180.0) % 360.0 - 180.0
        order = np.argsort(longitude)[::step]
        longitude = np.append(longitude[order], longitude[order[0]] + 360.0)
        order = np.append(order, order[0])
    else:
        order, longitude = order[::step], longitude[::step]
    shown = field[::step][:, order]
    return longitude, grid.latitude[::step], np.where(np.isfinite(shown), shown, np.nan)


def labelled(name: str, units: str) -> str:
    """A quantity and its units with raised exponents."""
    return f"{name} ({raised(units)})"


def raised(units: str) -> str:
    """Units as ``m2 s-2`` with raised exponents."""
    return re.sub(r"([a-z])(-?\d)", r"\1$^{\2}$", units, flags=re.IGNORECASE)


def save(figure: "Figure", title: str, path: Path) -> Path:
    """Put ``title`` over the figure and write it."""
    given = figure.get_layout_engine() is None  # a layout engine makes room for the title, unless told where it goes
    figure.suptitle(title, fontsize=11, y=1 - 0.1 / figure.get_figheight() if given else None)
    figure.savefig(path, dpi=120)
    return path
