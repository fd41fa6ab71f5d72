"""What the pictures of results share: how systems are called and drawn, and figures of panels with one legend."""

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import xarray as xr

from fourcast.drawing import COLOURS, TITLE
from fourcast.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {
    "control": "control", "ensemble_mean": "ensemble mean", "ensemble": "ensemble", "spread": "spread",
    "members": "members", "persistence": "persistence", "climatology": "climatology",
    "climatology_ensemble": "probabilistic climatology", "analysis": "analysis",
}  # fmt: skip
"""What systems, and what is shown of them, are called."""
STYLES: dict[str, dict[str, Any]] = {
    "control": {"color": COLOURS["blue"], "linestyle": "-", "marker": "o"},
    "ensemble_mean": {"color": COLOURS["vermilion"], "linestyle": "-", "marker": "s"},
    "ensemble": {"color": COLOURS["vermilion"], "linestyle": "-", "marker": "s"},
    "spread": {"color": COLOURS["green"], "linestyle": "-", "marker": "^"},
    "members": {"color": COLOURS["green"], "linestyle": "-", "marker": ""},
    "persistence": {"color": COLOURS["grey"], "linestyle": "--", "marker": ""},
    "climatology": {"color": COLOURS["black"], "linestyle": ":", "marker": ""},
    "climatology_ensemble": {"color": COLOURS["black"], "linestyle": "-.", "marker": ""},
    "analysis": {"color": COLOURS["black"], "linestyle": "-", "marker": ""},
}
"""Line styles differ as well as colours."""
SEVERAL = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours of several forecasts, Okabe & Ito's."""
KINDS: dict[str, dict[str, Any]] = {
    "control": {"linestyle": "--", "marker": "o"},
    "ensemble_mean": {"linestyle": "-", "marker": "s"},
    "ensemble": {"linestyle": "-", "marker": "s"},
    "spread": {"linestyle": ":", "marker": "^"},
    "members": {"linestyle": ":", "marker": ""},
}
"""How the systems of one of several forecasts differ."""


def require_matplotlib(otherwise: str = ", or pass plots=false") -> None:
    """Raise InputError where matplotlib is not installed; ``otherwise``: what to do without it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(f"pictures need matplotlib: pip install fourcast[report]{otherwise}") from error


def style(scores: xr.Dataset, system: str, what: str) -> dict[str, Any]:
    """How a line of a system is drawn; ``what`` is its kind, or what of it is shown."""
    name = system.rpartition("/")[0]
    if not name:
        return {"label": LABELS[what], **STYLES[what]}
    place = scores.attrs["forecasts"].split("\n").index(name)
    return {"label": f"{name} {LABELS[what]}", "color": SEVERAL[place % len(SEVERAL)], **KINDS[what]}


def panels(
    count: int, columns: int | None = None, inches: tuple[float, float] = (3.6, 2.8)
) -> tuple["Figure", list["Axes"]]:
    """A figure with ``count`` panels of (width, height) ``inches`` with their margins, up to three in a row.

    Margins are given, not found by a layout engine, which would draw everything three times.
    """
    from matplotlib.figure import Figure

    columns = columns or min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(max(6.5, columns * inches[0]), TITLE + rows * inches[1]))
    axes = list(chain(*figure.subplots(rows, columns, squeeze=False)))
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes[:count]


def place(figure: "Figure", foot: float, between: float = 0.85) -> None:
    """Give the panels of a figure their margins in inches: ``foot`` more below them, ``between`` their rows."""
    grid = figure.axes[0].get_gridspec()
    assert grid is not None
    left, below, above = 0.75, 0.5, 0.3
    figure.set_figheight(figure.get_figheight() + foot)
    width, height = figure.get_figwidth(), figure.get_figheight()
    wide = (width - 0.15 - grid.ncols * left) / grid.ncols
    high = (height - TITLE - above - below - foot - (grid.nrows - 1) * between) / grid.nrows
    figure.subplots_adjust(
        left=left / width,
        right=1 - 0.15 / width,
        bottom=(foot + below) / height,
        top=1 - (TITLE + above) / height,
        wspace=left / wide,
        hspace=between / high,
    )


def finish(figure: "Figure", axes: Sequence["Axes"], below: str, columns: int = 3) -> None:
    """Grids, margins, one legend, and what the horizontal axes are."""
    for axis in axes:
        axis.grid(alpha=0.3, linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[-min(columns, len(axes)) :]:
        axis.set_xlabel(below)
    handles, labels = axes[0].get_legend_handles_labels()
    most = max(2, int(figure.get_figwidth() / (0.8 + 0.085 * max(map(len, labels)))))
    place(figure, foot=0.15 + 0.22 * -(-len(labels) // most))
    figure.legend(handles, labels, loc="lower center", ncols=min(len(labels), most), frameon=False)


def titled(scores: xr.Dataset, title: str) -> str:
    """The title of a picture, which says so where the data are synthetic."""
    return f"{title}\n{scores.attrs['comment']}" if "comment" in scores.attrs else title
