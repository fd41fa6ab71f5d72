"""The page of odd runs in a headless Chromium: few or very many of everything, and numbers that are none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from report_run import CHANNELS, GRID, INIT, analyses
from test_page import Opened, open_page
from tiny import write_store

from fourcast.forecast.netcdf import FileWriter, Header, columns_of, member_path
from fourcast.report.report import report
from fourcast.verify_config import ReportConfig

pytestmark = pytest.mark.slow


def write_members(run: Path, fields_MLCHW: np.ndarray, leads: tuple[int, ...]) -> None:
    for number, fields in enumerate(fields_MLCHW):
        header = Header(CHANNELS, GRID.latitude, GRID.longitude, INIT, leads, {}, number)
        with FileWriter(member_path(run / "forecast", INIT, number), header, columns_of(CHANNELS)) as writer:
            for i_lead, state in enumerate(fields):
                writer.write(i_lead, state)


def write_scores(run: Path, value: float, dims: tuple[str, ...], **coordinates: list[Any]) -> None:
    """Scores of one ``value`` everywhere, along ``dims`` alone."""
    (run / "scores").mkdir(parents=True)
    held = {name: values for name, values in coordinates.items() if name in dims}
    held |= {"lead_time": np.array(coordinates["lead_time"]).astype("timedelta64[h]").astype("timedelta64[ns]")}
    held |= {"units": ("channel", ["K"] * len(coordinates["channel"])), "reference": ["persistence"]}
    shape = [len(coordinates[dim]) for dim in dims]
    names = ("rmse", "acc", "spread")
    variables = {name: (dims, np.full(shape, value)) for name in names}
    variables["rmse_difference"] = (("reference", *dims), np.full((1, *shape), value))
    ranks = tuple(dim for dim in dims if dim != "system")
    variables["rank_histogram"] = ((*ranks, "rank"), np.full((*(len(coordinates[d]) for d in ranks), 3), value))
    said = {"uncertainty": "no intervals were asked for", "uncertainty_samples": 0, "comment": "</script><b>'\"&"}
    xr.Dataset(variables, held, said).to_netcdf(run / "scores" / "scores.nc")


def shown(browser: Any, run: Path, **options: Any) -> Opened:
    opened = open_page(browser, report(ReportConfig(run=str(run), **options)), viewport={"width": 1000, "height": 900})
    opened.page.wait_for_selector("#leads h3")
    return opened


@pytest.mark.parametrize("value", [np.nan, 0.0, -1e30, 1e300])
def test_one_of_everything(browser: Any, tmp_path: Path, value: float) -> None:
    field = np.full((1, 1, len(CHANNELS), *GRID.shape), np.clip(value, -1e30, 1e30), np.float32)
    write_members(tmp_path, field, (6,))
    write_scores(
        tmp_path, value, ("system", "lead_time", "channel"), system=["control"], lead_time=[6], channel=["t500"]
    )
    opened = shown(browser, tmp_path)
    opened.settle()
    opened.page.locator(".over").scroll_into_view_if_needed()
    opened.point(2, 5)
    said = opened.text("#map-value b")
    assert said == "no value" if np.isnan(value) else "K" in said
    opened.page.locator(".over").click()
    opened.page.wait_for_selector(".point h3")
    assert "No shading: no intervals were asked for." in opened.text("#leads")
    assert opened.page.locator("b", has_text="'\"&").count() == 0
    assert opened.complaints == []
    opened.page.context.close()


def test_a_first_region_without_numbers_hides_no_forecast(browser: Any, tmp_path: Path) -> None:
    dims = ("system", "lead_time", "channel", "region")
    names = {"system": ["control", "ensemble_mean", "persistence"], "region": ["land", "global"]}
    write_scores(tmp_path, 1.0, dims, **names, lead_time=[6, 12], channel=["t500", "t850"])
    path = tmp_path / "scores" / "scores.nc"
    scores = xr.load_dataset(path)
    scores["rmse"].loc[{"region": "land"}] = np.nan
    scores["rmse"].loc[{"system": "control"}] = np.nan
    scores.to_netcdf(path)
    opened = shown(browser, tmp_path)
    opened.page.wait_for_selector(".scorecard")
    offered = opened.page.locator("#scorecard").get_by_label("Forecast", exact=True).locator("option")
    assert offered.all_text_contents() == ["ensemble mean"]
    assert opened.page.locator("#leads option", has_text="t500: temperature").count() == 1
    assert opened.complaints == []
    opened.page.context.close()


def test_the_mean_and_the_analysis_stand_beside_many_members(browser: Any, tmp_path: Path) -> None:
    times = INIT + 12 * np.arange(4)
    store = write_store(tmp_path / "store.zarr", times, analyses()[:4], CHANNELS, GRID)
    noise = np.random.default_rng(0).normal(0, 1, (52, 4, len(CHANNELS), *GRID.shape))
    write_members(tmp_path / "run", (analyses()[:4] + noise).astype(np.float32), (0, 12, 24, 36))
    opened = open_page(browser, report(ReportConfig(run=str(tmp_path / "run"), store=str(store))))
    opened.settle()
    assert "+24 h" in opened.text(".when")  # where it opens
    opened.page.locator(".over").click()
    opened.page.wait_for_selector(".point .legend button")
    assert opened.page.locator(".point .legend button").all_text_contents() == ["ensemble mean", "analysis"]
    assert opened.page.locator(".point path.line").count() == 50 + 2
    assert opened.complaints == []
    opened.page.context.close()
