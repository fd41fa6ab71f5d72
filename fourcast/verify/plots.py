"""Pictures of scores against lead time; matplotlib is imported only when pictures are drawn."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fourcast.drawing import COLOURS, labelled, save
from fourcast.errors import InputError
from fourcast.verify.table import headline_channels, lead_hours, units_of

STYLES: dict[str, dict[str, Any]] = {
    "control": {"label": "control", "color": COLOURS["blue"], "linestyle": "-", "marker": "o"},
    "ensemble_mean": {"label": "ensemble mean", "color": COLOURS["vermilion"], "linestyle": "-", "marker": "s"},
    "ensemble": {"label": "ensemble", "color": COLOURS["vermilion"], "linestyle": "-", "marker": "s"},
    "spread": {"label": "spread", "color": COLOURS["green"], "linestyle": "-", "marker": "^"},
    "persistence": {"label": "persistence", "color": COLOURS["grey"], "linestyle": "--", "marker": ""},
    "climatology": {"label": "climatology", "color": COLOURS["black"], "linestyle": ":", "marker": ""},
}
"""Line styles differ as well as colours."""


def require_matplotlib() -> None:
    """Raise InputError where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError("pictures need matplotlib: pip install fourcast[report], or pass plots=false") from error


def draw_scores(scores: xr.Dataset, folder: Path) -> list[Path]:
    """Scores of the headline channels against lead time: one PNG for every question."""
    members = int(scores.attrs["members"])
    everyone = [str(name) for name in scores["system"].values if name != "ensemble"]
    pictures = [
        _draw_lines(scores, "RMSE", [("rmse", name) for name in everyone], folder / "rmse.png"),
        _draw_lines(
            scores,
            "Anomaly correlation (ACC)",
            [("acc", name) for name in everyone if name != "climatology"],
            folder / "acc.png",
        ),
    ]
    if members >= 2:
        crps = [("crps", name) for name in ("ensemble", "control", "persistence", "climatology")]
        pictures.append(_draw_lines(scores, "CRPS", crps, folder / "crps.png"))
        spread = scores.assign(spread=np.sqrt((members + 1) / members) * scores["spread"])
        title = f"RMSE of the ensemble mean and spread × √({members + 1}/{members}), equal if the ensemble is reliable"
        lines = [("rmse", "ensemble_mean"), ("spread", "ensemble")]
        pictures.append(_draw_lines(spread, title, lines, folder / "spread.png"))
    return pictures


def _draw_lines(scores: xr.Dataset, title: str, lines: list[tuple[str, str]], path: Path) -> Path:
    """A panel for every headline channel with a line for every (metric, system)."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    chosen = headline_channels(scores)
    columns = min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = Figure(figsize=(1.2 + 3.6 * columns, 1.2 + 2.7 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    days = np.array(lead_hours(scores)) / 24
    for axis, name in zip(axes, chosen, strict=False):
        for metric, system in lines:
            values = scores[metric].sel(system=system, channel=name).values
            axis.plot(days, values, markersize=3, linewidth=1.6, **STYLES["spread" if metric == "spread" else system])
        dimensionless = lines[0][0] == "acc"
        axis.set_title(name if dimensionless else labelled(name, units_of(scores, name)), fontsize=10)
        axis.set_ylim(*((None, 1.02) if dimensionless else (0, None)))
        axis.grid(alpha=0.3, linewidth=0.6)
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=days[-1] >= 3))
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[max(0, len(chosen) - columns) : len(chosen)]:
        axis.set_xlabel("lead time (days)")
    for axis in axes[len(chosen) :]:
        axis.set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(lines), frameon=False)
    return save(figure, titled(scores, title), path)


def titled(scores: xr.Dataset, title: str) -> str:
    """The title of a picture, which says so where the data are synthetic."""
    return f"{title}\n{scores.attrs['comment']}" if "comment" in scores.attrs else title
