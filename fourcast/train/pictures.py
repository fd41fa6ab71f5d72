"""What a validation leaves to look at: RUN/validation/step_NNNNNNNN with scores.json, and pictures of a few channels.

matplotlib is optional; without it there are the scores alone, and a word about that.
"""

import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fourcast.drawing import COLOURS, SIGNED, Field, Panel, draw_maps, labelled, raised, round_levels, rows_of_two, save
from fourcast.errors import InputError
from fourcast.files import whole_directory
from fourcast.forecast.netcdf import SYNTHETIC
from fourcast.grid import Grid, closes_circle
from fourcast.train.prepare import Task
from fourcast.train.scoring import Float64, Validation
from fourcast.variables import parse_channel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES: dict[str, dict[str, Any]] = {
    "model": {"color": COLOURS["blue"], "linestyle": "-", "marker": "o"},
    "persistence": {"color": COLOURS["grey"], "linestyle": "--", "marker": ""},
    "climatology": {"color": COLOURS["black"], "linestyle": ":", "marker": ""},
}
INCHES = (5.0, 3.2)
"""Of a panel with its margins."""
SILENT = 1e-8
"""Share of the largest power of an analysis below which there is but rounding."""
MEANING = {
    "rmse": "root of the mean over samples of the area-weighted mean squared error, in the channel's units",
    "acc": "uncentred anomaly correlation against the store's climatology, area-weighted, averaged over samples",
    "persistence": "the analysis at the initial time",
    "climatology": "the store's climatology at the valid time",
}


@dataclass(frozen=True, eq=False)
class Scene:
    """What pictures need besides the numbers: chosen channels, the grid, the land–sea mask [H, W], and whose data."""

    channels: tuple[str, ...]
    grid: Grid
    land: Field | None
    synthetic: bool


def scene(task: Task, predicted: tuple[str, ...]) -> Scene:
    """The scene of ``task``, for a model that predicts these channels; InputError where pictures= names others.

    Null stands for the first of them, an empty list for no pictures.
    """
    chosen = predicted[:1] if task.config.pictures is None else tuple(task.config.pictures)
    unknown = [name for name in chosen if name not in predicted]
    if unknown:
        raise InputError(f"pictures: the model does not predict {', '.join(unknown)}, but {', '.join(predicted)}")
    return Scene(chosen, task.card.grid, task.series.first.static.get("lsm"), task.card.synthetic)


def keep(validation: Validation, scene: Scene, run: Path, step: int) -> Path:
    """Write RUN/validation/step_NNNNNNNN, whole or not at all; return it. For one process."""
    folder = run / "validation" / f"step_{step:08d}"
    with whole_directory(folder) as temporary:
        record = json.dumps({"step": step, **table(validation)}, indent=1)
        (temporary / "scores.json").write_text(record + "\n", encoding="utf-8")
        if scene.channels and _can_draw():
            _draw(validation, scene, step, temporary)
    return folder


@cache
def _can_draw() -> bool:
    found = importlib.util.find_spec("matplotlib") is not None
    if not found:
        print("  no pictures of validations: pip install 'fourcast[report]'", file=sys.stderr)
    return found


def table(validation: Validation) -> dict[str, object]:
    """All scores as plain values: by score, system and channel, a list over lead times; null where undefined."""

    def plain(by_system: dict[str, Float64]) -> dict[str, dict[str, list[float | None]]]:
        return {
            system: {name: list(map(_finite, values[:, place])) for place, name in enumerate(validation.channels)}
            for system, values in by_system.items()
        }

    return {
        **{name: _finite(value) for name, value in validation.losses.items()},
        "samples": validation.samples,
        "lead_hours": list(validation.lead_hours),
        "units": {name: _units(name) for name in validation.channels},
        "rmse": plain(validation.rmse),
        "acc": plain(validation.acc),
        "meaning": MEANING,
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _units(name: str) -> str:
    return parse_channel(name).variable.units


def _draw(validation: Validation, scene: Scene, step: int, folder: Path) -> None:
    note = f"\n{SYNTHETIC}" if scene.synthetic else ""
    mean = f"mean of {validation.samples} held-out forecasts after training step {step}{note}"
    save(draw_scores(validation, scene.channels), f"Scores, {mean}", folder / "scores.png")
    if closes_circle(scene.grid.longitude):
        title = f"Power of zonal waves by wavenumber, {mean}"
        save(draw_spectra(validation, scene.channels), title, folder / "spectra.png")
    shown = validation.example
    assert shown is not None
    for name in scene.channels:
        hours = validation.lead_hours[-1]
        title = (
            f"{name} at {shown.valid_time} UTC, {hours} h into the forecast from {shown.init_time} UTC, "
            f"after training step {step}{note}"
        )
        save(draw_example(validation, scene, name), title, folder / f"map_{name}.png")


def draw_scores(validation: Validation, channels: Sequence[str]) -> "Figure":
    """RMSE and anomaly correlation of ``channels`` by lead time, beside persistence and climatology."""
    figure, axes = rows_of_two(len(channels), INCHES, foot=0.5)
    for (left, right), name in zip(axes, channels, strict=True):
        place = validation.channels.index(name)
        for axis, by_system in ((left, validation.rmse), (right, validation.acc)):
            for system, values in by_system.items():
                axis.plot(validation.lead_hours, values[:, place], label=system, markersize=4, **STYLES[system])
            _finish(axis)
            axis.set_xticks(validation.lead_hours[:: -(-len(validation.lead_hours) // 8)])
        left.set_title(f"RMSE of {labelled(name, _units(name))}", fontsize=10)
        left.set_ylim(bottom=0)
        right.set_title(f"anomaly correlation of {name}", fontsize=10)
        right.set_ylim(top=1.02)
    for axis in axes[-1]:
        axis.set_xlabel("lead time (h)")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="lower center", ncols=3, frameon=False)
    return figure


def draw_spectra(validation: Validation, channels: Sequence[str]) -> "Figure":
    """Spectra of forecasts and analyses, and the share of the power that forecasts keep; less than 1 is too smooth."""
    import matplotlib
    from matplotlib.ticker import LogLocator

    figure, axes = rows_of_two(len(channels), INCHES, foot=0.5)
    last = len(validation.lead_hours) - 1
    leads = sorted({0, last // 2, last})
    shades = matplotlib.colormaps["viridis"](np.linspace(0.15, 0.85, len(leads)))
    wavenumbers = np.arange(1, validation.power.shape[-1])
    for (left, right), name in zip(axes, channels, strict=True):
        power = validation.power[:, :, validation.channels.index(name), 1:]
        least = max(SILENT * power[1].max(), 1e-30)
        power = np.where(power > least, power, np.nan)
        left.loglog(wavenumbers, power[1, -1], color=COLOURS["black"], linewidth=2.2, label="analysis")
        for lead, colour in zip(leads, shades, strict=True):
            text = f"forecast, {validation.lead_hours[lead]} h"
            left.loglog(wavenumbers, power[0, lead], color=colour, linewidth=1.3, label=text)
            right.loglog(wavenumbers, power[0, lead] / power[1, lead], color=colour, linewidth=1.3)
        right.axhline(1.0, color=COLOURS["black"], linewidth=1.0)
        right.set_ylim(0.01, 100.0)
        left.set_title(f"power of {name} in ({raised(_units(name))})$^2$", fontsize=10)
        right.set_title(f"power of the forecast over power of the analysis, {name}", fontsize=10)
        for axis in (left, right):
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter("{x:g}")
            _finish(axis)
        right.yaxis.set_major_formatter("{x:g}")
    for axis in axes[-1]:
        axis.set_xlabel("zonal wavenumber (waves round a circle of latitude)")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="lower center", ncols=4, frameon=False)
    return figure


def draw_example(validation: Validation, scene: Scene, name: str) -> "Figure":
    """Analysis and forecast on one scale, their difference, and the change that persistence misses, on another."""
    example = validation.example
    assert example is not None
    place = validation.channels.index(name)
    initial, forecast, analysis = (f[place] for f in (example.initial, example.forecast, example.analysis))
    errors = (forecast - analysis, initial - analysis)
    state = "RdBu_r" if parse_channel(name).variable.standard_name in SIGNED else "viridis"
    states, differences = round_levels([analysis], state), round_levels(errors, "PuOr_r")
    panels = (
        Panel("analysis", analysis, state, states),
        Panel("forecast", forecast, state, states),
        Panel("error: forecast minus analysis", errors[0], "PuOr_r", differences),
        Panel("error of persistence: initial analysis minus analysis", errors[1], "PuOr_r", differences),
    )
    return draw_maps(panels, scene.grid, scene.land, labelled(name, _units(name)))


def _finish(axis: "Axes") -> None:
    axis.grid(alpha=0.3, linewidth=0.6)
    axis.minorticks_off()
    axis.spines[["top", "right"]].set_visible(False)
