"""What is wrong with initial states is said before the first step, all at once and by name."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from era5_like import LATITUDE, LEVELS, LONGITUDE, TYPICAL, analyses, times
from tiny import CARD, TIMES

from fourcast.checkpoint import Card
from fourcast.config import ForecastConfig
from fourcast.errors import InputError
from fourcast.forecast.initial import open_analyses
from fourcast.forecast.preflight import preflight
from fourcast.variables import parse_channel

FIRST = np.datetime64("2020-01-01T00", "h")
CHANNELS = ("t2m", "msl", "z500", "r850")
Change = Callable[[np.ndarray], np.ndarray]


def statistics(name: str) -> tuple[float, float]:
    """Mean and standard deviation over the globe of a channel of ``era5_like``."""
    channel = parse_channel(name)
    _, mean, spread = TYPICAL[channel.variable.name]
    if channel.level is None:
        return mean, spread  # type: ignore[return-value]
    at = LEVELS.index(channel.level)
    return mean[at], spread[at]  # type: ignore[index]


@pytest.fixture
def card() -> Card:
    """A model of the Earth, trained on what ``state`` is like."""
    learned = [statistics(name) for name in CHANNELS]
    return replace(
        CARD,
        in_channels=len(CHANNELS),
        out_channels=len(CHANNELS),
        channels=list(CHANNELS),
        latitude=LATITUDE.tolist(),
        longitude=LONGITUDE.tolist(),
        mean=[mean for mean, _ in learned],
        std=[std for _, std in learned],
        synthetic=False,
    )


def state(seed: int = 0) -> np.ndarray:
    """[C, H, W] as the Earth has it."""
    data = analyses(("t2m", "msl", "z", "r"), times(1), seed)
    return np.stack([data.t2m[0], data.msl[0], data.z[0, 0], data.r[0, 1]])


@dataclass(frozen=True)
class Given:
    """Analyses in memory; ``reads`` are the times that were read, in order."""

    states: Mapping[np.datetime64, np.ndarray]
    synthetic: bool = False
    name: str = "given"
    digest: str = ""
    reads: list[np.datetime64] = field(default_factory=list)

    @property
    def times(self) -> np.ndarray:
        return np.array(sorted(self.states))

    def read(self, time: np.datetime64) -> np.ndarray:
        self.reads.append(time)
        return self.states[time].copy()


def given(change: Change = np.copy, count: int = 1, synthetic: bool = False) -> Given:
    return Given({FIRST + 6 * i: change(state(i)) for i in range(count)}, synthetic)


def on(name: str, factor: float = 1.0, offset: float = 0.0) -> Change:
    """The values of one channel as other units would have them."""
    scale, shift = np.ones((len(CHANNELS), 1, 1), "f4"), np.zeros((len(CHANNELS), 1, 1), "f4")
    scale[CHANNELS.index(name)], shift[CHANNELS.index(name)] = factor, offset
    return lambda fields: fields * scale + shift


def put(name: str, value: float, *points: tuple[int, int]) -> Change:
    def change(fields: np.ndarray) -> np.ndarray:
        for row, column in points:
            fields[CHANNELS.index(name), row, column] = value
        return fields

    return change


def refused(analyses: Given, card: Card, *allow: str) -> str:
    """What is said of the states, all of which are asked for."""
    with pytest.raises(InputError) as error:
        preflight(analyses, analyses.times, card, allow)
    return str(error.value)


def test_good_states_pass_and_each_is_read_once(card: Card) -> None:
    good = given(count=3)
    preflight(good, [FIRST + 12, FIRST, FIRST + 12], card, None)
    assert good.reads == [FIRST, FIRST + 12]
    preflight(good, [], card, None)
    assert len(good.reads) == 2


def test_the_planets_own_store_passes(tiny_store: Path) -> None:
    with open_analyses(ForecastConfig(store=str(tiny_store), init_times=["2026-08-05"]), CARD) as found:
        preflight(found, TIMES, CARD, None)


def test_times_that_are_not_there_are_named_before_anything_is_read(card: Card) -> None:
    good = given()
    with pytest.raises(InputError, match="given has no analysis at 2019-12-31T18; it holds 1 times"):
        preflight(good, [FIRST - 6, FIRST], card, None)
    assert good.reads == []


def test_missing_and_infinite_values_are_named_with_their_place(card: Card) -> None:
    """Rows lie 22.5° apart from the north pole on, columns from Greenwich."""
    said = refused(given(put("msl", np.nan, (3, 5), (2, 4))), card)
    assert said == (
        "initial states in given: msl has 2 missing values of 144 at 2020-01-01T00, the first at latitude 45, "
        "longitude 90; fill them, or start from other analyses"
    )
    said = refused(given(put("z500", -np.inf, (8, 0))), card)
    assert "z500 has 1 infinite values of 144 at 2020-01-01T00, the first at latitude -90, longitude 0" in said


def test_missing_values_cannot_be_allowed(card: Card) -> None:
    assert "t2m has 1 missing" in refused(given(put("t2m", np.nan, (0, 0))), card, "missing", "t2m:missing")


def test_a_channel_that_is_missing_altogether_is_named(card: Card) -> None:
    everywhere = [(i, j) for i in range(9) for j in range(16)]
    assert "r850 has 144 missing values of 144" in refused(given(put("r850", np.nan, *everywhere)), card)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (on("t2m", offset=-273.15), "t2m holds .* it looks like °C, not K"),
        (on("msl", 0.01), "msl holds .* it looks like hPa, not Pa"),
        (on("z500", 1 / 9.80665), "z500 holds .* it looks like geopotential metres"),
        (on("r850", 0.01), "r850 has a global mean of .* it looks like a fraction from 0 to 1"),
        (on("z500", 0.0, 14200.0), "z500 holds 1.42e.04"),
        (put("t2m", 1000.0, (4, 4)), "t2m holds .* … 1000 K at 2020-01-01T00, expected 165 … 340 K"),
    ],
)
def test_other_units_levels_and_impossible_values_are_named(card: Card, change: Change, message: str) -> None:
    with pytest.raises(InputError, match=message):
        preflight(given(change), [FIRST], card, None)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        (260.0, 5.0, r"t2m has a mean of 286.* at 2020-01-01T00, that of the training is 260 ± 5"),
        (286.0, 70.0, r"t2m has a standard deviation of 16.* at 2020-01-01T00, that of the training is 70"),
        (286.0, 3.0, r"t2m has a standard deviation of 16.* that of the training is 3; .* pass allow=\[t2m:training\]"),
    ],
)
def test_states_unlike_the_training_are_named(card: Card, mean: float, std: float, message: str) -> None:
    """The state has a mean of 286 K and a standard deviation of 16 K, as the Earth has."""
    assert card.mean is not None
    assert card.std is not None
    other = replace(card, mean=[mean, *card.mean[1:]], std=[std, *card.std[1:]])
    with pytest.raises(InputError, match=message):
        preflight(given(), [FIRST], other, None)
    preflight(given(), [FIRST], other, ["t2m:training"])
    preflight(given(), [FIRST], replace(card, mean=[236.0, *card.mean[1:]]), None)


def test_of_a_region_the_mean_alone_is_compared(card: Card) -> None:
    """A quiet day in a small region varies far less from place to place than from one day of the year to another."""
    rows = slice(2, 5)
    region = replace(card, latitude=LATITUDE[rows].tolist())
    even = np.ones((len(CHANNELS), 3, 16), "f4") * np.array(card.mean, "f4")[:, None, None]
    quiet = Given({FIRST: even})
    preflight(quiet, [FIRST], region, None)
    even[3] += 100
    assert "r850 has a mean of 165" in refused(quiet, region)


@pytest.mark.parametrize("flagged", ["analyses", "model"])
def test_a_simulated_planet_need_not_have_the_climate_of_the_earth(card: Card, flagged: str) -> None:
    """It is compared with its own training, and with what a variable can be at all."""
    assert card.mean is not None
    hot = on("t2m", offset=20.0)
    planet = replace(card, synthetic=flagged == "model")
    assert "global mean" in refused(given(hot), card)
    preflight(given(hot, synthetic=flagged == "analyses"), [FIRST], planet, None)
    learned = replace(planet, mean=[*card.mean[:3], 250.0])
    assert "r850 has a mean" in refused(given(hot, synthetic=flagged == "analyses"), learned)
    assert "°C" in refused(given(on("t2m", offset=-273.15), synthetic=flagged == "analyses"), planet)


@pytest.mark.parametrize("allow", [["range", "mean"], ["t2m:range", "t2m:mean"]])
def test_what_is_allowed_passes_and_is_said(card: Card, allow: list[str], caplog: pytest.LogCaptureFixture) -> None:
    cold = given(on("t2m", offset=-100.0))
    with caplog.at_level(logging.WARNING):
        preflight(cold, [FIRST], card, allow)
    assert len(caplog.messages) == 2
    assert all("t2m" in message and message.endswith("allowed") for message in caplog.messages)
    assert "; if that is meant" not in caplog.text
    said = refused(cold, card, "msl:range", "t2m:mean")
    assert "t2m holds" in said
    assert "global mean" not in said


def test_all_faults_of_all_times_are_said_at_once(card: Card) -> None:
    """Two channels are wrong at all four times, and one in one of them."""

    def change(fields: np.ndarray) -> np.ndarray:
        return on("msl", 0.01)(on("t2m", offset=-273.15)(fields))

    bad = given(change, count=4)
    put("z500", np.nan, (0, 0))(bad.states[FIRST + 12])
    said = refused(bad, card)
    assert said.startswith("initial states in given: ")
    assert "t2m holds" in said
    assert "msl holds" in said
    assert said.count("(and at 3 other times)") == said.count("pass allow=")
    assert "z500 has 1 missing values of 144 at 2020-01-01T12" in said


def test_an_error_is_not_longer_than_people_read(card: Card) -> None:
    count = 30
    assert card.mean is not None
    many = replace(card, channels=[f"t{100 + i}" for i in range(count)], mean=[258.0] * count, std=[12.0] * count)
    broken = Given({FIRST: np.full((count, 9, 16), np.nan, "f4")})
    said = refused(broken, many)
    assert said.count("missing values") == 12
    assert said.endswith("; and 18 faults more")


def test_a_long_check_says_how_far_it_is(
    card: Card, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    preflight(given(count=3), given(count=3).times, card, None)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("fourcast.progress.StatusLine.due", lambda line: True)
    preflight(given(count=3), given(count=3).times, card, None)
    assert "initial states checked 1/3" in capsys.readouterr().err
