"""What a validation leaves to look at."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import CHANNELS, GRID, TIMES, train_config, waves

from fourcast.errors import InputError
from fourcast.grid import Grid
from fourcast.train.pictures import Scene, _can_draw, draw_example, draw_scores, draw_spectra, keep, scene
from fourcast.train.prepare import prepare
from fourcast.train.scoring import Example, Validation

SCENE = Scene(("z500", "t2m"), GRID, np.broadcast_to(GRID.longitude < 180, GRID.shape).astype(np.float32), True)


def found(forecast: np.ndarray | None = None) -> Validation:
    """Scores at 6 and 12 h that tell where they stand: a system's are 1, 2, 3 times 1 … 4 over leads and channels."""
    fields = waves()
    base = np.array([[1.0, 2.0], [3.0, 4.0]])
    acc = base / 10
    acc[0, 0] = np.nan
    wavenumbers = np.arange(9.0)
    analysis = np.broadcast_to(100.0 * 0.05**wavenumbers, (2, 2, 9))
    return Validation(
        losses={"validation_loss": 0.5, "persistence_loss": 1.0},
        samples=7,
        channels=CHANNELS,
        lead_hours=(6, 12),
        rmse={"model": base, "persistence": 2 * base, "climatology": 3 * base},
        acc={"model": acc, "persistence": acc / 2},
        power=np.stack([analysis / 4, analysis]),
        example=Example(TIMES[0], TIMES[2], fields[0], fields[2] + 1 if forecast is None else forecast, fields[2]),
    )


def test_a_validation_leaves_scores_and_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    folder = keep(found(), SCENE, tmp_path, 40)
    assert folder == tmp_path / "validation/step_00000040"
    names = {"scores.json", "scores.png", "spectra.png", "map_z500.png", "map_t2m.png"}
    assert {file.name for file in folder.iterdir()} == names
    assert all(file.stat().st_size > 10_000 for file in folder.glob("*.png"))
    keep(replace(found(), samples=8), replace(SCENE, channels=()), tmp_path, 40)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert json.loads((folder / "scores.json").read_text())["samples"] == 8


def test_all_scores_are_written_down(tmp_path: Path) -> None:
    folder = keep(found(), replace(SCENE, channels=()), tmp_path, 40)
    assert [file.name for file in folder.iterdir()] == ["scores.json"]
    text = (folder / "scores.json").read_text()
    scores = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (scores["step"], scores["samples"], scores["lead_hours"]) == (40, 7, [6, 12])
    assert (scores["validation_loss"], scores["persistence_loss"]) == (0.5, 1.0)
    assert scores["units"] == {"t2m": "K", "z500": "m2 s-2"}
    assert scores["rmse"]["climatology"] == {"t2m": [3.0, 9.0], "z500": [6.0, 12.0]}
    assert scores["acc"]["model"] == {"t2m": [None, 0.3], "z500": [0.2, 0.4]}


def test_without_matplotlib_there_are_the_scores_and_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _can_draw.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for step in (1, 2):
        assert [file.name for file in keep(found(), SCENE, tmp_path, step).iterdir()] == ["scores.json"]
    _can_draw.cache_clear()
    assert capsys.readouterr().err == "  no pictures of validations: pip install 'fourcast[report]'\n"


def test_what_fails_leaves_nothing_half_done(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        keep(found(), replace(SCENE, channels=("q700",)), tmp_path, 1)
    assert list((tmp_path / "validation").iterdir()) == []


def test_lines_are_the_scores() -> None:
    pytest.importorskip("matplotlib")
    left, right = draw_scores(found(), ("z500",)).axes
    assert left.get_title() == "RMSE of z500 (m$^{2}$ s$^{-2}$)"
    lines = {line.get_label(): line.get_ydata().tolist() for line in left.lines}
    assert lines == {"model": [2.0, 4.0], "persistence": [4.0, 8.0], "climatology": [6.0, 12.0]}
    assert {line.get_label(): line.get_ydata().tolist() for line in right.lines} == {
        "model": [0.2, 0.4], "persistence": [0.1, 0.2]
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:Data has no positive values")
def test_spectra_leave_out_the_mean_and_what_is_rounding() -> None:
    pytest.importorskip("matplotlib")
    left, right = draw_spectra(found(), ("t2m",)).axes
    analysis, first, last = left.lines
    assert analysis.get_xdata().tolist() == list(range(1, 9))
    # From 5 on they fall to a twentieth each; the eighth is below 1e-8 of that, and so is a quarter of the seventh.
    powers = 5 * 0.05 ** np.arange(7.0)
    assert analysis.get_ydata() == pytest.approx([*powers, np.nan], nan_ok=True)
    assert [line.get_label() for line in (first, last)] == ["forecast, 6 h", "forecast, 12 h"]
    assert right.lines[0].get_ydata() == pytest.approx([*[0.25] * 6, np.nan, np.nan], nan_ok=True)
    dead = replace(found(), power=np.zeros((2, 2, 2, 9)))
    assert np.isnan(draw_spectra(dead, ("t2m",)).axes[0].lines[0].get_ydata()).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_a_forecast_that_blew_up_is_drawn_on_the_scale_of_the_analysis(tmp_path: Path, bad: float) -> None:
    pytest.importorskip("matplotlib")
    forecast = waves()[2].copy()
    forecast[:, 3:] = bad
    validation = found(forecast)
    figure = draw_example(validation, SCENE, "t2m")
    analysis, shown, error, persistence = (axis.collections[0] for axis in figure.axes[:4])
    assert analysis.levels.tolist() == shown.levels.tolist()
    assert error.levels.tolist() == persistence.levels.tolist()
    assert error.levels == pytest.approx(-error.levels[::-1])
    assert 265 < analysis.levels[0] < 275
    figure.savefig(tmp_path / "map.png")


def test_a_region_has_no_zonal_waves(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    region = Grid(GRID.latitude, 5.0 * np.arange(16))
    folder = keep(found(), replace(SCENE, channels=("t2m",), grid=region), tmp_path, 1)
    assert not (folder / "spectra.png").exists()
    assert (folder / "map_t2m.png").exists()


def test_the_scene_is_checked_before_training(tiny_store: Path, tmp_path: Path) -> None:
    config = train_config(tiny_store, tmp_path / "run", validation_steps=1)
    chosen = scene(prepare(replace(config, pictures=None)), CHANNELS)
    assert (chosen.channels, chosen.synthetic) == (("t2m",), True)
    assert chosen.land is not None
    config = replace(config, pictures=["z500", "q700"])
    with pytest.raises(InputError, match="pictures: the model does not predict q700, but t2m, z500"):
        scene(prepare(config), CHANNELS)
