"""fourcast verify end to end on a tiny planet whose scores are known."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from known_planet import CHANNELS, GRID, INITS, TIMES, analyses, config, make_run, make_store
from tiny import write_store

from fourcast.errors import InputError
from fourcast.verify.evaluate import verify


@pytest.fixture(scope="module")
def planet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with RUN and store.zarr; tests write their own outputs into it."""
    folder = tmp_path_factory.mktemp("planet")
    make_store(folder / "store.zarr")
    make_run(folder / "RUN")
    return folder


def opened(output: Path, name: str = "scores.nc") -> xr.Dataset:
    with xr.open_dataset(output / name, decode_timedelta=True) as results:
        return results.sel(region="global").load()


def test_scores_are_those_of_the_offsets(planet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = opened(verify(config(planet, "scores", regions=None)))
    assert scores["init_times"].values.tolist() == [3, 3, 3, 2]
    assert scores["channel"].values.tolist() == list(CHANNELS)
    assert scores["units"].values.tolist() == ["K", "m2 s-2", "m s-1"]
    assert scores["system"].values.tolist() == ["control", "ensemble_mean", "ensemble", "persistence", "climatology"]
    np.testing.assert_allclose(scores["rmse"].sel(system="control"), 1.0, rtol=1e-5)
    np.testing.assert_allclose(scores["rmse"].sel(system="ensemble_mean"), 3.0, rtol=1e-5)
    np.testing.assert_allclose(scores["bias"].sel(system="ensemble_mean"), 3.0, rtol=1e-5)
    # Mean |x − y| = 3, mean |x − x'| over pairs = (1 + 5 + 4) / 3; variance of 1, 2, 6 is 7.
    np.testing.assert_allclose(scores["crps"].sel(system="ensemble"), 3 - 5 / 3, rtol=1e-5)
    np.testing.assert_allclose(scores["crps_standard"].sel(system="ensemble"), 3 - 10 / 9, rtol=1e-5)
    # The distances between whole fields are those at every point.
    np.testing.assert_allclose(scores["energy_score"].sel(system="ensemble"), 3 - 5 / 3, rtol=1e-5)
    np.testing.assert_allclose(scores["spread"].sel(system="ensemble"), np.sqrt(7), rtol=1e-5)
    ratio = scores["spread_skill_ratio"].sel(system="ensemble")
    np.testing.assert_allclose(ratio, np.sqrt(4 / 3 * 7) / 3, rtol=1e-5)
    np.testing.assert_allclose(scores["debiased_rmse"].sel(system="ensemble_mean"), np.sqrt(9 - 7 / 3), rtol=1e-5)
    # The analysis lies below all three members.
    np.testing.assert_allclose(scores["rank_histogram"].isel(rank=0), 1.0, rtol=1e-12)
    days = np.array([0, 0.25, 0.5, 1.0])[:, None] * np.ones(3)
    np.testing.assert_allclose(scores["rmse"].sel(system="persistence"), days, rtol=1e-5)
    np.testing.assert_allclose(scores["crps"].sel(system="persistence"), days, rtol=1e-5)
    np.testing.assert_allclose(scores["bias"].sel(system="persistence"), -days, rtol=1e-5)
    assert (scores["rmse"].sel(system="persistence").isel(lead_time=0) == 0).all()
    printed = capsys.readouterr()
    assert "12 forecasts (initial × lead times)" in printed.out
    assert "no climatology_ensemble: " in printed.err
    assert not (planet / "scores.parts").exists()


def test_errors_count_by_cell_area(planet: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "RUN", members=(0,), inits=INITS[:1], rows=slice(0, 1))
    scores = opened(verify(config(planet, "area", forecast=str(run))))
    # Rows from 90 to −67.5 every 22.5 degrees: the first cell reaches down to 78.75, the last one to −78.75.
    edge = np.sin(np.deg2rad(78.75))
    np.testing.assert_allclose(scores["rmse"].sel(system="control") ** 2, (1 - edge) / (1 + edge), rtol=1e-5)


def test_climatology_and_acc_are_those_of_the_store(planet: Path) -> None:
    statistics = opened(verify(config(planet, "climate")), "statistics.nc").isel(init_time=0, lead_time=0)
    # Six analyses for each hour of day: the climatology is their mean, 2.5 days after the first of them.
    days = (INITS[0] - TIMES[0]) / np.timedelta64(24, "h") - 2.5
    np.testing.assert_allclose(statistics["squared_error"].sel(system="climatology"), days**2, rtol=1e-4)
    # Departures from it are uniform, so that p' t' is ± |p'| |t'|.
    correlation = statistics["anomaly_correlation"]
    np.testing.assert_allclose(correlation.sel(system="control"), np.sign(days * (days + 1.0)), rtol=1e-5)
    assert np.isnan(correlation.sel(system="climatology")).all()


def test_the_climatology_of_the_published_convention_has_no_hours(planet: Path) -> None:
    statistics = opened(verify(config(planet, "published", convention="fourcastnet")), "statistics.nc")
    # 24 analyses every 6 hours: their mean is that of 2.875 days after the first.
    days = (INITS[0] - TIMES[0]) / np.timedelta64(24, "h") - 2.875
    found = statistics["squared_error"].sel(system="climatology").isel(init_time=0, lead_time=0)
    np.testing.assert_allclose(found, days**2, rtol=1e-4)


def test_without_climatology_there_is_neither_acc_nor_its_baselines(planet: Path) -> None:
    scores = opened(verify(config(planet, "unclimatic", climatology="none")))
    assert scores["system"].values.tolist() == ["control", "ensemble_mean", "ensemble", "persistence"]
    assert "acc" not in scores
    np.testing.assert_allclose(scores["rmse"].sel(system="control"), 1.0, rtol=1e-5)


def test_analyses_of_other_days_are_a_probabilistic_climatology(planet: Path, tmp_path: Path) -> None:
    # 48 days of which every one is 1 more than that before; the first forecast is valid on day 1, which excludes all
    # days before day 11, and of the 37 that are left 4 are taken: the 5th, 14th, 23rd and 32nd of them.
    days = np.repeat(np.arange(48.0), 4)
    times = TIMES[0] + 6 * np.arange(len(days))
    fields = np.broadcast_to(days[:, None, None, None], (len(days), 3, *GRID.shape)).astype(np.float32)
    store = write_store(tmp_path / "long.zarr", times, fields, CHANNELS, GRID)
    changes = {"store": str(store), "climatology_members": 4, "lead_hours": [0], "init_end": "2026-08-02"}
    scores = opened(verify(config(planet, "others", **changes)))
    members = np.array([11 + 4, 11 + 13, 11 + 23, 11 + 32])
    distances = np.abs(members[:, None] - members).sum() / 12
    expected = (members - 1).mean() - distances / 2
    np.testing.assert_allclose(scores["crps"].sel(system="climatology_ensemble"), expected, rtol=1e-6)
    assert np.isnan(scores["rmse"].sel(system="climatology_ensemble")).all()


def test_an_events_channel_is_scored_though_it_only_follows_from_winds(tmp_path: Path) -> None:
    # Analyses of wind (3, 4), whose speed is 5, and one of two members 2 higher, (5, 6), with one above 7.
    winds, speed = ("t2m", "u10m", "v10m"), "ws10m"
    fields = np.broadcast_to(np.array([0, 3, 4])[:, None, None], (len(TIMES), 3, *GRID.shape)).astype(np.float32)
    write_store(tmp_path / "store.zarr", TIMES, fields, winds, GRID)
    make_run(tmp_path / "RUN", (0, 1), INITS[:2], fields=fields, channels=winds, added=np.array([0.0, 2.0]))
    with xr.open_dataset(verify(config(tmp_path, "out", events=["ws10m > 7"])) / "scores.nc") as scores:
        assert scores["channel"].values.tolist() == [*winds, speed]
        np.testing.assert_allclose(scores["brier"].sel(system="ensemble"), 1 / 4, rtol=1e-12)
    with pytest.raises(InputError, match=r"ws10m of 'ws10m > 7\.0' is not among the channels .* u10m, v10m"):
        verify(config(tmp_path, "asked", events=["ws10m > 7"], channels=["u10m", "v10m"]))


def test_events_and_regions_are_scored(planet: Path, tmp_path: Path) -> None:
    # Analyses of 0 and members of 1, 2 and 6: above 1.5 are two of three, and the analysis never.
    store = write_store(tmp_path / "zero.zarr", TIMES, 0 * analyses(), CHANNELS, GRID)
    run = make_run(tmp_path / "RUN", inits=INITS[:2], fields=0 * analyses())
    boxes = {"box": [50.0, 350.0, 20.0, 10.0]}
    changes = {"events": ["t2m > 1.5", "z500 <= 0"], "regions": ["global", "tropics_land"], "boxes": boxes}
    output = verify(config(planet, "events", store=str(store), forecast=str(run), **changes))
    with xr.open_dataset(output / "scores.nc") as scores:
        assert scores["region"].values.tolist() == ["global", "tropics_land", "box"]
        brier = scores["brier"].sel(system="ensemble")
        np.testing.assert_allclose(brier.sel(event="t2m > 1.5"), 4 / 9, rtol=1e-12)
        np.testing.assert_allclose(scores["fair_brier"].sel(system="ensemble", event="t2m > 1.5"), 1 / 3, rtol=1e-12)
        np.testing.assert_allclose(brier.sel(event="z500 <= 0.0"), 1.0, rtol=1e-12)
        reliability = scores["reliability_forecast"].sel(event="t2m > 1.5", ensemble="ensemble")
        np.testing.assert_allclose(reliability.isel(bin=7), 2 / 3, rtol=1e-12)
        assert np.isnan(reliability.isel(bin=[0, 6, 8, 10])).all()


def test_gaps_in_the_analysis_leave_the_point_out_for_everybody(planet: Path, tmp_path: Path) -> None:
    holes = analyses()
    holes[:, :, 2, 3] = np.nan
    store = write_store(tmp_path / "holes.zarr", TIMES, holes, CHANNELS, GRID)
    scores = opened(verify(config(planet, "holes", store=str(store))))
    np.testing.assert_allclose(scores["rmse"].sel(system="control"), 1.0, rtol=1e-5)
    assert (scores["coverage"] < 1).all()
    assert np.isfinite(scores["acc"].sel(system="control")).all()


def test_gaps_of_a_forecast_can_be_skipped(planet: Path, tmp_path: Path) -> None:
    holes = analyses()
    holes[:, 0, 0] = np.nan  # the whole first row, where the other members are off by a thousand
    run = make_run(tmp_path / "RUN", inits=INITS[:2], fields=holes)
    scores = opened(verify(config(planet, "skip", forecast=str(run), missing="skip")))
    np.testing.assert_allclose(scores["rmse"].sel(system="control"), 1.0, rtol=1e-5)
    edge = np.sin(np.deg2rad(78.75))
    np.testing.assert_allclose(scores["coverage"].sel(channel="t2m"), 2 * edge / (1 + edge), rtol=1e-9)
    np.testing.assert_allclose(scores["coverage"].sel(channel="z500"), 1.0, rtol=1e-12)


def test_several_forecasts_are_compared_on_what_they_share(
    planet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_run(tmp_path / "other", (0, 1), INITS[1:], added=np.array([4.0, 6.0]))
    forecasts = {"forecast": [str(planet / "RUN"), str(other)], "channels": ["z500"]}
    scores = opened(verify(config(planet, "two", **forecasts)))
    assert scores["system"].values.tolist() == [
        *(f"{name}/{kind}" for name in ("RUN", "other") for kind in ("control", "ensemble_mean", "ensemble")),
        *("persistence", "climatology"),
    ]
    assert scores["init_times"].values.tolist() == [2, 2, 2, 1]
    np.testing.assert_allclose(scores["rmse"].sel(system="RUN/ensemble_mean"), 3.0, rtol=1e-5)
    np.testing.assert_allclose(scores["rmse"].sel(system="other/ensemble_mean"), 5.0, rtol=1e-5)
    np.testing.assert_allclose(scores["crps"].sel(system="other/ensemble"), 5.0 - 1.0, rtol=1e-5)
    np.testing.assert_allclose(scores["rank_histogram"].sel(ensemble="other/ensemble", rank=0), 1.0, rtol=1e-12)
    assert f"not scored, for only {planet / 'RUN'} holds them: 1 initial times" in capsys.readouterr().err
    named = opened(verify(config(planet, "named", **forecasts, names=["a", "b"])))
    assert named["system"].values.tolist()[0] == "a/control"


def test_an_ensemble_without_member_0_has_no_control(planet: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "PERTURBED", members=(1, 2))
    scores = opened(verify(config(planet, "perturbed", forecast=str(run))))
    assert "control" not in scores["system"].values
    np.testing.assert_allclose(scores["rmse"].sel(system="ensemble_mean"), 4.0, rtol=1e-5)


def test_what_the_store_lacks_is_said_and_not_scored(
    planet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = make_store(tmp_path / "fewer.zarr", CHANNELS[:2])
    scores = opened(verify(config(planet, "fewer", store=str(fewer))))
    assert scores["channel"].values.tolist() == list(CHANNELS[:2])
    assert "fewer.zarr lacks u10m" in capsys.readouterr().err


def test_precipitation_is_scored_by_its_categories(planet: Path, tmp_path: Path) -> None:
    times = TIMES[0] + 6 * np.arange(4 * 120)
    rain = np.random.default_rng(3).gamma(0.5, 2e-3, (len(times), 1, *GRID.shape)).astype(np.float32)
    rain[rain < 5e-4] = 0
    store = write_store(tmp_path / "rain.zarr", times, rain, ("tp06",), GRID)
    run = make_run(tmp_path / "RUN", (0, 1), INITS, added=np.zeros(2), fields=rain, channels=("tp06",))
    changes = {"store": str(store), "forecast": str(run), "channels": None}
    scores = opened(verify(config(planet, "rain", **changes)))["seeps"].sel(channel="tp06")
    np.testing.assert_allclose(scores.sel(system="control"), 0.0, atol=1e-12)
    # What says nothing of the weather scores 1 on average; another day's weather is one such forecast.
    assert (np.abs(scores.sel(system="persistence").isel(lead_time=slice(1, None)) - 1) < 0.35).all()
    assert np.isnan(scores.sel(system="ensemble")).all()


def test_lead_and_initial_times_can_be_chosen(planet: Path) -> None:
    scores = opened(verify(config(planet, "chosen", lead_hours=[24, 6], init_start="2026-08-03")))
    assert (scores["lead_time"].values / np.timedelta64(1, "h")).tolist() == [6, 24]
    assert scores["init_times"].values.tolist() == [2, 1]


def test_the_files_and_the_terminal_show_the_same_numbers(planet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = verify(config(planet, "same", channels=["z500", "t2m"]))
    printed = capsys.readouterr().out.strip()
    text = (output / "scores.md").read_text()
    assert printed in text
    assert "SYNTHETIC" in printed
    assert "11 verified, 1 skipped" in printed
    rows = list(csv.DictReader((output / "scores.csv").read_text().splitlines()))
    assert {row["channel"] for row in rows} == {"z500", "t2m"}
    row = next(line for line in printed.splitlines() if "z500 (m2 s-2)" in line)
    assert [cell.strip() for cell in row.split("|")[2:6]] == ["6 h", "1.000", "3.000", "0.2500"]


def test_one_member_is_scored_without_an_ensemble(planet: Path, tmp_path: Path) -> None:
    make_run(tmp_path / "RUN", members=(0,))
    output = verify(config(planet, "single", forecast=str(tmp_path / "RUN")))
    scores = opened(output)
    assert scores["system"].values.tolist() == ["control", "persistence", "climatology"]
    np.testing.assert_allclose(scores["crps"].sel(system="control"), 1.0, rtol=1e-5)
    assert "CRPS control" in (output / "scores.md").read_text()


@pytest.mark.slow
def test_pictures_are_drawn_and_shown(planet: Path) -> None:
    pytest.importorskip("matplotlib")
    less = {"channels": ["z500"], "lead_hours": [24], "regions": ["global"], "spectra": False}
    output = verify(config(planet, "pictures", **less, plots=True))
    pictures = {path.name for path in output.glob("*.png")}
    assert {"rmse.png", "crps.png", "acc.png", "spread.png", "forecast_map.png"} <= pictures
    text = (output / "scores.md").read_text()
    assert all(f"]({name})" in text for name in pictures)


def test_pictures_without_matplotlib_fail_before_the_work(planet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install fourcast\[report\].*plots=false"):
        verify(config(planet, "none", plots=True))


def test_a_rerun_replaces_its_output_and_nothing_else(planet: Path) -> None:
    asked = config(planet, "again", channels=["t2m"], lead_hours=[6], regions=["global"], spectra=False)
    output = verify(asked)
    (output / "left_over.png").touch()
    verify(asked)
    assert not (output / "left_over.png").exists()
    with pytest.raises(InputError, match="which is no verification"):
        verify(config(planet, "RUN"))


@pytest.mark.slow
def test_verification_starts_without_torch() -> None:
    code = "import sys, fourcast.verify.evaluate; print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
