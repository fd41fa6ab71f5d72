"""``fourcast calibrate``: amplitudes at which an ensemble's spread matches its error on held-out dates."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from fourcast.calibrate.found import Calibration, one_each
from fourcast.calibrate.plots import draw_ranks, draw_spread
from fourcast.calibrate.prepare import (
    RECORD,
    first_guess,
    forecasts_of,
    refuse_output,
    require_analyses,
    require_target,
    trained_on,
)
from fourcast.calibrate.record import record, write_tables
from fourcast.calibrate.report import ratios, report, summary
from fourcast.calibrate.search import Float64, Round, matches, next_amplitudes
from fourcast.calibrate.tally import EnsembleScores
from fourcast.calibrate.trial import Trial, score
from fourcast.config import CalibrateConfig
from fourcast.distributed import process_group
from fourcast.errors import InputError
from fourcast.files import whole_directory, write_json
from fourcast.forecast.forecaster import load_forecaster
from fourcast.forecast.initial import initial_times, open_analyses
from fourcast.forecast_config import EnsembleConfig
from fourcast.verify.results.figures import require_matplotlib

LONGEST_WAIT = timedelta(days=30)
"""How long a process with fewer initial times waits for the others."""
DIGITS = 4
"""Significant ones of an amplitude."""


def calibrate(config: CalibrateConfig) -> Path:
    """Find amplitudes and write calibration.json, report.md, tables and pictures into config.output.

    Everything is checked before the first forecast: InputError for an output that is there, analyses that the store
    lacks, target_hours that are no multiple of the model's step, and an amplitude of 0, which no factor changes.
    """
    output = Path(config.output)
    if config.plots:
        require_matplotlib()
    with process_group(config.device, LONGEST_WAIT) as process:
        process.decide(lambda: refuse_output(output, config.overwrite))
        forecaster = load_forecaster(config.checkpoint, process.device, config.precision)
        require_target(config, forecaster.card.step_hours)
        start_C = first_guess(config, forecaster.channels)
        forecasts = forecasts_of(config)
        with open_analyses(forecasts, forecaster.card) as analyses:
            times = tuple(initial_times(forecasts, analyses))
            steps = config.target_hours // forecaster.card.step_hours
            trial = Trial(forecaster, analyses, times, steps, process)
            require_analyses(config, trial)
            found = _search(config, trial, start_C)
        if process.is_first:
            _write(found, output)
            print(summary(found))
        process.barrier()
    return output


def _search(config: CalibrateConfig, trial: Trial, start_C: Float64) -> Calibration:
    """Forecast in rounds, each with better amplitudes, until spread matches error or nothing is left to try."""
    process, own = trial.process, one_each(config)
    warning = trained_on(trial.forecaster.card.provenance.get("train"), np.array(trial.init_times))
    process.say(_announced(config, trial) + (f"\n  {warning}" if warning else ""))
    rounds: list[Round] = []
    scores: list[EnsembleScores] = []
    amplitude_C = rounded(start_C)
    while len(rounds) < config.rounds:
        label = f"round {len(rounds) + 1} of at most {config.rounds}, steps"
        scores.append(score(trial, with_amplitudes(config, trial, amplitude_C), label))
        rounds.append(Round(amplitude_C, scores[-1].ratio_LC[-1]))
        _require_ratios(config, trial, rounds[-1])
        process.say(f"  spread/error at {config.target_hours} h: {ratios(trial.forecaster.channels, rounds[-1])}")
        if matches(rounds[-1], own):
            break
        better_C = next_amplitudes(rounds, own, config.rounds - len(rounds))
        better_C = rounded(np.array(process.broadcast(better_C.tolist())))
        if np.array_equal(better_C, amplitude_C):
            break
        amplitude_C = better_C
    return Calibration(config, trial, tuple(rounds), tuple(scores), warning)


def _announced(config: CalibrateConfig, trial: Trial) -> str:
    process = trial.process
    text = (
        f"calibrating {config.perturbation} perturbations of {config.ensemble.size} members from "
        f"{len(trial.init_times)} initial times to {config.target_hours} h on {process.world_size} × "
        f"{process.device.type}"
    )
    if config.by_channel and not one_each(config):
        text += "\n  one factor for all channels: bred vectors have the shape that the model gives them"
    if len(trial.init_times) < process.world_size:
        text += f"\n  only {len(trial.init_times)} of {process.world_size} processes have work: an initial time each"
    return text


def with_amplitudes(config: CalibrateConfig, trial: Trial, amplitude_C: Float64) -> EnsembleConfig:
    """The configured ensemble with these amplitudes of the perturbation that is calibrated."""
    named = dict(zip(trial.forecaster.channels, amplitude_C.tolist(), strict=True))
    changed = replace(getattr(config.ensemble, config.perturbation), amplitude=named)
    ensemble: EnsembleConfig = replace(config.ensemble, **{config.perturbation: changed})
    return ensemble


def rounded(amplitude_C: Float64) -> Float64:
    """To as many digits as are written, so that what was measured is what is written."""
    return np.array([float(f"{amplitude:.{DIGITS}g}") for amplitude in amplitude_C])


def _require_ratios(config: CalibrateConfig, trial: Trial, found: Round) -> None:
    """Raise InputError where a channel has no error or no spread, so that no factor leads from one to the other."""
    useless_C = ~(np.isfinite(found.ratio_C) & (found.ratio_C > 0)) & (found.amplitude_C > 0)
    if useless_C.any():
        names = [name for name, useless in zip(trial.forecaster.channels, useless_C, strict=True) if useless]
        raise InputError(
            f"{', '.join(names)}: no spread or no error is left at {config.target_hours} h, so no amplitude can be "
            f"found; give them the amplitude 0 in ensemble.{config.perturbation}.amplitude, or inspect the model"
        )


def _write(found: Calibration, output: Path) -> None:
    """Everything that is found, whole or not at all."""
    scores = found.dataset()
    with whole_directory(output) as folder:
        write_json(folder / RECORD, record(found))
        write_tables(scores, folder)
        pictures = [draw_spread(scores, folder), draw_ranks(scores, folder)] if found.config.plots else []
        (folder / "report.md").write_text(report(found, scores, pictures), encoding="utf-8")
