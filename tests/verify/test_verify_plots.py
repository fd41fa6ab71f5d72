"""Pictures: which are drawn, and what they show."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from made_parts import made_parts, made_plan, made_values, with_statistics

from fourcast.drawing import Panel
from fourcast.verify.results import plots
from fourcast.verify.results.maps import draw_error_maps
from fourcast.verify.results.scorecard import Card, better_by, card_leads, cards, percent, sorted_channels
from fourcast.verify.results.write import write_results

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure

PLOTS = "fourcast.verify.results.plots"


def results(folder: Path, *names: str, **changes: object) -> tuple[xr.Dataset, set[str]]:
    plan = made_plan(names or ("",), channels=("t850",), leads=(0, 6), **{"inits": 5, **changes})  # type: ignore[arg-type]
    write_results(made_parts(folder, plan), plan, folder)
    with xr.open_dataset(folder / "scores.nc") as scores:
        return scores.load(), {path.name for path in folder.glob("*.png")}


def test_every_question_has_its_picture(tmp_path: Path) -> None:
    scores, pictures = results(tmp_path, events=["t850 > 280"])
    assert pictures == {
        "rmse.png", "acc.png", "crps.png", "spread.png", "ranks.png", "reliability.png", "spectra.png",
        "error_maps_t850.png", "forecast_map.png", "scorecard_rmse.png", "scorecard_crps.png",
    }  # fmt: skip
    text = (tmp_path / "scores.md").read_text()
    assert all(f"]({name})" in text for name in pictures)
    assert cards(scores) == [
        Card("rmse", "ensemble_mean", "climatology", "scorecard_rmse.png"),
        Card("crps", "ensemble", "climatology_ensemble", "scorecard_crps.png"),
    ]


def test_one_member_has_no_pictures_of_an_ensemble(tmp_path: Path) -> None:
    plain = {"climatology": "none", "climatology_members": 0, "spectra": False}
    scores, pictures = results(tmp_path, members=1, **plain)
    assert pictures == {"rmse.png", "error_maps_t850.png", "forecast_map.png", "scorecard_rmse.png"}
    assert cards(scores) == [Card("rmse", "control", "persistence", "scorecard_rmse.png")]


@pytest.mark.parametrize("dim", [*(pytest.param(dim, marks=pytest.mark.slow) for dim in ("channel", "region")), None])
def test_what_has_no_number_is_drawn_empty_or_not_at_all(tmp_path: Path, dim: str | None) -> None:
    plan = made_plan(channels=("t850", "t2m"), leads=(6,), inits=5, events=["t850 > 280"])
    values = made_values(plan)
    for name, of in values.data_vars.items():
        if name != "verified" and (dim is None or dim in of.dims):
            where = {} if dim is None else {dim: 0}
            values[name][where] = np.nan if "init_time" in of.dims else 0.0
    write_results(made_parts(tmp_path, plan, values=values), plan, tmp_path)
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert {"ranks.png", "spectra.png", "reliability.png", "forecast_map.png"} <= pictures
    lines = {"rmse.png", "acc.png", "crps.png", "spread.png", "scorecard_rmse.png", "scorecard_crps.png"}
    assert lines & pictures == (set() if dim is None else lines)


def test_several_forecasts_stand_beside_the_first(tmp_path: Path) -> None:
    plan = made_plan(("ours", "their model"), channels=("t850",), leads=(6,), inits=5, plots=False)
    write_results(made_parts(tmp_path, plan), plan, tmp_path)
    with xr.open_dataset(tmp_path / "scores.nc") as scores:
        assert cards(scores) == [
            Card("rmse", "their model/ensemble_mean", "ours/ensemble_mean", "scorecard_rmse_their_model.png"),
            Card("crps", "their model/ensemble", "ours/ensemble", "scorecard_crps_their_model.png"),
        ]


def test_a_scorecard_says_how_much_better_and_whether_that_is_certain(tmp_path: Path) -> None:
    plan = made_plan(channels=("t850", "z500"), leads=(0, 6), inits=9, plots=False)
    values = with_statistics(
        made_values(plan), {("squared_error", "ensemble_mean"): 9, ("squared_error", "climatology"): 16}
    )
    place = {"system": "climatology", "channel": "z500", "lead_time": np.timedelta64(0, "h")}
    values["squared_error"].loc[place] = 0.0
    # Now better, now worse: on average a little better, but nothing is certain.
    swing = np.where(np.arange(9) % 2, 17.0, 1.0)
    place = {"system": "climatology", "channel": "t850", "lead_time": np.timedelta64(0, "h")}
    values["squared_error"].loc[place] = swing[:, None]
    write_results(made_parts(tmp_path, plan, values=values), plan, tmp_path)
    with xr.open_dataset(tmp_path / "scores.nc") as scores:
        share_LCR, certain_LCR = better_by(scores, cards(scores)[0])
    np.testing.assert_allclose(share_LCR[1, 1], 25, rtol=1e-9)  # 3 instead of 4
    assert certain_LCR[1, 1, 0]
    assert np.isnan(share_LCR[0, 1]).all()
    assert not certain_LCR[0, 0].any()


def test_a_scorecard_is_sorted_by_variable_and_level() -> None:
    names = ["t2m", "z500", "u500", "z50", "msl", "t850"]
    variables, levels = ["t2m", "z", "u", "z", "msl", "t"], [np.nan, 500, 500, 50, np.nan, 850]
    scores = xr.Dataset(coords={"channel": names, "variable": ("channel", variables), "level": ("channel", levels)})
    assert [names[i] for i in sorted_channels(scores)] == ["u500", "z50", "z500", "t850", "t2m", "msl"]


@pytest.mark.parametrize(
    ("hours", "shown"),
    [
        (range(0, 126, 6), [24, 48, 72, 96, 120]), ([0], [0]), ([0, 6, 12], [6, 12]),
        ([0, 6, 12, 24], [6, 12, 24]), (range(0, 361, 12), [24, 48, 72, 120, 144, 168, 192, 216, 264, 288, 312, 360]),
    ],
)  # fmt: skip
def test_a_scorecard_shows_up_to_twelve_days(hours: range | list[int], shown: list[int]) -> None:
    leads = np.array(list(hours), dtype="timedelta64[h]").astype("timedelta64[ns]")
    found = [list(hours)[i] for i in card_leads(xr.Dataset(coords={"lead_time": leads}))]
    assert len(found) == len(shown) <= 12
    assert (found[0], found[-1]) == (shown[0], shown[-1])


def test_per_cents_are_short() -> None:
    assert [percent(value) for value in (-0.04, -3.25, 9.96, -20.4, 1e9, -1e9)] == [
        "0.0", "-3.2", "+10", "-20", "+999", "-999",
    ]  # fmt: skip


def drawn(monkeypatch: pytest.MonkeyPatch, where: str, draw: Callable[[], object]) -> list[Figure]:
    """The figures that ``draw`` saves by way of the module ``where``."""
    figures: list[Figure] = []
    monkeypatch.setattr(f"{where}.save", lambda figure, title, path: figures.append(figure))
    draw()
    return figures


def test_baselines_are_seen_at_a_single_lead_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = made_plan(channels=("t850",), leads=(6,), inits=5, plots=False)
    write_results(made_parts(tmp_path, plan), plan, tmp_path)
    with xr.open_dataset(tmp_path / "scores.nc") as scores:
        (figure,) = drawn(monkeypatch, PLOTS, lambda: plots.draw_lines(scores, "", [("rmse", "persistence")], tmp_path))
    (line,) = figure.axes[0].lines
    assert list(line.get_xdata()) == [0, 1]  # from side to side
    assert list(line.get_ydata()) == [float(scores["rmse"].sel(system="persistence", region="global").squeeze())] * 2
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["0.25"]


def test_probabilities_that_never_were_forecast_do_not_break_the_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, _ = results(tmp_path, events=["t850 > 280"], plots=False)
    share = scores["reliability_share"]
    share[{"bin": slice(1, 4)}] = 0.0
    for name in ("reliability_forecast", "reliability_observed"):
        scores[name] = xr.where(share > 0, 0.5, np.nan).transpose(*share.dims)
    (figure,) = drawn(monkeypatch, PLOTS, lambda: plots.draw_reliability(scores, tmp_path))
    _, *curves = figure.axes[0].lines
    assert curves
    assert all(np.isfinite(np.asarray(line.get_ydata(), dtype=float)).all() for line in curves)


@pytest.mark.parametrize(("spread", "last"), [(0.5, 0.5), (8.0, 10.0)])
def test_a_spread_far_below_the_error_has_colours_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spread: float, last: float
) -> None:
    results(tmp_path, plots=False)
    with xr.open_dataset(tmp_path / "maps.nc") as maps:
        maps.load()
    maps["rmse"][:], maps["spread"][:] = 10.0, spread
    found: list[Panel] = []
    monkeypatch.setattr("fourcast.verify.results.maps.draw_maps", lambda panels, *_: found.extend(panels))
    drawn(monkeypatch, "fourcast.verify.results.maps", lambda: draw_error_maps(maps, tmp_path))
    (levels,) = [panel.levels for panel in found if panel.title.startswith("spread")]
    assert levels[-1] == last
