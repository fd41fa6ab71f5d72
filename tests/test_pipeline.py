"""The quickstart in small, verb by verb through the command line: planet, store, model, ensemble, scores, page."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from fourcast.cli import main

DAYS = ["data.train_end=2001-01-08", "data.validation_start=2001-01-09", "data.validation_end=2001-01-10"]
COMMANDS = [
    ["simulate", "planet.days=12", "planet.spinup_days=0"],
    ["ingest", "statistics_end=2001-01-08"],
    ["train", *DAYS, "model.embed_dim=16", "model.depth=1", "steps=8", "batch_size=8", "validate_every=4",
     "validation_samples=4", "trackers=null", "device=cpu"],
    ["forecast", "init_start=2001-01-10T12", "init_end=2001-01-11T00", "init_every_hours=12", "lead_hours=24",
     "ensemble.size=3", "device=cpu"],
    ["verify", "plots=false"],
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the verbs of the preset ran, one after the other."""
    folder = tmp_path_factory.mktemp("pipeline")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for verb, *overrides in COMMANDS:
            patch.setattr(sys, "argv", ["fourcast", verb, "experiment=quickstart", *overrides])
            main()
        patch.setattr(sys, "argv", ["fourcast", "report", "runs/quickstart"])
        main()
    return folder


def test_what_the_verbs_make_is_where_the_preset_says(folder: Path) -> None:
    made = {str(path.relative_to(folder)) for path in folder.glob("*/quickstart/*")}
    assert made == {
        "data/quickstart/planet.nc", "data/quickstart/store.zarr",
        "runs/quickstart/train", "runs/quickstart/forecast", "runs/quickstart/scores",
        "runs/quickstart/report.html",
    }  # fmt: skip
    assert {path.name for path in folder.iterdir()} == {"data", "runs"}
    assert not list(folder.rglob("*.partial"))


def test_forecasts_begin_with_the_analysis_of_their_initial_time(folder: Path) -> None:
    run = xr.open_dataset(folder / "runs/quickstart/forecast/2001-01-11T00/member_000.nc")
    planet = xr.open_dataset(folder / "data/quickstart/planet.nc").sel(time="2001-01-11T00")
    assert run.sizes["time"] == 5
    for level in (200, 500, 800):
        field, analysis = run["z"].isel(time=0).sel(level=level), planet["z"].sel(level=level)
        np.testing.assert_allclose(field, analysis, rtol=1e-5)
    assert "SYNTHETIC" in run.attrs["comment"]


def test_scores_compare_the_ensemble_with_both_baselines(folder: Path) -> None:
    scores = xr.open_dataset(folder / "runs/quickstart/scores/scores.nc").sel(region="global")
    assert {"control", "ensemble", "ensemble_mean", "persistence", "climatology"} <= set(scores["system"].values)
    at = scores["rmse"].sel(channel="z500")
    assert float(at.sel(system="control").isel(lead_time=0)) == pytest.approx(0.0, abs=0.1)
    assert (at.sel(system="persistence").isel(lead_time=slice(1, None)) > 1).all()
    assert np.isfinite(at.sel(system="ensemble_mean")).all()
    assert (scores["spread"].sel(system="ensemble", channel="z500") > 0).all()
    report = (folder / "runs/quickstart/scores/scores.md").read_text()
    assert "SYNTHETIC" in report


@pytest.mark.slow
def test_a_second_run_redoes_only_the_scores(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def written() -> dict[Path, int]:
        kept = [p for p in folder.rglob("*") if p.suffix in (".nc", ".pt") and "scores" not in p.parts]
        return {path: path.stat().st_mtime_ns for path in kept}

    before = written()
    monkeypatch.chdir(folder)
    for verb, *overrides in COMMANDS:
        monkeypatch.setattr(sys, "argv", ["fourcast", verb, "experiment=quickstart", *overrides])
        main()
    assert written() == before


def test_the_page_holds_all_of_the_run(folder: Path) -> None:
    page = (folder / "runs/quickstart/report.html").read_text()
    content = json.loads(re.search(r'<script type="application/json" id="content">(.*?)</script>', page)[1])
    assert "SYNTHETIC" in content["synthetic"]
    assert [name for name in ("about", "curves", "scores", "map") if not content[name]] == []
