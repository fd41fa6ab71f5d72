"""What a calibration needs, checked before the first forecast."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourcast.calibrate.trial import Trial
from fourcast.config import CalibrateConfig, ForecastConfig
from fourcast.data.store import Times
from fourcast.errors import InputError
from fourcast.files import refuse_existing
from fourcast.forecast.amplitude import amplitudes
from fourcast.forecast.initial import require_times
from fourcast.forecast.perturb import earlier_hours
from fourcast.periods import within

Float64 = NDArray[np.float64]

RECORD = "calibration.json"
"""The file that a calibration is recognised by, and that forecasts take their amplitudes from."""


def refuse_output(output: Path, overwrite: bool) -> None:
    """Raise InputError where ``output`` may not be replaced: without overwrite, or where it holds no calibration."""
    empty = output.is_dir() and not any(output.iterdir())
    if empty:
        return
    refuse_existing(output, overwrite)
    if output.exists() and not (output / RECORD).is_file():
        raise InputError(f"{output} is there and holds no {RECORD}, so it is not replaced; choose another output=")


def forecasts_of(config: CalibrateConfig) -> ForecastConfig:
    """The forecasts that are made, in the words of the verb that makes them for good."""
    return ForecastConfig(
        checkpoint=config.checkpoint,
        store=config.store,
        init_start=config.init_start,
        init_end=config.init_end,
        init_every_hours=config.init_every_hours,
        lead_hours=config.target_hours,
        ensemble=config.ensemble,
        precision=config.precision,
        device=config.device,
    )


def _given(config: CalibrateConfig) -> Any:
    ensemble = config.ensemble
    given = {"gaussian": ensemble.gaussian_amplitude, "correlated": ensemble.correlated.amplitude}
    return given.get(config.perturbation, ensemble.bred.amplitude)


def first_guess(config: CalibrateConfig, channels: tuple[str, ...]) -> Float64:
    """The amplitudes [C] that ``config`` gives; InputError where all are 0, which no factor changes."""
    key = f"ensemble.{config.perturbation}.amplitude"
    given_C = amplitudes(key, _given(config), channels)
    if not given_C.any():
        raise InputError(
            f"{key} is 0, and amplitudes are found by making the given ones larger or smaller: give a first guess, "
            f"as in {key}=0.1"
        )
    return given_C.astype(np.float64)


def require_target(config: CalibrateConfig, step_hours: int) -> None:
    """Raise InputError where the model does not step to the target."""
    if config.target_hours % step_hours:
        raise InputError(f"target_hours={config.target_hours} is no multiple of the model's step of {step_hours} h")


def require_analyses(config: CalibrateConfig, trial: Trial) -> None:
    """Raise InputError unless there is every analysis to start from and to compare with."""
    earlier = earlier_hours(trial.resolved(config.ensemble))
    hours = np.array([*(-hour for hour in earlier), *range(0, config.target_hours + 1, trial.step_hours)])
    require_times(trial.analyses, np.unique(np.array(trial.init_times, "datetime64[h]")[:, None] + hours))


def trained_on(period: list[str | None] | None, init_times: Times) -> str:
    """A warning where ``init_times`` lie in the ``period`` [start, end] of a training, where that is known."""
    known = 0 if period is None else int(within(init_times, *period).sum())
    if not period or known == 0:
        return ""
    first, last = (end or "…" for end in period)
    return (
        f"{known} of {len(init_times)} initial times lie in the period the model was trained on ({first} to {last}), "
        "where its errors are smaller than they will be; choose others"
    )
