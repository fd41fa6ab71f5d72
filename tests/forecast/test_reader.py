"""Opening a run: what it looks like, what it reads, and what it says when something is missing."""

import json
from pathlib import Path

import numpy as np
import pytest

from fourcast.errors import InputError
from fourcast.forecast.netcdf import ForecastHeader, MemberWriter, member_path
from fourcast.forecast.reader import channel, open_run
from fourcast.grid import Grid

CHANNELS = ("t2m", "z500", "t850", "t500")
GRID = Grid(np.linspace(80, -80, 5), np.arange(8) * 45.0)
INITS = np.array(["2026-08-10T00", "2026-08-11T00", "2026-08-12T00"], dtype="datetime64[h]")
MEMBERS = (0, 1)
LEADS = (0, 6, 12)


def value(i_init: int, member: int, i_lead: int, c: int) -> float:
    """The constant every field is filled with."""
    return i_init * 1000 + member * 100 + i_lead * 10 + c


def write_member(run: Path, i_init: int, member: int, leads: tuple[int, ...] = LEADS) -> Path:
    header = ForecastHeader(CHANNELS, GRID, INITS[i_init], member, leads, {"seed": 1})
    path = member_path(run, INITS[i_init], member)
    with MemberWriter(path, header) as writer:
        for i_lead in range(len(leads)):
            values = [value(i_init, member, i_lead, c) for c in range(len(CHANNELS))]
            writer.write(i_lead, np.ones((4, 5, 8), np.float32) * np.array(values, np.float32)[:, None, None])
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three initial times of two members, as fourcast forecast leaves them, with a manifest."""
    for i_init in range(len(INITS)):
        for member in MEMBERS:
            write_member(tmp_path / "RUN", i_init, member)
    manifest = {"init_times": [str(t) for t in INITS], "members": list(MEMBERS), "lead_hours": LEADS}
    (tmp_path / "RUN" / "forecast.json").write_text(json.dumps(manifest))
    return tmp_path / "RUN"


@pytest.mark.parametrize("with_manifest", [True, False])
def test_a_run_opens_as_one_dataset(run: Path, with_manifest: bool) -> None:
    if not with_manifest:
        (run / "forecast.json").unlink()
    (run / "scores").mkdir()
    dataset = open_run(run)
    assert dict(dataset["t"].sizes) == {
        "init_time": 3, "number": 2, "lead_time": 3, "level": 2, "latitude": 5, "longitude": 8
    }  # fmt: skip
    assert dataset["t2m"].dims == ("init_time", "number", "lead_time", "latitude", "longitude")
    np.testing.assert_array_equal(dataset["init_time"].values, INITS)
    np.testing.assert_array_equal(dataset["lead_time"].values, np.array(LEADS, dtype="timedelta64[h]"))
    assert dataset["valid_time"].dims == ("init_time", "lead_time")
    assert dataset["valid_time"].values[1, 2] == np.datetime64("2026-08-11T12")
    assert dataset.attrs["channels"] == CHANNELS
    assert dataset["t"].attrs["units"] == "K"


def test_values_come_from_the_right_file_and_place(run: Path) -> None:
    dataset = open_run(run)
    for c, name in enumerate(CHANNELS):
        found = channel(dataset, name).values
        expected = [[[value(i, m, s, c) for s in range(3)] for m in MEMBERS] for i in range(3)]
        np.testing.assert_array_equal(found, np.broadcast_to(np.array(expected)[..., None, None], found.shape))
    assert np.isnan(dataset["z"].sel(level=850)).all()


@pytest.mark.parametrize(
    "at",
    [
        {"init_time": 1},
        {"init_time": -1, "number": 0, "lead_time": slice(1, None)},
        {"init_time": [2, 0], "number": [1, 0], "lead_time": [2, 0, 0]},
        {"init_time": slice(None, None, -2), "latitude": [4, 1], "longitude": slice(6, 1, -2)},
        {"number": slice(0, 0)},
    ],
    ids=str,
)
def test_indexing_lazily_equals_indexing_in_memory(run: Path, at: dict) -> None:
    lazy = channel(open_run(run), "t850")
    np.testing.assert_array_equal(lazy.isel(at).values, lazy.compute().isel(at).values)


def test_only_the_files_asked_for_are_read(run: Path) -> None:
    dataset = open_run(run)
    field = channel(dataset, "t850").isel(init_time=1, number=1, lead_time=2)
    for path in run.glob("*/member_*.nc"):
        if path != member_path(run, INITS[1], 1):
            path.unlink()
    np.testing.assert_array_equal(field.values, np.full((5, 8), value(1, 1, 2, 2)))
    with pytest.raises(FileNotFoundError):
        channel(dataset, "t850").isel(init_time=0, number=0).load()


def test_one_initial_time_by_name_or_by_folder(run: Path) -> None:
    for dataset in (open_run(run, init_time="2026-08-11T00"), open_run(run / "2026-08-11T00")):
        assert dataset["init_time"].values.tolist() == [INITS[1].astype("datetime64[ns]").astype(int)]
        assert float(channel(dataset, "t2m").isel(init_time=0, number=1, lead_time=1).mean()) == value(1, 1, 1, 0)


def test_a_missing_member_is_named(run: Path) -> None:
    member_path(run, INITS[2], 1).unlink()
    with pytest.raises(InputError, match=r"lacks 1 of 6 forecasts: 2026-08-12T00/member_001\.nc"):
        open_run(run)
    assert open_run(run, init_time="2026-08-11").sizes["number"] == 2
    (run / "forecast.json").unlink()
    with pytest.raises(InputError, match=r"2026-08-12T00/member_001\.nc"):
        open_run(run)


def test_an_unknown_channel_initial_time_or_folder_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no channel z850; it holds t2m, z500, t850, t500"):
        channel(open_run(run), "z850")
    with pytest.raises(InputError, match="no initial time 2026-01-01T00; it holds 2026-08-10T00, "):
        open_run(run, init_time="2026-01-01T00")
    with pytest.raises(InputError, match="holds no forecast"):
        open_run(tmp_path / "nowhere")


def test_a_file_of_another_forecast_is_refused_when_read(run: Path) -> None:
    write_member(run, 1, 1, leads=(0, 6))
    dataset = open_run(run)
    with pytest.raises(InputError, match=r"2026-08-11T00/member_001\.nc.*different forecasts"):
        dataset["t2m"].load()
