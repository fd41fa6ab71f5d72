"""Training windows and the stream of batches."""

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import CHANNELS, TIMES, waves, write_store

from fourcast.data.dataset import Batches, Windows, fits_in_memory, loader, window_starts
from fourcast.data.store import open_store
from fourcast.errors import InputError

EVERY = (None, None)


@pytest.fixture(scope="module")
def gappy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Times 0 … 9 and 12 … 19 of the planet: two analyses are missing."""
    kept = np.r_[0:10, 12:20]
    return write_store(tmp_path_factory.mktemp("gappy") / "store.zarr", TIMES[kept], waves()[kept])


def hours(*values: int) -> np.ndarray:
    return np.datetime64("2026-08-01T00", "h") + np.array(values)


def starts(times: np.ndarray, length: int, inside: np.ndarray | None = None) -> list[int]:
    return window_starts(times, np.arange(len(times)) if inside is None else inside, length, 6).tolist()


def test_windows_lie_between_gaps() -> None:
    times = hours(0, 6, 12, 24, 30, 48)
    assert starts(times, 1) == [0, 1, 2, 3, 4, 5]
    assert starts(times, 2) == [0, 1, 3]
    assert starts(times, 3) == [0]
    assert starts(times, 4) == []


def test_windows_lie_inside_the_period() -> None:
    times = hours(0, 6, 12, 18, 24, 30)
    assert starts(times, 2, np.array([1, 2, 3])) == [1, 2]
    assert starts(times, 4, np.array([1, 2, 3])) == []
    assert starts(times, 2, np.array([], dtype=int)) == []


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("length", [2, 3])
def test_every_window_holds_consecutive_normalised_analyses(gappy: Path, in_memory: bool, length: int) -> None:
    store = open_store(gappy)
    windows = Windows(store, CHANNELS[::-1], EVERY, length, in_memory)
    # 10 and 8 consecutive times.
    assert len(windows) == (10 - length + 1) + (8 - length + 1)
    center, scale = store.statistics.mean[::-1], store.statistics.std[::-1]
    expected = (waves()[:, ::-1] - center[:, None, None]) / scale[:, None, None]
    firsts = [*range(10 - length + 1), *range(12, 20 - length + 1)]
    for index, first in enumerate(firsts):
        np.testing.assert_allclose(windows[index], expected[first : first + length], atol=1e-4)


def test_a_period_bounds_every_analysis_of_a_window(gappy: Path) -> None:
    period = ("2026-08-01T06", "2026-08-02")
    for in_memory in (True, False):
        windows = Windows(open_store(gappy), CHANNELS, period, 2, in_memory)
        # Times 1 … 7, the second day to its last hour.
        assert windows.starts.tolist() == [1, 2, 3, 4, 5, 6]
        np.testing.assert_allclose(windows[0][0].numpy() * windows.scale + windows.center, waves()[1], rtol=1e-5)


def test_short_or_missing_periods_and_channels_are_named(gappy: Path) -> None:
    store = open_store(gappy)
    with pytest.raises(InputError, match="no 11 analyses 6 h apart in the period from the first to the last; it has"):
        Windows(store, CHANNELS, EVERY, 11, in_memory=True)
    with pytest.raises(InputError, match="no 2 analyses 6 h apart in the period 2027-01-01 to the last"):
        Windows(store, CHANNELS, ("2027-01-01", None), 2, in_memory=True)
    with pytest.raises(InputError, match="has no channel msl"):
        Windows(store, ("msl",), EVERY, 2, in_memory=True)


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


def test_the_loader_keeps_the_order(gappy: Path) -> None:
    windows = Windows(open_store(gappy), CHANNELS, EVERY, 2, in_memory=True)
    found = list(loader(windows, iter([[3, 1], [0, 0, 5]]), workers=0))
    assert [len(batch) for batch in found] == [2, 3]
    assert torch.equal(found[1][2], windows[5])


@pytest.mark.slow
def test_worker_processes_read_the_same(gappy: Path) -> None:
    windows = Windows(open_store(gappy), CHANNELS, EVERY, 2, in_memory=False)
    alone, read_ahead = (torch.cat(list(loader(windows, [[3, 1], [0, 5]], workers=n))) for n in (0, 2))
    assert torch.equal(alone, read_ahead)


def test_the_size_in_memory_decides() -> None:
    class Sized:
        class grid:  # noqa: N801
            shape = (721, 1440)

    # 26 channels of a year of quarter-degree analyses: 26 · 1460 · 721 · 1440 · 4 bytes = 157.6 GB.
    assert fits_in_memory(Sized, 26, 1460, 158)  # type: ignore[arg-type]
    assert not fits_in_memory(Sized, 26, 1460, 157)  # type: ignore[arg-type]
