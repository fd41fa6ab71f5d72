"""fourcast verify end to end on a tiny planet whose scores are known."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from tiny import write_store

from fourcast.config import VerifyConfig
from fourcast.errors import InputError
from fourcast.forecast.netcdf import FileWriter, Header, columns_of, member_path
from fourcast.grid import Grid
from fourcast.verify.evaluate import verify

CHANNELS = ("t2m", "z500", "u10m")
GRID = Grid(90.0 - 22.5 * np.arange(8), 22.5 * np.arange(16))
TIMES = np.datetime64("2026-08-01T00", "h") + 6 * np.arange(24)
LEADS = (0, 6, 12, 24)
INITS = TIMES[[4, 8, 21]]
"""From the last of these only lead times up to 12 h lie in the store."""
OFFSETS = np.array([1.0, 2.0, 6.0])
"""What members 0, 1 and 2 add to the analysis."""


def analyses() -> np.ndarray:
    """[T, C, H, W]: every channel grows by 1 a day around fixed random fields, so that persistence is known."""
    fields = np.random.default_rng(0).normal(100, 10, (len(CHANNELS), *GRID.shape))
    return (fields + np.arange(24)[:, None, None, None] / 4).astype(np.float32)


def make_store(path: Path, channels: tuple[str, ...] = CHANNELS, grid: Grid = GRID) -> Path:
    return write_store(path, TIMES, analyses()[:, : len(channels)], channels, grid)


def make_run(
    run: Path, members: tuple[int, ...] = (0, 1, 2), inits: np.ndarray = INITS, rows: slice = slice(None)
) -> Path:
    """The analyses with the members' offsets on ``rows``."""
    fields = analyses()
    for init in inits:
        start = int((init - TIMES[0]) / np.timedelta64(6, "h"))
        for member in members:
            header = Header(CHANNELS, GRID.latitude, GRID.longitude, init, LEADS, {"synthetic": True}, member)
            with FileWriter(member_path(run, init, member), header, columns_of(CHANNELS)) as writer:
                for i_lead, lead in enumerate(LEADS):
                    state = fields[(start + lead // 6) % len(fields)].copy()
                    state[:, rows] += np.float32(OFFSETS[member])
                    writer.write(i_lead, state)
    return run


@pytest.fixture(scope="module")
def planet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with RUN and store.zarr; tests write their own outputs into it."""
    folder = tmp_path_factory.mktemp("planet")
    make_store(folder / "store.zarr")
    make_run(folder / "RUN")
    return folder


def config(planet: Path, output: str, **changes: object) -> VerifyConfig:
    given = {"forecast": str(planet / "RUN"), "store": str(planet / "store.zarr"), "plots": False}
    return VerifyConfig(output=str(planet / output), **(given | changes))  # type: ignore[arg-type]


def test_scores_are_those_of_the_offsets(planet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = verify(config(planet, "scores"))
    scores = xr.open_dataset(output / "scores.nc")
    assert scores["init_times"].values.tolist() == [3, 3, 3, 2]
    assert scores["channel"].values.tolist() == list(CHANNELS)
    assert scores["units"].values.tolist() == ["K", "m2 s-2", "m s-1"]
    assert scores["acc"].attrs["units"] == "1"
    assert "in squared units of the channel" in scores["squared_error"].attrs["comment"]
    np.testing.assert_allclose(scores["rmse"].sel(system="control"), 1.0, rtol=1e-5)
    np.testing.assert_allclose(scores["rmse"].sel(system="ensemble_mean"), 3.0, rtol=1e-5)
    np.testing.assert_allclose(scores["bias"].sel(system="ensemble_mean"), 3.0, rtol=1e-5)
    # Mean |x − y| = 3, mean |x − x'| over pairs = (1 + 5 + 4) / 3; variance of 1, 2, 6 is 7.
    np.testing.assert_allclose(scores["crps"].sel(system="ensemble"), 3 - 5 / 3, rtol=1e-5)
    np.testing.assert_allclose(scores["spread"].sel(system="ensemble"), np.sqrt(7), rtol=1e-5)
    ratio = scores["spread_skill_ratio"].sel(system="ensemble")
    np.testing.assert_allclose(ratio, np.sqrt(4 / 3 * 7) / 3, rtol=1e-5)
    days = np.array([0, 0.25, 0.5, 1.0])[:, None] * np.ones(3)
    np.testing.assert_allclose(scores["rmse"].sel(system="persistence"), days, rtol=1e-5)
    np.testing.assert_allclose(scores["crps"].sel(system="persistence"), days, rtol=1e-5)
    np.testing.assert_allclose(scores["bias"].sel(system="persistence"), -days, rtol=1e-5)
    assert (scores["rmse"].sel(system="persistence").isel(lead_time=0) == 0).all()
    assert "12 forecasts (initial × lead times)" in capsys.readouterr().out


def test_errors_count_by_cell_area(planet: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "RUN", members=(0,), inits=INITS[:1], rows=slice(0, 1))
    scores = xr.open_dataset(verify(config(planet, "area", forecast=str(run))) / "scores.nc")
    # Rows from 90 to −67.5 every 22.5 degrees: the first cell reaches down to 78.75, the last one to −78.75.
    edge = np.sin(np.deg2rad(78.75))
    np.testing.assert_allclose(scores["rmse"].sel(system="control") ** 2, (1 - edge) / (1 + edge), rtol=1e-5)


def test_climatology_and_acc_are_those_of_the_store(planet: Path) -> None:
    scores = xr.open_dataset(verify(config(planet, "climate")) / "scores.nc")
    # Six analyses for each hour of day: the climatology is their mean, 2.5 days after the first of them.
    days = (INITS[0] - TIMES[0]) / np.timedelta64(24, "h") - 2.5
    statistics = scores["squared_error"].sel(system="climatology").isel(init_time=0, lead_time=0)
    np.testing.assert_allclose(statistics, days**2, rtol=1e-4)
    # Departures from it are uniform, so that p' t' is ± |p'| |t'|.
    first = scores["anomaly_correlation"].sel(system="control").isel(init_time=0, lead_time=0)
    np.testing.assert_allclose(first, np.sign(days * (days + 1.0)), rtol=1e-5)
    assert np.isnan(scores["acc"].sel(system="climatology")).all()


def test_the_files_and_the_terminal_show_the_same_numbers(
    planet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = verify(config(planet, "same", channels=["z500", "t2m"]))
    printed = capsys.readouterr().out.strip()
    text = (output / "scores.md").read_text()
    assert printed in text
    assert "SYNTHETIC" in printed
    assert "11 verified, 1 skipped because the store lacks the analysis" in printed
    rows = list(csv.DictReader((output / "scores.csv").open()))
    assert {row["channel"] for row in rows} == {"z500", "t2m"}
    scores = xr.open_dataset(output / "scores.nc")
    for row in rows:
        place = {"channel": row["channel"], "system": row["system"]}
        lead = np.timedelta64(int(row["lead_hours"]), "h")
        value = float(scores[row["metric"]].sel(place).sel(lead_time=lead))
        np.testing.assert_equal(float(row["value"]), value)
    units = {(row["channel"], row["metric"]): row["units"] for row in rows}
    assert units["z500", "rmse"] == "m2 s-2"
    assert units["t2m", "spread"] == "K"
    assert units["t2m", "acc"] == "1"
    row = next(line for line in printed.splitlines() if "z500 (m2 s-2)" in line)
    assert [cell.strip() for cell in row.split("|")[2:6]] == ["6 h", "1.000", "3.000", "0.2500"]


def test_one_member_is_scored_without_an_ensemble(planet: Path, tmp_path: Path) -> None:
    make_run(tmp_path / "RUN", members=(0,))
    output = verify(config(planet, "single", forecast=str(tmp_path / "RUN")))
    scores = xr.open_dataset(output / "scores.nc")
    assert scores["system"].values.tolist() == ["control", "persistence", "climatology"]
    np.testing.assert_allclose(scores["crps"].sel(system="control"), 1.0, rtol=1e-5)
    assert "CRPS control" in (output / "scores.md").read_text()


def test_pictures_are_drawn_and_shown(planet: Path) -> None:
    pytest.importorskip("matplotlib")
    output = verify(config(planet, "pictures", channels=["z500"], plots=True))
    pictures = {path.name for path in output.glob("*.png")}
    assert pictures == {"rmse.png", "crps.png", "acc.png", "spread.png", "forecast_map.png"}
    text = (output / "scores.md").read_text()
    assert all(f"]({name})" in text for name in pictures)


def test_pictures_without_matplotlib_fail_before_the_work(planet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install fourcast\[report\].*plots=false"):
        verify(config(planet, "none", plots=True))


def test_a_rerun_replaces_its_output_and_nothing_else(planet: Path) -> None:
    output = verify(config(planet, "again"))
    (output / "left_over.png").touch()
    verify(config(planet, "again"))
    assert not (output / "left_over.png").exists()
    with pytest.raises(InputError, match="which is no verification"):
        verify(config(planet, "RUN"))


def test_what_does_not_fit_is_named(planet: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no channel msl"):
        verify(config(planet, "x", channels=["msl"]))
    fewer = make_store(tmp_path / "fewer.zarr", CHANNELS[:2])
    with pytest.raises(InputError, match="no channel u10m"):
        verify(config(planet, "x", store=str(fewer)))
    shifted = make_store(tmp_path / "shifted.zarr", grid=Grid(GRID.latitude - 11.25, GRID.longitude))
    with pytest.raises(InputError, match=r"has 8 from 90 to -67\.5 latitudes .* is on 8×16 \(latitude 78\.75"):
        verify(config(planet, "x", store=str(shifted)))
    perturbed = make_run(tmp_path / "PERTURBED", members=(1, 2))
    with pytest.raises(InputError, match="not 0, the unperturbed control"):
        verify(config(planet, "x", forecast=str(perturbed)))
    other_year = make_run(tmp_path / "LATER", inits=INITS[:1] + 24 * 365)
    with pytest.raises(InputError, match="covers 2026-08-01T00 to 2026-08-06T18 and no forecast valid between 2027"):
        verify(config(planet, "x", forecast=str(other_year)))
    assert not (planet / "x").exists()


def test_verification_starts_without_torch() -> None:
    code = "import sys, fourcast.verify.evaluate; print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
