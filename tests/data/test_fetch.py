"""Fetching from a Climate Data Store that is played by an object: no network."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import xarray as xr

from fourcast.data.cds import PRESSURE_LEVELS, SINGLE_LEVELS, plan_requests
from fourcast.data.fetch import fetch
from fourcast.data.sources.source import open_source
from fourcast.data_config import FetchConfig
from fourcast.errors import InputError

LATITUDE, LONGITUDE = np.arange(90.0, -91.0, -30.0), np.arange(0.0, 360.0, 60.0)
SHORT = {
    "temperature": ("t", "K", 250.0),
    "geopotential": ("z", "m**2 s**-2", 50000.0),
    "2m_temperature": ("t2m", "K", 280.0),
    "land_sea_mask": ("lsm", "(0 - 1)", 1.0),
    "total_precipitation": ("tp", "m", 1e-4),
}


def answer(request: dict[str, Any], final: str) -> xr.Dataset:
    """What the Climate Data Store delivers for a request, in today's form, every field constant, final until then."""
    days = [f"{request['year'][0]}-{request['month'][0]}-{day}" for day in request["day"]]
    times = np.array([f"{day}T{hour}" for day in days for hour in request["time"]], dtype="datetime64[ns]")
    coordinates: dict[str, Any] = {"valid_time": times, "latitude": LATITUDE, "longitude": LONGITUDE}
    dimensions = ["valid_time", "latitude", "longitude"]
    if "pressure_level" in request:
        levels = sorted(map(float, request["pressure_level"]), reverse=True)
        coordinates["pressure_level"] = ("pressure_level", levels, {"units": "hPa"})
        dimensions.insert(1, "pressure_level")
    coordinates["expver"] = ("valid_time", np.where(times < np.datetime64(final), "0001", "0005"))
    shape = [len(coordinates[d][1] if isinstance(coordinates[d], tuple) else coordinates[d]) for d in dimensions]
    arrays = {}
    for name in request["variable"]:
        short, units, value = SHORT[name]
        arrays[short] = (dimensions, np.full(shape, value, dtype="f4"), {"units": units})
    return xr.Dataset(arrays, coordinates)


@dataclass
class Store:
    """A Climate Data Store. trouble: what the next requests run into, an exception each, before any succeeds."""

    trouble: list[BaseException] = field(default_factory=list)
    largest: int = 10**6
    final: str = "2030-01-01"
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def retrieve(self, name: str, request: dict[str, Any], target: str) -> None:
        self.asked.append((name, request))
        if len(request["day"]) * len(request["variable"]) > self.largest:
            raise RuntimeError("403 Client Error: cost limits exceeded. Your request is too large")
        if self.trouble:
            Path(target).write_bytes(b"half a fi")
            raise self.trouble.pop(0)
        answer(request, self.final).to_netcdf(target)


def config(tmp_path: Path, **settings: Any) -> FetchConfig:
    given: dict[str, Any] = {
        "channels": ["t2m", "t500", "z850"], "start": "2020-01-30", "end": "2020-02-02",
        "output": str(tmp_path / "era5"), "parallel": 1,
    }  # fmt: skip
    return FetchConfig(**(given | settings))


def test_requests_are_split_by_month_and_stream(tmp_path: Path) -> None:
    store = Store()
    fetch(config(tmp_path), store)
    months = [(name, r["variable"], r["month"], r["day"], r.get("pressure_level")) for name, r in store.asked]
    assert months == [
        (SINGLE_LEVELS, ["geopotential", "land_sea_mask"], ["01"], ["30"], None),
        (PRESSURE_LEVELS, ["temperature", "geopotential"], ["01"], ["30", "31"], ["500", "850"]),
        (PRESSURE_LEVELS, ["temperature", "geopotential"], ["02"], ["01", "02"], ["500", "850"]),
        (SINGLE_LEVELS, ["2m_temperature"], ["01"], ["30", "31"], None),
        (SINGLE_LEVELS, ["2m_temperature"], ["02"], ["01", "02"], None),
    ]
    assert all(r["time"] == ["00:00", "06:00", "12:00", "18:00"] for _, r in store.asked[1:])
    assert all("grid" not in r and "area" not in r for _, r in store.asked)


def test_what_is_fetched_can_be_ingested(tmp_path: Path) -> None:
    folder = fetch(config(tmp_path, channels=["t2m", "t500", "tp06"]), Store())
    with open_source([str(folder)]) as source:
        channels = ("t2m", "tp06", "t500")
        times, _ = source.times(channels)
        assert (str(times[0]), str(times[-1])) == ("2020-01-30T00:00:00", "2020-02-02T18:00:00")
        fields = source.read(times[1:3], channels)
        assert sorted(source.static(source.grid(channels))[0]) == ["lsm", "z_sfc"]
    np.testing.assert_allclose(fields[:, :, 3, 3], [[280.0, 6e-4, 250.0]] * 2, rtol=1e-6)


def test_grid_and_area_are_asked_for(tmp_path: Path) -> None:
    request = next(iter(plan_requests(config(tmp_path, grid=1.0, area=[60, -10, 40, 20])))).body()
    assert (request["grid"], request["area"]) == ([1.0, 1.0], [60, -10, 40, 20])


def test_nothing_is_fetched_twice(tmp_path: Path) -> None:
    folder = fetch(config(tmp_path), Store())
    stamps = {path: path.stat().st_mtime_ns for path in folder.glob("*.nc")}
    again = Store()
    fetch(config(tmp_path), again)
    assert again.asked == []
    fetch(config(tmp_path, end="2020-03-01"), again)
    assert [r["month"] for _, r in again.asked] == [["02"], ["03"], ["02"], ["03"]]
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


def test_a_cut_leaves_whole_files_and_is_resumed(tmp_path: Path) -> None:
    store = Store()
    with pytest.raises(KeyboardInterrupt):
        fetch(config(tmp_path), Cut(store, 3))
    folder = tmp_path / "era5"
    whole = list(folder.glob("*.nc"))
    assert len(whole) == 2
    assert not list(folder.glob("*.partial"))
    fetch(config(tmp_path), store)
    assert len(store.asked) == 5
    assert sorted(json.loads((folder / "manifest.json").read_text())["files"]) == sorted(
        path.name for path in folder.glob("*.nc")
    )


@dataclass
class Cut:
    """A store whose n-th request is cut off half-way."""

    store: Store
    number: int

    def retrieve(self, name: str, request: dict[str, Any], target: str) -> None:
        self.number -= 1
        if self.number == 0:
            Path(target).write_bytes(b"half a fi")
            raise KeyboardInterrupt
        self.store.retrieve(name, request, target)


def test_failures_are_retried_with_growing_waits(tmp_path: Path) -> None:
    store = Store(trouble=[ConnectionError("reset"), RuntimeError("502 Bad Gateway"), RuntimeError("queue")])
    waits: list[float] = []
    fetch(config(tmp_path, static=False, channels=["t2m"], end="2020-01-31"), store, waits.append)
    assert waits == [10.0, 20.0, 40.0]
    assert len(store.asked) == 4


def test_a_web_page_is_no_download(tmp_path: Path) -> None:
    page = Page()
    with pytest.raises(InputError, match=r"could not be fetched in 3 attempts.*<html>"):
        fetch(config(tmp_path, attempts=3), page, lambda _: None)
    assert page.count == 3
    assert list((tmp_path / "era5").iterdir()) == []


@dataclass
class Page:
    count: int = 0

    def retrieve(self, name: str, request: dict[str, Any], target: str) -> None:
        self.count += 1
        Path(target).write_bytes(b"<html>maintenance</html>")


def test_a_download_without_a_variable_is_refused(tmp_path: Path) -> None:
    class Forgetful(Store):
        def retrieve(self, name: str, request: dict[str, Any], target: str) -> None:
            super().retrieve(name, request | {"variable": request["variable"][:1]}, target)

    with pytest.raises(InputError, match="the download lacks z"):
        fetch(config(tmp_path, static=False, attempts=1), Forgetful())


def test_a_download_without_a_time_or_level_is_refused(tmp_path: Path) -> None:
    class Short(Store):
        """A Climate Data Store whose analyses end early, and which knows one level."""

        def retrieve(self, name: str, request: dict[str, Any], target: str) -> None:
            dataset = answer(request, self.final)
            if "pressure_level" in dataset.dims and self.largest:
                dataset = dataset.isel(pressure_level=[0])
            elif dataset.sizes["valid_time"] > 1:
                dataset = dataset.isel(valid_time=slice(0, -1))
            dataset.to_netcdf(target)

    with pytest.raises(InputError, match=r"the download lacks t500, z500; .* choose an earlier end"):
        fetch(config(tmp_path, attempts=1), Short())
    with pytest.raises(InputError, match="the download lacks t at 2020-01-31T18, z at 2020-01-31T18; "):
        fetch(config(tmp_path, attempts=1), Short(largest=0))
    assert not list((tmp_path / "era5").glob("era5_pressure*"))


def test_static_fields_are_asked_for_apart(tmp_path: Path) -> None:
    requests = list(plan_requests(config(tmp_path, channels=["z_sfc", "t2m"])))
    assert [(r.stream, r.variables) for r in requests] == [
        ("static", ("geopotential", "land_sea_mask")), ("single", ("2m_temperature",)), ("single", ("2m_temperature",)),
    ]  # fmt: skip


def test_a_licence_that_was_not_accepted_is_not_retried(tmp_path: Path) -> None:
    store = Store(trouble=[RuntimeError("403 Client Error: required licences not accepted")])
    with pytest.raises(InputError, match="in 1 attempts: 403 Client Error: required licences not accepted"):
        fetch(config(tmp_path), store)


def test_requests_that_are_too_large_are_halved(tmp_path: Path) -> None:
    store = Store(largest=2)
    folder = fetch(config(tmp_path, static=False), store)
    with open_source([str(folder)]) as source:
        assert len(source.times(("t2m", "t500", "z850"))[0]) == 16
    fetch(config(tmp_path, static=False), again := Store())
    assert again.asked == []


def test_a_request_that_cannot_be_halved_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one variable of one day too large"):
        fetch(config(tmp_path), Store(largest=0))


def test_a_file_that_was_damaged_since_is_fetched_again(tmp_path: Path) -> None:
    folder = fetch(config(tmp_path), Store())
    damaged = next(folder.glob("era5_pressure_*.nc"))
    damaged.write_bytes(damaged.read_bytes()[:2000])
    fetch(config(tmp_path), again := Store())
    assert len(again.asked) == 1


def test_preliminary_files_are_fetched_again_where_that_is_asked_for(tmp_path: Path) -> None:
    folder = fetch(config(tmp_path), Store(final="2020-02-01"))
    fetch(config(tmp_path), again := Store())
    assert again.asked == []
    fetch(config(tmp_path, replace_preliminary=True), again)
    assert [request["month"] for _, request in again.asked] == [["02"], ["02"]]
    with open_source([str(folder)]) as source:
        when, _ = source.times(("t2m", "t500"))
        assert source.versions(when, ("t2m", "t500")) == {"0001": 16}
    fetch(config(tmp_path, replace_preliminary=True), last := Store())
    assert last.asked == []


@dataclass
class Baked:
    """A store of ready files, for threads: the netCDF library must not write in two of them."""

    files: dict[str, bytes]
    together: Barrier

    def retrieve(self, name: str, request: dict[str, Any], target: str) -> None:
        self.together.wait(timeout=60)
        Path(target).write_bytes(self.files[request["month"][0]])


def test_several_requests_wait_together(tmp_path: Path) -> None:
    settings = config(tmp_path, end="2020-06-30", channels=["t2m"], static=False, parallel=3)
    files = {}
    for request in plan_requests(settings):
        answer(request.body(), "2030-01-01").to_netcdf(tmp_path / "a.nc")
        files[request.days[0][5:7]] = (tmp_path / "a.nc").read_bytes()
    folder = fetch(settings, Baked(files, Barrier(3)))
    assert sorted(path.read_bytes() for path in folder.glob("*.nc")) == sorted(files.values())


def test_without_credentials_the_error_says_where_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cdsapi")
    monkeypatch.setenv("CDSAPI_RC", str(tmp_path / "absent"))
    for name in ("CDSAPI_URL", "CDSAPI_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match=r"put url and key from .* into ~/\.cdsapirc"):
        fetch(config(tmp_path))


def test_without_the_client_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cdsapi", None)
    with pytest.raises(InputError, match=r"pip install 'fourcast\[cloud\]'"):
        fetch(config(tmp_path))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"step_hours": 5}, "step_hours must divide 24"),
        ({"area": [10, 0, 20, 5]}, "area must be"),
        ({"end": "2019-01-01"}, "lies before start"),
        ({"grid": -1.0}, "grid must be above 0"),
    ],
)
def test_configurations_that_are_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config(tmp_path, **settings)
