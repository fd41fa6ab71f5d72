"""Training windows, over gaps, years and stores, and the stream of batches."""

import pickle
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import CHANNELS, GRID, TIMES, waves, write_store

from fourcast.config import DataConfig
from fourcast.data.dataset import (
    Batches,
    Span,
    Windows,
    fits_in_memory,
    normalisation,
    period_of,
    window_times,
)
from fourcast.data.series import open_series
from fourcast.data.store import open_store
from fourcast.errors import InputError
from fourcast.grid import Grid

EVERY = [(None, None)]


def hours(*values: int) -> np.ndarray:
    return np.datetime64("2026-08-01T00", "h") + np.array(values)


def found(times: np.ndarray, length: int, step: int = 6, period: list[int] | None = None) -> list[list[int]]:
    periods = np.zeros(len(times), int) if period is None else np.array(period)
    return window_times(times, periods, length, np.timedelta64(step, "h")).tolist()


def test_windows_lie_between_gaps() -> None:
    times = hours(0, 6, 12, 24, 30, 48)
    assert found(times, 1) == [[0], [1], [2], [3], [4], [5]]
    assert found(times, 2) == [[0, 1], [1, 2], [3, 4]]
    assert found(times, 3) == [[0, 1, 2]]
    assert found(times, 4) == []
    # With a stride of 12 hours a window may pass over a missing time that it does not touch.
    assert found(times, 2, 12) == [[0, 2], [2, 3]]
    assert found(times, 3, 12) == [[0, 2, 3]]
    assert found(times, 2, 24) == [[0, 3], [1, 4], [3, 5]]


def test_windows_lie_inside_one_period() -> None:
    times = hours(0, 6, 12, 18, 24, 30)
    assert found(times, 2, period=[-1, 0, 0, 0, -1, -1]) == [[1, 2], [2, 3]]
    assert found(times, 4, period=[-1, 0, 0, 0, -1, -1]) == []
    assert found(times, 2, period=[0, 0, 1, 1, 1, -1]) == [[0, 1], [2, 3], [3, 4]]
    assert found(times, 2, period=[-1] * 6) == []


def test_periods_are_told_apart_and_may_not_overlap() -> None:
    times = hours(0, 6, 12, 18, 24, 30)
    assert period_of(times, [("2026-08-02", None), (None, "2026-08-01T06")]).tolist() == [1, 1, -1, -1, 0, 0]
    with pytest.raises(InputError, match=r"2026-08-01 to the last and the period from the first to .* overlap"):
        period_of(times, [("2026-08-01", None), (None, "2026-08-02")])


def planet(path: Path, kept: np.ndarray) -> Path:
    return write_store(path, TIMES[kept], waves()[kept])


@pytest.fixture(scope="module")
def gappy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Times 0 … 9 and 12 … 19 of the planet: two analyses are missing."""
    return planet(tmp_path_factory.mktemp("gappy") / "store.zarr", np.r_[0:10, 12:20])


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("span", [Span(), Span(2, 1), Span(1, 1, stride=2), Span(1, 2, stride=3)])
def test_every_window_holds_evenly_spaced_analyses(gappy: Path, in_memory: bool, span: Span) -> None:
    windows = Windows(open_series([str(gappy)]), CHANNELS[::-1], EVERY, span, in_memory)
    kept = {*range(10), *range(12, 20)}
    wanted = [[first + span.stride * i for i in range(span.length)] for first in range(20)]
    whole = [states for states in wanted if kept.issuperset(states)]
    assert len(windows) == len(whole)
    for index, states in enumerate(whole):
        np.testing.assert_array_equal(windows[index], waves()[states][:, ::-1])


def test_a_period_bounds_every_analysis_of_a_window(gappy: Path) -> None:
    period = [("2026-08-01T06", "2026-08-02")]
    for in_memory in (True, False):
        windows = Windows(open_series([str(gappy)]), CHANNELS, period, Span(), in_memory)
        # Times 1 … 7, the second day to its last hour.
        assert windows.times.tolist() == [[i, i + 1] for i in range(1, 7)]
        np.testing.assert_array_equal(windows[0], waves()[1:3])


def test_leap_days_and_turns_of_the_year_are_days_like_others(tmp_path: Path) -> None:
    """The last hours of 2019 and 2020 lead into the next year, and 28 February 2020 into the 29th, of yearly stores."""
    grid = Grid(np.array([45.0, -45.0]), np.array([0.0, 180.0]))
    every = np.arange(np.datetime64("2019-12-30", "h"), np.datetime64("2021-01-03", "h"), np.timedelta64(6, "h"))
    paths = []
    for year in (2019, 2020, 2021):
        times = every[every.astype("M8[Y]").astype(int) + 1970 == year]
        # A field holds the hours since 1970, which float32 holds exactly.
        fields = np.broadcast_to(times.astype(int)[:, None, None, None], (len(times), 1, 2, 2)).astype(np.float32)
        fields = fields + np.float32([0, 0.5])
        paths.append(str(write_store(tmp_path / str(year), times, fields, ("t2m",), grid)))
    # 2020 has 366 days of four analyses; two days before it and two after.
    windows = Windows(open_series(paths[::-1]), ("t2m",), EVERY, Span(1, 2), in_memory=False)
    assert len(windows) == (2 + 366 + 2) * 4 - 2
    first = {str(every[i]): windows[i][:, 0, 0, 0] for i in range(len(windows))}
    for start, after in {
        "2019-12-31T18": ("2020-01-01T00", "2020-01-01T06"),
        "2020-02-28T18": ("2020-02-29T00", "2020-02-29T06"),
        "2020-02-29T18": ("2020-03-01T00", "2020-03-01T06"),
        "2020-12-31T12": ("2020-12-31T18", "2021-01-01T00"),
    }.items():
        assert first[start].tolist() == np.array([start, *after], "M8[h]").astype(int).tolist()
    assert all(np.array_equal(np.diff(states), [6, 6]) for states in first.values())


def test_stores_become_one_series(tmp_path: Path) -> None:
    """Stores given out of order, one of which lies between the parts of another."""
    outer = planet(tmp_path / "outer", np.r_[0:10, 20:40])
    inner = planet(tmp_path / "inner", np.r_[10:20])
    for in_memory in (True, False):
        windows = Windows(open_series([str(inner), str(outer)]), CHANNELS[::-1], EVERY, Span(2, 3), in_memory)
        assert len(windows) == 36
        for index in range(36):
            np.testing.assert_array_equal(windows[index], waves()[index : index + 5, ::-1])


def test_stores_that_do_not_belong_together_are_named(tmp_path: Path, gappy: Path) -> None:
    again = planet(tmp_path / "again", np.r_[17:30])
    with pytest.raises(InputError, match=r"3 times are in more than one store: 2026-08-05T06 is in .*store\.zarr"):
        open_series([str(gappy), str(again)])
    other = write_store(tmp_path / "other", TIMES[20:], waves()[20:], attributes={"step_hours": 3})
    with pytest.raises(InputError, match=r"differ: step_hours 6 and 3; data.store may list stores of one kind only"):
        open_series([str(gappy), str(other)])
    shifted = Grid(GRID.latitude, GRID.longitude + 11.25)
    moved = write_store(tmp_path / "moved", TIMES[20:], waves()[20:], grid=shifted)
    with pytest.raises(InputError, match="differ: grid"):
        open_series([str(gappy), str(moved)])
    fewer = write_store(tmp_path / "fewer", TIMES[20:], waves()[20:, :1], CHANNELS[:1])
    with pytest.raises(InputError, match="differ: channels t2m, z500 and t2m"):
        open_series([str(gappy), str(fewer)])


def test_short_or_missing_periods_and_channels_are_named(gappy: Path) -> None:
    series = open_series([str(gappy)])
    with pytest.raises(InputError, match="no 11 analyses 6 h apart in the period from the first to the last; it has"):
        Windows(series, CHANNELS, EVERY, Span(1, 10), in_memory=True)
    with pytest.raises(InputError, match="no 2 analyses 12 h apart in the period 2027-01-01 to the last"):
        Windows(series, CHANNELS, [("2027-01-01", None)], Span(stride=2), in_memory=True)
    with pytest.raises(InputError, match="has no channel msl"):
        Windows(series, ("msl",), EVERY, Span(), in_memory=True)


def test_windows_travel_to_another_process(gappy: Path) -> None:
    windows = Windows(open_series([str(gappy)]), CHANNELS, EVERY, Span(), in_memory=False)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(windows))[3], windows[3])


def test_the_change_over_a_stride_is_that_of_the_waves(tmp_path: Path) -> None:
    """A wave of wavenumber k that moves by an angle a changes by 2 sin(k a / 2) times its size."""
    windows = Windows(open_series([str(planet(tmp_path / "s", np.r_[0:40]))]), CHANNELS, EVERY, Span(stride=3), True)
    std = open_store(tmp_path / "s").statistics.std
    # 3 · 22.5° in a stride; wavenumbers 1 and 2. Each mean is the same at all latitudes.
    expected = 2 * np.sin(np.deg2rad([33.75, 67.5])) * std
    np.testing.assert_allclose(windows.tendency_std(), expected, rtol=1e-5)


def test_normalised_fields_have_mean_0_and_spread_1(tmp_path: Path) -> None:
    store = open_store(planet(tmp_path / "s", np.r_[0:16]))
    normalise = normalisation(store, CHANNELS[::-1], torch.device("cpu"))
    fields = torch.from_numpy(waves()[:16, ::-1].copy())
    found = normalise(fields)
    assert found.data_ptr() == fields.data_ptr()
    center, scale = store.statistics.mean[::-1, None, None], store.statistics.std[::-1, None, None]
    expected = (waves()[:16, ::-1] - center) / scale
    assert np.linalg.norm(found.numpy() - expected) < 1e-4 * np.linalg.norm(expected)


def stream(ranks: int, steps: range, samples: int = 10, batch: int = 4, seed: int = 3) -> list[list[int]]:
    shares = [Batches(samples, batch, seed, (rank, ranks)) for rank in range(ranks)]
    return [list(chain(*(share.at(step) for share in shares))) for step in steps]


@pytest.mark.parametrize("ranks", [2, 4])
def test_batches_do_not_depend_on_the_number_of_ranks(ranks: int) -> None:
    assert stream(ranks, range(12)) == stream(1, range(12))


def test_every_epoch_is_a_permutation_of_its_own() -> None:
    # Five batches of four samples are two epochs of ten; the third batch spans both.
    drawn = list(chain(*stream(1, range(10))))
    epochs = [drawn[i : i + 10] for i in range(0, 40, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert stream(1, range(10), seed=4) != stream(1, range(10))


def test_a_batch_larger_than_the_data_repeats_it() -> None:
    (batch,) = stream(1, range(1), samples=3, batch=8)
    assert sorted(batch[:3]) == sorted(batch[3:6]) == [0, 1, 2]


def test_the_stream_can_be_resumed_anywhere() -> None:
    batches = Batches(10, 4, 3, (0, 1))
    assert list(batches.between(3, 7)) == stream(1, range(3, 7))


def test_batches_that_cannot_be_shared_are_refused() -> None:
    with pytest.raises(InputError, match="batch_size=6 cannot be divided among 4 ranks"):
        Batches(10, 6, 0, (0, 4))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"store": []}, "data.store must be a name or a list of names"),
        ({"loader": "fibers"}, "data.loader must be one of threads, processes, found 'fibers'"),
        ({"stride": 0}, "data.stride must be above 0"),
        ({"prefetch": 0}, "data.prefetch must be above 0"),
        ({"workers": -1}, "data.workers must not be negative"),
        ({"train_start": ["2001", "2003"]}, "data.train_start names 2 periods and data.train_end 1; give each both"),
        ({"train_end": "2026"}, "data.train_end must be a UTC time"),
        (
            {"validation_start": ["2001-01-01", "2003-01-01"], "validation_end": ["2001-12-31", "2002-12-31"]},
            r"data.validation_end \(2002-12-31\) lies before data.validation_start",
        ),
    ],
)
def test_bad_settings_are_refused_by_key(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DataConfig(**given)


def test_one_period_or_several() -> None:
    assert DataConfig(train_end="2001-12-31").train_periods == [(None, "2001-12-31")]
    assert DataConfig().validation_periods is None
    several = DataConfig(train_start=["2001-01-01", "2003-01-01"], train_end=["2001-12-31", None])
    assert several.train_periods == [("2001-01-01", "2001-12-31"), ("2003-01-01", None)]


def test_the_size_in_memory_decides() -> None:
    class Sized:
        times = range(1460)

        class first:  # noqa: N801
            class grid:  # noqa: N801
                shape = (721, 1440)

    # 26 channels of a year of quarter-degree analyses: 26 · 1460 · 721 · 1440 · 4 bytes = 157.6 GB.
    assert fits_in_memory(Sized, 26, 158)  # type: ignore[arg-type]
    assert not fits_in_memory(Sized, 26, 157)  # type: ignore[arg-type]
