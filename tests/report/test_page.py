"""The page in a headless Chromium: what it draws and reads out, against the numbers on file."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from report_run import EVENT, GRID, INIT, MEMBERS, RMSE, analyses, make_everything

from fourcast.forecast.netcdf import member_path
from fourcast.report.report import report
from fourcast.verify_config import ReportConfig

pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytestmark = pytest.mark.slow
ROW, COLUMN = 2, 5
"""A grid point of the forecast, 45° N 112.5° E, away from the coasts of the tiny planet."""


@dataclass
class Opened:
    """A page in the browser, its data, and what went wrong on it."""

    page: Any
    content: dict[str, Any]
    complaints: list[str] = field(default_factory=list)

    @property
    def map(self) -> dict[str, Any]:
        return dict(self.content["map"])

    def complain(self, text: str, wrong: bool) -> None:
        """Note what is wrong."""
        self.complaints += [text] if wrong else []

    def choose(self, label: str, value: str) -> None:
        self.page.locator("#map").get_by_label(label, exact=True).select_option(value)
        self.settle()

    def lead(self, position: int) -> None:
        self.page.get_by_label("Lead time", exact=True).fill(str(position))
        self.settle()

    def settle(self) -> None:
        """Wait until what was chosen last is drawn."""
        script = "() => { const set = document.querySelector('.map-frame').dataset; return set.drawn === set.turn; }"
        self.page.wait_for_function(script)

    def point(self, row: int, column: int) -> None:
        """Point at a grid point of the forecast."""
        box = self.page.locator(".over").bounding_box()
        x, y = self.place(row, column)
        self.page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])

    def place(self, row: int, column: int) -> tuple[float, float]:
        """Where a grid point lies on the map, in shares of its width and height, by the edges of the cells."""
        longitudes, latitudes = self.map["longitude_edges"], self.map["latitude_edges"]
        longitude = (GRID.longitude[column] + 180) % 360 - 180
        x = (longitude - longitudes[0]) / (longitudes[-1] - longitudes[0])
        return x, (GRID.latitude[row] - 1e-6 - latitudes[0]) / (latitudes[-1] - latitudes[0])

    def text(self, selector: str) -> str:
        """What the first such element says, with plain spaces."""
        return str(self.page.locator(selector).first.text_content()).replace("\xa0", " ")

    def value(self) -> float:
        """The value that is read out."""
        return float(self.page.locator("#map-value b").get_attribute("data-value"))

    def pixel(self, row: int, column: int) -> list[int]:
        """Red, green, blue and opacity of the field's canvas at a grid point."""
        script = """([x, y]) => {
            const canvas = document.querySelector(".field");
            const place = [Math.floor(x * canvas.width), Math.floor(y * canvas.height)];
            return [...canvas.getContext("2d").getImageData(...place, 1, 1).data];
        }"""
        return list(self.page.evaluate(script, self.place(row, column)))

    def rounding(self) -> float:
        """The largest rounding error that the page states."""
        said = self.text("#map-rounding")
        found = re.search(r"at most ([\d.]+(?:e[−+]?\d+)?)", said)
        assert found is not None, said
        return float(found[1].replace("−", "-"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with all its parts and its page."""
    made = make_everything(tmp_path_factory.mktemp("paged"))
    report(ReportConfig(run=str(made)))
    return made


def open_page(browser: Any, file: Path, **context: Any) -> Opened:
    page = browser.new_context(**context).new_page()
    page.set_default_timeout(10_000)
    text = re.search(r'id="content">(.*?)</script>', file.read_text(), re.DOTALL)
    assert text is not None
    opened = Opened(page, json.loads(text[1]))
    page.on("console", lambda message: opened.complain(message.text, message.type == "error"))
    page.on("pageerror", lambda error: opened.complain(str(error), True))
    page.on("request", lambda asked: opened.complain(asked.url, not asked.url.startswith(("file:", "data:", "blob:"))))
    page.goto(file.as_uri())
    return opened


@pytest.fixture
def opened(browser: Any, run: Path) -> Iterator[Opened]:
    """The page on a desktop, drawn without smoothing; at the end nothing may have been complained of or asked for."""
    found = open_page(browser, run / "report.html", viewport={"width": 1280, "height": 900})
    found.settle()
    found.page.get_by_label("Smooth").uncheck()
    found.settle()
    yield found
    assert found.complaints == []
    found.page.context.close()


def on_file(run: Path, channel: str) -> np.ndarray:
    """[M, L, H, W] of a channel, as the netCDF files of the members have it."""
    variable, level = (channel, None) if channel == "u10m" else (channel[0], int(channel[1:]))
    fields = []
    for member in MEMBERS:
        with xr.open_dataset(member_path(run / "forecast", INIT, member)) as stored:
            fields.append((stored[variable] if level is None else stored[variable].sel(level=level)).values)
    return np.stack(fields)


def colours_of(opened: Opened, channel: str, kind: str, value: float, rounding: float) -> list[list[int]]:
    """The colours that a value may have, given how far it is rounded."""
    import matplotlib

    known = next(c for c in opened.map["channels"] if c["name"] == channel)["colours"][kind]
    low, high = known["range"]
    table = matplotlib.colormaps[known["table"]]
    places = {int(np.clip((v - low) / (high - low) * 256, 0, 255)) for v in (value - rounding, value, value + rounding)}
    return [[round(part * 255) for part in table(place)[:3]] + [255] for place in places]


def test_the_map_shows_the_numbers_on_file(opened: Opened, run: Path) -> None:
    truth = {"analysis": analyses()[2:5, 1]} | {"t850": on_file(run, "t850"), "u10m": on_file(run, "u10m")}
    mean, spread = truth["t850"].mean(axis=0), truth["t850"].std(axis=0, ddof=1)
    cases = [
        ("t", "t850", "mean", "value", mean),
        ("t", "t850", "spread", "spread", spread),
        ("t", "t850", EVENT, "probability", (truth["t850"] > 285).mean(axis=0)),
        ("t", "t850", "analysis", "value", truth["analysis"]),
        ("t", "t850", "error", "error", mean - truth["analysis"]),
        ("t", "t850", "member", "value", truth["t850"][2]),
        ("u10m", "u10m", "member", "value", truth["u10m"][2]),
    ]
    for variable, channel, view, kind, expected in cases:
        opened.choose("Variable", variable)
        if variable == "t":
            opened.choose("Level", channel)
        opened.choose("Show", view)
        if view == "member":
            opened.choose("Member", "2")
        for lead in (2, 0):
            opened.lead(lead)
            opened.point(ROW, COLUMN)
            value, rounding = float(expected[lead, ROW, COLUMN]), opened.rounding()
            assert abs(opened.value() - value) <= rounding * 1.05 + abs(value) * 1e-6, (view, lead)
            assert opened.pixel(ROW, COLUMN) in colours_of(opened, channel, kind, value, rounding), (view, lead)
    assert "45° N, 112.5° E" in opened.text("#map-value")
    assert opened.text("#map-value b").endswith("m s⁻¹")
    assert "2026-08-01 12 UTC" in opened.text(".when")
    assert "Thin straight lines are 60° apart." in opened.text("#map .fine")


def test_every_cell_has_its_colour_whether_smooth_or_not(opened: Opened, run: Path) -> None:
    opened.choose("Variable", "u10m")
    mean = on_file(run, "u10m").mean(axis=0)[0]
    for smooth in (False, True):
        opened.page.get_by_label("Smooth").set_checked(smooth)
        opened.settle()
        # At its centre a cell has its own value either way; a pixel beside it differs by little.
        margin = opened.rounding() + (0.2 if smooth else 0.0)
        for row, column in ((1, 0), (3, 7), (5, 8), (6, 15)):
            expected = colours_of(opened, "u10m", "value", float(mean[row, column]), margin)
            found = np.array(opened.pixel(row, column))
            assert min(np.abs(found - colour).max() for colour in np.array(expected)) <= (12 if smooth else 0)


def test_a_missing_number_is_no_colour(opened: Opened) -> None:
    opened.choose("Level", "t500")
    opened.choose("Show", "member")
    opened.choose("Member", "1")
    opened.lead(1)
    assert opened.pixel(0, 0)[3] == 0
    assert opened.pixel(0, 1)[3] == 255
    opened.point(0, 0)
    assert opened.text("#map-value b") == "no value"


def test_keys_move_the_cursor_and_the_lead_time(opened: Opened) -> None:
    opened.point(ROW, COLUMN)
    opened.page.locator(".over").focus()
    for key in ("ArrowRight", "ArrowUp", "ArrowUp", "ArrowUp"):
        opened.page.keyboard.press(key)
    assert "90° N, 135° E" in opened.text("#map-value")
    for _ in range(3):
        opened.page.keyboard.press("ArrowRight")
    assert "90° N, 157.5° W" in opened.text("#map-value")  # across the date line
    opened.page.keyboard.press("PageDown")
    opened.settle()
    assert "+6 h" in opened.text(".when")
    opened.page.keyboard.press("Enter")
    opened.page.wait_for_selector(".point svg")
    assert "t500 at 90° N, 157.5° W" in opened.text(".point h3")


def test_play_runs_through_the_lead_times(opened: Opened) -> None:
    opened.page.get_by_role("button", name="Play through the lead times").click()
    opened.page.wait_for_function("document.querySelector('.when').textContent.includes('+12 h')")
    opened.page.get_by_role("button", name="Play through the lead times").click()
    assert opened.page.locator(".play").get_attribute("aria-pressed") == "false"


def test_the_scorecard_has_the_numbers_of_the_scores(opened: Opened) -> None:
    cell = opened.page.locator(".scorecard tbody td[tabindex]").first
    # The ensemble mean's error is 0.5, that of persistence 2: 75 % better, and the interval excludes zero.
    assert cell.text_content() == "+75•"
    cell.focus()
    said = opened.text("#scorecard .readout")
    assert said.startswith("t500 at 6 h: 0.5000 K beside 2.000 K, 75.0 % better.")
    assert said.endswith("The difference lies between −2.250 and −0.7500 K.")
    opened.page.keyboard.press("ArrowRight")
    assert "t500 at 12 h" in opened.text("#scorecard .readout")
    opened.page.locator("#scorecard").get_by_label("Forecast", exact=True).select_option("control")
    opened.page.wait_for_function("document.querySelector('.scorecard tbody td[tabindex]').textContent === '+50•'")


def test_charts_are_read_by_keys_and_as_tables(opened: Opened) -> None:
    chart = opened.page.locator("#leads .chart-frame svg")
    chart.focus()
    opened.page.keyboard.press("End")
    said = opened.text("#leads .readout")
    assert said.startswith("12 h")
    for value in RMSE:
        assert f"{value:.{3 if value >= 1 else 4}f} K" in said
    opened.page.locator("#leads summary").click()
    opened.page.wait_for_selector("#leads table tbody")
    rows = opened.page.locator("#leads table tbody tr")
    assert rows.count() == 3
    assert rows.first.text_content().startswith("start1.000 (0.9000 to 1.100)")
    bars = opened.page.locator("#diagnostics .bars rect")
    assert bars.count() == 4
    losses = opened.page.locator("#training .chart-frame svg").first
    losses.focus()
    opened.page.keyboard.press("End")
    assert "0.1000" in opened.text("#training .readout")


def test_a_phone_in_the_dark_needs_no_scrolling_sideways(browser: Any, run: Path) -> None:
    phone = open_page(
        browser, run / "report.html", viewport={"width": 375, "height": 700}, color_scheme="dark", has_touch=True
    )
    phone.settle()
    assert phone.page.evaluate("document.documentElement.scrollWidth") == 375
    background = phone.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", background))) < 60
    phone.page.locator(".over").tap()
    phone.page.wait_for_selector(".point svg")
    assert phone.page.evaluate("document.documentElement.scrollWidth") == 375
    assert phone.complaints == []
    phone.page.context.close()


def test_a_page_without_most_parts_says_what_is_missing(browser: Any, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "train", tmp_path / "train")
    bare = open_page(browser, report(ReportConfig(run=str(tmp_path))))
    assert bare.page.locator("#map .absent").count() == 1
    assert "fourcast verify" in bare.page.locator("#scorecard .absent").text_content()
    assert bare.complaints == []
    bare.page.context.close()
