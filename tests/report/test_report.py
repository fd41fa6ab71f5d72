"""fourcast report: what the page holds, what it does without, and what it refuses."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from report_run import CHANNELS, EVENT, LEADS, make_everything, make_forecast, make_scores

from fourcast.errors import InputError
from fourcast.report.about import OF_FORECAST, about, attribute_rows, training_rows
from fourcast.report.report import report
from fourcast.report.scores import Scores, read_scores
from fourcast.verify_config import ReportConfig


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with all its parts; read only."""
    return make_everything(tmp_path_factory.mktemp("everything"))


def content_of(page: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="content">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


def part_of(everything: Path, folder: Path, *parts: str) -> Path:
    """A copy of some parts of the run."""
    folder.mkdir(exist_ok=True)
    for part in parts:
        shutil.copytree(everything / part, folder / part)
    return folder


def test_the_page_holds_everything(everything: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = report(ReportConfig(run=str(everything), output=str(tmp_path / "page.html")))
    assert f"{page} (0." in capsys.readouterr().out
    content = content_of(page)
    assert "SYNTHETIC" in content["synthetic"]
    assert [group["name"] for group in content["about"]["groups"]] == ["Model", "Training", "Forecast", "Verification"]
    assert content["curves"]["loss"] == {"x": [10, 20], "y": [0.2, 0.1]}
    assert content["curves"]["persistence_loss"] == {"x": [20], "y": [0.9]}
    assert content["scores"]["coordinates"]["lead_time"] == list(LEADS)
    assert content["scores"]["variables"]["rmse"]["shape"] == [3, 3, 3, 2]
    assert "verified" not in content["scores"]["variables"]
    shown = content["map"]
    assert [channel["name"] for channel in shown["channels"]] == list(CHANNELS)
    views = ["member 0", "member 1", "member 2", "mean", "spread", EVENT, "analysis"]
    assert list(shown["channels"][1]["views"]) == views
    assert shown["longitude"][0] == -180.0
    assert shown["channels"][2]["colours"]["value"]["table"] == "RdBu_r"
    low, high = shown["channels"][2]["colours"]["value"]["range"]
    assert low == -high
    assert len(shown["coast"]) > 0  # land is one half of the tiny planet
    assert shown["left_out"] == []


def test_the_page_asks_for_nothing(everything: Path, tmp_path: Path) -> None:
    text = report(ReportConfig(run=str(everything), output=str(tmp_path / "page.html"))).read_text()
    outward = re.findall(r"(?:src|href)=\"?([^\"\s>]+)|url\(([^)]*)\)|@import", text)
    assert {link for link, _ in outward} <= {"data:,"} | {link for link, _ in outward if link.startswith("#")}
    assert "fetch(" not in text


@pytest.mark.parametrize("parts", [("train",), ("forecast",), ("scores",), ("forecast", "scores")])
def test_parts_that_are_not_there_are_left_out(everything: Path, tmp_path: Path, parts: tuple[str, ...]) -> None:
    run = part_of(everything, tmp_path / "run", *parts)
    content = content_of(report(ReportConfig(run=str(run))))
    assert (content["curves"] is not None) == ("train" in parts)
    assert (content["scores"] is not None) == ("scores" in parts)
    assert (content["map"] is not None) == ("forecast" in parts)
    if "scores" not in parts and "forecast" in parts:
        assert "verify the forecast first" in content["map"]["left_out"][-1]
        assert "analysis" not in content["map"]["channels"][0]["views"]
        assert content["map"]["coast"] == []


def test_a_store_that_has_gone_is_said_and_one_that_is_named_is_taken(everything: Path, tmp_path: Path) -> None:
    run = part_of(everything, tmp_path / "run", "forecast")
    make_scores(run / "scores", tmp_path / "gone.zarr")
    content = content_of(report(ReportConfig(run=str(run))))
    assert "gone.zarr, which the scores name, is not there" in content["map"]["left_out"][-1]
    store = str(everything.parent / "store.zarr")
    content = content_of(report(ReportConfig(run=str(run), store=store)))
    assert content["map"]["left_out"] == []


def test_what_is_named_is_kept_and_the_rest_said(everything: Path, tmp_path: Path) -> None:
    config = ReportConfig(
        run=str(everything), output=str(tmp_path / "few.html"), channels=["t500"], lead_hours=[12], members=[2],
        probability=["t500 < 250"],
    )  # fmt: skip
    shown = content_of(report(config))["map"]
    assert (shown["lead_hours"], shown["members"]) == ([12], [2])
    assert list(shown["channels"][0]["views"]) == ["member 2", "mean", "spread", "t500 < 250.0", "analysis"]
    said = " ".join(shown["left_out"])
    assert "1 of 3 channels are here: t500." in said
    assert "Mean, spread and probabilities are those of all 3 members." in said


def test_a_page_is_no_larger_than_asked_or_says_so(
    everything: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"run": str(everything), "output": str(tmp_path / "page.html")}
    size = report(ReportConfig(**config)).stat().st_size
    assert report(ReportConfig(**config, megabytes=(size - 500) / 1e6)).stat().st_size <= size - 500
    assert "larger than" not in capsys.readouterr().out
    report(ReportConfig(**config, megabytes=0.01))
    assert "It is larger than megabytes=0.01 asks for" in capsys.readouterr().out


def test_attributes_of_any_kind_are_told() -> None:
    rows = attribute_rows({"seed": np.array([1, 2]), "source": "", "history": None}, OF_FORECAST)
    assert rows == [("seed", "[1 2]")]
    scores = Scores({"attributes": {"left_out": "{curly", "comment": '{"a": 1}'}}, {}, [])
    (document,) = about(None, None, None, scores)["documents"]
    assert json.loads(document["text"]) == {"left_out": "{curly", "comment": {"a": 1}}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"store": ["a.zarr"]}, ["a.zarr", "all of it", "its last tenth"]),
        (
            {"store": ["a.zarr", "b.zarr"], "train_start": ["1979", "1990"], "train_end": ["1985", None]}
            | {"validation_start": "2016"},
            ["a.zarr, b.zarr", "1979 to 1985, 1990 to the last", "2016 to the last"],
        ),
    ],
)
def test_what_was_trained_on_is_said_in_words(data: dict[str, object], said: list[str]) -> None:
    rows = dict(training_rows({"data": data}))
    assert [rows[name] for name in ("data", "trained on", "held out")] == said


def test_a_small_page_says_what_it_lacks(everything: Path, tmp_path: Path) -> None:
    config = ReportConfig(run=str(everything), output=str(tmp_path / "small.html"), megabytes=0.004)
    page = report(config)
    content = content_of(page)
    assert content["map"]["block"] > 1
    assert sum(map(len, re.findall(r"<script type=\"text/plain\"[^>]*>([^<]*)", page.read_text()))) < 8000
    assert "points of the forecast's grid" in content["map"]["left_out"][0]
    assert len(content["map"]["latitude_edges"]) == len(content["map"]["latitude"]) + 1


def test_one_member_has_no_spread(everything: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    make_forecast(run / "forecast")
    for extra in (run / "forecast").rglob("member_00[12].nc"):
        extra.unlink()
    shown = content_of(report(ReportConfig(run=str(run), probability=[EVENT])))["map"]
    assert list(shown["channels"][1]["views"]) == ["member 0"]
    assert shown["events"] == []


def test_names_cannot_break_the_page(everything: Path, tmp_path: Path) -> None:
    run = part_of(everything, tmp_path / "a<b>&c", "train")
    text = report(ReportConfig(run=str(run))).read_text()
    assert "a&lt;b&gt;&amp;c" in text
    assert "a<b>" not in text


def test_bad_inputs_are_named(everything: Path, tmp_path: Path) -> None:
    whole = {"run": str(everything), "output": str(tmp_path / "page.html")}
    bad: list[tuple[dict[str, Any], str]] = [
        ({"run": str(tmp_path / "none")}, "there is no folder"),
        ({"run": str(tmp_path)}, "holds no train, forecast or scores"),
        ({**whole, "forecast": str(tmp_path / "none")}, "forecast: there is no"),
        ({**whole, "scores": str(tmp_path)}, r"has no scores\.nc"),
        ({**whole, "init_time": "2027-01-01T00"}, "has no 2027-01-01T00; it holds 2026-08-01T12"),
        ({**whole, "channels": ["msl"]}, "channels: the forecast has no msl; it holds t500, t850, u10m"),
        ({**whole, "lead_hours": [7]}, "lead_hours: the forecast has no 7; it holds 0, 6, 12"),
        ({**whole, "members": [9]}, "members: the forecast has no 9"),
        ({**whole, "lead_hours": []}, "lead_hours: the list is empty"),
        ({**whole, "members": []}, "members: the list is empty"),
        ({"run": str(everything), "output": str(tmp_path)}, "output: .* is a folder; name a file"),
        ({"run": str(everything / "train")}, f"did you mean {everything}"),
        ({**whole, "probability": ["msl > 1"]}, "probability: the forecast has no msl"),
        ({**whole, "store": str(tmp_path / "none.zarr")}, r"none\.zarr"),
    ]
    for given, message in bad:
        with pytest.raises(InputError, match=message):
            report(ReportConfig(**given))
    assert not (tmp_path / "page.html").exists()


def test_it_needs_matplotlib_and_says_so(everything: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install fourcast\[report\]"):
        report(ReportConfig(run=str(everything)))


def test_an_earlier_page_stays_until_the_new_one_is_whole(
    everything: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.html"
    page.write_text("before")
    monkeypatch.setattr("fourcast.report.report.write_page", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report(ReportConfig(run=str(everything), output=str(page)))
    assert page.read_text() == "before"
    assert list(tmp_path.iterdir()) == [page]


@pytest.mark.slow
def test_reports_start_without_torch() -> None:
    code = "import sys, fourcast.report.report; print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_values_are_packed_by_view(everything: Path, tmp_path: Path) -> None:
    content = content_of(report(ReportConfig(run=str(everything), output=str(tmp_path / "page.html"))))
    views = content["map"]["channels"][1]["views"]
    assert all(len(view["scale"]) == len(LEADS) for view in views.values())
    assert views[EVENT]["low"] == 0.0
    assert views[EVENT]["high"] == 1.0
    assert np.isclose(views["mean"]["rounding"], max(views["mean"]["scale"]) / 2)


def test_scores_that_would_fill_the_page_lose_lead_times_and_channels(tmp_path: Path) -> None:
    channels = [f"t{level}" for level in range(100, 1000, 10)]
    leads = np.arange(0, 246, 6)
    noise = np.random.default_rng(0).normal(size=(2, len(leads), len(channels)))
    hours = leads.astype("timedelta64[h]").astype("timedelta64[ns]")
    coordinates = {"system": ["control", "persistence"], "lead_time": hours, "channel": channels}
    xr.Dataset({"rmse": (("system", "lead_time", "channel"), noise)}, coordinates).to_netcdf(tmp_path / "scores.nc")
    whole = read_scores(tmp_path / "scores.nc", megabytes=1.0)
    assert whole.content["left_out"] == []
    assert whole.content["variables"]["rmse"]["shape"] == [2, 41, 90]
    fewer = read_scores(tmp_path / "scores.nc", megabytes=0.02)
    assert fewer.content["coordinates"]["lead_time"] == list(range(0, 241, 24))
    assert 6 <= len(fewer.content["coordinates"]["channel"]) < 90
    assert "11 of 41 lead times are here; all are in scores.nc" in fewer.content["left_out"][0]
    assert sum(map(len, fewer.packs.values())) <= 0.3 * 0.02e6
