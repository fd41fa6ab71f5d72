"""Maps of one forecast beside its analysis: plate carrée, coastlines from the store's own land-sea mask."""

from pathlib import Path

import numpy as np
import xarray as xr

from fourcast.drawing import SIGNED, Panel, draw_maps, labelled, round_levels, save
from fourcast.forecast.reader import channel
from fourcast.variables import parse_channel
from fourcast.verify.baselines import Baselines
from fourcast.verify.plots import titled
from fourcast.verify.table import headline_channels, lead_hours, units_of

LEAD = 72
"""Hours into the forecast that the maps show, or the nearest there is."""


def draw_run(run: xr.Dataset, baselines: Baselines, scores: xr.Dataset, folder: Path) -> Path:
    """Analysis, control, ensemble mean and spread (of a single member: persistence and its error) of one channel."""
    name = headline_channels(scores)[0]
    at = run.isel(_position(scores))
    init, valid = (at[key].values.astype("datetime64[h]").reshape(1)[0] for key in ("init_time", "valid_time"))
    members = channel(at, name).values
    analysis = baselines.analysis(valid)[baselines.channels.index(name)]
    control = members[run["number"].values.tolist().index(0)]
    state = "RdBu_r" if parse_channel(name).variable.standard_name in SIGNED else "viridis"
    fields = [("analysis", analysis, state), ("control forecast", control, state)]
    if len(members) >= 2:
        fields.append(("ensemble mean", members.mean(axis=0), state))
        fields.append(("ensemble spread (standard deviation)", members.std(axis=0, ddof=1), "cividis"))
    else:
        persistence = baselines.analysis(init)[baselines.channels.index(name)]
        fields.append(("persistence: analysis at the initial time", persistence, state))
        fields.append(("error: control forecast minus analysis", control - analysis, "PuOr_r"))
    scales = {colours: round_levels([f for _, f, c in fields if c == colours], colours) for *_, colours in fields}
    panels = [Panel(title, field, colours, scales[colours]) for title, field, colours in fields]
    hours = int(at["lead_time"].values / np.timedelta64(1, "h"))
    title = f"{name} at {valid} UTC, {hours} h into the forecast from {init} UTC"
    figure = draw_maps(
        panels, baselines.store.grid, baselines.store.static.get("lsm"), labelled(name, units_of(scores, name))
    )
    return save(figure, titled(scores, title), folder / "forecast_map.png")


def _position(scores: xr.Dataset) -> dict[str, int]:
    """The first initial time that was verified, at the verified lead time nearest to LEAD."""
    verified = scores["verified"].values
    i_init = int(verified.any(axis=1).argmax())
    distance = np.abs(np.array(lead_hours(scores)) - LEAD)
    return {"init_time": i_init, "lead_time": int(np.where(verified[i_init], distance, np.inf).argmin())}
