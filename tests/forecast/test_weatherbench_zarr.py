"""The zarr export: WeatherBench 2's names and dimensions, the members' bits, whole or not at all."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from fourcast.errors import InputError
from fourcast.forecast import stacked
from fourcast.forecast.combine import combine_members
from fourcast.forecast.netcdf import FileWriter, Header, columns_of, member_path
from fourcast.forecast.weatherbench import write_zarr

CHANNELS = ("t2m", "tp06", "r850", "z500", "t850", "ws10m", "vo500")
INITS = np.array(["2026-08-10T00", "2026-08-12T12"], "datetime64[h]")
MEMBERS = (0, 2, 11)
LEADS = (6, 18)
LATITUDE, LONGITUDE = np.linspace(60, -30, 4), np.array([5.0, 50.0, 355.0])


def values(i_init: int, member: int) -> np.ndarray:
    """[lead, C, H, W] of a member, every number different."""
    rng = np.random.default_rng([i_init, member])
    return rng.normal(280, 10, (len(LEADS), len(CHANNELS), 4, 3)).astype(np.float32)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for i_init, init_time in enumerate(INITS):
        for member in MEMBERS:
            header = Header(CHANNELS, LATITUDE, LONGITUDE, init_time, LEADS, {"seed": np.int64(7)}, member)
            with FileWriter(member_path(tmp_path, init_time, member), header, columns_of(CHANNELS)) as writer:
                for i_lead in range(len(LEADS)):
                    writer.write(i_lead, values(i_init, member)[i_lead])
    return tmp_path


def test_names_dimensions_and_coordinates_are_those_of_weatherbench(run: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = xr.open_zarr(write_zarr(run), chunks=None, consolidated=False)
    upper = ("time", "number", "prediction_timedelta", "level", "latitude", "longitude")
    surface = tuple(dim for dim in upper if dim != "level")
    assert {name: array.dims for name, array in dataset.data_vars.items()} == {
        "2m_temperature": surface,
        "total_precipitation_6hr": surface,
        "10m_wind_speed": surface,
        "geopotential": upper,
        "temperature": upper,
        "relative_humidity": upper,
        "vorticity": upper,
    }
    np.testing.assert_array_equal(dataset["time"].values, INITS)
    np.testing.assert_array_equal(dataset["prediction_timedelta"].values, np.array(LEADS, "timedelta64[h]"))
    assert dataset["number"].values.tolist() == list(MEMBERS)
    assert dataset["level"].values.tolist() == [500, 850]
    assert dataset["level"].dtype.kind == "i"
    np.testing.assert_array_equal(dataset["latitude"].values, LATITUDE)
    np.testing.assert_array_equal(dataset["longitude"].values, LONGITUDE)
    assert dataset["geopotential"].attrs["units"] == "m2 s-2"
    assert dataset.attrs["seed"] == 7
    assert not {"member", "init_time"} & set(dataset.attrs)


def test_values_are_the_members(run: Path) -> None:
    dataset = xr.open_zarr(write_zarr(run), chunks=None, consolidated=False)
    named = {"2m_temperature": (None, 0), "total_precipitation_6hr": (None, 1), "geopotential": (500, 3)}
    named |= {"temperature": (850, 4), "10m_wind_speed": (None, 5), "vorticity": (500, 6)}
    for name, (level, c) in named.items():
        found = dataset[name] if level is None else dataset[name].sel(level=level)
        assert found.dtype == np.float32
        expected = np.array([[values(i, member)[:, c] for member in MEMBERS] for i in range(len(INITS))])
        np.testing.assert_array_equal(found.values, expected)
    assert np.isnan(dataset["temperature"].sel(level=500)).all()


def test_relative_humidity_is_a_fraction_to_who_decodes_it_and_per_cent_on_disk(run: Path) -> None:
    path = write_zarr(run)
    per_cent = values(1, 11)[1, 2]
    found = xr.open_zarr(path, chunks=None, consolidated=False)["relative_humidity"]
    assert found.attrs["units"] == "1"
    np.testing.assert_allclose(found.sel(level=850).values[1, 2, 1], per_cent / 100, rtol=1e-6)
    stored = zarr.open_group(path, mode="r")["relative_humidity"]
    assert isinstance(stored, zarr.Array)
    np.testing.assert_array_equal(np.asarray(stored[1, 2, 1, 1]), per_cent)


def test_a_chunk_is_one_lead_time_of_one_member_on_all_levels(run: Path) -> None:
    path = write_zarr(run)
    group = zarr.open_group(path, mode="r")
    assert group.metadata.zarr_format == 3
    assert group["temperature"].chunks == (1, 1, 1, 2, 4, 3)
    assert group["2m_temperature"].chunks == (1, 1, 1, 4, 3)
    assert sum(file.is_file() for file in (path / "temperature" / "c").rglob("*")) == 2 * 3


@pytest.mark.parametrize("block", [1, 96, 144])
def test_lead_times_share_a_file_as_far_as_a_block_goes(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five lead times of 48 bytes: in blocks of one, of two with one left over, and of three with two."""
    monkeypatch.setattr(stacked, "BLOCK_BYTES", block)
    header = Header(("msl",), LATITUDE, LONGITUDE, INITS[0], (0, 6, 12, 18, 24), {}, 0)
    fields = np.arange(5 * 12, dtype=np.float32).reshape(5, 1, 4, 3)
    with FileWriter(member_path(tmp_path, INITS[0], 0), header, columns_of(("msl",))) as writer:
        for i_lead in range(5):
            writer.write(i_lead, fields[i_lead])
    path = write_zarr(tmp_path)
    found = xr.open_zarr(path, chunks=None, consolidated=False)["mean_sea_level_pressure"]
    np.testing.assert_array_equal(found.values[0, 0], fields[:, 0])
    files = sum(file.is_file() for file in (path / "mean_sea_level_pressure" / "c").rglob("*"))
    assert files == {1: 5, 96: 3, 144: 2}[block]
    with xr.open_dataset(combine_members(tmp_path, INITS[0], [0])) as combined:
        np.testing.assert_array_equal(combined["msl"].values[0], fields[:, 0])


def test_without_levels_there_is_no_level(tmp_path: Path) -> None:
    header = Header(("t2m",), LATITUDE, LONGITUDE, INITS[0], LEADS, {}, 0)
    with FileWriter(member_path(tmp_path, INITS[0], 0), header, columns_of(("t2m",))) as writer:
        writer.write(0, values(0, 0)[0, :1])
        writer.write(1, values(0, 0)[1, :1])
    dataset = xr.open_zarr(write_zarr(tmp_path), chunks=None, consolidated=False)
    assert "level" not in dataset.dims
    np.testing.assert_array_equal(dataset["2m_temperature"].values[0, 0], values(0, 0)[:, 0])


def test_what_goes_wrong_leaves_nothing_and_an_earlier_export_as_it_was(run: Path) -> None:
    earlier = sorted(path.relative_to(run) for path in write_zarr(run).rglob("*"))
    odd = Header(CHANNELS, LATITUDE, LONGITUDE, INITS[1], (6,), {}, 11)
    with FileWriter(member_path(run, INITS[1], 11), odd, columns_of(CHANNELS)) as writer:
        writer.write(0, values(1, 11)[0])
    with pytest.raises(InputError, match=r"2026-08-12T12/member_011\.nc has dimensions .*different forecasts"):
        write_zarr(run)
    assert sorted(path.relative_to(run) for path in (run / "forecast.zarr").rglob("*")) == earlier
    assert {path.name for path in run.iterdir()} == {"2026-08-10T00", "2026-08-12T12", "forecast.zarr"}
    member_path(run, INITS[1], 11).unlink()
    with pytest.raises(InputError, match=r"lacks 1 of 6 forecasts: 2026-08-12T12/member_011\.nc"):
        write_zarr(run)


def test_an_earlier_export_is_replaced(run: Path) -> None:
    write_zarr(run)
    changed = replace(Header(CHANNELS, LATITUDE, LONGITUDE, INITS[0], LEADS, {}, 0), attributes={"seed": 8})
    with FileWriter(member_path(run, INITS[0], 0), changed, columns_of(CHANNELS)) as writer:
        for i_lead in range(len(LEADS)):
            writer.write(i_lead, values(5, 0)[i_lead])
    dataset = xr.open_zarr(write_zarr(run), chunks=None, consolidated=False)
    assert dataset.attrs["seed"] == 8
    np.testing.assert_array_equal(dataset["2m_temperature"].values[0, 0], values(5, 0)[:, 0])
