"""A verification's parts: whoever does them, and however they are cut, the results are the same."""

import itertools
import json
import os
import tracemalloc
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr
from killing import DEADLINE, FORKSERVER
from known_planet import CHANNELS, GRID, TIMES, analyses, config, make_run, make_store
from tiny import write_store

from fourcast.data.tasks import claim, claim_path
from fourcast.errors import InputError
from fourcast.files import PARTIAL, partial_path
from fourcast.grid import Grid
from fourcast.verify import evaluate, parts
from fourcast.verify.evaluate import verify
from fourcast.verify.inputs.recent import Recent
from fourcast.verify.part import LAYOUT
from fourcast.verify.parts import cut, part_paths, work_here
from fourcast.verify.prepare import make_plan
from fourcast.verify.results.merge import Parts, added, held, joined
from fourcast.verify.scoring import write_part

INITS = TIMES[[0, 1, 3, 4, 7, 9, 12]]


@pytest.fixture(scope="module")
def planet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with RUN of seven initial times and noisy members, and store.zarr."""
    folder = tmp_path_factory.mktemp("parts")
    make_store(folder / "store.zarr")
    noise = np.random.default_rng(5).normal(0, 2, (len(TIMES), len(CHANNELS), *GRID.shape)).astype(np.float32)
    make_run(folder / "RUN", inits=INITS, fields=analyses() + noise)
    return folder


EVERYTHING = {
    "events": ["t2m > 100", "u10m <= 95.5"],
    "maps": evaluate.VerifyConfig().maps,
    "regions": ["global", "tropics", "land"],
}


def results(output: Path) -> list[xr.Dataset]:
    return [xr.load_dataset(output / name, decode_timedelta=True) for name in ("scores.nc", "statistics.nc", "maps.nc")]


def assert_same(one: Path, other: Path, tolerance: float = 0.0) -> None:
    for found, expected in zip(results(one), results(other), strict=True):
        assert set(found.variables) == set(expected.variables)
        for name in expected.variables:
            if expected[name].dtype.kind == "f" and tolerance:
                np.testing.assert_allclose(found[name], expected[name], rtol=tolerance, atol=tolerance, err_msg=name)
            else:
                np.testing.assert_array_equal(found[name], expected[name], err_msg=str(name))


@pytest.fixture(scope="module")
def alone(planet: Path) -> Path:
    """What one process makes of it."""
    return verify(config(planet, "alone", **EVERYTHING))


@pytest.mark.parametrize(
    ("count", "megabytes", "number"),
    [
        (1, 1, 1),
        (3, 1, 3),
        (7, 1, 4),
        (128, 1, 4),
        (129, 1, 5),
        (1025, 1, 33),
        (40, 128, 20),
        (5, 900, 5),
        (1460, 900, 256),
    ],
)
def test_parts_hold_every_initial_time_once_and_are_never_long(count: int, megabytes: int, number: int) -> None:
    found = cut(count, megabytes * 2**20)
    assert len(found) == number
    assert list(itertools.chain(*(range(count)[span] for span in found))) == list(range(count))
    assert all(1 <= span.stop - span.start <= 32 for span in found)


def test_lead_times_together_score_as_each_alone(planet: Path, alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fourcast.verify.scoring.TOGETHER", 1)
    assert_same(verify(config(planet, "each", **EVERYTHING)), alone, 1e-12)


@pytest.mark.parametrize("fewest", [1, 3])
def test_however_the_initial_times_are_cut(
    planet: Path, alone: Path, monkeypatch: pytest.MonkeyPatch, fewest: int
) -> None:
    assert len(part_paths(make_plan(config(planet, "x")), Path())) == 4
    monkeypatch.setattr(parts, "FEWEST", fewest)
    assert len(part_paths(make_plan(config(planet, "x")), Path())) == fewest
    assert_same(verify(config(planet, f"cut{fewest}", **EVERYTHING)), alone, 1e-12)


def test_two_processes_find_the_same_bits(planet: Path, alone: Path) -> None:
    assert_same(verify(config(planet, "processes", **EVERYTHING, workers=2)), alone)
    assert not (planet / "processes.parts").exists()


def test_shares_find_the_same_bits_in_any_order(planet: Path, alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify(config(planet, "shares", **EVERYTHING, part="2/3"))
    assert not (planet / "shares").exists()
    assert "this share is done; 3 parts are left to the others" in capsys.readouterr().out
    verify(config(planet, "shares", **EVERYTHING, part="1/3"))
    verify(config(planet, "shares", **EVERYTHING, part="2/3"))
    assert not (planet / "shares").exists()
    verify(config(planet, "shares", **EVERYTHING, part="3/3"))
    assert_same(planet / "shares", alone)
    assert not (planet / "shares.parts").exists()
    capsys.readouterr()
    verify(config(planet, "shares", **EVERYTHING, part="1/3"))
    assert "already holds this verification: nothing to do" in capsys.readouterr().out
    assert not (planet / "shares.parts").exists()


def test_threads_make_no_difference(planet: Path, tmp_path: Path) -> None:
    plan = make_plan(config(planet, "threads", **EVERYTHING))
    for threads in (1, 5):
        folder = tmp_path / str(threads)
        assert all(outcome.error is None for outcome in work_here(plan, folder, range(4), threads))
    with Parts(part_paths(plan, tmp_path / "1")) as one, Parts(part_paths(plan, tmp_path / "5")) as five:
        assert held(one) == set(LAYOUT) - {"seeps"}
        for name in sorted(held(one)):
            put = joined if "init_time" in LAYOUT[name] else added
            values = put(one, name).values
            assert np.isfinite(values).any(), name
            np.testing.assert_array_equal(values, put(five, name).values, err_msg=name)


def test_other_settings_do_not_use_what_is_left(planet: Path) -> None:
    verify(config(planet, "others", part="1/2", channels=["t2m"]))
    first = {path.name for path in (planet / "others.parts").iterdir()}
    verify(config(planet, "others", part="1/2", channels=["t2m"], convention="centred"))
    second = {path.name for path in (planet / "others.parts").iterdir()}
    assert len(first) == len(second) == 1
    assert first != second


def test_what_others_are_at_is_refused_and_left_alone(planet: Path) -> None:
    verify(config(planet, "busy", part="1/2", channels=["t2m"]))
    folder = next((planet / "busy.parts").iterdir())
    before = sorted(path.name for path in folder.glob("part_*.nc"))
    assert len(before) == 2
    assert claim(folder, "part_00002")  # by this process, which is alive
    centred = config(planet, "busy", channels=["t2m"], convention="centred")
    with pytest.raises(InputError, match=r"busy is being written by .* other settings .*; wait .* name another output"):
        verify(centred)
    assert [*planet.glob("busy.parts/*")] == [folder]
    assert sorted(path.name for path in folder.glob("part_*.nc")) == before
    claim_path(folder, "part_00002").unlink()
    verify(centred)
    assert not (planet / "busy.parts").exists()


def test_finished_parts_outlive_the_fault_of_another(
    planet: Path, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, written = config(planet, "faulty", **EVERYTHING), []

    def write(*given: object) -> None:
        path = given[3]
        assert isinstance(path, Path)
        if path.stem == broken:
            raise InputError("cannot be read; fetch it again")
        written.append(path.stem)
        write_part(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(parts, "write_part", write)
    broken = "part_00001"
    with pytest.raises(InputError, match=r"initial times .*: cannot be read; fetch it again$"):
        verify(asked)
    assert written == ["part_00000", "part_00002", "part_00003"]
    broken = ""
    verify(asked)
    assert written[3:] == ["part_00001"]
    assert_same(planet / "faulty", alone)
    assert not (planet / "faulty.parts").exists()


def test_changed_inputs_do_not_use_what_is_left(planet: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "RUN", inits=INITS[:2])
    digest = make_plan(config(planet, "x", forecast=str(run))).digest
    assert make_plan(config(planet, "y", forecast=str(run), workers=2, part="1/2")).digest == digest
    os.utime(next(run.glob("*/*.nc")), (1, 1))  # a member made anew in its place
    assert make_plan(config(planet, "x", forecast=str(run))).digest != digest


def test_a_folder_of_somebody_else_is_left_alone(planet: Path) -> None:
    (planet / "taken.parts").mkdir()
    (planet / "taken.parts" / "letter.txt").touch()
    with pytest.raises(InputError, match=r"taken.parts holds letter.txt, which is no part of a verification"):
        verify(config(planet, "taken"))
    assert (planet / "taken.parts" / "letter.txt").exists()


def test_what_a_killed_process_left_half_written_is_removed(planet: Path) -> None:
    verify(config(planet, "half", channels=["t2m"], part="1/4"))
    folder = next((planet / "half.parts").iterdir())
    partial_path(folder / "part_00002.nc").write_bytes(b"half")
    verify(config(planet, "half", channels=["t2m"]))
    assert not (planet / "half.parts").exists()
    assert (planet / "half" / "scores.nc").exists()


def full(*_: object) -> None:
    raise RuntimeError("NetCDF: HDF error")


class Full(netCDF4.Dataset):
    """A file for whose last bytes there is no room. A class of the module, for it must outlive its objects."""

    def __exit__(self, *_: object) -> None:
        written = self.filepath().endswith(PARTIAL)
        self.close()
        if written:
            full()


@pytest.mark.slow
@pytest.mark.parametrize("step", ["createVariable", "close"])
def test_a_full_disk_is_named_and_what_is_finished_kept(
    planet: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    asked = config(planet, f"full_{step}")

    with monkeypatch.context() as patch:
        if step == "close":
            patch.setattr("fourcast.verify.part.netCDF4.Dataset", Full)
        else:
            patch.setattr("fourcast.verify.part.PartWriter._define", full)
        with pytest.raises(
            OSError, match=r"part.*\.nc could not be written .*HDF error; .* MiB are free there\); make"
        ):
            verify(asked)
    assert (verify(asked) / "scores.csv").exists()


def measure_peaks(folder: Path) -> None:
    """Write what scoring 4 and then 20 initial times takes into ``folder``/peaks.json; for a process of its own.

    Tracing ends with the process: tracemalloc.stop is not safe while other threads allocate.
    """
    parts.FEWEST = 1
    grid = Grid(90.0 - 2.0 * np.arange(90), 2.0 * np.arange(180))
    fields = np.random.default_rng(1).normal(0, 1, (len(TIMES), 3, *grid.shape)).astype(np.float32)
    store = write_store(folder / "store.zarr", TIMES, fields, CHANNELS, grid)
    Recent.__init__.__defaults__ = (fields[0].nbytes,)
    peaks = []
    for inits in (TIMES[:4], TIMES[:20]):
        run = make_run(folder / str(len(inits)), (0,), inits, fields=fields, grid=grid)
        changes = {"forecast": str(run), "store": str(store), "lead_hours": [0, 6], "regions": ["global"]}
        plan = make_plan(config(folder, "x", **changes))
        list(work_here(plan, folder / "warm", [0], 1))
        tracemalloc.start()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        assert [outcome.error for outcome in work_here(plan, folder / f"parts{len(inits)}", [0], 1)] == [None]
        peaks.append(tracemalloc.get_traced_memory()[1] - before)
    (folder / "peaks.json").write_text(json.dumps(peaks))


@pytest.mark.parametrize(
    ("asked", "processes", "expected"),
    [("3", 2, 3), ("", 2, 4), ("6", 2, 4), ("1", 16, 1), ("2,8", 2, 2), ("0", 2, 4)],
)
def test_threads_are_no_more_than_asked_for(
    monkeypatch: pytest.MonkeyPatch, asked: str, processes: int, expected: int
) -> None:
    """Of eight processors."""
    monkeypatch.setattr(parts, "processors", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert parts.threads_of_each(processes) == expected


@pytest.mark.slow
def test_memory_does_not_grow_with_initial_times(tmp_path: Path) -> None:
    process = FORKSERVER.Process(target=measure_peaks, args=(tmp_path,))
    process.start()
    process.join(DEADLINE)
    assert process.exitcode == 0
    few, many = json.loads((tmp_path / "peaks.json").read_text())
    # Sixteen initial times more: their analyses alone would be 3.1 MB, their forecasts twice that.
    assert many - few < 1.5e6, (few, many)
