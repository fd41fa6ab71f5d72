"""One round of a calibration: ensembles from all initial times, rolled forward in memory and scored as they go."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourcast.calibrate.tally import EnsembleScores, Tally
from fourcast.distributed import Process
from fourcast.forecast.batching import Batch, Batching, choose_batching
from fourcast.forecast.forecaster import Forecaster
from fourcast.forecast.initial import Analyses
from fourcast.forecast.memory import members_at_once
from fourcast.forecast.perturb import Perturbation, initial_states, resolve
from fourcast.forecast.rollout import rollout
from fourcast.forecast_config import EnsembleConfig
from fourcast.grid import area_weights
from fourcast.progress import progress

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Trial:
    """What all rounds share: the model, the analyses, from when and how many steps to forecast, and who does it."""

    forecaster: Forecaster
    analyses: Analyses
    init_times: tuple[np.datetime64, ...]
    steps: int
    process: Process

    @property
    def step_hours(self) -> int:
        """Of the model."""
        return self.forecaster.card.step_hours

    def resolved(self, ensemble: EnsembleConfig) -> Perturbation:
        """The perturbation of ``ensemble`` for this model; InputError where it does not fit."""
        card = self.forecaster.card
        return resolve(ensemble, self.forecaster.channels, card.step_hours, card.grid)

    def normalised(self, time: np.datetime64) -> Float32:
        """The analysis [C, H, W] at ``time`` in normalised units."""
        return self.forecaster.normalise(self.analyses.read(time))


def score(trial: Trial, ensemble: EnsembleConfig, label: str) -> EnsembleScores:
    """Scores of ``ensemble`` over all initial times at every step; ``label`` says on the terminal what is done.

    Processes share the initial times and all get the same scores. With one seed, every call draws the same numbers.
    """
    process = trial.process
    mine = trial.init_times[process.rank :: process.world_size]
    tally = Tally.zero(trial.steps + 1, len(trial.forecaster.channels), ensemble.size)
    steps = _added(trial, ensemble, mine, tally)
    for _ in progress(steps, len(mine) * (trial.steps + 1), label) if process.is_first else steps:
        pass
    return tally.over(process).scores()


def _added(
    trial: Trial, ensemble: EnsembleConfig, init_times: tuple[np.datetime64, ...], tally: Tally
) -> Iterator[None]:
    """Add the forecasts from ``init_times`` to ``tally``, step by step."""
    weights = area_weights(trial.forecaster.card.grid.latitude)
    perturbation = trial.resolved(ensemble)
    batching = choose_batching(trial.forecaster, ensemble.exact, ensemble.size)
    groups = _groups(trial, ensemble, batching)
    for init_time in init_times:
        batches = [Batch(init_time, members, members, ensemble.seed) for members in groups]
        rollouts = [_rollout(trial, ensemble, perturbation, batch, batching) for batch in batches]
        for step, parts in enumerate(zip(*rollouts, strict=True)):
            valid_time = init_time + np.timedelta64(step * trial.step_hours, "h")
            tally.add(step, np.concatenate(parts), trial.analyses.read(valid_time), weights)
            yield


def _groups(trial: Trial, ensemble: EnsembleConfig, batching: Batching) -> list[tuple[int, ...]]:
    """Members that are stepped together: in exact mode all, for their calls are small; else as many as share memory."""
    members, size = tuple(range(ensemble.size)), ensemble.size
    if not batching.exact:
        own = trial.process.local_world_size
        size = ensemble.batch_size or members_at_once(trial.forecaster, ensemble.size, batching.exact, own)
    return [members[first : first + size] for first in range(0, len(members), size)]


def _rollout(
    trial: Trial, ensemble: EnsembleConfig, perturbation: Perturbation, batch: Batch, batching: Batching
) -> Iterator[Float32]:
    """The fields [M, C, H, W] of a batch in physical units, one lead time after the other."""
    start = initial_states(perturbation, trial.forecaster, batch, batching, trial.normalised)
    states = rollout(trial.forecaster, start, batch, trial.steps, batching, ensemble.dropout)
    return (fields_MCHW for _, fields_MCHW in states)
