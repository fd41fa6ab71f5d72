"""Forecasts and analyses whose every number says what it is of, in the forms that others write them in."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from fourcast.grid import Grid
from fourcast.verify.inputs.case_fields import CaseFields

GRID = Grid(np.array([60.0, 20.0, -20.0, -60.0]), np.linspace(0.0, 288.0, 5))
"""Four rows and five columns: no two sizes in here are the same."""
INITS = np.array(["2020-02-28T00", "2020-02-28T12", "2020-03-01T00"], dtype="datetime64[ns]")
HOURS = INITS.astype("datetime64[h]")
LEADS = (0, 6, 24, 30, 36, 72)
MEMBERS = (1, 2)
START = np.datetime64("2020-01-01T00", "h")
BASE = {"t2m": 200.0, "msl": 90000.0, "u10m": -50.0, "v10m": 20.0, "t500": 150.0, "t850": 180.0, "z500": 40000.0}


def number(channel: str, member: float, init: np.datetime64, lead: float, grid: Grid = GRID) -> np.ndarray:
    """[H, W]: a sum in which member, initial time, lead time, row and column all show."""
    days = (init.astype("datetime64[h]") - START).astype(float) / 24
    place = grid.latitude[:, None] + grid.longitude / 1000
    return BASE[channel] + 10 * member + days / 4 + lead / 100 + place / 50


def case(channels: tuple[str, ...], init: np.datetime64, lead: float, members: tuple[int, ...] = MEMBERS) -> np.ndarray:
    """[C, M, H, W]: what reading a case must give."""
    return np.array([[number(name, member, init, lead) for member in members] for name in channels])


def surface(channel: str) -> xr.DataArray:
    """All cases of a channel in double precision, from coordinates alone: xarray finds the order of dimensions."""
    days = xr.DataArray((INITS.astype("datetime64[h]") - START).astype(float) / 24, dims="time", coords={"time": INITS})
    lead = xr.DataArray(np.array(LEADS, dtype=float), dims="lead", coords={"lead": list(LEADS)})
    member = xr.DataArray(np.array(MEMBERS, dtype=float), dims="number", coords={"number": list(MEMBERS)})
    latitude = xr.DataArray(GRID.latitude, dims="latitude", coords={"latitude": GRID.latitude})
    longitude = xr.DataArray(GRID.longitude, dims="longitude", coords={"longitude": GRID.longitude})
    return BASE[channel] + 10 * member + days / 4 + lead / 100 + (latitude + longitude / 1000) / 50


def aloft(variable: str, levels: tuple[int, ...]) -> xr.DataArray:
    """The same on pressure levels."""
    each = [surface(f"{variable}{level}") for level in levels]
    return xr.concat(each, xr.Variable("level", list(levels)))


def weatherbench(units: bool = True) -> xr.Dataset:
    """As WeatherBench 2 holds an ensemble: long names, lead times as spans, levels without units, south first."""
    names = {"2m_temperature": (surface("t2m"), "K"), "temperature": (aloft("t", (850, 500)), "K")}
    names |= {f"10m_{c}_component_of_wind": (surface(f"{c}10m"), "m s**-1") for c in "uv"}
    fields = {name: a.astype("f4").assign_attrs({"units": text} if units else {}) for name, (a, text) in names.items()}
    spans = np.array(LEADS).astype("timedelta64[h]").astype("timedelta64[ns]")
    data = xr.Dataset(fields).rename(lead="prediction_timedelta").assign_coords(prediction_timedelta=spans)
    order = ("time", "number", "prediction_timedelta", "level", "longitude", "latitude")
    return data.transpose(*order, missing_dims="ignore").isel(latitude=slice(None, None, -1))


def analyses(times: np.ndarray) -> xr.Dataset:
    """As WeatherBench 2 holds ERA5: the numbers of member 0 at a lead time of zero, with the share of land."""
    each = {name: [number(name, 0, time, 0) for time in times] for name in ("t2m", "u10m", "v10m", "t500", "t850")}
    plane = ("time", "latitude", "longitude")
    arrays = {
        "2m_temperature": (plane, each["t2m"], {"units": "K"}),
        "10m_u_component_of_wind": (plane, each["u10m"], {"units": "m s**-1"}),
        "10m_v_component_of_wind": (plane, each["v10m"], {}),
        "temperature": (("level", *plane), [each["t850"], each["t500"]], {"units": "K"}),
        "land_sea_mask": (plane[1:], np.broadcast_to(GRID.longitude < 180, GRID.shape).astype("f4"), {"units": "1"}),
    }
    axes = {"time": times.astype("datetime64[ns]"), "latitude": GRID.latitude, "longitude": GRID.longitude}
    data = xr.Dataset(arrays, axes | {"level": [850, 500]}).astype("f4").isel(latitude=slice(None, None, -1))
    return data.transpose("time", "longitude", "level", "latitude", missing_dims="ignore")


def to_zarr(data: xr.Dataset, path: Path, **chunks: int) -> Path:
    """Write zarr with a chunk for each time or hour of day, or of as many along each dimension as ``chunks`` says."""
    most = {"time": 1, "hour": 1, **chunks}
    encoding = {name: {"chunks": [most.get(str(d), data.sizes[d]) for d in a.dims]} for name, a in data.items()}
    data.to_zarr(path, encoding=encoding, zarr_format=2, consolidated=True)
    return path


def read_cases_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, as if cases were so large that no two are read together but those of one chunk."""
    spans = CaseFields._spans

    def alone(fields: CaseFields, places: dict[str, int], levels: int) -> dict[str, slice]:
        return spans(replace(fields, together_bytes=0), places, levels)

    monkeypatch.setattr(CaseFields, "_spans", alone)
