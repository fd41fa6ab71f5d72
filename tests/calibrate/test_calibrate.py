"""fourcast calibrate on a planet whose forecasts have errors of known size, and requests that it refuses."""

import json
import re
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import ranks_job
import torch
from tiny import CARD, CHANNELS, GRID, TIMES, composed, write_store

from fourcast.calibrate.calibrate import calibrate
from fourcast.calibrate.prepare import trained_on
from fourcast.checkpoint import build, save_checkpoint
from fourcast.config import CalibrateConfig, EnsembleConfig
from fourcast.errors import InputError
from fourcast.files import read_json
from fourcast.forecast.amplitude import amplitudes
from fourcast.forecast_config import BredConfig, CorrelatedConfig, GaussianConfig
from fourcast.grid import area_weights

MEMBERS = 8
SIGMA = np.array([0.3, 0.05])
"""By how much the analyses of 6 and 18 UTC differ from those six hours before, in standard deviations of CARD."""


@pytest.fixture(scope="module")
def errors() -> np.ndarray:
    """[T, C, H, W] in standard deviations, for every second analysis."""
    shape = (len(TIMES) // 2, len(CHANNELS), *GRID.shape)
    return SIGMA[:, None, None] * np.random.default_rng(3).standard_normal(shape)


@pytest.fixture(scope="module")
def sigma(errors: np.ndarray) -> np.ndarray:
    """[C]: the root of the mean square of the errors that were drawn, over the area."""
    return np.sqrt(np.average((errors**2).mean(axis=(0, 3)), weights=area_weights(GRID.latitude), axis=1))


@pytest.fixture(scope="module")
def store(errors: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """At 0 and 12 UTC any state; six hours later the same, and an error."""
    states = np.random.default_rng(4).standard_normal(errors.shape)
    fields = np.stack([states, states + errors], axis=1).reshape(-1, *errors.shape[1:])
    scale, center = (np.array(numbers)[:, None, None] for numbers in (CARD.std, CARD.mean))
    return write_store(tmp_path_factory.mktemp("known") / "store.zarr", TIMES, (fields * scale + center).astype("f4"))


@pytest.fixture(scope="module")
def persistence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose forecast is the state that it is given."""
    model = build(CARD)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    path = tmp_path_factory.mktemp("persistence") / "checkpoint"
    save_checkpoint(path, model, CARD)
    return path


@pytest.fixture
def config(persistence: Path, store: Path, tmp_path: Path) -> CalibrateConfig:
    return configured(persistence, store, tmp_path)


def configured(checkpoint: Path, store: Path, folder: Path) -> CalibrateConfig:
    """Members of the analyses at midnight and noise, six hours later."""
    return CalibrateConfig(
        checkpoint=str(checkpoint),
        store=str(store),
        output=str(folder / "calibration"),
        init_start="2026-08-01",
        init_end="2026-08-10T12",
        init_every_hours=24,
        target_hours=6,
        ensemble=ensemble(0.1, control=False),
        device="cpu",
        plots=False,
    )


def ensemble(amplitude: object, **changes: object) -> EnsembleConfig:
    return EnsembleConfig(size=MEMBERS, gaussian=GaussianConfig(amplitude), **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def done(persistence: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A calibration with everything it writes, and what it says on standard output and error."""
    config = replace(configured(persistence, store, tmp_path_factory.mktemp("done")), plots=True)
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        output = calibrate(config)
    return output, out.getvalue(), err.getvalue()


def found(output: Path) -> np.ndarray:
    """The amplitudes [C], as a forecast reads them."""
    return amplitudes("ensemble.gaussian.amplitude", str(output / "calibration.json"), CHANNELS)


def test_amplitudes_are_those_of_the_errors(done: tuple[Path, str, str], sigma: np.ndarray) -> None:
    """Members x + ε, analysis x + e: the spread matches where ε has the size of e.

    Variance a², squared error of the mean σ² + a²/M: (M + 1)/M · a² = σ² + a²/M where a = σ.
    """
    np.testing.assert_allclose(found(done[0]), sigma, rtol=0.04)


def test_the_control_is_a_member_without_spread(config: CalibrateConfig, sigma: np.ndarray) -> None:
    """Variance (M - 1)/M · a², squared error σ² + (M - 1)/M² · a²: equal where a² = M/(M - 1) · σ²."""
    output = calibrate(replace(config, ensemble=ensemble(0.1)))
    np.testing.assert_allclose(found(output), np.sqrt(MEMBERS / (MEMBERS - 1)) * sigma, rtol=0.04)


def test_the_first_round_measures_the_given_amplitude(config: CalibrateConfig, sigma: np.ndarray) -> None:
    record = read_json(calibrate(replace(config, rounds=1)) / "calibration.json")
    expected = np.sqrt(9 / 8 * 0.01 / (sigma**2 + 0.01 / 8))
    ratio = [record["rounds"][0]["spread_skill_ratio"][name] for name in CHANNELS]
    np.testing.assert_allclose(ratio, expected, rtol=0.04)
    assert record["amplitudes"] == {name: pytest.approx(0.1) for name in CHANNELS}
    assert not record["matched"]


def test_what_is_written(done: tuple[Path, str, str]) -> None:
    output, out, err = done
    written = {path.name for path in output.iterdir()}
    assert written == {"calibration.json", "report.md", "scores.csv", "ranks.csv", "spread.png", "ranks.png"}
    record = read_json(output / "calibration.json")
    assert record["matched"]
    assert (record["perturbation"], record["target_hours"], record["seed"]) == ("gaussian", 6, 0)
    assert record["synthetic"]
    assert len(record["init_times"]) == 10
    assert record["init_times"][1] == "2026-08-02T00"
    report = (output / "report.md").read_text()
    assert "SYNTHETIC" in report
    assert all(f"| {name} (" in report for name in CHANNELS)
    assert f"ensemble.gaussian.amplitude={output}/calibration.json" in out
    assert "round 1 of at most 6" in err
    scores = (output / "scores.csv").read_text().splitlines()
    assert len(scores) == 1 + 2 * 2 * 2  # channels, lead times, before and after
    assert len((output / "ranks.csv").read_text().splitlines()) == 1 + 2 * 2 * 2 * (MEMBERS + 1)


def test_spread_that_matches_flattens_ranks_and_lowers_the_crps(done: tuple[Path, str, str]) -> None:
    head, *rows = [line.split(",") for line in (done[0] / "scores.csv").read_text().splitlines()]
    first, second = (dict(zip(head, row, strict=True)) for row in rows if row[:2] == ["t2m", "6"])
    assert (first["amplitudes"], second["amplitudes"]) == ("before", "after")
    assert float(second["rank_flatness"]) < 0.01 < 0.3 < float(first["rank_flatness"])
    assert float(second["rank_outside"]) == pytest.approx(2 / 9, abs=0.03)
    assert float(second["crps"]) < 0.95 * float(first["crps"])


def test_one_factor_for_all_channels(config: CalibrateConfig) -> None:
    start = ensemble({"t2m": 0.1, "z500": 0.05}, control=False)
    output = calibrate(replace(config, by_channel=False, ensemble=start))
    amplitude = found(output)
    assert amplitude[0] / amplitude[1] == pytest.approx(2, rel=1e-3)
    record = read_json(output / "calibration.json")
    ratio = record["rounds"][record["best_round"] - 1]["spread_skill_ratio"]
    assert np.mean(np.square(list(ratio.values()))) == pytest.approx(1, abs=0.05)


def test_a_channel_left_alone_stays_unperturbed(config: CalibrateConfig, sigma: np.ndarray) -> None:
    output = calibrate(replace(config, ensemble=ensemble({"t2m": 0.1}, control=False)))
    np.testing.assert_allclose(found(output), [sigma[0], 0.0], rtol=0.04)


def test_spread_out_of_reach_is_said_to_be(config: CalibrateConfig, capsys: pytest.CaptureFixture[str]) -> None:
    """White noise of four times the error gives z500 more spread than it should have, whatever is added to it."""
    both = replace(
        ensemble({"z500": 0.2}, control=False), correlated=CorrelatedConfig({"t2m": 0.3, "z500": 2e-4}, length_km=3000)
    )
    output = calibrate(replace(config, perturbation="correlated", ensemble=both))
    record = read_json(output / "calibration.json")
    assert not record["matched"]
    assert record["amplitudes"]["z500"] == 1e-4
    said = re.search(r"z500 stays at (\S+) with the least", capsys.readouterr().out)
    assert said
    assert float(said[1]) == pytest.approx(np.sqrt(9 / 8 * 0.04 / (0.0025 + 0.04 / 8)), abs=0.1)


def test_batches_and_calls_do_not_matter(config: CalibrateConfig, done: tuple[Path, str, str]) -> None:
    fast = replace(config.ensemble, exact=False, batch_size=3)
    np.testing.assert_allclose(found(calibrate(replace(config, ensemble=fast))), found(done[0]), rtol=1e-3)


def test_bred_vectors_take_one_factor(config: CalibrateConfig, capsys: pytest.CaptureFixture[str]) -> None:
    bred = replace(ensemble(0.0), bred=BredConfig(amplitude=0.1, cycles=2))
    output = calibrate(replace(config, perturbation="bred", init_start="2026-08-02", ensemble=bred))
    record = read_json(output / "calibration.json")
    assert not record["by_channel"]
    assert len(set(record["amplitudes"].values())) == 1
    assert "one factor for all channels: bred" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_hours": 9}, "target_hours=9 is no multiple of the model's step of 6 h"),
        ({"init_end": "2026-08-20"}, r"store.zarr has no analysis at 2026-08-11T00"),
        ({"init_end": "2026-08-10", "target_hours": 24}, "no analysis at 2026-08-11T00"),
        ({"init_start": "2026-08-01T05"}, "no analysis at 2026-08-01T05"),
        ({"ensemble": ensemble(0.0)}, "ensemble.gaussian.amplitude is 0.*give a first guess, as in .*=0.1"),
        ({"perturbation": "bred"}, "ensemble.bred.amplitude is 0"),
        ({"ensemble": replace(ensemble(0.1), lagged=[6])}, "no analysis at 2026-07-31T18"),
        ({"ensemble": ensemble({"q850": 0.1})}, "ensemble.gaussian.amplitude: the model has no q850"),
        ({"ensemble": ensemble("nowhere.json")}, "there is no file nowhere.json"),
        ({"store": "nowhere.zarr"}, "there is no store at nowhere.zarr"),
    ],
)
def test_bad_requests_are_refused_before_any_forecast(
    config: CalibrateConfig, changes: dict[str, object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=message):
        calibrate(replace(config, **changes))  # type: ignore[arg-type]
    assert not Path(config.output).exists()
    assert "round" not in capsys.readouterr().err


@pytest.mark.parametrize("size", [1, 2])
def test_an_ensemble_too_small_to_have_a_spread(config: CalibrateConfig, size: int) -> None:
    with pytest.raises(InputError, match="size must be at least 3"):
        replace(config, ensemble=EnsembleConfig(size=size))


def test_another_calibration_is_replaced_as_asked_and_nothing_else(config: CalibrateConfig) -> None:
    output = calibrate(replace(config, rounds=1))
    with pytest.raises(InputError, match="already exists; pass overwrite=true"):
        calibrate(config)
    calibrate(replace(config, rounds=2, overwrite=True))
    assert len(read_json(output / "calibration.json")["rounds"]) == 2
    (output / "calibration.json").rename(output / "thesis.json")
    with pytest.raises(InputError, match=r"holds no calibration.json, so it is not replaced"):
        calibrate(replace(config, overwrite=True))


def test_dates_of_the_training_are_warned_of() -> None:
    times = np.array(["2026-08-07T00", "2026-08-08T18", "2026-08-09T00"], "datetime64[h]")
    assert "2 of 3 initial times lie in the period" in trained_on([None, "2026-08-08"], times)
    assert trained_on([None, "2026-08-06"], times) == ""
    assert trained_on(None, times) == ""


def test_a_trained_model_from_the_command_line(tiny_run: Path, tiny_store: Path, tmp_path: Path) -> None:
    """Correlated noise, on a model that has seen the dates: it runs to 12 hours and says so."""
    config = composed(
        "calibrate", f"checkpoint={tiny_run}", f"store={tiny_store}", f"output={tmp_path / 'c'}", "device=cpu",
        "init_start=2026-08-02", "init_end=2026-08-09", "target_hours=12", "perturbation=correlated", "plots=false",
        "ensemble.size=3", "ensemble.correlated={amplitude:0.1,length_km:3000}", "rounds=2",
    )  # fmt: skip
    assert isinstance(config, CalibrateConfig)
    output = calibrate(config)
    assert "2 of 2 initial times lie in the period the model was trained on" in (output / "report.md").read_text()


@pytest.mark.slow
def test_processes_share_the_initial_times(config: CalibrateConfig, tmp_path: Path) -> None:
    alone = read_json(calibrate(config) / "calibration.json")
    shared = replace(config, output=str(tmp_path / "shared"))
    with ranks_job.together(calibrate, (shared,), shared.output, 3) as processes:
        assert ranks_job.ended(processes) == [0] * 3, ranks_job.errors(shared.output, 3)
    together = read_json(Path(shared.output) / "calibration.json")
    assert json.dumps(together["amplitudes"]) == json.dumps(alone["amplitudes"])
    for ours, theirs in zip(together["rounds"], alone["rounds"], strict=True):
        assert ours["spread_skill_ratio"] == pytest.approx(theirs["spread_skill_ratio"], rel=1e-6)
