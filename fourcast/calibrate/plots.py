"""Pictures of a calibration, before and after it; matplotlib is imported only when they are drawn."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from fourcast.drawing import COLOURS, labelled, save
from fourcast.verify.results.figures import titled
from fourcast.verify.results.table import headline_channels, lead_hours, units_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES: dict[tuple[str, str], dict[str, Any]] = {
    ("rmse", "before"): {"color": COLOURS["vermilion"], "linestyle": "--", "marker": ""},
    ("spread", "before"): {"color": COLOURS["green"], "linestyle": "--", "marker": ""},
    ("rmse", "after"): {"color": COLOURS["vermilion"], "linestyle": "-", "marker": "s"},
    ("spread", "after"): {"color": COLOURS["green"], "linestyle": "-", "marker": "^"},
}
"""The colours of verification; dashed before, solid after."""
NAMES = {"rmse": "error", "spread": "spread"}


def draw_spread(scores: xr.Dataset, folder: Path) -> Path:
    """Spread and error of the headline channels against lead time, before and after."""
    names, leads = headline_channels(scores), lead_hours(scores)
    figure, axes = _panels(len(names))
    for axis, name in zip(axes, names, strict=True):
        axis.axvline(leads[-1], color=COLOURS["grey"], linestyle=":", linewidth=1.2)
        for (metric, amplitudes), style in LINES.items():
            values = scores[metric].sel(amplitudes=amplitudes, channel=name).values
            first = 1 if metric == "rmse" else 0  # at 0 h the analysis is compared with itself
            label = f"{NAMES[metric]} {amplitudes}"
            axis.plot(leads[first:], values[first:], label=label, markersize=3.5, linewidth=1.6, **style)
        axis.set_title(labelled(name, units_of(scores, name)), fontsize=10)
        axis.set_xlim(0, leads[-1] * 1.03)
        axis.set_ylim(0, None)
        axis.set_xticks(_hours(leads))
    _finish(figure, axes, "lead time (hours)")
    title = f"Spread × √((M + 1)/M) and error of the ensemble mean, to be equal at {leads[-1]} h"
    return save(figure, titled(scores, title), folder / "spread.png")


def draw_ranks(scores: xr.Dataset, folder: Path) -> Path:
    """Rank histograms of the headline channels at the target, before and after."""
    names, ranks = headline_channels(scores), np.arange(scores.sizes["rank"])
    figure, axes = _panels(len(names))
    for axis, name in zip(axes, names, strict=True):
        shares = scores["rank_share"].isel(lead_time=-1).sel(channel=name) * len(ranks)
        axis.bar(ranks, shares.sel(amplitudes="after"), 0.85, color=COLOURS["blue"], label="after")
        edges = np.append(ranks - 0.5, len(ranks) - 0.5)
        axis.stairs(shares.sel(amplitudes="before"), edges, color=COLOURS["vermilion"], linewidth=1.4, label="before")
        axis.axhline(1, color=COLOURS["black"], linestyle=":", linewidth=1.2, label="flat")
        axis.set_title(name, fontsize=10)
        axis.set_xticks(ranks[:: -(-len(ranks) // 11)])
    _finish(figure, axes, "members below the analysis")
    hours = lead_hours(scores)[-1]
    title = f"Ranks of the analysis at {hours} h: share of the area × {len(ranks)} ranks, 1 if the ensemble is reliable"
    return save(figure, titled(scores, title), folder / "ranks.png")


def _panels(count: int) -> tuple["Figure", list["Axes"]]:
    """A figure with ``count`` panels, up to three in a row."""
    from matplotlib.figure import Figure

    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(1.2 + 3.6 * columns, 1.2 + 2.7 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes[:count]


def _finish(figure: "Figure", axes: list["Axes"], below: str) -> None:
    """Grids, one legend, and what the horizontal axes are."""
    for axis in axes:
        axis.grid(alpha=0.3, linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[-min(3, len(axes)) :]:
        axis.set_xlabel(below)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)


def _hours(leads: list[int]) -> list[int]:
    """Round hours for about five ticks."""
    every = next((hours for hours in (1, 2, 3, 6, 12, 24, 48, 72, 120, 240) if leads[-1] / hours <= 6), 480)
    return list(range(0, leads[-1] + 1, every))
