"""Members of one initial time in one file: every bit and attribute of theirs, whole or not at all."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

from fourcast.errors import InputError
from fourcast.forecast.combine import combine_members
from fourcast.forecast.netcdf import FileWriter, Header, columns_of, member_path

CHANNELS = ("t2m", "u10m", "tp06", "z500", "t850", "t500")
INIT = np.datetime64("2026-08-10T00", "h")
MEMBERS = (0, 2, 11)
HEADER = Header(CHANNELS, np.linspace(60, -30, 4), 5 + 45.0 * np.arange(3), INIT, (6, 18), {"seed": 7}, 0)


def values(member: int) -> np.ndarray:
    """[lead, C, H, W] of a member, every number different."""
    return np.random.default_rng(member).normal(280, 10, (2, 6, 4, 3)).astype(np.float32)


def write_members(run: Path, header: Header = HEADER) -> Path:
    for member in MEMBERS:
        own = replace(header, number=member)
        with FileWriter(member_path(run, INIT, member), own, columns_of(CHANNELS)) as writer:
            for i_lead, fields in enumerate(values(member)[: len(header.lead_hours)]):
                writer.write(i_lead, fields)
    return run


def test_every_field_of_every_member_comes_back_bit_for_bit(tmp_path: Path) -> None:
    path = combine_members(write_members(tmp_path), INIT, MEMBERS)
    assert path == tmp_path / "2026-08-10T00" / "ensemble.nc"
    with xr.open_dataset(path) as dataset:
        assert dataset["t"].dims == ("number", "time", "level", "latitude", "longitude")
        assert dataset["tp06"].dims == ("number", "time", "latitude", "longitude")
        assert dataset["number"].values.tolist() == list(MEMBERS)
        np.testing.assert_array_equal(dataset["time"].values, INIT + np.array([6, 18]))
        for i, member in enumerate(MEMBERS):
            for c, name in enumerate(CHANNELS):
                level = int(name[1:]) if name[1:].isdigit() else None
                found = dataset[name] if level is None else dataset[name[0]].sel(level=level)
                assert found.dtype == np.float32
                np.testing.assert_array_equal(found[i].values, values(member)[:, c])
        assert np.isnan(dataset["z"].sel(level=850)).all()


def test_what_members_files_say_is_carried_over(tmp_path: Path) -> None:
    path = combine_members(write_members(tmp_path), INIT, MEMBERS)
    with netCDF4.Dataset(member_path(tmp_path, INIT, 0)) as member, netCDF4.Dataset(path) as combined:
        assert set(combined.ncattrs()) == set(member.ncattrs()) - {"member"}
        assert combined.seed == 7
        assert combined.history.splitlines()[1] == member.history
        assert set(combined.variables) == set(member.variables)
        assert combined["number"].dimensions == ("number",)
        assert combined["number"].standard_name == "realization"
        assert "axis" not in combined["number"].ncattrs()
        for name, variable in member.variables.items():
            found = {k: combined[name].getncattr(k) for k in combined[name].ncattrs()}
            expected = {k: variable.getncattr(k) for k in variable.ncattrs()}
            without = {k: v for k, v in found.items() if k != "coordinates"}
            np.testing.assert_equal(without, {k: v for k, v in expected.items() if k != "coordinates"})
        assert combined["t2m"].coordinates == "forecast_period forecast_reference_time height_2m"
        assert combined["t"].chunking() == [1, 1, 1, 4, 3]
        assert combined["t2m"].chunking() == [1, 1, 4, 3]
        np.testing.assert_array_equal(combined["time_bnds"][:], member["time_bnds"][:])


@pytest.mark.parametrize("compression", [0, 1, 4])
def test_compression_and_rounding_are_the_members(tmp_path: Path, compression: int) -> None:
    write_members(tmp_path, replace(HEADER, compression=compression, keep_bits=7))
    path = combine_members(tmp_path, INIT, MEMBERS)
    with netCDF4.Dataset(path) as combined:
        combined.set_auto_mask(False)
        assert combined["t"].filters()["complevel"] == compression
        assert combined["t"].filters()["zlib"] == combined["t"].filters()["shuffle"] == (compression > 0)
        for i, number in enumerate(MEMBERS):
            with netCDF4.Dataset(member_path(tmp_path, INIT, number)) as member:
                member.set_auto_mask(False)
                assert member["t"].ncattrs() == combined["t"].ncattrs()
                assert not np.array_equal(member["t2m"][:], values(number)[:, 0])  # rounded indeed
                for name in ("t2m", "t", "z"):
                    np.testing.assert_array_equal(combined[name][i], member[name][:])


def test_levels_that_a_variable_lacks_take_no_space(tmp_path: Path) -> None:
    many = Header(("z500", "t850"), np.linspace(80, -80, 100), np.arange(200) * 1.8, INIT, (6,), {}, 0, compression=0)
    with FileWriter(member_path(tmp_path, INIT, 0), many, columns_of(many.channels)) as writer:
        writer.write(0, np.ones((2, 100, 200), np.float32))
    field = 4 * 100 * 200
    assert 2 * field < combine_members(tmp_path, INIT, (0,)).stat().st_size < 3 * field


@pytest.mark.parametrize("keep_bits", [None, 9])
def test_the_cf_checker_finds_nothing(tmp_path: Path, keep_bits: int | None) -> None:
    pytest.importorskip("compliance_checker")
    path = combine_members(write_members(tmp_path, replace(HEADER, keep_bits=keep_bits)), INIT, MEMBERS)
    program = Path(sys.executable).with_name("compliance-checker")
    found = subprocess.run(
        [program, "-t", "cf:1.11", "-c", "strict", path], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout
    assert "All tests passed!" in found.stdout


def test_nco_averages_over_members(tmp_path: Path) -> None:
    """ncwa of the one file is nces of the members'."""
    if shutil.which("ncwa") is None:
        pytest.skip("nco is not installed")
    path, averaged = combine_members(write_members(tmp_path), INIT, MEMBERS), tmp_path / "mean.nc"
    subprocess.run(["ncwa", "-O", "-a", "number", path, averaged], check=True)
    expected = np.mean([values(member) for member in MEMBERS], axis=0)
    with xr.open_dataset(averaged) as dataset:
        np.testing.assert_allclose(dataset["t2m"].values, expected[:, 0], rtol=1e-6)
        np.testing.assert_allclose(dataset["z"].sel(level=500).values, expected[:, 3], rtol=1e-6)


def test_what_goes_wrong_leaves_no_file(tmp_path: Path) -> None:
    write_members(tmp_path)
    odd = replace(HEADER, number=2, lead_hours=(6,))
    with FileWriter(member_path(tmp_path, INIT, 2), odd, columns_of(CHANNELS)) as writer:
        writer.write(0, values(2)[0])
    with pytest.raises(InputError, match=r"member_002\.nc has dimensions .*different forecasts"):
        combine_members(tmp_path, INIT, MEMBERS)
    member_path(tmp_path, INIT, 2).unlink()
    with pytest.raises(FileNotFoundError):
        combine_members(tmp_path, INIT, MEMBERS)
    held = sorted(path.name for path in (tmp_path / "2026-08-10T00").iterdir())
    assert held == ["member_000.nc", "member_011.nc"]


def test_an_earlier_file_is_replaced(tmp_path: Path) -> None:
    write_members(tmp_path)
    combine_members(tmp_path, INIT, (0,))
    with netCDF4.Dataset(combine_members(tmp_path, INIT, MEMBERS)) as combined:
        assert combined["number"][:].tolist() == list(MEMBERS)
