"""What follows from other fields: relative humidity, six-hour precipitation, the ERA5 version of a time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from era5_like import analyses, as_arco, times

from fourcast.data.humidity import relative_humidity
from fourcast.data.sources.openers import SourceOptions
from fourcast.data.sources.source import open_source
from fourcast.errors import InputError


def saved(tmp_path: Path, data: xr.Dataset, name: str = "a.nc") -> list[str]:
    data.to_netcdf(tmp_path / name)
    return [str(tmp_path)]


def test_relative_humidity_from_specific_humidity(tmp_path: Path) -> None:
    data = analyses(("t", "q"))
    with open_source(saved(tmp_path, data)) as source:
        assert source.channels == ("t500", "t850", "q500", "q850")
        assert source.derivable == ("r500", "r850")
        channels = ("r850", "t500", "r500")
        when, partly = source.times(channels)
        fields = source.read(when, channels)
        formulas = source.formulas(channels)
    assert (len(when), len(partly)) == (8, 0)
    at = {level: data.sel(level=level) for level in (500, 850)}
    np.testing.assert_array_equal(fields[:, 1], at[500].t)
    for i, level in ((0, 850), (2, 500)):
        np.testing.assert_array_equal(fields[:, i], relative_humidity(at[level].q, at[level].t, level))
    assert 20 < fields[:, [0, 2]].mean() < 90
    assert sorted(formulas) == ["r500", "r850"]
    assert "IFS Documentation" in formulas["r500"]


def test_relative_humidity_that_a_file_holds_is_not_derived(tmp_path: Path) -> None:
    data = analyses(("t", "q", "r"))
    with open_source(saved(tmp_path, data)) as source:
        assert source.derivable == ()
        assert source.formulas(("r500",)) == {}
        np.testing.assert_array_equal(source.read(data.time.values[:2], ("r500",))[:, 0], data.r[:2, 0])


def test_humidity_and_temperature_on_different_grids_are_refused(tmp_path: Path) -> None:
    saved(tmp_path, analyses(("t",)))
    paths = saved(tmp_path, analyses(("q",)).isel(longitude=slice(0, 8)), "b.nc")
    with open_source(paths) as source, pytest.raises(InputError, match="on different grids"):
        source.grid(("r500",))


def test_the_fraction_of_weatherbench_is_refused_unless_allowed(tmp_path: Path) -> None:
    data = as_arco(analyses(("t", "q", "r")))
    data["relative_humidity"] = (data.relative_humidity / 100).assign_attrs(units="1")
    paths = saved(tmp_path, data)
    with open_source(paths) as source:
        assert "r500" not in source.channels
        assert source.derivable == ("r500", "r850")
        assert any("fraction by Bolton" in unusable.reason and unusable.known for unusable in source.skipped)
    for allow in ("bolton", "r:bolton"):
        with open_source(paths, options=SourceOptions(allow=(allow,))) as source:
            fields = source.read(data.time.values, ("r500",))[:, 0]
            assert "Bolton" in source.formulas(("r500",))["r500"]
        np.testing.assert_allclose(fields, 100 * data.relative_humidity.sel(level=500), rtol=2e-7)


def test_the_fraction_is_recognised_without_units(tmp_path: Path) -> None:
    data = as_arco(analyses(("r",)))
    data["relative_humidity"] = (data.relative_humidity / 100).assign_attrs({})
    del data["relative_humidity"].attrs["units"]
    with pytest.raises(InputError, match="fraction by Bolton"), open_source(saved(tmp_path, data)):
        pass


def test_six_hourly_sums_make_the_total(tmp_path: Path) -> None:
    data = analyses(("tp", "msl"), times(25, "2019-12-31T18", hours=1))
    saved(tmp_path, data.isel(time=slice(0, 7)), "2019.nc")
    with open_source(saved(tmp_path, data.isel(time=slice(7, 25)), "2020.nc")) as source:
        assert source.channels == ("msl", "tp06")
        when, _ = source.times(("tp06",))
        six_hourly = when[when.astype("datetime64[h]").astype(int) % 6 == 0]
        fields = source.read(six_hourly, ("msl", "tp06"))
        assert source.formulas(("tp06",)) == {"tp06": "sum of six hourly accumulations"}
    assert str(when[0]) == "2019-12-31T23:00:00"
    assert [str(t)[:13] for t in six_hourly] == ["2020-01-01T00", "2020-01-01T06", "2020-01-01T12", "2020-01-01T18"]
    hourly = data.tp.values.astype("f8")
    for i, last in enumerate((6, 12, 18, 24)):
        np.testing.assert_allclose(fields[i, 1], hourly[last - 5 : last + 1].sum(axis=0), rtol=1e-7)
        np.testing.assert_array_equal(fields[i, 0], data.msl[last])


def test_a_missing_hour_is_no_total(tmp_path: Path) -> None:
    data = analyses(("tp",), times(24, hours=1)).drop_isel(time=[9])
    with open_source(saved(tmp_path, data)) as source:
        found, _ = source.times(("tp06",))
    hours = found.astype("datetime64[h]").astype(int) % 24
    assert hours.tolist() == [5, 6, 7, 8, *range(15, 24)]


def test_sums_that_are_not_hourly_are_refused(tmp_path: Path) -> None:
    with open_source(saved(tmp_path, analyses(("tp", "msl")))) as source:
        assert source.channels == ("msl",)
        assert any("tp06 needs all six" in unusable.reason for unusable in source.skipped)


def test_sums_of_a_forecast_are_refused(tmp_path: Path) -> None:
    data = analyses(("tp", "msl"), times(12, hours=1)).assign_coords(step=np.timedelta64(6, "h").astype("m8[ns]"))
    with open_source(saved(tmp_path, data), forecast_step=6) as source:
        assert source.channels == ("msl",)
        assert any("from the start of a forecast" in unusable.reason for unusable in source.skipped)


def test_sums_by_forecast_step_do_not_spoil_the_other_files(tmp_path: Path) -> None:
    steps = np.arange(1, 13).astype("m8[h]").astype("m8[ns]")
    saved(tmp_path, analyses(("tp",), times(4, hours=12)).expand_dims(step=steps))
    with open_source(saved(tmp_path, analyses(("t2m",)), "b.nc")) as source:
        assert source.channels == ("t2m",)
        assert any(unusable.name == "tp" and "forecast_step" in unusable.reason for unusable in source.skipped)


def write_hourly_grib(path: Path) -> None:
    """ERA5's precipitation of 2020-01-01 as GRIB 1: by the start of a forecast and its step, 0.1 mm in the first hour
    of the day, 0.2 mm in the second, and so on; and the temperature of its midnight.
    """
    eccodes = pytest.importorskip("eccodes")
    with path.open("wb") as file:
        for start in np.datetime64("2019-12-31T18") + 12 * np.arange(3):
            for step in range(1, 13):
                hour = int((start + step - np.datetime64("2020-01-01T00")).astype(int))
                if 0 <= hour < 24:
                    keys = {"paramId": 228, "stepType": "accum", "stepRange": f"{step - 1}-{step}"}
                    write_message(eccodes, file, start, keys, 1e-4 * (hour + 1))
        write_message(eccodes, file, np.datetime64("2020-01-01T00"), {"paramId": 167}, 280.0)


def write_message(eccodes: Any, file: Any, start: np.datetime64, keys: dict[str, Any], value: float) -> None:
    message = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib1")
    stamp = str(start).replace("-", "")
    own = {"setLocalDefinition": 1, "localDefinitionNumber": 1, "class": "ea", "stream": "oper", "expver": "0001"}
    for key, chosen in {**own, "dataDate": int(stamp[:8]), "dataTime": int(stamp[9:]) * 100, **keys}.items():
        eccodes.codes_set(message, key, chosen)
    eccodes.codes_set_values(message, np.full(eccodes.codes_get_size(message, "values"), value))
    eccodes.codes_write(message, file)
    eccodes.codes_release(message)


def test_hourly_sums_in_grib_are_put_by_valid_time(tmp_path: Path) -> None:
    write_hourly_grib(tmp_path / "a.grib")
    with open_source([str(tmp_path / "a.grib")]) as source:
        assert source.channels == ("t2m", "tp06")
        when, _ = source.times(("tp06",))
        assert (len(when), str(when[0]), str(when[-1])) == (19, "2020-01-01T05:00:00", "2020-01-01T23:00:00")
        totals = source.read(when[[0, 7]], ("tp06",))[:, 0]
        assert source.expver_at(when[:1], ("tp06",)).tolist() == ["0001"]
    # Hours 0 to 5: 0.1 · (1 + … + 6) mm; hours 7 to 12: 0.1 · (8 + … + 13) mm.
    np.testing.assert_allclose(totals[0], 2.1e-3, rtol=1e-4)
    np.testing.assert_allclose(totals[1], 6.3e-3, rtol=1e-4)


def test_versions_mixed_in_one_grib_file(tmp_path: Path) -> None:
    eccodes = pytest.importorskip("eccodes")
    starts = np.datetime64("2020-01-01T00") + 6 * np.arange(6)
    with (tmp_path / "a.grib").open("wb") as file:
        for i, start in enumerate(starts):
            version = {"expver": "0001" if i < 4 else "0005", "paramId": 167}
            write_message(eccodes, file, start, version, 280.0 + i)
    with open_source([str(tmp_path / "a.grib")]) as source:
        when, _ = source.times(("t2m",))
        assert source.expver_at(when, ("t2m",)).tolist() == ["0001"] * 4 + ["0005"] * 2
        fields = source.read(when, ("t2m",))
    np.testing.assert_allclose(fields[:, 0, 0, 0], 280.0 + np.arange(6), rtol=1e-6)


def test_precipitation_of_weatherbench_is_taken_as_it_is(tmp_path: Path) -> None:
    data = analyses(("tp",)).rename(tp="total_precipitation_6hr")
    with open_source(saved(tmp_path, data)) as source:
        assert source.channels == ("tp06",)
        assert source.formulas(("tp06",)) == {}
        fields = source.read(data.time.values, ("tp06",))[:, 0]
    np.testing.assert_array_equal(fields, data.total_precipitation_6hr)


def test_precipitation_in_millimetres(tmp_path: Path) -> None:
    data = analyses(("tp",)).rename(tp="total_precipitation_6hr") * 1000
    data.total_precipitation_6hr.attrs["units"] = "kg m**-2"
    with open_source(saved(tmp_path, data)) as source:
        fields = source.read(data.time.values, ("tp06",))[:, 0]
    np.testing.assert_allclose(fields, data.total_precipitation_6hr / 1000, rtol=2e-7)


def with_versions(data: xr.Dataset, *names: str) -> xr.Dataset:
    return data.assign_coords(expver=("time", np.resize(names, data.sizes["time"])))


def test_versions_are_told_for_every_time(tmp_path: Path) -> None:
    data = analyses(("t", "msl"))
    saved(tmp_path, with_versions(data[["t"]], *["0001"] * 5, *["0005"] * 3))
    with open_source(saved(tmp_path, with_versions(data[["msl"]], "0001"), "b.nc")) as source:
        when, _ = source.times(("t500", "msl"))
        assert source.expver_at(when, ("msl",)).tolist() == ["0001"] * 8
        assert source.expver_at(when, ("msl", "t500")).tolist() == ["0001"] * 5 + ["0005"] * 3
        assert source.versions(when, ("msl", "t500")) == {"0001": 5, "0005": 3}


def test_versions_that_no_file_states(tmp_path: Path) -> None:
    with open_source(saved(tmp_path, analyses())) as source:
        when, _ = source.times(("t500",))
        assert source.expver_at(when, ("t500",)).tolist() == [""] * 8
        assert source.versions(when, ("t500",)) == {}


def test_a_total_is_as_preliminary_as_its_last_hour(tmp_path: Path) -> None:
    data = with_versions(analyses(("tp",), times(12, hours=1)), *["0001"] * 6, *["0005"] * 6)
    with open_source(saved(tmp_path, data)) as source:
        when, _ = source.times(("tp06",))
        assert source.expver_at(when, ("tp06",)).tolist() == ["0001"] + ["0005"] * 6


@pytest.mark.parametrize("names", [("a.nc", "b.nc"), ("b.nc", "a.nc")])
def test_final_analyses_replace_preliminary_ones(tmp_path: Path, names: tuple[str, str]) -> None:
    final, preliminary = analyses(seed=1), analyses(seed=2)
    saved(tmp_path, with_versions(final, "0001").isel(time=slice(0, 6)), names[0])
    with open_source(saved(tmp_path, with_versions(preliminary, "0005").isel(time=slice(2, 8)), names[1])) as source:
        when, _ = source.times(("t500", "msl"))
        fields = source.read(when, ("t500", "msl"))
        assert source.expver_at(when, ("msl",)).tolist() == ["0001"] * 6 + ["0005"] * 2
    np.testing.assert_array_equal(fields[:6, 1], final.msl[:6])
    np.testing.assert_array_equal(fields[6:, 1], preliminary.msl[6:])
    np.testing.assert_array_equal(fields[6:, 0], preliminary.t[6:, 0])


def test_two_values_of_one_version_are_refused(tmp_path: Path) -> None:
    saved(tmp_path, with_versions(analyses(seed=1), "0001"))
    with open_source(saved(tmp_path, with_versions(analyses(seed=2), "0001"), "b.nc")) as source:
        when, _ = source.times(("msl",))
        with pytest.raises(InputError, match="already holds with other values"):
            source.read(when, ("msl",))


def test_the_older_dimension_of_versions_is_merged_where_a_corner_is_land(tmp_path: Path) -> None:
    data = analyses(("t2m",)).rename(t2m="sst")
    sea = data.where((data.latitude < 60) & (data.longitude > 100))
    late = data.time >= data.time[5]
    merged = xr.concat([sea.where(~late), sea.where(late)], xr.IndexVariable("expver", [1, 5]))
    with open_source(saved(tmp_path, merged)) as source:
        when, _ = source.times(("sst",))
        assert source.expver_at(when, ("sst",)).tolist() == ["0001"] * 5 + ["0005"] * 3
        np.testing.assert_array_equal(source.read(when, ("sst",))[:, 0], sea.sst)


def test_times_that_arco_has_not_filled_are_left_out(tmp_path: Path) -> None:
    days = {"valid_time_start": "2020-01-02", "valid_time_stop": "2020-01-03", "valid_time_stop_era5t": "2020-01-04"}
    data = as_arco(analyses(("t",), times(24))).assign_attrs(days)
    data.to_zarr(tmp_path / "arco.zarr")
    with open_source([str(tmp_path / "arco.zarr")]) as source:
        when, _ = source.times(("t500",))
        assert (str(when[0]), str(when[-1])) == ("2020-01-02T00:00:00", "2020-01-04T18:00:00")
        assert source.expver_at(when, ("t500",)).tolist() == ["0001"] * 8 + ["0005"] * 4
        np.testing.assert_array_equal(source.read(when, ("t500",))[:, 0], data.temperature[4:16, 0])
