"""Initial states: from a store, from files that people have, and from other forecasts."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from era5_like import LATITUDE, LONGITUDE, analyses, times
from tiny import CARD, CHANNELS, GRID, TIMES, waves, write_store

from fourcast.checkpoint import Card
from fourcast.config import ForecastConfig
from fourcast.data.humidity import relative_humidity
from fourcast.data.store import open_store
from fourcast.errors import InputError
from fourcast.forecast.initial import Analyses, digest_of, initial_times, open_analyses, require_times
from fourcast.forecast.netcdf import FileWriter, Header, columns_of, init_name, member_path
from fourcast.grid import Grid

INIT = np.datetime64("2026-08-05T00", "h")
LEADS = (0, 6, 12)


def card_of(channels: Sequence[str], grid: Grid = GRID) -> Card:
    """A model's card of some channels on a grid; its statistics are nobody's."""
    count = len(channels)
    return replace(
        CARD,
        in_channels=count,
        out_channels=count,
        channels=list(channels),
        latitude=grid.latitude.tolist(),
        longitude=grid.longitude.tolist(),
        mean=[0.0] * count,
        std=[1.0] * count,
        synthetic=False,
    )


def config_of(*paths: Path | str, **changes: Any) -> ForecastConfig:
    return ForecastConfig(initial=[str(path) for path in paths], **changes)


def state_of(card: Card, *paths: Path | str, time: Any = None, **changes: Any) -> np.ndarray:
    """The state that a forecast would start from; by default at the last time."""
    config = config_of(*paths, **changes)
    with open_analyses(config, card) as found:
        return found.read(initial_times(config, found)[0] if time is None else np.datetime64(time, "h"))


def refused(message: str, card: Card, *paths: Path | str, **changes: Any) -> None:
    with pytest.raises(InputError, match=message):
        state_of(card, *paths, **changes)


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """Eight analyses of temperature and pressure on nine rows, the south pole among them."""
    path = tmp_path / "fresh.nc"
    analyses().to_netcdf(path)
    return path


def members(folder: Path, numbers: Sequence[int], init: np.datetime64 = INIT) -> dict[int, np.ndarray]:
    """Member files of a forecast below ``folder``, and their fields [S, C, H, W] by number."""
    fields = {}
    for number in numbers:
        fields[number] = waves(init + np.array(LEADS)) + np.float32(number)
        write(member_path(folder, init, number), fields[number], number, init)
    return fields


def write(path: Path, fields: np.ndarray, number: int | None = None, init: np.datetime64 = INIT) -> None:
    header = Header(CHANNELS, GRID.latitude, GRID.longitude, init, LEADS, {"synthetic": 1}, number)
    with FileWriter(path, header, columns_of(CHANNELS)) as writer:
        for i, each in enumerate(fields):
            writer.write(i, each)


def test_a_store_gives_the_channels_in_the_order_of_the_model(tiny_store: Path) -> None:
    config = ForecastConfig(store=str(tiny_store), init_times=["2026-08-05"])
    with open_analyses(config, card_of(("z500", "t2m"))) as found:
        assert np.array_equal(found.read(INIT), waves()[16, ::-1])
        assert np.array_equal(found.times, TIMES)
        assert found.name == "store.zarr"
        assert found.digest == open_store(tiny_store).digest
        assert found.synthetic


def test_a_fresh_analysis_is_brought_to_the_models_rows_and_names(fresh: Path) -> None:
    """Nine rows from pole to pole, of which the model has the first eight; its channels are in another order."""
    data = analyses()
    config = config_of(fresh)
    with open_analyses(config, card_of(("t850", "msl", "t500"))) as found:
        assert initial_times(config, found) == [np.datetime64("2020-01-02T18", "h")]
        assert found.times.dtype == "datetime64[h]"
        assert not found.synthetic
        state = found.read(np.datetime64("2020-01-01T06", "h"))
    expected = [data.t[1, 1, :8], data.msl[1, :8], data.t[1, 0, :8]]
    assert np.array_equal(state, np.stack(expected))
    assert state.dtype == np.float32
    assert state.flags.c_contiguous


def test_rows_from_the_south_and_longitudes_from_the_date_line_are_turned(tmp_path: Path) -> None:
    data = analyses(("msl",), times(1))
    turned = data.isel(latitude=slice(None, None, -1)).roll(longitude=8)
    turned = turned.assign_coords(longitude=np.arange(-180.0, 180.0, 22.5))
    turned.to_netcdf(tmp_path / "turned.nc")
    assert np.array_equal(state_of(card_of(["msl"]), tmp_path / "turned.nc")[0], data.msl[0, :8])


def test_units_and_names_of_others_become_ours(tmp_path: Path) -> None:
    data = analyses(("t2m", "z"), times(2))
    celsius = (data.t2m.astype("f8") - 273.15).assign_attrs(units="degC")
    height = (data.z.astype("f8") / 9.80665).assign_attrs(units="m")
    data.assign(t2m=celsius, z=height).rename(z="gh").to_netcdf(tmp_path / "other.nc")
    state = state_of(card_of(["t2m", "z500"]), tmp_path / "other.nc")
    np.testing.assert_allclose(state, np.stack([data.t2m[1, :8], data.z[1, 0, :8]]), rtol=1e-6)


def test_several_files_and_zarrs_are_one_source(tmp_path: Path) -> None:
    data = analyses(("t2m", "msl"))
    (tmp_path / "fresh").mkdir()
    data[["t2m"]].to_netcdf(tmp_path / "fresh" / "surface.nc")
    data[["msl"]].to_zarr(tmp_path / "fresh" / "pressure.zarr")
    expected = np.stack([data.t2m[-1, :8], data.msl[-1, :8]])
    assert np.array_equal(state_of(card_of(["t2m", "msl"]), tmp_path / "fresh"), expected)
    with open_analyses(config_of(tmp_path / "fresh"), card_of(["t2m", "msl"])) as found:
        assert found.name == "pressure.zarr, surface.nc"


def test_relative_humidity_is_derived_where_the_model_wants_it(tmp_path: Path) -> None:
    data = analyses(("q", "t"), times(1))
    data.to_netcdf(tmp_path / "moist.nc")
    expected = relative_humidity(data.q[0, 0, :8].values, data.t[0, 0, :8].values, 500.0)
    np.testing.assert_array_equal(state_of(card_of(["r500"]), tmp_path / "moist.nc")[0], expected)


def test_what_the_model_takes_and_the_files_lack_is_named(fresh: Path, tmp_path: Path) -> None:
    refused(
        r"fresh.nc has no t700, u10m, which the model takes; it holds msl, t500, t850",
        card_of(["t500", "t700", "u10m"]), fresh,
    )  # fmt: skip
    data = analyses(("t2m", "msl"), times(1))
    data["t2m"].attrs["units"] = "furlong"
    data.to_netcdf(tmp_path / "odd.nc")
    refused("has no t2m, .*it holds msl; t2m has 'furlong', expected", card_of(["t2m"]), tmp_path / "odd.nc")
    refused("there is no source at absent.nc", card_of(["t2m"]), "absent.nc")


def test_a_time_that_is_not_there_is_named(fresh: Path) -> None:
    refused(
        "fresh.nc has no analysis at 2027-01-01T00; it holds 8 times from 2020-01-01T00 to 2020-01-02T18",
        card_of(["msl"]), fresh, time="2027-01-01T00",
    )  # fmt: skip


def test_times_between_hours_and_channels_at_other_times_are_no_states(tmp_path: Path) -> None:
    half = analyses(("msl",), times(3, "2020-01-01T00:30"))
    half.to_netcdf(tmp_path / "half.nc")
    refused("holds msl at no hour together: of 3 times none is a whole hour", card_of(["msl"]), tmp_path / "half.nc")
    xr.merge([analyses(("t2m",), times(2, "2020-01-02"))]).to_netcdf(tmp_path / "later.nc")
    analyses(("msl",), times(2)).to_netcdf(tmp_path / "early.nc")
    refused("holds t2m, msl at no hour", card_of(["t2m", "msl"]), tmp_path / "early.nc", tmp_path / "later.nc")


def test_another_grid_is_refused_or_regridded(fresh: Path) -> None:
    """The target's points are every other row and column of the source, where bilinear interpolation changes nothing;
    conservative regridding keeps the integral over the globe, which for an even field is the field itself."""
    coarse = Grid(LATITUDE[1::2], LONGITUDE[::2])
    card = card_of(["msl"], coarse)
    refused(
        r"fresh.nc has the grid 9×16 .* trained on 4×8 \(latitude 67.5 … -67.5.*pass regrid=conservative .*bilinear",
        card, fresh,
    )  # fmt: skip
    state = state_of(card, fresh, regrid="bilinear")
    np.testing.assert_array_equal(state[0], analyses().msl[-1, 1::2, ::2])
    assert not np.array_equal(state_of(card, fresh, regrid="conservative"), state)


def test_a_store_on_another_grid_is_refused_or_regridded(tiny_store: Path) -> None:
    card = card_of(CHANNELS, Grid(GRID.latitude[1:-1:2], GRID.longitude[::2]))
    config = ForecastConfig(store=str(tiny_store), init_times=["2026-08-05"])
    with pytest.raises(InputError, match=r"has the grid 8×16 .*trained on 3×8"), open_analyses(config, card):
        pass
    with open_analyses(replace(config, regrid="bilinear"), card) as found:
        np.testing.assert_array_equal(found.read(INIT), waves()[16, :, 1:-1:2, ::2])


def test_a_store_with_the_south_poles_row_loses_it(tmp_path: Path) -> None:
    grid = Grid(LATITUDE, LONGITUDE)
    path = write_store(tmp_path / "store.zarr", TIMES, waves(TIMES, grid), grid=grid)
    with open_analyses(ForecastConfig(store=str(path), init_times=["2026-08-05"]), CARD) as found:
        assert np.array_equal(found.read(INIT), waves()[16])


def test_a_store_without_a_channel_or_a_member_is_refused(tiny_store: Path) -> None:
    config = ForecastConfig(store=str(tiny_store), init_times=["2026-08-05"])
    with pytest.raises(InputError, match="has no channel z850; it holds t2m, z500"):
        open_analyses(config, card_of(["z850"])).__enter__()
    with pytest.raises(InputError, match="initial_number chooses a member of files"):
        open_analyses(replace(config, initial_number=0), CARD).__enter__()


def test_a_forecast_goes_on_from_another_one_bit_for_bit(tmp_path: Path) -> None:
    fields = members(tmp_path, [0, 1, 12])
    folder = tmp_path / init_name(INIT)
    for number, path in ((12, folder), (1, folder / "member_*.nc"), (None, folder / "member_000.nc")):
        config = config_of(path, initial_number=number)
        with open_analyses(config, CARD) as found:
            assert found.times.tolist() == (INIT + np.array(LEADS)).tolist()
            assert found.name == f"member_{number or 0:03d}.nc"
            assert found.synthetic
            for i, time in enumerate(found.times):
                assert np.array_equal(found.read(time), fields[number or 0][i])


def test_the_member_must_be_chosen_where_there_are_several(tmp_path: Path) -> None:
    members(tmp_path, [0, 1])
    folder = tmp_path / init_name(INIT)
    refused(r"holds member_000.nc, member_001.nc; choose one with initial_number=0", CARD, folder)
    refused(r"initial holds members 0, 1; choose one with initial_number=0", CARD, folder / "member_*.nc")
    refused(r"has no member_007.nc \(initial_number=7\); it holds member_000.nc", CARD, folder, initial_number=7)
    refused(r"initial has no member 7 .*; it holds members 0, 1", CARD, folder / "member_*.nc", initial_number=7)


def test_an_analysis_has_no_members(fresh: Path) -> None:
    refused("initial has no member 3 .*it holds no members: leave it out", card_of(["msl"]), fresh, initial_number=3)


def test_a_whole_run_is_refused_by_the_names_of_its_initial_times(tmp_path: Path) -> None:
    members(tmp_path, [0])
    (tmp_path / "forecast.json").write_text("{}")
    refused("is a forecast run from 2026-08-05T00; name the folder of one initial time", CARD, tmp_path)


def test_the_ensemble_mean_is_a_state_and_its_spread_is_none(tmp_path: Path) -> None:
    """Beside members, a mean in the same folder is not looked at; named among them it is refused."""
    fields = members(tmp_path, [0, 1])
    folder = tmp_path / init_name(INIT)
    for name, method in (("mean", "mean"), ("spread", "standard_deviation")):
        write(folder / f"{name}.nc", fields[1] + 5)
        with xr.open_dataset(folder / f"{name}.nc") as data:
            data.load()
        for variable in ("t2m", "z"):
            data[variable].attrs["cell_methods"] = f"time: point realization: {method}"
        data.to_netcdf(folder / f"{name}.nc")
    assert np.array_equal(state_of(CARD, folder, initial_number=1), fields[1][2])
    assert np.array_equal(state_of(CARD, folder / "mean.nc"), fields[1][2] + 5)
    refused(
        r"spread.nc holds no states but a statistic of an ensemble \(standard_deviation\)",
        CARD, folder / "spread.nc",
    )  # fmt: skip
    data.assign_attrs(product="quantile_0.10").to_netcdf(tmp_path / "quantile.nc")
    refused(r"statistic of an ensemble \(quantile_0.10\)", CARD, tmp_path / "quantile.nc")
    refused("an ensemble mean together with other states", CARD, folder / "m*.nc", initial_number=1)


def ensemble(tmp_path: Path) -> tuple[xr.Dataset, dict[int, np.ndarray]]:
    """Two members as one dataset with the dimension number, and their fields."""
    fields = members(tmp_path, [0, 1])
    paths = [member_path(tmp_path, INIT, number) for number in fields]
    opened = [xr.load_dataset(path, decode_timedelta=True) for path in paths]
    return xr.concat(opened, "number"), fields


def test_a_combined_file_gives_one_of_its_members(tmp_path: Path) -> None:
    data, fields = ensemble(tmp_path)
    (tmp_path / "combined").mkdir()
    data.to_netcdf(tmp_path / "combined" / "ensemble.nc")
    write(tmp_path / "combined" / "mean.nc", fields[0])
    assert np.array_equal(state_of(CARD, tmp_path / "combined", initial_number=1), fields[1][2])
    refused("initial holds members 0, 1; choose one", CARD, tmp_path / "combined")


def test_the_time_of_a_forecast_is_its_valid_time(tmp_path: Path) -> None:
    """However initial time and lead time are laid out: as CF has them, cut to one time, or as WeatherBench 2 and GRIB
    readers have them, where ``time`` is the initial time."""
    data, fields = ensemble(tmp_path)
    one = data.isel(number=0)
    one.encoding = {}
    initial = one.drop_vars(["forecast_reference_time", "forecast_period"]).rename(time="prediction_timedelta")
    steps = np.array(LEADS, "m8[h]").astype("m8[ns]")
    initial = initial.assign_coords(prediction_timedelta=steps, time=INIT.astype("M8[ns]"))
    layouts = {
        "cut.nc": one.isel(time=2),
        "period.nc": one.drop_vars("forecast_reference_time"),
        "lead.nc": initial,
        "grib.nc": initial.isel(prediction_timedelta=2).rename(prediction_timedelta="step"),
    }
    for name, layout in layouts.items():
        layout.to_netcdf(tmp_path / name)
    initial.expand_dims("time").to_zarr(tmp_path / "weatherbench.zarr")
    for name in (*layouts, "weatherbench.zarr"):
        config = config_of(tmp_path / name)
        with open_analyses(config, CARD) as found:
            assert initial_times(config, found) == [INIT + 12], name
            assert np.array_equal(found.read(INIT + 12), fields[0][2]), name


def test_states_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    """Forecasts from two initial times hold the same valid time."""
    members(tmp_path, [0])
    members(tmp_path, [0], INIT + 6)
    later = member_path(tmp_path, INIT + 6, 0)
    with xr.open_dataset(later) as data:
        data.load()
    data["t2m"] += 1
    data.to_netcdf(later)
    both = tmp_path / "2026-08-05T*" / "member_000.nc"
    refused("already holds with other values", CARD, both, time=INIT + 6)
    assert state_of(CARD, both, time=INIT).shape == (2, 8, 16)


def test_the_digest_tells_files_apart(tmp_path: Path) -> None:
    members(tmp_path / "a", [0])
    members(tmp_path / "b", [0])
    first, same = (str(member_path(tmp_path / name, INIT, 0)) for name in "ab")
    Path(same).write_bytes(Path(first).read_bytes())
    digest = digest_of((first,), "number None")
    assert digest == digest_of((same,), "number None")
    assert digest != digest_of((first,), "number 1")
    assert digest != digest_of((first, same), "number None")
    content = bytearray(Path(same).read_bytes())
    content[-1] ^= 1
    Path(same).write_bytes(content)
    assert digest != digest_of((same,), "number None")


def test_the_digest_holds_how_files_are_read(tmp_path: Path) -> None:
    members(tmp_path, [0])
    digests = set()
    for changes in ({}, {"initial_number": 0}, {"regrid": "bilinear"}):
        with open_analyses(config_of(member_path(tmp_path, INIT, 0), **changes), CARD) as found:
            digests.add(found.digest)
    assert len(digests) == 3


def test_the_digest_of_much_data_goes_by_the_time_of_change(tmp_path: Path) -> None:
    folder = tmp_path / "a.zarr"
    (folder / "c").mkdir(parents=True)
    (folder / "c" / "0").write_bytes(b"12345678")
    digests = [digest_of((str(folder),), "", hashed_bytes=size) for size in (8, 7)]
    assert digests[0] != digests[1]
    (folder / "c" / "0").write_bytes(b"87654321")
    os.utime(folder / "c" / "0", ns=(1, 1))
    assert digest_of((str(folder),), "", hashed_bytes=7) != digests[1]
    (folder / "c" / "0").write_bytes(b"12345678")
    assert digest_of((str(folder),), "", hashed_bytes=8) == digests[0]


def test_initial_times_are_those_named_a_series_or_the_last(tiny_store: Path) -> None:
    config = ForecastConfig(store=str(tiny_store), init_times=["2026-08-06T12", "2026-08-05", "2026-08-06T12"])
    series = {"init_times": None, "init_start": "2026-08-05", "init_end": "2026-08-06", "init_every_hours": 12}
    with open_analyses(config, CARD) as found:
        assert initial_times(config, found) == [INIT, INIT + 36]
        assert initial_times(replace(config, **series), found) == [INIT, INIT + 12, INIT + 24, INIT + 36]
        until = series | {"init_end": "2026-08-06T00"}
        assert initial_times(replace(config, **until), found) == [INIT, INIT + 12, INIT + 24]
        require_times(found, np.array([INIT]))
        with pytest.raises(InputError, match="no analysis at 2026-08-05T03, 2027-01-01T00; it holds 40 times"):
            require_times(found, np.array([INIT, INIT + 3, np.datetime64("2027-01-01T00", "h")]))


def opened_samples(samples: Path, name: str, card: Card, **changes: Any) -> tuple[Analyses, np.ndarray]:
    config = config_of(samples / name, **changes)
    with open_analyses(config, card) as found:
        return found, found.read(initial_times(config, found)[0])


def test_a_real_analysis_of_winds(samples: Path) -> None:
    name = "gfs_10mwind_6h_5.625deg_2026.nc"
    with xr.open_dataset(samples / name) as data:
        last = data.isel({data.u10.dims[0]: -1}).load()
    latitude, longitude = (last[axis].values.astype("f8") for axis in ("lat", "lon"))
    order = np.argsort(-latitude)
    card = card_of(["v10m", "u10m"], Grid(latitude[order], longitude))
    found, state = opened_samples(samples, name, card)
    np.testing.assert_array_equal(state, np.stack([last.v10.values[order], last.u10.values[order]]).astype("f4"))
    assert found.times[-1] == last.time.values


def test_a_real_analysis_in_grib_on_a_finer_grid(samples: Path) -> None:
    """1° to 5.625°: the conservative means lie within the extremes of the field and keep its global mean."""
    card = card_of(["z500", "t850"], Grid(90 - 5.625 * (np.arange(32) + 0.5), 5.625 * np.arange(64)))
    found, state = opened_samples(samples, "earthkit_test4.grib", card, regrid="conservative")
    assert found.times.tolist() == [np.datetime64("2007-01-01T12", "h").item()]
    weights = np.cos(np.deg2rad(card.grid.latitude))
    assert (state.mean(axis=2) @ weights / weights.sum()).tolist() == pytest.approx([54_000, 280], rel=0.03)


def test_one_real_member_of_ten(samples: Path) -> None:
    name = "cfgrib_era5-levels-members.grib"
    card = card_of(["z500", "t850"], Grid(90 - 3.0 * np.arange(61), 3.0 * np.arange(120)))
    refused("initial holds members 0, 1, .* 9; choose one with initial_number=0", card, samples / name)
    _, state = opened_samples(samples, name, card, initial_number=9)
    path, nothing_beside = samples / name, {"indexpath": ""}
    with xr.open_dataset(path, engine="cfgrib", backend_kwargs=nothing_beside, decode_timedelta=True) as data:
        last = data.sel(number=9).isel(time=-1)
        expected = [last.z.sel(isobaricInhPa=500).values, last.t.sel(isobaricInhPa=850).values]
    np.testing.assert_array_equal(state, np.stack(expected))
