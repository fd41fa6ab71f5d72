"""Maps of one forecast beside its analysis: plate carrée, coastlines from the store's own land-sea mask."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fourcast.data.store import Store
from fourcast.forecast.reader import channel
from fourcast.grid import Grid
from fourcast.variables import parse_channel
from fourcast.verify.baselines import Baselines
from fourcast.verify.plots import save, titled, units_label
from fourcast.verify.table import headline_channels, lead_hours

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Field = NDArray[np.float32] | NDArray[np.float64]
Panel = tuple[str, Field, str]
"""(title, field [H, W], colour map)"""
LEAD = 72
"""Hours into the forecast that the maps show, or the nearest there is."""
SIGNED = ("eastward_wind", "northward_wind", "lagrangian_tendency_of_air_pressure")


def draw_maps(run: xr.Dataset, baselines: Baselines, scores: xr.Dataset, folder: Path) -> Path:
    """Analysis, control, ensemble mean and spread (of a single member: persistence and its error) of one channel."""
    name = headline_channels(scores)[0]
    at = run.isel(_position(scores))
    init, valid = (at[key].values.astype("datetime64[h]").reshape(1)[0] for key in ("init_time", "valid_time"))
    members = channel(at, name).values
    analysis = baselines.analysis(valid)[baselines.channels.index(name)]
    control = members[run["number"].values.tolist().index(0)]
    state = "RdBu_r" if parse_channel(name).variable.standard_name in SIGNED else "viridis"
    panels = [("analysis", analysis, state), ("control forecast", control, state)]
    if len(members) >= 2:
        panels.append(("ensemble mean", members.mean(axis=0), state))
        panels.append(("ensemble spread (standard deviation)", members.std(axis=0, ddof=1), "cividis"))
    else:
        persistence = baselines.analysis(init)[baselines.channels.index(name)]
        panels.append(("persistence: analysis at the initial time", persistence, state))
        panels.append(("error: control forecast minus analysis", control - analysis, "PuOr_r"))
    hours = int(at["lead_time"].values / np.timedelta64(1, "h"))
    title = f"{name} at {valid} UTC, {hours} h into the forecast from {init} UTC"
    figure = _draw(panels, baselines.store, units_label(scores, name))
    return save(figure, titled(scores, title), folder / "forecast_map.png")


def _position(scores: xr.Dataset) -> dict[str, int]:
    """The first initial time that was verified, at the verified lead time nearest to LEAD."""
    verified = scores["verified"].values
    i_init = int(verified.any(axis=1).argmax())
    distance = np.abs(np.array(lead_hours(scores)) - LEAD)
    return {"init_time": i_init, "lead_time": int(np.where(verified[i_init], distance, np.inf).argmin())}


def _draw(panels: list[Panel], store: Store, label: str) -> "Figure":
    """Four panels with a colour bar each; fields of one colour map share their levels."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MultipleLocator

    figure = Figure(figsize=(12, 8.2), layout="constrained")
    for axis, (title, field, colours) in zip(figure.subplots(2, 2).ravel(), panels, strict=True):
        levels = _levels([other for _, other, c in panels if c == colours], colours)
        longitude, shown = _centred(field, store.grid)
        drawn = axis.contourf(longitude, store.grid.latitude, shown, levels, cmap=colours)
        figure.colorbar(drawn, ax=axis, orientation="horizontal", label=label, shrink=0.8, aspect=35, pad=0.02)
        if "lsm" in store.static:
            _, land = _centred(store.static["lsm"], store.grid)
            axis.contour(longitude, store.grid.latitude, land, [0.5], colors="black", linewidths=0.6)
        axis.set_title(title, fontsize=10)
        axis.set_aspect("equal")
        axis.xaxis.set_major_locator(MultipleLocator(60))
        axis.yaxis.set_major_locator(MultipleLocator(30))
        axis.xaxis.set_major_formatter(lambda x, _: f"{abs(x):g}°" + ("E" if x > 0 else "W" if x < 0 else ""))
        axis.yaxis.set_major_formatter(lambda y, _: f"{abs(y):g}°" + ("N" if y > 0 else "S" if y < 0 else ""))
    return figure


def _levels(fields: list[Field], colours: str) -> Field:
    """About twenty round levels over the fields' range: from 0 for a spread, symmetric for signed quantities."""
    from matplotlib.ticker import MaxNLocator

    low, high = min(float(np.nanmin(f)) for f in fields), max(float(np.nanmax(f)) for f in fields)
    if colours == "cividis":
        low = 0.0
    if colours in ("RdBu_r", "PuOr_r"):
        low, high = -max(-low, high), max(-low, high)
    return np.asarray(MaxNLocator(20, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))


def _centred(field: Field, grid: Grid) -> tuple[Field, Field]:
    """Longitudes and field [H, W]; a global grid goes from −180 to 180 degrees and closes the circle."""
    if not grid.is_global:
        return grid.longitude, field
    longitude = (grid.longitude + 180.0) % 360.0 - 180.0
    order = np.argsort(longitude)
    order = np.append(order, order[0])
    longitude = longitude[order]
    longitude[-1] += 360.0
    return longitude, field[:, order]
