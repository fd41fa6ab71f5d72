"""Forecast files: what they hold, what tools make of them, and that they appear whole or not at all."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

from fourcast.forecast import netcdf
from fourcast.forecast.netcdf import SYNTHETIC, Column, FileWriter, Header, columns_of, is_finished, member_path
from fourcast.grid import Grid

CHANNELS = ("t2m", "u10m", "u100m", "msl", "tp06", "z500", "t850", "t500", "r850")
GRID = Grid(np.linspace(90, -90, 7)[:-1], np.arange(8) * 45.0)
INIT = np.datetime64("2026-08-10T00", "h")
ATTRIBUTES = {"title": "A test", "seed": 7, "amplitude": 0.3}
HEADER = Header(CHANNELS, GRID.latitude, GRID.longitude, INIT, (0, 6, 12), ATTRIBUTES, number=3)
COLUMNS = columns_of(CHANNELS)
REGION = replace(HEADER, latitude=np.array([60.0, 50.0]), longitude=np.array([-20.0, -10.0, 0.0, 10.0]))
PRODUCT = replace(
    HEADER,
    channels=("spread_t850", "spread_tp06", "p_ws10m"),
    attributes=ATTRIBUTES | {"title": "Ensemble products", "product": "several"},
    number=None,
    members="0-2 4",
)
DIFFERENCE = {"units": "K", "units_metadata": "temperature: difference", "standard_name": "air_temperature"}
PRODUCT_COLUMNS = (
    Column("t", DIFFERENCE | {"cell_methods": "time: point realization: standard_deviation"}, level=850),
    Column("tp06", {"units": "m", "long_name": "tp", "cell_methods": "time: sum realization: mean"}, accumulated=True),
    Column("p_ws10m", {"units": "1", "long_name": "probability of wind above 17.2 m s-1"}, height=10.0),
)
KINDS = {
    "member": (HEADER, COLUMNS),
    "region": (REGION, COLUMNS),
    "rounded": (replace(HEADER, keep_bits=7), COLUMNS),
    "plain": (replace(HEADER, compression=0), COLUMNS),
    "one level": (replace(HEADER, channels=("t850",)), columns_of(("t850",))),
    "derived": (replace(HEADER, channels=("ws10m", "ws850", "vo850")), columns_of(("ws10m", "ws850", "vo850"))),
    "later leads": (replace(HEADER, lead_hours=(0, 24)), COLUMNS),
    "product": (PRODUCT, PRODUCT_COLUMNS),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def states(header: Header = HEADER) -> np.ndarray:
    """[lead, C, H, W], every number different."""
    shape = (len(header.lead_hours), len(header.channels), len(header.latitude), len(header.longitude))
    return np.random.default_rng(0).normal(280, 10, shape).astype(np.float32)


def write(path: Path, header: Header = HEADER, columns: tuple[Column, ...] | None = None) -> Path:
    with FileWriter(path, header, columns or columns_of(header.channels)) as writer:
        for i_lead, state in enumerate(states(header)):
            writer.write(i_lead, state)
    return path


def test_every_field_comes_back_bit_for_bit(tmp_path: Path) -> None:
    dataset = xr.open_dataset(write(tmp_path / "member_003.nc"))
    expected = states()
    for c, name in enumerate(CHANNELS):
        if name[-3:] in ("500", "850"):
            found = dataset[name[:-3]].sel(level=int(name[-3:]))
        else:
            found = dataset[name]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found.values, expected[:, c])


def test_levels_a_variable_does_not_have_are_missing(tmp_path: Path) -> None:
    dataset = xr.open_dataset(write(tmp_path / "member_003.nc"))
    assert dataset["level"].values.tolist() == [500, 850]
    assert np.isnan(dataset["z"].sel(level=850)).all()
    assert np.isnan(dataset["r"].sel(level=500)).all()
    assert np.isfinite(dataset["t"]).all()


def test_xarray_decodes_valid_initial_and_lead_times(tmp_path: Path) -> None:
    dataset = xr.open_dataset(write(tmp_path / "member_003.nc"))
    hours = np.array([0, 6, 12], dtype="timedelta64[h]")
    np.testing.assert_array_equal(dataset["time"].values, INIT + hours)
    np.testing.assert_array_equal(dataset["forecast_period"].values, hours)
    assert dataset["forecast_reference_time"].values == INIT
    assert dataset["number"].values == 3
    assert set(dataset["t2m"].coords) >= {"forecast_period", "forecast_reference_time", "number", "height_2m"}
    np.testing.assert_array_equal(dataset["latitude"].values, GRID.latitude)


def test_attributes_follow_cf(tmp_path: Path) -> None:
    with netCDF4.Dataset(write(tmp_path / "member_003.nc")) as dataset:
        assert dataset.Conventions == "CF-1.11"
        assert (dataset.title, dataset.seed, dataset.amplitude) == ("A test", 7, 0.3)
        assert "comment" not in dataset.ncattrs()
        assert dataset["time"].axis == "T"
        assert dataset["time"].calendar == "standard"
        assert dataset["forecast_reference_time"].units_metadata == "leap_seconds: none"
        assert dataset["number"].standard_name == "realization"
        assert dataset["number"].dimensions == ()
        assert (dataset["level"].units, dataset["level"].positive, dataset["level"].axis) == ("hPa", "down", "Z")
        assert (dataset["t"].standard_name, dataset["t"].units) == ("air_temperature", "K")
        assert dataset["t"].units_metadata == dataset["t2m"].units_metadata == "temperature: on_scale"
        assert "units_metadata" not in dataset["msl"].ncattrs()
        assert dataset["u10m"].coordinates.endswith("height_10m")
        assert float(dataset["height_100m"][:]) == 100.0
        assert dataset["z"].filters()["zlib"]
        assert dataset["z"].chunking() == [1, 1, *GRID.shape]


def test_precipitation_says_over_which_hours_it_adds_up(tmp_path: Path) -> None:
    with netCDF4.Dataset(write(tmp_path / "member_003.nc")) as dataset:
        assert dataset["time"].bounds == "time_bnds"
        assert (dataset["time_bnds"][:, 1] == dataset["time"][:]).all()
        assert (dataset["time_bnds"][:, 1] - dataset["time_bnds"][:, 0] == 6).all()
        assert dataset["tp06"].cell_methods == "time: sum"
        assert dataset["t2m"].cell_methods == "time: point"


def test_without_accumulations_and_levels_neither_bounds_nor_level_are_written(tmp_path: Path) -> None:
    header = replace(HEADER, channels=("t2m", "msl"))
    with netCDF4.Dataset(write(tmp_path / "member_003.nc", header)) as dataset:
        assert set(dataset.dimensions) == {"time", "latitude", "longitude"}
        assert "bounds" not in dataset["time"].ncattrs()


def test_synthetic_data_say_so(tmp_path: Path) -> None:
    header = replace(HEADER, attributes={"synthetic": True, "comment": "mine"})
    with netCDF4.Dataset(write(tmp_path / "member_003.nc", header)) as dataset:
        assert dataset.comment == SYNTHETIC
        assert dataset.synthetic == 1


def test_several_lead_times_at_once_are_the_same_as_one_by_one(tmp_path: Path) -> None:
    with FileWriter(tmp_path / "blocks.nc", HEADER, COLUMNS) as writer:
        writer.write(0, states()[0])
        writer.write_leads(1, states()[1:])
        assert writer.size == next(tmp_path.iterdir()).stat().st_size > 0
    assert writer.size == (tmp_path / "blocks.nc").stat().st_size
    xr.testing.assert_equal(xr.open_dataset(tmp_path / "blocks.nc"), xr.open_dataset(write(tmp_path / "single.nc")))


def test_a_region_across_greenwich_and_part_of_the_levels(tmp_path: Path) -> None:
    header = replace(REGION, channels=("t850", "z500"))
    dataset = xr.open_dataset(write(tmp_path / "member_003.nc", header))
    np.testing.assert_array_equal(dataset["longitude"].values, [-20, -10, 0, 10])
    assert dataset.sizes == {"time": 3, "level": 2, "latitude": 2, "longitude": 4}
    np.testing.assert_array_equal(dataset["t"].sel(level=850).values, states(header)[:, 0])


def test_a_product_has_its_own_names_and_no_member(tmp_path: Path) -> None:
    path = write(tmp_path / "products.nc", PRODUCT, PRODUCT_COLUMNS)
    with netCDF4.Dataset(path) as dataset:
        assert "number" not in dataset.variables
        label = dataset["realization"]
        assert (netCDF4.chartostring(label[...]).item(), label.standard_name) == ("0-2 4", "realization")
        assert "member" not in dataset.ncattrs()
        assert dataset["t"].cell_methods == "time: point realization: standard_deviation"
        assert dataset["tp06"].coordinates == "forecast_period forecast_reference_time realization"
        assert dataset["p_ws10m"].coordinates == "forecast_period forecast_reference_time realization height_10m"
        assert "standard_name" not in dataset["p_ws10m"].ncattrs()
        np.testing.assert_array_equal(dataset["t"][:, 0], states(PRODUCT)[:, 0])
        np.testing.assert_array_equal(dataset["time_bnds"][:, 0], dataset["time"][:] - 6)
    assert is_finished(path, PRODUCT)
    assert not is_finished(path, replace(PRODUCT, number=3))
    assert not is_finished(path, replace(PRODUCT, attributes=ATTRIBUTES))


def test_rounding_by_hand() -> None:
    """With one bit, 1, 1.5, 2, 3, 4 … remain; 1.25 lies half-way and goes to 1, whose last kept bit is even."""
    values = np.array([1, 1.24, 1.25, 1.26, 1.75, -2.6, 0, np.inf, -np.inf, np.nan], dtype=np.float32)
    before = values.copy()
    np.testing.assert_array_equal(netcdf.rounded(values, 1), [1, 1, 1, 1.5, 2, -3, 0, np.inf, -np.inf, np.nan])
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("bits", [1, 7, 12])
def test_rounding_stays_within_what_the_file_states_and_is_the_librarys_own(tmp_path: Path, bits: int) -> None:
    scales = 10.0 ** np.arange(-4, 5)[:, None, None]
    exact = (np.random.default_rng(1).uniform(-1, 1, states().shape) * scales).astype(np.float32)
    exact[0, :, 0, 0] = 1 + 0.999 / 2 ** (bits + 1)
    header = replace(HEADER, keep_bits=bits)
    with FileWriter(tmp_path / "rounded.nc", header, COLUMNS) as writer:
        writer.write_leads(0, exact)
    with netCDF4.Dataset(tmp_path / "rounded.nc") as dataset:
        stated = dataset["msl"].quantization_maximum_relative_error
        assert stated == 0.5 / 2**bits
        for c, name in enumerate(CHANNELS[:5]):
            error = np.abs(dataset[name][:].astype(np.float64) / exact[:, c] - 1).max()
            assert 0.98 * stated / (1 + stated) < error <= stated
            np.testing.assert_array_equal(dataset[name][:], by_the_library(exact[:, c], bits))
    assert is_finished(tmp_path / "rounded.nc", header)
    assert not is_finished(tmp_path / "rounded.nc", HEADER)


def by_the_library(values: np.ndarray, bits: int) -> np.ndarray:
    """What netCDF's BitRound makes of values; it leaves an attribute that the CF checker does not take."""
    with netCDF4.Dataset("twin.nc", "w", diskless=True) as dataset:
        dataset.createDimension("x", values.size)
        array = dataset.createVariable("a", "f4", ("x",), quantize_mode="BitRound", significant_digits=bits)
        array[:] = values.ravel()
        return np.asarray(array[:]).reshape(values.shape)


def test_rounding_makes_files_smaller_and_compression_alone_keeps_every_bit(tmp_path: Path) -> None:
    global_grid = {"latitude": np.linspace(89, -89, 60), "longitude": np.arange(120) * 3.0}
    headers = [replace(HEADER, **global_grid, compression=c, keep_bits=b) for c, b in ((0, None), (1, None), (1, 9))]
    plain, packed, rounded = (write(tmp_path / f"{i}.nc", header) for i, header in enumerate(headers))
    assert plain.stat().st_size > 1.1 * packed.stat().st_size > 1.5 * rounded.stat().st_size
    xr.testing.assert_equal(xr.open_dataset(plain), xr.open_dataset(packed))
    with netCDF4.Dataset(plain) as dataset:
        assert not dataset["z"].filters()["zlib"]


def test_the_state_may_be_reused_after_writing(tmp_path: Path) -> None:
    buffer = np.empty(states()[0].shape, dtype=np.float32)
    with FileWriter(tmp_path / "reused.nc", HEADER, COLUMNS) as writer:
        for i_lead, state in enumerate(states()):
            buffer[:] = state
            writer.write(i_lead, buffer)
            buffer[:] = -1
    np.testing.assert_array_equal(xr.open_dataset(tmp_path / "reused.nc")["msl"].values, states()[:, 3])


def test_an_exception_leaves_no_file(tmp_path: Path) -> None:
    def interrupted() -> None:
        with FileWriter(tmp_path / "member_000.nc", HEADER, COLUMNS) as writer:
            writer.write(0, states()[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_closing_too_early_raises_and_leaves_no_file(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="1 of 3"),
        FileWriter(tmp_path / "member_000.nc", HEADER, COLUMNS) as writer,
    ):
        writer.write(0, states()[0])
    assert list(tmp_path.iterdir()) == []


def test_lead_times_are_written_in_order(tmp_path: Path) -> None:
    with pytest.raises(AssertionError), FileWriter(tmp_path / "member_000.nc", HEADER, COLUMNS) as writer:
        writer.write(1, states()[1])
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_netcdf import COLUMNS, HEADER, FileWriter, states
with FileWriter(Path({path!r}), HEADER, COLUMNS) as writer:
    writer.write(0, states()[0])
    writer.write(1, states()[1])
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_leaves_no_finished_file_and_the_next_run_replaces_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "member_003.nc"
    code = KILLED.format(tests=str(Path(__file__).parent), path=str(path))
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == -signal.SIGKILL
    assert [p.suffix for p in tmp_path.iterdir()] == [".partial"]
    assert not is_finished(path, HEADER)
    write(path)
    assert [p.name for p in tmp_path.iterdir()] == ["member_003.nc"]
    assert is_finished(path, HEADER)


@pytest.mark.parametrize(
    "change",
    [
        {"channels": ("t2m", "msl")},
        {"number": 4},
        {"lead_hours": (0, 6, 18)},
        {"init_time": INIT + 24},
        {"latitude": GRID.latitude - 0.5},
        {"longitude": GRID.longitude + 1},
        {"number": None},
        {"keep_bits": 9},
        {"attributes": {"title": "A test", "seed": 8, "amplitude": 0.3}},
        {"attributes": {"title": "A test", "seed": 7}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_only_the_same_forecast_counts_as_finished(tmp_path: Path, change: dict) -> None:
    path = write(tmp_path / "member_003.nc")
    assert is_finished(path, replace(HEADER))
    assert not is_finished(path, replace(HEADER, **change))


def test_paths() -> None:
    assert member_path(Path("run"), INIT, 7) == Path("run/2026-08-10T00/member_007.nc")
    assert member_path(Path("run"), INIT + 6, 1234) == Path("run/2026-08-10T06/member_1234.nc")


def test_compliance_checker_has_no_finding(tmp_path: Path) -> None:
    pytest.importorskip("compliance_checker")
    checker = Path(sys.executable).with_name("compliance-checker")
    for kind, (header, columns) in KINDS.items():
        synthetic = replace(header, attributes={**header.attributes, "synthetic": True})
        write(tmp_path / f"{kind}.nc", synthetic, columns)
    paths = sorted(tmp_path.iterdir())
    done = subprocess.run([checker, "-t", "cf:1.11", "-c", "strict", *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("All tests passed!") == len(KINDS)


def tool(name: str, *arguments: object) -> str:
    """Run one of the tools forecasters use; skip where it is not installed."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run([name, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ncdump_reads_it(tmp_path: Path) -> None:
    header = tool("ncdump", "-h", write(tmp_path / "member_003.nc"))
    assert "float t(time, level, latitude, longitude)" in header


@every_kind
def test_cdo_lists_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    header, columns = KINDS[kind]
    seen = tool("cdo", "-s", "sinfon", write(tmp_path / "file.nc", header, columns))
    assert "ForecastRefTime =  2026-08-10T00:00:00" in seen
    assert all(column.name in seen for column in columns)
    assert f"points={len(header.latitude) * len(header.longitude)} ({len(header.longitude)}x" in seen
    assert ("pressure" in seen) == any(column.level is not None for column in columns)


def test_cdo_sees_pressure_levels(tmp_path: Path) -> None:
    assert "500 to 850 hPa" in tool("cdo", "-s", "sinfon", write(tmp_path / "member_003.nc"))


@every_kind
def test_nco_copies_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "file.nc", *KINDS[kind])
    tool("ncks", "-O", path, tmp_path / "copy.nc")
    xr.testing.assert_equal(xr.open_dataset(tmp_path / "copy.nc"), xr.open_dataset(path))


def two_members(folder: Path) -> list[Path]:
    """Member 4 is member 3 and one more everywhere."""
    first = write(folder / "member_003.nc")
    with FileWriter(folder / "member_004.nc", replace(HEADER, number=4), COLUMNS) as writer:
        writer.write_leads(0, states() + np.float32(1))
    return [first, folder / "member_004.nc"]


def test_cdo_and_nco_average_members(tmp_path: Path) -> None:
    expected = states().astype(np.float64) + 0.5
    members = two_members(tmp_path)
    tool("cdo", "-s", "-O", "ensmean", *members, tmp_path / "cdo.nc")
    tool("nces", "-O", *members, tmp_path / "nco.nc")
    for name in ("cdo.nc", "nco.nc"):
        mean = xr.open_dataset(tmp_path / name)
        np.testing.assert_allclose(mean["t2m"].values, expected[:, 0], rtol=1e-6)
        np.testing.assert_allclose(mean["t"].sel(level=850).values, expected[:, 6], rtol=1e-6)


def test_nco_averages_times(tmp_path: Path) -> None:
    tool("ncra", "-O", write(tmp_path / "member_003.nc"), tmp_path / "average.nc")
    average = xr.open_dataset(tmp_path / "average.nc")["t2m"].values[0]
    np.testing.assert_allclose(average, states()[:, 0].mean(axis=0), rtol=1e-6)
