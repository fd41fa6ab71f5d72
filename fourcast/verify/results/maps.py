"""Maps: errors and spread at every point, and one forecast beside its analysis; plate carrée, coasts from the data."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fourcast.drawing import FROM_ZERO, SIGNED, Panel, draw_maps, labelled, round_levels, save
from fourcast.grid import Grid
from fourcast.variables import parse_channel, parse_channels
from fourcast.verify.inputs.forecasts import Forecast
from fourcast.verify.plan import Plan, control_position
from fourcast.verify.results.described import described
from fourcast.verify.results.figures import LABELS, titled
from fourcast.verify.results.merge import added
from fourcast.verify.results.results_file import Coordinate, ResultsFile
from fourcast.verify.results.table import headline_channels, lead_hours, units_of
from fourcast.verify.systems import kind

Float = NDArray[np.float32] | NDArray[np.float64]
LEAD = 72
"""Hours into the forecast that pictures of maps show, or the nearest there is."""
MOST_CHANNELS = 3
"""Rows of a picture of maps."""
SPREAD = "spread (standard deviation)"
PLACE = ("lead_time", "channel", "latitude", "longitude")


def write_maps(parts: Sequence[Path], plan: Plan, path: Path) -> None:
    """maps.nc: bias, RMSE and spread over initial times at every point, channel by channel."""
    with ResultsFile(path, _axes(plan), described(plan, "Maps of error and spread")) as file:
        if plan.targets.land_HW is not None:
            file.define("land", PLACE[2:], {"standard_name": "land_area_fraction", "units": "1"}, "f4")
            file.write("land", plan.targets.land_HW[plan.map_points].astype(np.float32), {})
        for c, _ in enumerate(plan.map_channels):
            _write_channel(file, parts, c)


def _axes(plan: Plan) -> dict[str, Coordinate]:
    channels = parse_channels(plan.map_channels)
    names = {"system": plan.map_systems, "channel": plan.map_channels, "ensemble": plan.ensembles}
    points = zip((plan.grid.latitude, plan.grid.longitude), plan.map_points, strict=True)
    latitude, longitude = (along[step] for along, step in points)
    found = {
        name: Coordinate((name,), np.array(values, dtype=object), {"long_name": name})
        for name, values in names.items()
        if len(values)
    }
    north = {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"}
    east = {"standard_name": "longitude", "units": "degrees_east", "axis": "X"}
    lead = {"standard_name": "forecast_period", "long_name": "lead time"}
    units = np.array([channel.variable.units for channel in channels], dtype=object)
    return {
        **found,
        "lead_time": Coordinate(("lead_time",), np.array(plan.map_leads).astype("timedelta64[h]"), lead),
        "latitude": Coordinate(("latitude",), latitude, north),
        "longitude": Coordinate(("longitude",), longitude, east),
        "units": Coordinate(("channel",), units, {"long_name": "units of the channel"}),
    }


def _write_channel(file: ResultsFile, parts: Sequence[Path], channel: int) -> None:
    """Of one channel: sums over initial times divided by the cases at every point."""
    order = ("map_lead", "latitude", "longitude")
    at = {"channel": channel}
    cases = added(parts, "map_cases", map_channel=channel).transpose(*order).values
    _define(file)
    file.write("cases", cases.astype(np.int32), at)
    count = np.where(cases > 0, cases, np.nan)
    for name, source in (("bias", "map_error"), ("rmse", "map_squared_error")):
        mean = added(parts, source, map_channel=channel).transpose("map_system", *order).values / count
        file.write(name, (mean if name == "bias" else np.sqrt(mean)).astype(np.float32), at)
    if "spread" in file:
        mean = added(parts, "map_variance", map_channel=channel).transpose("ensemble", *order).values / count
        file.write("spread", np.sqrt(mean).astype(np.float32), at)


def _define(file: ResultsFile) -> None:
    """Make the variables when the first channel comes."""
    if "cases" in file:
        return
    comment = "in units of the channel"
    file.define("cases", PLACE, {"long_name": "initial times that count", "units": "1"}, "i4")
    texts = {"bias": "mean of forecast minus analysis", "rmse": "root mean square error over initial times"}
    for name, text in texts.items():
        file.define(name, ("system", *PLACE), {"long_name": text, "comment": comment}, "f4")
    if "ensemble" in file.sizes:
        text = "square root of the mean ensemble variance (divisor M - 1)"
        file.define("spread", ("ensemble", *PLACE), {"long_name": text, "comment": comment}, "f4")


def draw_error_maps(maps: xr.Dataset, folder: Path) -> list[Path]:
    """A picture of errors (and spread) for each of a few channels, of the first forecast, at one lead time."""
    leads = np.array(lead_hours(maps))
    at = maps.isel(lead_time=int(np.abs(leads - LEAD).argmin()))
    name = str(maps["system"].values[0]).rpartition("/")[0]
    held = [str(system) for system in maps["system"].values if str(system).rpartition("/")[0] == name]
    return [_draw_errors(at.sel(channel=channel), held, folder) for channel in headline_channels(maps)[:MOST_CHANNELS]]


def _draw_errors(at: xr.Dataset, systems: Sequence[str], folder: Path) -> Path:
    """RMSE of every system, the bias of the last and the spread: two or four maps of one channel."""
    name, hours = str(at["channel"].values), int(at["lead_time"].values / np.timedelta64(1, "h"))
    fields = {f"RMSE of the {LABELS[kind(system)]}": at["rmse"].sel(system=system).values for system in systems}
    spread = at["spread"].isel(ensemble=0).values if "spread" in at and len(systems) == 2 else None
    if spread is not None:
        fields[SPREAD] = spread
    scales = dict.fromkeys(fields, round_levels(list(fields.values()), FROM_ZERO))
    if spread is not None and _faint(spread, scales[SPREAD]):
        scales[SPREAD] = round_levels([spread], FROM_ZERO)
    bias = at["bias"].sel(system=systems[-1]).values
    panels = [Panel(title, field, FROM_ZERO, scales[title]) for title, field in fields.items()]
    panels.append(Panel(f"bias of the {LABELS[kind(systems[-1])]}", bias, "PuOr_r", round_levels([bias], "PuOr_r")))
    grid = Grid(at["latitude"].values, at["longitude"].values)
    land = at["land"].values if "land" in at else None
    figure = draw_maps(panels[: len(panels) // 2 * 2], grid, land, labelled(name, str(at["units"].values)))
    forecast = systems[0].rpartition("/")[0]
    title = f"{forecast} {name}, {hours} h into the forecast, over {int(at['cases'].max())} initial times".strip()
    return save(figure, titled(at, title), folder / f"error_maps_{name}.png")


def _faint(field: Float, levels: Float) -> bool:
    """Whether a field stays within a quarter of its colours, where nothing of it would be seen."""
    return bool(np.nanmax(field, initial=0.0) < levels[-1] / 4)


def draw_forecast(plan: Plan, scores: xr.Dataset, folder: Path) -> Path:
    """One forecast of one channel beside its analysis: all members' mean and spread, or the only member's error."""
    i_init, i_lead = _position(scores)
    forecast, name = plan.forecasts[0], headline_channels(scores)[0]
    init, valid = plan.init_times[i_init], plan.valid_time(i_init, i_lead)
    members_MHW = forecast.read(i_init, i_lead, (name,))[0]
    before_HW, analysis_HW = (plan.targets.read(np.array([time]), (name,))[0, 0] for time in (init, valid))
    state = "RdBu_r" if parse_channel(name).variable.standard_name in SIGNED else "viridis"
    fields = [("analysis", analysis_HW, state), *_shown(forecast, members_MHW, before_HW, analysis_HW, state)]
    scales = {colours: round_levels([f for _, f, c in fields if c == colours], colours) for *_, colours in fields}
    panels = [Panel(title, field, colours, scales[colours]) for title, field, colours in fields]
    label = labelled(name, units_of(scores, name))
    figure = draw_maps(panels, plan.grid, plan.targets.land_HW, label)
    title = f"{name} at {valid} UTC, {plan.lead_hours[i_lead]} h into the forecast from {init} UTC"
    return save(figure, titled(scores, f"{forecast.name} {title}".strip()), folder / "forecast_map.png")


def _shown(
    forecast: Forecast, members_MHW: Float, before_HW: Float, analysis_HW: Float, state: str
) -> list[tuple[str, Float, str]]:
    """Three maps beside the analysis: title, field, colours."""
    i_control = control_position(forecast)
    single_HW = members_MHW[0 if i_control is None else i_control]
    single = ("control forecast" if i_control is not None else "first member", single_HW, state)
    if len(members_MHW) >= 2:
        spread_HW = members_MHW.std(axis=0, ddof=1, dtype=np.float64)
        mean_HW = members_MHW.mean(axis=0, dtype=np.float64)
        spread = ("ensemble spread (standard deviation)", spread_HW, FROM_ZERO)
        return [single, ("ensemble mean", mean_HW, state), spread]
    persistence = ("persistence: analysis at the initial time", before_HW, state)
    return [single, persistence, ("error: forecast minus analysis", single_HW - analysis_HW, "PuOr_r")]


def _position(scores: xr.Dataset) -> tuple[int, int]:
    """The first initial time that was verified, at the verified lead time nearest to LEAD."""
    verified = scores["verified"].values.astype(bool)
    i_init = int(verified.any(axis=1).argmax())
    distance = np.abs(np.array(lead_hours(scores)) - LEAD)
    return i_init, int(np.where(verified[i_init], distance, np.inf).argmin())
