"""Inputs that cannot be verified are refused before the work, each by name and with the way out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from known_planet import CHANNELS, GRID, INITS, TIMES, analyses, config, make_run, make_store
from tiny import write_store

from fourcast.errors import InputError
from fourcast.forecast.netcdf import member_path
from fourcast.grid import Grid
from fourcast.verify.evaluate import verify
from fourcast.verify_config import MapsConfig

Changes = dict[str, Any]
OTHER_GRID = Grid(GRID.latitude - 11.25, GRID.longitude)


@pytest.fixture(scope="module")
def planet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with RUN and store.zarr."""
    folder = tmp_path_factory.mktemp("refused")
    make_store(folder / "store.zarr")
    make_run(folder / "RUN", inits=INITS[:2])
    return folder


def field(grid: Grid = GRID, **attributes: str) -> xr.DataArray:
    axes = {"latitude": grid.latitude, "longitude": grid.longitude}
    return xr.DataArray(np.ones(grid.shape), axes, ("latitude", "longitude"), attrs=attributes)


def other_years(folder: Path) -> Changes:
    return {"forecast": str(make_run(folder / "LATER", inits=INITS[:1] + 24 * 365))}


def other_grid(folder: Path) -> Changes:
    return {"store": str(make_store(folder / "shifted.zarr", grid=OTHER_GRID))}


def wrong_units(folder: Path) -> Changes:
    init = {"forecast_reference_time": INITS[0].astype("datetime64[ns]"), "time": TIMES[5:6].astype("datetime64[ns]")}
    wind = field(standard_name="air_temperature", units="m s-1").expand_dims(time=1).assign_coords(init)
    wind.to_dataset(name="t2m").to_netcdf(folder / "wind.nc")
    return {"forecast": str(folder / "wind.nc")}


def no_climatology(folder: Path) -> Changes:
    times = TIMES.astype("datetime64[ns]")
    fields = xr.DataArray(analyses()[:, 0], {"time": times, **field().coords}, ("time", "latitude", "longitude"))
    fields.assign_attrs(units="K").to_dataset(name="2m_temperature").to_zarr(folder / "era5.zarr", zarr_format=2)
    return {"store": str(folder / "era5.zarr")}


def one_member(folder: Path) -> Changes:
    return {"forecast": str(make_run(folder / "ONE", (0,), INITS[:1])), "events": ["t2m > 280"]}


def empty_region(folder: Path) -> Changes:
    holes = analyses()
    holes[:, 1, GRID.latitude > 20] = np.nan
    return {"store": str(write_store(folder / "holes.zarr", TIMES, holes, CHANNELS, GRID))}


def forecast_with_gaps(folder: Path) -> Changes:
    holes = analyses()
    holes[6, 2, 3, :5] = np.nan
    return {"forecast": str(make_run(folder / "HOLES", inits=INITS[:1], fields=holes))}


def no_analysis(folder: Path) -> Changes:
    return {"store": str(write_store(folder / "a.zarr", TIMES, np.full_like(analyses(), np.nan), CHANNELS, GRID))}


def mask_elsewhere(folder: Path) -> Changes:
    field(OTHER_GRID).to_dataset(name="mine").to_netcdf(folder / "mask.nc")
    return {"masks": {"mine": str(folder / "mask.nc")}}


def damaged_file(folder: Path) -> Changes:
    run = make_run(folder / "DAMAGED", inits=INITS[:1])
    file = member_path(run, INITS[0], 1)
    file.write_bytes(file.read_bytes()[:3000])
    return {"forecast": str(run)}


def missing_member(folder: Path) -> Changes:
    run = make_run(folder / "MISSING", inits=INITS[:2])
    member_path(run, INITS[1], 2).unlink()
    return {"forecast": str(run)}


def strangers(folder: Path) -> Changes:
    runs = [make_run(folder / f"{hour}", (0,), INITS[i : i + 1]) for i, hour in enumerate(("first", "second"))]
    return {"forecast": [str(run) for run in runs]}


def twins(folder: Path) -> Changes:
    run = str(make_run(folder / "TWIN", (0,), INITS[:1]))
    return {"forecast": [run, run]}


def not_a_forecast(folder: Path) -> Changes:
    (folder / "notes.nc").write_text("no netCDF")
    return {"forecast": str(folder / "notes.nc")}


def fixed(**changes: object) -> Callable[[Path], Changes]:
    return lambda _: changes


CASES: dict[str, tuple[Callable[[Path], Changes], str]] = {
    "non-overlapping times": (other_years, r"store\.zarr covers 2026-08-01T00 to 2026-08-06T18 and no fore.*LATER"),
    "different grids": (other_grid, r"RUN is on the grid 8×16 \(latitude 90 .*shifted.zarr on 8×16 \(latitude 78\.75"),
    "wrong units": (wrong_units, r"wind\.nc.* t2m.*m s-1"),
    "missing climatology": (no_climatology, r"era5\.zarr has no climatology .*climatology=FILE.*climatology=none"),
    "one-member ensemble": (one_member, r"events need .* an ensemble of two members or more, and .*ONE has one member"),
    "all-NaN region": (empty_region, r"z500 of .*holes\.zarr has no number anywhere in region northern_extratropics"),
    "NaN forecast": (forecast_with_gaps, r"u10m of 2026-08-02T00 \+ 12 h: control has no finite number at 5 .*=skip"),
    "no analysis anywhere": (no_analysis, r"t2m of .*a\.zarr has no number anywhere in region global"),
    "unknown region": (fixed(regions=["atlantis"]), r"regions: 'atlantis' is not one of .*europe"),
    "box without points": (fixed(boxes={"dot": [1.0, 1.0, 0.5, 1.5]}), "'dot' has no point of the grid"),
    "box of three numbers": (fixed(boxes={"odd": [1.0, 1.0, 0.5]}), r"boxes\.odd must be north, west, south, east"),
    "mask on another grid": (mask_elsewhere, r"masks\.mine: .*mask\.nc is on 8×16 \(latitude 78\.75.*regrid"),
    "mask that is not there": (fixed(masks={"mine": "absent.nc"}), r"masks\.mine: there is no file absent\.nc"),
    "unknown convention": (fixed(convention="ecmwf"), "convention must be one of weatherbench2, fourcastnet, centred"),
    "event of a missing channel": (fixed(events=["msl > 1e5"]), "events: msl of 'msl > 100000.0' is not among"),
    "no event": (fixed(events=["t2m = 280"]), "'t2m = 280' is no event"),
    "no such forecast": (fixed(forecast="absent/run"), "absent/run holds no forecast, for it is not there"),
    "no forecast": (not_a_forecast, r"notes\.nc"),
    "no such store": (fixed(store="absent.zarr"), "absent.zarr"),
    "damaged file": (damaged_file, r"member_001\.nc"),
    "missing member": (missing_member, r"MISSING.*(member|missing)"),
    "channel of neither": (fixed(channels=["msl"]), "RUN has no channel msl; it holds t2m, z500, u10m"),
    "lead time of neither": (fixed(lead_hours=[6, 48]), "RUN has no lead time of 48 h; it holds 0, 6, 12, 24 h"),
    "no initial time in the period": (fixed(init_start="2026-09-01"), "RUN has no initial time from 2026-09-01 to its"),
    "forecasts that share nothing": (strangers, "the forecasts have no initial time in common: .*first.*second"),
    "forecasts that cannot be told apart": (twins, r"do not differ in a way that names them; name them with names="),
    "too few names": (fixed(names=["a", "b"]), "names must be one for each of 1 forecasts"),
    "map of what is not scored": (fixed(maps=MapsConfig(["msl"])), "maps: there is no channel msl among what is sco"),
    "share of nothing": (fixed(part="3/2"), "part must be a share such as 2/8"),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_named(planet: Path, tmp_path: Path, case: str) -> None:
    changes, message = CASES[case]
    with pytest.raises(InputError, match=message):
        verify(config(planet, "refused", **({"regions": None} | changes(tmp_path))))
    assert not (planet / "refused").exists()
    assert not (planet / "refused.parts").exists()


@pytest.mark.parametrize("names", [["a", "a"], ["a/b", "c"], ["", "c"]])
def test_names_must_tell_forecasts_apart(planet: Path, names: list[str]) -> None:
    both = [str(planet / "RUN"), str(planet / "RUN")]
    with pytest.raises(InputError, match="names must differ and be without a slash, found"):
        verify(config(planet, "refused", forecast=both, names=names))


def test_an_output_of_somebody_else_is_left_alone(planet: Path) -> None:
    (planet / "taken").mkdir()
    (planet / "taken" / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"taken holds thesis\.tex, which is no verification; name another output"):
        verify(config(planet, "taken"))
    (planet / "file").touch()
    with pytest.raises(InputError, match="file is a file; name a folder as output"):
        verify(config(planet, "file"))
