"""From parts to files: what stands in one stands in the others."""

import csv
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from made_parts import GRID, made_parts, made_plan, made_values, with_statistics

from fourcast.verify.results.metrics import score
from fourcast.verify.results.write import write_results
from fourcast.verify_config import UncertaintyConfig

EVENTS = ["t2m > 300", "z500 <= 5e4"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with results of parts cut at two places."""
    folder = tmp_path_factory.mktemp("made")
    plan = made_plan(inits=9, plots=False, events=EVENTS)
    (folder / "results").mkdir()
    text = write_results(made_parts(folder, plan, cuts=(1, 6)), plan, folder / "results")
    (folder / "terminal.txt").write_text(text)
    return folder


def opened(made: Path, name: str = "scores.nc") -> xr.Dataset:
    with xr.open_dataset(made / "results" / name) as dataset:
        return dataset.load()


def test_scores_are_those_of_the_statistics(tmp_path: Path) -> None:
    plan = made_plan(members=3, inits=5, channels=("t850", "u10m"), plots=False)
    # 3² each time, 4 of variance: √(4/3) · 2 / 3 of spread over skill, √(9 − 4/3) without the bias of three members.
    values = with_statistics(
        made_values(plan),
        {("squared_error", "ensemble_mean"): 9, ("variance", "ensemble"): 4, ("fair_crps", "ensemble"): 0.5,
         ("absolute_error", "persistence"): 2.5, ("error", "control"): -1.5},
    )  # fmt: skip
    write_results(made_parts(tmp_path, plan, (2,), values), plan, tmp_path)
    with xr.open_dataset(tmp_path / "scores.nc") as scores:
        expected = [
            ("rmse", "ensemble_mean", 3), ("mse", "ensemble_mean", 9), ("spread", "ensemble", 2),
            ("spread_skill_ratio", "ensemble", math.sqrt(4 / 3) * 2 / 3), ("crps", "ensemble", 0.5),
            ("debiased_rmse", "ensemble_mean", math.sqrt(9 - 4 / 3)), ("bias", "control", -1.5),
            ("crps", "persistence", 2.5), ("mae", "persistence", 2.5), ("energy_score", "ensemble_mean", 3),
        ]  # fmt: skip
        for metric, system, value in expected:
            np.testing.assert_allclose(scores[metric].sel(system=system), value, rtol=1e-12)
        # What never changes has no width, also in its difference from what never changes.
        np.testing.assert_allclose(scores["rmse_low"].sel(system="ensemble_mean").isel(lead_time=0), 3, rtol=1e-12)
        difference = scores["crps_difference"].sel(reference="persistence", system="ensemble")
        np.testing.assert_allclose(difference, -2, rtol=1e-12)
        assert scores["init_times"].values.tolist() == [5, 5, 5, 5, 4]
        assert (scores["cases"].isel(lead_time=-1) == 4).all()


def test_the_published_convention_takes_the_root_first(tmp_path: Path) -> None:
    plan = made_plan(inits=2, leads=(6, 12), channels=("t850",), plots=False, convention="fourcastnet")
    values = made_values(plan)
    values["squared_error"].loc[{"system": "control", "lead_time": np.timedelta64(6, "h")}] = np.array([1.0, 25.0])[
        :, None, None
    ]
    write_results(made_parts(tmp_path, plan, values=values), plan, tmp_path)
    with xr.open_dataset(tmp_path / "scores.nc") as scores:
        np.testing.assert_allclose(scores["rmse"].sel(system="control").isel(lead_time=0), 3)
        np.testing.assert_allclose(scores["mse"].sel(system="control").isel(lead_time=0), 13)
        assert scores.attrs["convention"] == "fourcastnet"
        assert "rmse_low" not in scores
        assert "2 initial times are too few" in scores.attrs["uncertainty"]


def test_any_cuts_give_the_same_scores(made: Path, tmp_path: Path) -> None:
    plan = made_plan(inits=9, plots=False, events=EVENTS)
    write_results(made_parts(tmp_path, plan), plan, tmp_path)
    with xr.open_dataset(tmp_path / "scores.nc") as whole, xr.open_dataset(tmp_path / "maps.nc") as maps:
        xr.testing.assert_allclose(whole.load(), opened(made), rtol=1e-12)
        xr.testing.assert_allclose(maps.load(), opened(made, "maps.nc"), rtol=1e-6)


def test_statistics_make_the_scores_again(made: Path) -> None:
    statistics, scores = opened(made, "statistics.nc"), opened(made)
    order = ("init_time", "system", "lead_time", "channel", "region")
    names = [str(name) for name in statistics.data_vars if "channel" in statistics[name].dims]
    given = {name: statistics[name].transpose(*order).values for name in names}
    systems = tuple(str(name) for name in scores["system"].values)
    again = score(given, systems, {"ensemble": 5}, np.ones((1, 9)))
    assert {"rmse", "acc", "crps", "energy_score", "spread_skill_ratio", "debiased_rmse"} <= set(again)
    for name, values in again.items():
        np.testing.assert_allclose(scores[name].values, values[0], rtol=1e-12)


def test_the_csv_holds_what_the_netcdf_holds(made: Path) -> None:
    scores = opened(made)
    rows = list(csv.DictReader((made / "results" / "scores.csv").read_text().splitlines()))
    for row in rows[::40]:
        along = "event" if " " in row["channel"] else "channel"
        at = {along: row["channel"], "region": row["region"], "system": row["system"]}
        at |= {"lead_time": np.timedelta64(int(row["lead_hours"]), "h")}
        assert float(row["value"]) == float(scores[row["metric"]].sel(at))
        for end in ("low", "high"):
            expected = float(scores[f"{row['metric']}_{end}"].sel(at))
            assert (row[end] == "") == math.isnan(expected)
            assert row[end] == "" or float(row[end]) == expected
        assert int(row["init_times"]) == int(scores["event_cases" if along == "event" else "cases"].sel(at))
    metrics = {row["metric"] for row in rows}
    assert len(rows) == sum(int(np.isfinite(scores[name]).sum()) for name in metrics)
    units = {(row["channel"], row["metric"]): row["units"] for row in rows}
    assert units["z500", "mse"] == "(m2 s-2)^2"
    assert units["z500", "rmse"] == "m2 s-2"
    assert units["t2m", "acc"] == units["t2m > 300.0", "brier"] == "1"


def test_intervals_hold_their_scores_and_differences(made: Path) -> None:
    scores = opened(made)
    for name in ("rmse", "crps", "fair_brier", "spread"):
        inside = (scores[f"{name}_low"] <= scores[name]) & (scores[name] <= scores[f"{name}_high"])
        assert float(inside.where(scores[name].notnull()).mean()) > 0.95
    same = scores["rmse_difference"].sel(reference="persistence", system="persistence")
    assert (same == 0).all()
    assert (scores["rmse_difference_high"].sel(reference="persistence", system="persistence") == 0).all()
    difference = scores["rmse"].sel(system="control") - scores["rmse"].sel(system="climatology")
    found = scores["rmse_difference"].sel(reference="climatology", system="control")
    np.testing.assert_allclose(found, difference, rtol=1e-9, atol=1e-12)


def test_files_say_what_they_hold(made: Path) -> None:
    scores = opened(made)
    assert scores["lead_time"].dtype == np.dtype("timedelta64[ns]")
    assert scores["init_time"].values[1] == np.datetime64("2020-01-01T12")
    assert scores["units"].values.tolist() == ["m2 s-2", "K", "K", "m s-1"]
    assert scores["variable"].values.tolist() == ["z", "t", "t2m", "u10m"]
    np.testing.assert_array_equal(scores["level"], [500, 850, np.nan, np.nan])
    assert scores.attrs["digest"] == "0" * 64
    assert scores.attrs["comment"].startswith("SYNTHETIC")
    assert "95 % intervals of 200 resamples of the 9 initial times in blocks of 3" in scores.attrs["uncertainty"]
    assert scores["rmse"].attrs["better"] == "low"
    assert scores["acc"].attrs["units"] == "1"
    np.testing.assert_allclose(scores["rank_histogram"].sum("rank"), 1)
    np.testing.assert_allclose(scores["reliability_share"].sum("bin"), 1)
    np.testing.assert_allclose(scores["reliability_observed"].isel(bin=-1), 0.8)
    assert scores["wavelength"].dims == ("band", "wavenumber")
    if shutil.which("ncdump"):
        command = ["ncdump", "-h", made / "results" / "scores.nc"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert 'rmse:coordinates = "units variable level"' in done.stdout


def test_maps_are_means_at_every_point(made: Path) -> None:
    values = made_values(made_plan(inits=9, plots=False, events=EVENTS))
    maps = opened(made, "maps.nc")
    np.testing.assert_array_equal(maps["latitude"], GRID.latitude)
    cases = values["map_cases"].values
    expected = np.sqrt(values["map_squared_error"].values / cases)
    order = ("system", "lead_time", "channel", "latitude", "longitude")
    np.testing.assert_allclose(maps["rmse"].transpose(*order), expected, rtol=1e-6)
    np.testing.assert_allclose(maps["bias"].transpose(*order), values["map_error"].values / cases, rtol=1e-6)
    assert maps["land"].values.mean() == 0.5
    assert maps["units"].sel(channel="z500") == "m2 s-2"


def test_points_without_a_case_have_no_error(tmp_path: Path) -> None:
    plan = made_plan(inits=4, channels=("t850",), plots=False, spectra=False)
    values = made_values(plan)
    values["map_cases"][..., 0, 0] = 0
    for name in ("map_error", "map_squared_error", "map_variance"):
        values[name][..., 0, 0] = 0
    write_results(made_parts(tmp_path, plan, values=values), plan, tmp_path)
    with xr.open_dataset(tmp_path / "maps.nc") as maps, xr.open_dataset(tmp_path / "scores.nc") as scores:
        for name in ("bias", "rmse", "spread"):
            missing = np.isnan(maps[name].transpose(..., "latitude", "longitude").values)
            assert missing[..., 0, 0].all()
            assert missing.sum() == missing[..., 0, 0].size
        assert "spectrum_mean" not in scores


def test_a_region_without_analyses_is_missing_and_not_nothing(tmp_path: Path) -> None:
    plan = made_plan(inits=5, channels=("t850",), plots=False)
    values = made_values(plan)
    for name in values.data_vars:
        if {"system", "region"} <= set(values[name].dims):
            values[name][..., 3] = np.nan
    values["coverage"][..., 3] = 0
    values["rank_sum"][..., 3, :] = 0
    values["rank_cases"][..., 3] = 0
    write_results(made_parts(tmp_path, plan, (3,), values), plan, tmp_path)
    with xr.open_dataset(tmp_path / "scores.nc") as scores:
        empty, full = scores.isel(region=3), scores.isel(region=0)
        for name in ("rmse", "rmse_low", "crps_difference", "rank_histogram"):
            assert np.isnan(empty[name]).all()
            assert np.isfinite(full[name]).any()
        assert (empty["cases"] == 0).all()
        assert (empty["coverage"] == 0).all()


def test_no_resamples_no_intervals(tmp_path: Path) -> None:
    plan = made_plan(("one", "two"), inits=6, leads=(6,), plots=False, uncertainty=UncertaintyConfig(samples=0))
    text = write_results(made_parts(tmp_path, plan), plan, tmp_path)
    with xr.open_dataset(tmp_path / "scores.nc") as scores:
        assert not [name for name in scores.data_vars if str(name).endswith("_low")]
        names = scores["reference"].values.tolist()
        assert names == [
            "persistence", "climatology", "climatology_ensemble", "one/control", "one/ensemble_mean", "one/ensemble",
        ]  # fmt: skip
        change = scores["crps"].sel(system="two/ensemble") - scores["crps"].sel(system="one/ensemble")
        found = scores["crps_difference"].sel(system="two/ensemble", reference="one/ensemble")
        np.testing.assert_allclose(found, change, rtol=1e-9, atol=1e-12)
    assert "no intervals were asked for" in text
    assert "±" not in text
