"""Requests that fourcast forecast cannot fulfil: each is refused by name before a model runs or a file is written."""

import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from omegaconf import OmegaConf
from tiny import CARD, GRID, INIT, TIMES, forecast_config, waves, write_store

from fourcast.checkpoint import build, save_checkpoint
from fourcast.config import EnsembleConfig, ForecastConfig
from fourcast.errors import InputError
from fourcast.files import write_json
from fourcast.forecast.ensemble import forecast
from fourcast.grid import Grid
from fourcast.models.fourcastnet import FourCastNet

SOUTH = Grid(GRID.latitude - 10, GRID.longitude)
FIRST = str(TIMES[0])


class Place(NamedTuple):
    """Where a request finds what it names."""

    folder: Path
    run: Path
    store: Path
    patch: pytest.MonkeyPatch

    @property
    def output(self) -> Path:
        return self.folder / "RUN"


@pytest.fixture
def place(tiny_run: Path, tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, tiny_run, tiny_store, monkeypatch)


def refused(place: Place, overrides: str, message: str) -> None:
    """The request raises an InputError that says ``message``, without a step of a model and without a trace."""
    before = content(place.folder)
    place.patch.setattr(FourCastNet, "forward", _never)
    with pytest.raises(InputError, match=message):
        forecast(request(place, overrides))
    assert content(place.folder) == before


def _never(*_: object) -> None:
    raise AssertionError("the model was run")


def request(place: Place, overrides: str) -> ForecastConfig:
    """The configuration of ``fourcast forecast`` with these ``overrides``; {folder} is the test's own."""
    base = [f"checkpoint={place.run}", f"store={place.store}", f"output={place.output}"]
    common = ["init_times=[2026-08-05T00]", "lead_hours=12", "ensemble.size=4", "device=cpu"]
    given = shlex.split(overrides.replace("{folder}", str(place.folder)).replace("{run}", str(place.run)))
    schema = OmegaConf.structured(ForecastConfig(init_times=[INIT]))
    config = OmegaConf.to_object(OmegaConf.merge(schema, OmegaConf.from_dotlist([*base, *common, *given])))
    assert isinstance(config, ForecastConfig)
    return config


def content(folder: Path) -> dict[str, tuple[bytes, int] | None]:
    """What every file in ``folder`` holds, and when it was written; folders, too."""
    paths = {str(path.relative_to(folder)): path for path in folder.rglob("*")}
    return {
        name: (path.read_bytes(), path.stat().st_mtime_ns) if path.is_file() else None for name, path in paths.items()
    }


def test_the_request_that_the_others_change_is_fulfilled(place: Place) -> None:
    """Else every one below could be refused for what it does not ask."""
    run = forecast(request(place, ""))
    assert sorted(path.name for path in run.rglob("*.nc")) == [f"member_00{number}.nc" for number in range(4)]


REQUESTS = {
    "lead time between steps": ("lead_hours=13", r"lead_hours=13 is no multiple of the model's step of 6 h"),
    "no lead time": ("lead_hours=0", "lead_hours must be above 0"),
    "unknown variable": ("variables=[t2m,tcwv]", "the model has no tcwv; it forecasts t2m, z500"),
    "derived of what the model lacks": ("variables=[ws10m]", "the model has no ws10m; it forecasts t2m, z500"),
    "level of no channel": ("files.levels=[850]", "files.levels: nothing is written at 850 hPa; choose among 500"),
    "date that the store lacks": ("init_times=[2027-01-01]", r"no analysis at 2027-01-01T00; it holds 40 times"),
    "one date of two": ("init_times=[2026-08-05,2026-08-05T03]", "no analysis at 2026-08-05T03"),
    "no time": ("init_times=[yesterday]", r"init_times.*yesterday"),
    "start without end": ("init_times=null init_start=2026-08-05", "init_start and init_end go together"),
    "end before start": ("init_times=null init_start=2026-08-06 init_end=2026-08-05", "init_end"),
    "no initial time": ("init_times=null", "name the initial times"),
    "store that is not there": ("store=absent.zarr", "no store at absent.zarr"),
    "checkpoint that is not there": ("checkpoint=absent", "no checkpoint in absent"),
    "initial file that is not there": ("initial=absent.nc", r"absent\.nc"),
    "way to regrid": ("regrid=nearest", "regrid must be one of conservative, bilinear, found 'nearest'"),
    "precision": ("precision=fp8", "precision must be one of fp32, bf16, fp16, found 'fp8'"),
    "device": ("device=tpu9", "device must be auto, cpu or cuda, found 'tpu9'"),
    "no member": ("ensemble.size=0", "ensemble.size must be above 0"),
    "member out of range": ("ensemble.members=[1,4]", r"ensemble.members must lie in 0 … 3 \(ensemble.size\)"),
    "negative seed": ("ensemble.seed=-1", "ensemble.seed must not be negative"),
    "empty batch": ("ensemble.batch_size=0", "ensemble.batch_size must be above 0"),
    "negative amplitude": ("ensemble.gaussian.amplitude=-0.1", "amplitude must not be negative, found -0.1"),
    "yes as amplitude": ("ensemble.bred.amplitude=true", "ensemble.bred.amplitude must be a number.*found True"),
    "negative amplitude of one": (
        "ensemble.gaussian.amplitude='{t2m: -1}'",
        "amplitude must not be negative, found -1",
    ),
    "amplitude of what is not there": ("ensemble.correlated.amplitude='{t2m: 0.1, q850: 0.1}'", "amplitude.*q850"),
    "calibration that is not there": ("ensemble.gaussian.amplitude=absent.json", r"absent\.json"),
    "no length": ("ensemble.correlated.length_km=0", "ensemble.correlated.length_km must be above 0"),
    "length below the grid's": (
        "ensemble.correlated.amplitude=0.1 ensemble.correlated.length_km=10",
        "length_km=10: a grid whose points lie .* km apart holds no shorter correlation",
    ),
    "unknown spectrum": ("ensemble.correlated.spectrum=white", "spectrum must be one of gaussian, matern"),
    "lag between steps": ("ensemble.lagged=[7]", "ensemble.lagged: 7 h is no multiple of the model's step of 6 h"),
    "lag of nothing": ("ensemble.lagged=[0]", "ensemble.lagged must be above 0"),
    "lag before the store": (f"ensemble.lagged=[6] init_times=[{FIRST}]", "no analysis at 2026-07-31T18"),
    "cycle between steps": (
        "ensemble.bred.amplitude=0.1 ensemble.bred.cycle_hours=9",
        "cycle_hours: 9 h is no multiple of the model's step of 6 h",
    ),
    "cycles before the store": (f"ensemble.bred.amplitude=0.1 init_times=[{FIRST}]", "no analysis at 2026-07-"),
    "dropout of a model without": ("ensemble.dropout=true", "dropout"),
    "region upside down": ("files.region=[-10,0,10,90]", r"files.region must be \[north, west, south, east\]"),
    "region without a point": ("files.region=[60,1,50,2]", r"files.region=.* has no point of the model's grid"),
    "lead times between steps": (
        "files.every_hours=9",
        "files.every_hours=9 is no multiple of the model's step of 6 h",
    ),
    "compression": ("files.compression=10", "files.compression must lie in 0 … 9"),
    "bits that float32 has not": ("files.keep_bits=24", "files.keep_bits must lie in 1 … 22, found 24"),
    "unknown layout": ("files.layout=grib", "files.layout must be one of member, ensemble, zarr, found 'grib'"),
    "nothing to write": ("files.layout=null", "nothing would be written"),
    "unknown statistic": ("products.statistics=[median]", "products.statistics must be one of"),
    "quantile above one": ("products.quantiles=[0.5,1.5]", "products.quantiles must lie in 0 … 1, found 1.5"),
    "event without a threshold": ("products.probability='[t2m is warm]'", "'t2m is warm' is no event; write a channel"),
    "event of what is not there": ("products.probability='[tcwv > 30]'", "products.probability: the model has no tcwv"),
    "spread of one": ("ensemble.size=1 products.statistics=[spread]", "a spread takes two members or more, found 1"),
    "file in the way": ("output={folder}/file/RUN", r"file.* is a file, not a folder; choose another output="),
    "unwritable": ("output=/proc/RUN", "/proc cannot be written to"),
}
"""Overrides, as on the command line, and what the error must say; there is a file named file."""


@pytest.mark.parametrize("name", REQUESTS)
def test_bad_requests(place: Place, name: str) -> None:
    overrides, message = REQUESTS[name]
    (place.folder / "file").touch()
    refused(place, overrides, message)


def saved(place: Place, **changes: object) -> None:
    """A checkpoint other/ that differs from that of the tiny run."""
    card = replace(CARD, **changes)  # type: ignore[arg-type]
    save_checkpoint(place.folder / "other", build(card), card)


def precipitation(place: Place) -> None:
    saved(place, kind="precipitation", out_channels=1)


def other_channels(place: Place) -> None:
    saved(place, channels=["t2m", "z850"])


def other_grid(place: Place) -> None:
    saved(place, latitude=SOUTH.latitude.tolist())


def other_step(place: Place) -> None:
    saved(place, step_hours=12)


def store_of_other_channels(place: Place) -> None:
    write_store(place.folder / "store.zarr", TIMES, waves(), ("t2m", "z850"))


def store_of_another_grid(place: Place) -> None:
    write_store(place.folder / "store.zarr", TIMES, waves(), grid=SOUTH)


def calibration_of_one_channel(place: Place) -> None:
    write_json(place.folder / "amplitudes.json", {"amplitudes": {"t2m": 0.1}})


def store_in_celsius(place: Place) -> None:
    fields = waves()
    fields[:, 0] -= 273.15
    write_store(place.folder / "store.zarr", TIMES, fields)


def store_with_a_gap(place: Place) -> None:
    """The analysis of INIT lacks a value; the store says that this is meant."""
    fields = waves()
    fields[16, 1, 3, 5] = np.nan
    write_store(place.folder / "store.zarr", TIMES, fields)


def full_disk(place: Place) -> None:
    usage = shutil.disk_usage(place.folder)._replace(free=1000)
    place.patch.setattr(shutil, "disk_usage", lambda path: usage)


def another_run(place: Place) -> None:
    forecast(forecast_config(place.run, place.store, place.output, ensemble=EnsembleConfig(size=2, seed=5)))


def thesis(place: Place) -> None:
    place.output.mkdir()
    (place.output / "thesis.txt").write_text("years of work")


def thesis_in_its_place(place: Place) -> None:
    place.output.write_text("years of work")


def another_forecast(place: Place) -> None:
    run = place.folder / "earlier"
    forecast(forecast_config(place.run, place.store, run, ensemble=EnsembleConfig(size=2)))


OTHER, BOTH, STORE = "checkpoint={folder}/other", "checkpoint=[{run},{folder}/other]", "store={folder}/store.zarr"
SITUATIONS: list[tuple[Callable[[Place], None], str, str]] = [
    (precipitation, OTHER, "is a precipitation model: it diagnoses a field"),
    (other_channels, BOTH, "cannot share an ensemble: channels t2m, z850"),
    (other_grid, BOTH, "cannot share an ensemble: grid 8×16"),
    (other_step, BOTH, "cannot share an ensemble: step of 12 h against 6 h"),
    (store_of_other_channels, STORE, "has no channel z500; it holds t2m, z850"),
    (store_of_another_grid, STORE, r"has the grid 8×16 \(latitude 80 .*8×16 \(latitude 90"),
    (store_in_celsius, STORE, "t2m.*°C"),
    (store_with_a_gap, STORE, "z500.*missing"),
    (calibration_of_one_channel, "ensemble.gaussian.amplitude={folder}/amplitudes.json", r"amplitudes\.json.*z500"),
    (full_disk, "", r"needs .* or more, and the disk has 0.0 MB left; make room"),
    (another_run, "", "holds another forecast .*choose another output= or pass overwrite=true"),
    (another_run, "ensemble.gaussian.amplitude=0.1 ensemble.size=2 ensemble.seed=5", "holds another forecast"),
    (thesis, "overwrite=true", "holds no forecast; choose another output="),
    (thesis_in_its_place, "overwrite=true", "choose another output="),
    (another_forecast, "initial={folder}/earlier", "is a forecast run from 2026-08-05T00; name the folder of one"),
    (
        another_forecast,
        "initial={folder}/earlier/2026-08-05T00 initial_number=7",
        r"no member_007.nc \(initial_number=7\)",
    ),
    (another_forecast, "initial={folder}/earlier/2026-08-05T00", r"member_000.nc, .*choose one with initial_number=0"),
    (
        another_forecast,
        "initial={folder}/earlier/2026-08-05T00 initial_number=1 init_times=[2026-08-07]",
        "no analysis at 2026-08-07T00",
    ),
]


@pytest.mark.parametrize(("prepare", "overrides", "message"), SITUATIONS)
def test_requests_that_do_not_fit_what_is_there(
    place: Place, prepare: Callable[[Place], None], overrides: str, message: str
) -> None:
    prepare(place)
    refused(place, overrides, message)
