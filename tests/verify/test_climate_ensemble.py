"""Probabilistic climatology: which analyses of other times stand for a valid time, by hand."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fourcast.verify.climate_ensemble import ClimateEnsemble
from fourcast.verify.inputs.targets import open_targets
from tests.tiny import CHANNELS, waves, write_store


def hours(first: str, last: str, step: int = 6) -> np.ndarray:
    return np.arange(np.datetime64(first, "h"), np.datetime64(last, "h") + 1, step)


@dataclass(frozen=True)
class Analyses:
    """As much of ``Targets`` as is asked for: each field holds its hours since 2000 and its channel's number."""

    times: np.ndarray

    def read(self, times: np.ndarray, channels: tuple[str, ...]) -> np.ndarray:
        assert np.isin(times, self.times).all()
        hour = (times - np.datetime64("2000-01-01T00", "h")).astype(np.float32)
        place = np.arange(len(channels), dtype=np.float32)
        return np.broadcast_to(
            hour[:, None, None, None] + 0.25 * place[None, :, None, None], (len(hour), len(place), 3, 5)
        )


def ensemble(times: np.ndarray, members: int = 20, window_days: int = 10, seasonal: bool = True, period=None):
    first, last = period or (times[0], times[-1])
    return ClimateEnsemble(Analyses(times), (first, last), members, window_days, seasonal)  # type: ignore[arg-type]


DECADE = hours("2001-01-01T00", "2010-12-31T18")


def days(found: np.ndarray) -> list[str]:
    return [str(time) for time in found]


def test_candidates_are_the_same_hour_of_days_beside_the_same_date_in_other_years():
    found = ensemble(DECADE, window_days=1).candidates(np.datetime64("2005-07-10T12", "h"))
    others = [year for year in range(2001, 2011) if year != 2005]
    assert days(found) == [f"{year}-07-{day:02d}T12" for year in others for day in (9, 10, 11)]


def test_a_valid_time_after_the_period_is_fed_from_all_of_it():
    found = ensemble(DECADE, window_days=0).candidates(np.datetime64("2018-07-10T18", "h"))
    assert days(found) == [f"{year}-07-10T18" for year in range(2001, 2011)]


def test_windows_reach_across_the_new_year():
    found = ensemble(DECADE, window_days=2).candidates(np.datetime64("2020-01-01T00", "h"))
    assert days(found[:3]) == ["2001-01-01T00", "2001-01-02T00", "2001-01-03T00"]
    assert days(found[3:8]) == [f"2001-12-{day}T00" for day in (30, 31)] + [f"2002-01-0{day}T00" for day in (1, 2, 3)]
    assert days(found[-2:]) == ["2010-12-30T00", "2010-12-31T00"]
    back = ensemble(DECADE, window_days=1).candidates(np.datetime64("2020-12-31T00", "h"))
    assert days(back[:3]) == ["2001-01-01T00", "2001-12-30T00", "2001-12-31T00"]


def test_the_leap_day_is_the_first_of_march_in_other_years():
    found = ensemble(DECADE, window_days=0).candidates(np.datetime64("2020-02-29T06", "h"))
    assert days(found)[:5] == [
        f"200{y}-{d}T06" for y, d in ((1, "03-01"), (2, "03-01"), (3, "03-01"), (4, "02-29"), (5, "03-01"))
    ]


def test_nothing_within_half_a_year_of_the_valid_time_is_taken():
    wide = ensemble(hours("2001-01-01T00", "2003-12-31T18"), window_days=183)
    valid = np.datetime64("2002-07-01T00", "h")
    apart = np.abs(wide.candidates(valid) - valid) / np.timedelta64(24, "h")
    assert apart.min() == 180


def test_without_seasons_all_days_count_but_ten_on_either_side():
    times = hours("2026-06-01T00", "2026-07-31T18")
    found = ensemble(times, seasonal=False).candidates(np.datetime64("2026-07-01T06", "h"))
    june = [f"2026-06-{day:02d}T06" for day in range(1, 22)]
    july = [f"2026-07-{day:02d}T06" for day in range(11, 32)]
    assert days(found) == june + july


def test_only_the_period_is_drawn_from():
    period = (np.datetime64("2003-01-01T00", "h"), np.datetime64("2004-12-31T18", "h"))
    found = ensemble(DECADE, window_days=0, period=period).candidates(np.datetime64("2009-05-05T00", "h"))
    assert days(found) == ["2003-05-05T00", "2004-05-05T00"]


def test_hours_that_analyses_lack_give_none():
    daily = ensemble(hours("2001-01-01T00", "2010-12-31T00", 24))
    assert len(daily.times(np.datetime64("2018-07-10T06", "h"))) == 0
    assert daily.read(np.datetime64("2018-07-10T06", "h"), ("t2m",)) is None


@pytest.mark.parametrize(
    ("members", "places"),
    [(10, range(10)), (20, range(10)), (5, [1, 3, 5, 7, 9]), (3, [1, 5, 8]), (1, [5]), (0, [])],
)
def test_thinning_is_even_and_always_the_same(members, places):
    thinned = ensemble(DECADE, members=members, window_days=0)
    valid = np.datetime64("2018-07-10T18", "h")
    found = thinned.times(valid)
    assert days(found) == [f"{2001 + place}-07-10T18" for place in places]
    assert days(thinned.times(valid)) == days(found)


def test_fewer_than_five_are_no_ensemble_unless_fewer_are_asked_for():
    years = hours("2001-01-01T00", "2004-12-31T18")
    valid = np.datetime64("2018-07-10T18", "h")
    assert len(ensemble(years, members=20, window_days=0).times(valid)) == 0
    assert len(ensemble(years, members=4, window_days=0).times(valid)) == 4
    assert len(ensemble(years, members=3, window_days=0).times(valid)) == 3


def test_fields_are_those_of_the_times_with_members_after_channels():
    thinned = ensemble(DECADE, members=6)
    valid = np.datetime64("2018-07-10T18", "h")
    fields = thinned.read(valid, ("t2m", "z500"))
    assert fields is not None
    assert fields.shape == (2, 6, 3, 5)
    since = (thinned.times(valid) - np.datetime64("2000-01-01T00", "h")).astype(np.float32)
    np.testing.assert_array_equal(fields[0, :, 2, 3], since)
    np.testing.assert_array_equal(fields[1, :, 0, 0], since + 0.25)


def test_one_size_is_the_smallest_that_any_time_has():
    many = ensemble(DECADE, members=20, window_days=0)
    inside, after = np.datetime64("2005-07-10T18", "h"), np.datetime64("2018-07-10T18", "h")
    odd_hour = np.datetime64("2018-07-10T19", "h")
    assert (len(many.times(inside)), len(many.times(after)), len(many.times(odd_hour))) == (9, 10, 0)
    same = many.with_one_size([inside, after, odd_hour])
    assert [len(same.times(time)) for time in (inside, after, odd_hour)] == [9, 9, 0]
    assert many.with_one_size([odd_hour]).members == 0


def test_members_come_from_a_store(tmp_path: Path):
    times = hours("2026-06-01T00", "2026-07-31T18")
    targets = open_targets(write_store(tmp_path / "store.zarr", times, waves(times)))
    assert targets.climatology_period is not None
    drawn = ClimateEnsemble(targets, targets.climatology_period, 7, 10, seasonal=False)
    valid = np.datetime64("2026-07-05T18", "h")
    fields = drawn.read(valid, CHANNELS[::-1])
    assert fields is not None
    np.testing.assert_array_equal(fields, waves(drawn.times(valid))[:, ::-1].swapaxes(0, 1))
