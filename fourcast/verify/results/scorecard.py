"""Scorecards: how much better or worse a system is than a reference, at a glance.

Rows are channels by variable, columns lead times, a panel for every main region. Blue is better, orange worse, as many
per cent as the cell says; a dot marks where the interval of the paired difference excludes zero.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fourcast.drawing import TITLE, save
from fourcast.variables import VARIABLES
from fourcast.verify.results.figures import LABELS, place, titled
from fourcast.verify.results.table import lead_hours
from fourcast.verify.systems import kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import BoundaryNorm, Colormap
    from matplotlib.figure import Figure

Float64 = NDArray[np.float64]
MAIN_REGIONS = ("global", "tropics", "northern_extratropics", "southern_extratropics")
MOST_LEADS, MOST_ROWS = 12, 40
STEPS = (-50, -20, -10, -5, -2, 2, 5, 10, 20, 50)
"""Borders of the colours in per cent of the reference's score."""
COLOURS = (
    "#7f3b08", "#b35806", "#e08214", "#fdb863", "#fee0b6", "#f7f7f7", "#d1e5f0", "#92c5de", "#4393c3", "#2166ac",
    "#053061",
)  # fmt: skip
"""From orange (worse) through white to blue, told apart by all; one more than there are borders."""


@dataclass(frozen=True)
class Card:
    """What one scorecard compares: a system with a reference in a metric of which less is better."""

    metric: str
    system: str
    reference: str
    file: str


def draw_scorecards(scores: xr.Dataset, folder: Path) -> list[Path]:
    """A picture for every card of which there is a number."""
    drawn = [card for card in cards(scores) if f"{card.metric}_difference" in scores]
    return [_draw(scores, card, folder / card.file) for card in drawn]


def cards(scores: xr.Dataset) -> list[Card]:
    """RMSE and CRPS against a baseline; of several forecasts, of each against the first."""
    names = scores.attrs["forecasts"].split("\n")
    if len(names) == 1:
        return _beside_baselines(scores)
    found = []
    for name in names[1:]:
        for metric, wanted in (("rmse", "ensemble_mean"), ("crps", "ensemble")):
            system, reference = (_system(scores, each, wanted) for each in (name, names[0]))
            if system and reference:
                file = f"scorecard_{metric}_{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)}.png"
                found.append(Card(metric, system, reference, file))
    return found


def _beside_baselines(scores: xr.Dataset) -> list[Card]:
    """One forecast: its best single field and its ensemble beside the strongest baseline of their kind."""
    held = [str(name) for name in scores["system"].values]
    plans = {
        "rmse": ("ensemble_mean", ("climatology", "persistence")),
        "crps": ("ensemble", ("climatology_ensemble", "climatology", "persistence")),
    }
    found = []
    for metric, (wanted, baselines) in plans.items():
        system, reference = _system(scores, "", wanted), next(name for name in baselines if name in held)
        if system and (metric == "rmse" or kind(system) == "ensemble"):
            found.append(Card(metric, system, reference, f"scorecard_{metric}.png"))
    return found


def _system(scores: xr.Dataset, name: str, wanted: str) -> str | None:
    """A forecast's system of the ``wanted`` kind, or else its control."""
    held = [str(system) for system in scores["system"].values]
    choices = [f"{name}/{each}" if name else each for each in (wanted, "control")]
    return next((choice for choice in choices if choice in held), None)


def better_by(scores: xr.Dataset, card: Card) -> tuple[Float64, NDArray[np.bool_]]:
    """Per cent of the reference's score by which less the system's is, [L, C, R], and where that is beyond doubt.

    NaN where the reference's score is 0.
    """
    order = ("lead_time", "channel", "region")
    place = {"system": card.system, "reference": card.reference}
    name = f"{card.metric}_difference"
    difference = scores[name].sel(place).transpose(*order).values
    reference = scores[card.metric].sel(system=card.reference).transpose(*order).values
    share = np.full(difference.shape, np.nan)
    np.divide(-100 * difference, reference, out=share, where=reference > 0)
    if f"{name}_low" not in scores:
        return share, np.zeros(share.shape, dtype=bool)
    low, high = (scores[f"{name}_{end}"].sel(place).transpose(*order).values for end in ("low", "high"))
    return share, (low > 0) | (high < 0)


def sorted_channels(scores: xr.Dataset) -> list[int]:
    """Positions of at most forty channels: by variable in the order of the table of variables, from the top down."""
    order = {variable.name: i for i, variable in enumerate(VARIABLES)}
    levels, variables = np.nan_to_num(scores["level"].values), [str(name) for name in scores["variable"].values]
    return sorted(range(len(variables)), key=lambda i: (order[variables[i]], levels[i]))[:MOST_ROWS]


def card_leads(scores: xr.Dataset) -> list[int]:
    """Positions of at most twelve lead times: whole days where there are enough, without the initial time."""
    leads = lead_hours(scores)
    later = [i for i, lead in enumerate(leads) if lead > 0] or [0]
    days = [i for i in later if leads[i] % 24 == 0]
    good = days if len(days) >= 4 else later
    return [good[i] for i in np.linspace(0, len(good) - 1, min(MOST_LEADS, len(good))).round().astype(int)]


def _draw(scores: xr.Dataset, card: Card, path: Path) -> Path:
    held = [str(name) for name in scores["region"].values]
    regions = [name for name in MAIN_REGIONS if name in held] or held[:4]
    rows, leads = sorted_channels(scores), card_leads(scores)
    share_LCR, certain_LCR = better_by(scores, card)
    figure, axes = _panels(len(regions), len(rows), len(leads))
    for axis, region in zip(axes, regions, strict=True):
        r = held.index(region)
        at = np.ix_(leads, rows)
        _cells(axis, share_LCR[..., r][at].T, certain_LCR[..., r][at].T)
        axis.set_title(region.replace("_", " "), fontsize=10)
        axis.set_xticks(range(len(leads)), [_lead(lead_hours(scores)[i]) for i in leads], fontsize=8)
        axis.set_yticks(range(len(rows)), [str(scores["channel"].values[i]) for i in rows], fontsize=8)
        _between_variables(axis, [str(scores["variable"].values[i]) for i in rows])
    place(figure, foot=0.9, between=0.65)
    _legend(figure, _doubt(scores))
    title = f"{card.metric.upper()}: how many per cent better {_label(card.system)} is than {_label(card.reference)}"
    return save(figure, titled(scores, title), path)


def _doubt(scores: xr.Dataset) -> str:
    if scores.attrs["uncertainty_samples"] == 0:
        return ""
    return f"\n●  the {100 * scores.attrs['uncertainty_level']:g} % interval of the paired difference excludes zero"


def _label(system: str) -> str:
    name, _, of = system.rpartition("/")
    return f"the {LABELS[of]} of {name}" if name else LABELS[of] if of == "persistence" else f"the {LABELS[of]}"


def _lead(hours: int) -> str:
    return f"{hours // 24} d" if hours % 24 == 0 else f"{hours} h"


def _panels(count: int, rows: int, leads: int) -> tuple["Figure", list["Axes"]]:
    """A figure with two panels in a row, of cells of one size."""
    from matplotlib.figure import Figure

    columns = min(2, count)
    down = -(-count // columns)
    size = (max(6.5, columns * (0.9 + 0.52 * max(leads, 4))), TITLE + 0.15 + down * (0.85 + 0.28 * rows))
    figure = Figure(figsize=size)
    axes = list(chain(*figure.subplots(down, columns, squeeze=False)))
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes[:count]


def _colours() -> tuple["Colormap", "BoundaryNorm"]:
    from matplotlib.colors import BoundaryNorm, ListedColormap

    colours = ListedColormap(COLOURS[1:-1]).with_extremes(under=COLOURS[0], over=COLOURS[-1], bad="#d9d9d9")
    return colours, BoundaryNorm(STEPS, len(STEPS) - 1)


def _cells(axis: "Axes", share_CL: Float64, certain_CL: NDArray[np.bool_]) -> None:
    """Coloured cells with their numbers, and a dot in the corner of those beyond doubt."""
    colours, norm = _colours()
    axis.imshow(np.ma.masked_invalid(share_CL), cmap=colours, norm=norm, aspect="auto")
    for c, i in np.ndindex(share_CL.shape):
        value = float(share_CL[c, i])
        if np.isfinite(value):
            ink = "white" if value <= -20 or value >= 20 else "black"
            axis.text(i, c, percent(value), ha="center", va="center", fontsize=7, color=ink)
            if certain_CL[c, i]:
                axis.plot(i + 0.38, c - 0.28, marker="o", markersize=2.5, color=ink)
    axis.set_xticks(np.arange(share_CL.shape[1]) - 0.5, minor=True)
    axis.set_yticks(np.arange(share_CL.shape[0]) - 0.5, minor=True)
    axis.grid(which="minor", color="white", linewidth=0.8)
    axis.tick_params(which="both", length=0)
    axis.spines[:].set_visible(False)


def percent(value: float) -> str:
    """A signed whole number, or one digit more below ten."""
    if abs(value) >= 9.95:
        return f"{value:+.0f}" if abs(value) < 999.5 else ("-999" if value < 0 else "+999")
    return f"{value:+.1f}" if abs(value) >= 0.05 else "0.0"


def _between_variables(axis: "Axes", variables: Sequence[str]) -> None:
    """Lines between the levels of one variable and the next variable."""
    for i, (one, other) in enumerate(pairwise(variables)):
        if one != other:
            axis.axhline(i + 0.5, color="black", linewidth=0.6)


def _legend(figure: "Figure", doubt: str) -> None:
    """A colour bar in per cent."""
    from matplotlib.cm import ScalarMappable

    colours, norm = _colours()
    inch = 1 / figure.get_figheight()
    bar = figure.colorbar(
        ScalarMappable(norm, colours), cax=figure.add_axes((0.15, 0.8 * inch, 0.7, 0.18 * inch)), extend="both",
        orientation="horizontal", ticks=STEPS,
    )  # fmt: skip
    bar.ax.set_xticklabels([f"{step:+d}" for step in STEPS], fontsize=8)
    bar.set_label("worse  ◀   % of the reference's score   ▶  better" + doubt, fontsize=9)
