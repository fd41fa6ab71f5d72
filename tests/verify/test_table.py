"""Numbers as people read them."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from made_parts import made_parts, made_plan

from fourcast.verify.results.table import align, headline_channels, headline_leads, headline_region, number
from fourcast.verify.results.tidy import units_in
from fourcast.verify.results.write import write_results


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (612.34, "612.3"), (2.31, "2.310"), (1061.7, "1062"), (54321.6, "54322"), (0.99999997, "1.000"),
        (9999.96, "10000"), (-0.01234567, "-0.01235"), (0.00001234567, "1.235e-05"), (0.0, "0"), (float("nan"), "–"),
    ],
)  # fmt: skip
def test_numbers_have_four_significant_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_headlines_are_the_customary_channels_and_lead_times() -> None:
    names = ["q850", "v10m", "t850", "u10m", "t2m", "z500", "r500", "msl"]
    leads = np.array([0, 6, 12, 24, 48], dtype="timedelta64[h]").astype("timedelta64[ns]")
    scores = xr.Dataset(coords={"channel": names, "lead_time": leads, "region": ["tropics", "global"]})
    assert headline_channels(scores) == ["z500", "t850", "u10m", "t2m", "msl", "q850"]
    assert headline_leads(scores) == [1, 2, 3, 4]
    assert headline_leads(scores.isel(lead_time=[0])) == [0]
    assert headline_region(scores) == "global"
    assert headline_region(scores.isel(region=[0])) == "tropics"


def test_units_follow_the_metric() -> None:
    assert [units_in(name, "K") for name in ("rmse", "mse", "acc", "brier")] == ["K", "(K)^2", "1", "1"]


def test_columns_line_up() -> None:
    assert align([["a", "b"], ["long", "1"]]).splitlines() == ["| a    | b |", "|------|--:|", "| long | 1 |"]


def cells(text: str, first: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {first}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_shows_what_the_netcdf_holds(tmp_path: Path) -> None:
    plan = made_plan(inits=6, channels=("t850", "z500"), plots=False, events=["t850 > 280", "z500 > 5e4"])
    text = write_results(made_parts(tmp_path, plan), plan, tmp_path)
    with xr.open_dataset(tmp_path / "scores.nc") as scores:
        at = scores.sel(channel="z500", region="global", lead_time=np.timedelta64(6, "h")).load()
    shown = cells(text, "z500 (m2 s-2)")
    half = float(at["rmse_high"].sel(system="ensemble_mean") - at["rmse_low"].sel(system="ensemble_mean")) / 2
    assert shown[1:3] == ["6 h", number(float(at["rmse"].sel(system="control")))]
    assert shown[3] == f"{number(float(at['rmse'].sel(system='ensemble_mean')))} ±{float(f'{half:.2g}'):g}"
    assert shown[-1] == number(float(at["crps"].sel(system="climatology_ensemble")))
    assert cells(text, "channel") == [
        "channel (units)", "lead", "RMSE control", "ens. mean", "persist.", "climat.",
        "CRPS ensemble", "persist.", "climat.", "prob. clim.",
    ]  # fmt: skip
    report = (tmp_path / "scores.md").read_text()
    assert text in report
    assert len([line for line in report.splitlines() if line.startswith("| z500 (m2 s-2)")]) == 2
    assert cells(report, "event")[2] == "Brier ensemble"
    assert len(cells(report, "z500 > 50000.0")) == len(cells(report, "event"))
    assert "30 forecasts (initial × lead times) from 2020-01-01T00 to 2020-01-03T12, 29 verified, 1 skipped" in text
    assert text.startswith("SYNTHETIC")


def test_one_member_without_a_climatology_stands_beside_persistence(tmp_path: Path) -> None:
    plan = made_plan(
        members=1, inits=3, channels=("t850",), plots=False, climatology="none", climatology_members=0, synthetic=False
    )
    text = write_results(made_parts(tmp_path, plan), plan, tmp_path)
    assert cells(text, "channel")[2:] == ["RMSE control", "persist.", "CRPS control", "persist."]
    assert "Forecast runs/forecast (1 member) against" in text
    assert "SYNTHETIC" not in text
    assert "ACC" not in (tmp_path / "scores.md").read_text()


def test_several_forecasts_have_a_column_each(tmp_path: Path) -> None:
    plan = made_plan(("b", "a"), inits=3, channels=("t850",), leads=(6,), plots=False)
    text = write_results(made_parts(tmp_path, plan), plan, tmp_path)
    assert cells(text, "channel")[2:6] == ["RMSE b ens. mean", "a ens. mean", "persist.", "climat."]
    assert "Forecasts b = runs/b (5 members), a = runs/a (5 members) against" in text
