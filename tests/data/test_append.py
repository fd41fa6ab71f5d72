"""A finished store that grows: readable throughout, and in the end what one ingestion of everything would have made."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from weather import LATITUDE, STEP, config, content, hours, store, weather, write

from fourcast.data import summaries, workers
from fourcast.data.climatology import harmonic_basis
from fourcast.data.extend import kept_plan
from fourcast.data.ingest import ingest
from fourcast.data.store import Store, open_store
from fourcast.errors import InputError
from fourcast.grid import area_weights

TIMES = hours("2019-12-20", 90)


@pytest.fixture(autouse=True)
def _fixed_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1600000000")


def arrays(made: Store) -> dict[str, bytes]:
    """What readers see of a store, byte by byte: all but attributes and the ingestion's own folder."""
    return {name: data for name, data in content(made.path).items() if not name.startswith(("ingest/", "zarr.json"))}


def numpy_statistics(made: Store, learned: np.ndarray) -> list[np.ndarray]:
    """Mean, standard deviation, size of the change, minimum and maximum, from all fields at once in float64."""
    fields, times = made.read(slice(None)).astype(np.float64)[learned], made.times[learned]
    weights = area_weights(LATITUDE)[:, None] / fields[0, 0].size
    mean = (fields * weights).sum(axis=(2, 3)).mean(axis=0)
    variance = (((fields - mean[:, None, None]) ** 2) * weights).sum(axis=(2, 3)).mean(axis=0)
    pairs = np.flatnonzero(np.diff(times) == STEP)
    change = ((fields[pairs + 1] - fields[pairs]) ** 2 * weights).sum(axis=(2, 3)).mean(axis=0)
    return [mean, np.sqrt(variance), np.sqrt(change), fields.min(axis=(0, 2, 3)), fields.max(axis=(0, 2, 3))]


def check_statistics(made: Store, learned: np.ndarray) -> None:
    found = [made.statistics.mean, made.statistics.std, made.statistics.tendency_std]
    found += [made.statistics.minimum, made.statistics.maximum]
    for values, expected in zip(found, numpy_statistics(made, learned), strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-6)


def check_climatology(made: Store, learned: np.ndarray) -> None:
    """Every coefficient is that of a least-squares fit in float64, to 1e-6 of the largest of its channel and kind."""
    climatology, fields = made.climatology(), made.read(slice(None)).astype(np.float64)
    for i, hour in enumerate(climatology.hours):
        chosen = learned & (made.times.astype(np.int64) % 24 == hour)
        basis = harmonic_basis(made.times[chosen], (climatology.coefficients.shape[1] - 1) // 2)
        fitted = np.linalg.lstsq(basis, fields[chosen].reshape(chosen.sum(), -1), rcond=None)[0]
        found = climatology.coefficients[i].reshape(len(fitted), 2, -1)
        for term, expected in zip(found, fitted.reshape(found.shape), strict=True):
            assert np.linalg.norm(term - expected, axis=1) == pytest.approx(0, abs=1e-6 * np.linalg.norm(expected))


@pytest.mark.slow
def test_three_appends_and_a_restart_equal_float64_numpy_over_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From before a year boundary through 29 February to the next year, with a gap; the last weeks are held out."""
    monkeypatch.setattr(summaries, "BLOCK_BYTES", 112 * 4 * 6 * 12)
    folder, output = tmp_path / "files", tmp_path / "store"
    times = np.delete(hours("2019-12-01", 1700), np.r_[333:336])
    settings = {"statistics_start": "2019-12-05", "statistics_end": "2021-01-10", "part_times": 64, "shard_times": 8}
    for first, last in itertools.pairwise((0, 71, 462, 1464)):
        write(folder / f"{first}.nc", times[first:last])
        made = store(folder, output, **settings)
        check_statistics(made, learned_of(made))
    write(folder / "1464.nc", times[1464:])
    interrupt(monkeypatch, folder, output, **settings)
    assert len(open_store(output).times) == 1464
    made = store(folder, output, **settings)
    learned = learned_of(made)
    assert learned.sum() == len(times) - 16 - 72
    assert made.climatology().coefficients.shape == (4, 5, 2, 6, 12)
    check_statistics(made, learned)
    check_climatology(made, learned)
    np.testing.assert_array_equal(made.times, times)
    np.testing.assert_array_equal(made.read(slice(None), ("t850",)), weather(times).t)
    assert arrays(made) == arrays(store(folder, tmp_path / "at once", **settings))
    assert str(np.load(output / "ingest/sums/msl.npz")["mark"]).startswith("1680 ")
    assert made.attributes["generation"] == 4
    assert made.attributes["history"].count("ingest") == 4


def learned_of(made: Store) -> np.ndarray:
    return (made.times >= np.datetime64("2019-12-05")) & (made.times < np.datetime64("2021-01-11"))


def interrupt(monkeypatch: pytest.MonkeyPatch, folder: Path, output: Path, **settings: object) -> None:
    """Begin an ingestion that ends between its parts and its statistics."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(workers, "do_summaries", stop)
        with pytest.raises(KeyboardInterrupt):
            ingest(config(folder, output, **settings))


def test_new_files_alone_are_enough(tmp_path: Path) -> None:
    """The files of times that the store holds may be gone: a part that is cut by the old end takes them from it."""
    folder, output = tmp_path / "files", tmp_path / "store"
    write(folder / "a.nc", TIMES[:37])
    store(folder, output)
    (folder / "a.nc").unlink()
    write(folder / "b.nc", TIMES[37:])
    made = store(folder, output)
    whole = store(write(tmp_path / "all.nc", TIMES), tmp_path / "whole")
    assert arrays(made) == arrays(whole)
    assert made.attributes["source_paths"] == [str(folder / "a.nc"), str(folder / "b.nc")]
    assert ingest(config(folder, output)) == output


def test_a_later_end_extends_the_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = write(tmp_path / "source.nc", TIMES), tmp_path / "store"
    assert len(store(source, output, end="2019-12-28").times) == 36
    made = store(source, output)
    assert arrays(made) == arrays(store(source, tmp_path / "whole"))
    capsys.readouterr()
    ingest(config(source, output))
    assert "nothing to do" in capsys.readouterr().out
    with pytest.raises(InputError, match="end was None and is '2019-12-28'; pass overwrite=true"):
        ingest(config(source, output, end="2019-12-28"))


def test_a_file_that_grows_extends_the_store_unless_it_has_become_another(tmp_path: Path) -> None:
    source, output = write(tmp_path / "source.nc", TIMES[:50]), tmp_path / "store"
    store(source, output)
    write(source, TIMES[:70])
    assert len(store(source, output).times) == 70
    other = weather(TIMES)
    other.t[0, 0, 0, 0] += 1
    other.to_netcdf(source)
    with pytest.raises(InputError, match="holds other values at 2019-12-20T00 than its sources do now"):
        ingest(config(source, output))
    assert len(open_store(output).times) == 70


def test_times_between_those_held_are_not_appended(tmp_path: Path) -> None:
    source, output = write(tmp_path / "source.nc", np.delete(TIMES, 7)), tmp_path / "store"
    store(source, output)
    write(source, TIMES)
    with pytest.raises(InputError, match="lacks 1 times from 2019-12-21T18 on that its sources now hold, before"):
        ingest(config(source, output))


def test_whoever_reads_meanwhile_finds_the_old_store_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, output = tmp_path / "files", tmp_path / "store"
    write(folder / "a.nc", TIMES[:37])
    old = store(folder, output)
    before = old.read(slice(None))
    write(folder / "b.nc", TIMES[37:])
    interrupt(monkeypatch, folder, output)
    between = open_store(output)
    np.testing.assert_array_equal(between.times, TIMES[:37])
    np.testing.assert_array_equal(between.read(slice(None)), before)
    np.testing.assert_array_equal(between.statistics.mean, old.statistics.mean)
    made = store(folder, output)
    np.testing.assert_array_equal(old.read(slice(None)), before)
    np.testing.assert_array_equal(made.read(slice(0, 37)), before)


@pytest.mark.parametrize("moment", [0, 1, 6, 15])
def test_a_publication_that_was_cut_short_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Between any two of its renamings the store does not open; called again, it ends as it would have."""
    source, output = write(tmp_path / "source.nc", TIMES), tmp_path / "store"
    store(source, output, end="2019-12-28")
    rename, left = Path.rename, [moment]

    def cut(self: Path, target: Path) -> Path:
        if "publish" in str(self) or "replaced" in str(target):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", cut)
        with pytest.raises(KeyboardInterrupt):
            ingest(config(source, output))
    for group in (output, output / "fields"):
        (group / "zarr.0123456789abcdef.partial").write_text('{"zarr_')  # what zarr writes first
    monkeypatch.setattr("fourcast.data.store.PATIENCE", 2)
    with pytest.raises(InputError, match="is unfinished"):
        open_store(output)
    if moment % 2:
        # Its source has gone on meanwhile.
        write(source, hours("2019-12-20", 100))
    made = store(source, output)
    whole = store(source, tmp_path / "whole")
    assert arrays(made) == arrays(whole)
    assert not list((output / "ingest").glob("re*"))
    assert not list(output.rglob("*.partial"))


def test_what_a_publication_had_no_time_to_remove_goes_with_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = write(tmp_path / "source.nc", TIMES), tmp_path / "store"
    store(source, output, end="2019-12-28")
    remove = shutil.rmtree

    def cut(path: Path, ignore_errors: bool = False) -> None:
        if path.name == "replaced" and path.exists():
            raise KeyboardInterrupt
        remove(path, ignore_errors)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", cut)
        with pytest.raises(KeyboardInterrupt):
            ingest(config(source, output))
    assert len(open_store(output).times) == 90
    assert {path.name for path in (output / "ingest").iterdir()} >= {"publish", "replaced"}
    ingest(config(source, output))
    assert not {path.name for path in (output / "ingest").iterdir()} & {"publish", "replaced"}


def test_a_store_without_a_plan_is_only_replaced(tmp_path: Path) -> None:
    source, output = write(tmp_path / "source.nc", TIMES), tmp_path / "store"
    store(source, output)
    shutil.rmtree(output / "ingest")
    assert len(open_store(output).times) == 90
    with pytest.raises(InputError, match="without the plan of its ingestion; pass overwrite=true"):
        ingest(config(source, output))
    assert kept_plan(output, config(source, output, overwrite=True)) is None
    assert len(store(source, output, overwrite=True).times) == 90
