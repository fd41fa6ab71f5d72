"""Perturbations of initial states: pure functions whose numbers are keyed by who draws them.

States are in normalised units, and so are amplitudes. What a member draws comes from the stream of (seed, hours of the
initial time, member, step, kind): it is the same bits in any batch, on any rank, drawn alone or after a restart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourcast.errors import InputError
from fourcast.forecast.amplitude import amplitudes
from fourcast.forecast.batching import Batch, Batching
from fourcast.forecast.breed import Analysis, Breeding, breed
from fourcast.forecast.forecaster import Forecaster
from fourcast.forecast.rollout import stepped
from fourcast.forecast.sphere import RandomFields, on_one_core_each, random_fields
from fourcast.forecast_config import EnsembleConfig
from fourcast.grid import Grid, area_weights
from fourcast.noise import stream

Float32 = NDArray[np.float32]
CORRELATED_KIND = 1
"""What tells the streams of correlated noise from those of white noise, in keys (seed, hours, member, 0, kind)."""
LAGGED_STEP = 2**21
"""The number of a lagged member's first step before the initial time, where no forecast and no breeding comes."""


@dataclass(frozen=True, eq=False)
class Perturbation:
    """What makes members differ at the initial time, checked and ready to be drawn.

    control: whether member 0 stays unperturbed. gaussian_C, correlated_C: amplitudes. fields, breeding: None where no
    amplitude asks for them. lags: hours, which the other members take in turn. models: how many checkpoints do so too.
    """

    channels: tuple[str, ...]
    control: bool
    gaussian_C: Float32
    correlated_C: Float32
    fields: RandomFields | None
    breeding: Breeding | None
    lags: tuple[int, ...]
    models: int = 1

    @property
    def is_none(self) -> bool:
        """Whether all members start alike."""
        noise = self.gaussian_C.any() or self.correlated_C.any()
        return not (noise or self.breeding is not None or self.lags)

    def turn(self, member: int) -> int | None:
        """How many perturbed members of its own model come before ``member``; None for the control."""
        if self.control and member == 0:
            return None
        return member // self.models - int(self.control and member % self.models == 0)

    def lag(self, member: int) -> int:
        """By how many hours the analysis of ``member`` is older than the initial time."""
        turn = self.turn(member)
        return self.lags[turn % len(self.lags)] if self.lags and turn is not None else 0


def resolve(
    ensemble: EnsembleConfig, channels: Sequence[str], step_hours: int, grid: Grid, models: int = 1
) -> Perturbation:
    """What the configuration asks for, of models with these channels, step and grid.

    InputError for amplitudes that do not fit the channels, hours that are no multiples of the step, and a correlation
    too short for the grid.
    """
    noise, bred = ensemble.correlated, ensemble.bred
    gaussian_C = amplitudes("ensemble.gaussian.amplitude", ensemble.gaussian_amplitude, channels)
    correlated_C = amplitudes("ensemble.correlated.amplitude", noise.amplitude, channels)
    bred_C = amplitudes("ensemble.bred.amplitude", bred.amplitude, channels)
    cycle_hours = step_hours if bred.cycle_hours is None else bred.cycle_hours
    for key, hours in [("bred.cycle_hours", cycle_hours), *(("lagged", hours) for hours in ensemble.lagged)]:
        if hours % step_hours:
            raise InputError(f"ensemble.{key}: {hours} h is no multiple of the model's step of {step_hours} h")
    fields = random_fields(grid, noise.length_km, noise.spectrum) if correlated_C.any() else None
    breeding = Breeding(bred_C, bred.cycles, cycle_hours, area_weights(grid.latitude), fields)
    return Perturbation(
        channels=tuple(channels),
        control=ensemble.control,
        gaussian_C=gaussian_C,
        correlated_C=correlated_C,
        fields=fields,
        breeding=breeding if bred_C.any() else None,
        lags=tuple(ensemble.lagged),
        models=models,
    )


def earlier_hours(perturbation: Perturbation) -> tuple[int, ...]:
    """By how many hours the analyses that are needed are older than the initial time: 0, then the others."""
    hours = {0, *perturbation.lags}
    if perturbation.breeding is not None:
        hours |= {(1 + i) * perturbation.breeding.cycle_hours for i in range(perturbation.breeding.cycles)}
    return tuple(sorted(hours))


def describe(perturbation: Perturbation) -> str:
    """What a file says of how its members were perturbed."""
    channels, fields, breeding = perturbation.channels, perturbation.fields, perturbation.breeding
    parts = []
    if perturbation.gaussian_C.any():
        parts.append(f"gaussian, amplitude {_amplitude(channels, perturbation.gaussian_C)}")
    if fields is not None:
        kind = f"{fields.spectrum} spectrum, length {fields.length_km:g} km"
        parts.append(f"correlated on the sphere, {kind}, amplitude {_amplitude(channels, perturbation.correlated_C)}")
    if breeding is not None:
        kind = f"{breeding.cycles} cycles of {breeding.cycle_hours} h"
        parts.append(f"bred vectors in pairs, {kind}, amplitude {_amplitude(channels, breeding.amplitude_C)}")
    if perturbation.lags:
        parts.append(f"lagged, by {', '.join(map(str, perturbation.lags))} h in turn")
    whom = "member 0 unperturbed" if perturbation.control else "member 0 like the others"
    return "; ".join([*(parts or ["none"]), whom])


def _amplitude(channels: Sequence[str], amplitude_C: Float32) -> str:
    if (amplitude_C == amplitude_C[0]).all():
        return f"{amplitude_C[0]!s} standard deviations"
    named = (f"{name} {amplitude!s}" for name, amplitude in zip(channels, amplitude_C, strict=True))
    return f"in standard deviations: {', '.join(named)}"


def initial_states(
    perturbation: Perturbation, forecaster: Forecaster, batch: Batch, batching: Batching, analysis: Analysis
) -> Float32:
    """The states [M, C, H, W] from which the members of a batch start, normalised.

    ``analysis`` gives those of the initial time and of ``earlier_hours`` before it; they are left as they are.
    """
    states = _analysed(perturbation, forecaster, batch, batching, analysis)
    vectors = _bred(perturbation, forecaster, batch, batching, analysis)

    def perturb(row: int) -> None:
        if perturbation.turn(batch.numbers[row]) is not None:
            _add_noise(states[row], perturbation, batch, batch.numbers[row])
            if row in vectors:
                states[row] += vectors[row]

    on_one_core_each(perturb, len(states))
    return states


def _add_noise(state_CHW: Float32, perturbation: Perturbation, batch: Batch, member: int) -> None:
    if perturbation.gaussian_C.any():
        generator = stream(batch.seed, batch.hours, member)
        state_CHW += gaussian(state_CHW.shape, perturbation.gaussian_C, generator)
    if perturbation.fields is not None:
        generator = stream(batch.seed, batch.hours, member, 0, CORRELATED_KIND)
        drawn = perturbation.fields.draw(generator, len(state_CHW))
        state_CHW += perturbation.correlated_C[:, None, None] * drawn


def _analysed(
    perturbation: Perturbation, forecaster: Forecaster, batch: Batch, batching: Batching, analysis: Analysis
) -> Float32:
    """[M, C, H, W]: each member's analysis, an older one brought to the initial time by the model.

    Members of one lag share one forecast, unless the model sees noise: then each has its own.
    """
    states = np.empty((len(batch.numbers), len(forecaster.channels), *forecaster.card.grid.shape), np.float32)
    lags = np.array([perturbation.lag(number) for number in batch.numbers])
    for lag in sorted(set(lags.tolist())):
        rows = np.flatnonzero(lags == lag)
        states[rows] = analysis(batch.init_time - np.timedelta64(lag, "h"))
        if lag == 0:
            continue
        alone = Batch(batch.init_time, (0,), (0,), batch.seed)
        own = forecaster.card.model.noise_channels > 0
        started = states[rows] if own else states[rows[:1]]
        who = _subset(batch, rows.tolist()) if own else alone
        steps = lag // forecaster.card.step_hours
        states[rows] = stepped(forecaster, started, who, LAGGED_STEP, steps, batching)
    return states


def _bred(
    perturbation: Perturbation, forecaster: Forecaster, batch: Batch, batching: Batching, analysis: Analysis
) -> dict[int, Float32]:
    """By row of the batch, the bred vector [C, H, W] that is added: a pair's first member takes p, its second -p."""
    turns = {row: perturbation.turn(number) for row, number in enumerate(batch.numbers)}
    perturbed = {row: turn for row, turn in turns.items() if turn is not None}
    if perturbation.breeding is None or not perturbed:
        return {}
    firsts = {turn // 2: batch.numbers[row] - perturbation.models * (turn % 2) for row, turn in perturbed.items()}
    pairs = Batch(batch.init_time, tuple(firsts.values()), tuple(firsts), batch.seed)
    p_PCHW, _ = breed(perturbation.breeding, forecaster, pairs, batching, analysis)
    position = {pair: i for i, pair in enumerate(firsts)}
    return {row: p_PCHW[position[turn // 2]] * np.float32(1 - 2 * (turn % 2)) for row, turn in perturbed.items()}


def _subset(batch: Batch, rows: Sequence[int]) -> Batch:
    numbers, places = tuple(batch.numbers[row] for row in rows), tuple(batch.places[row] for row in rows)
    return Batch(batch.init_time, numbers, places, batch.seed)


def gaussian(shape_CHW: tuple[int, ...], amplitude_C: Float32, generator: np.random.Generator) -> Float32:
    """Independent Gaussian noise in normalised units (FourCastNet's published ensembles: amplitude 0.3)."""
    return amplitude_C[:, None, None] * generator.standard_normal(shape_CHW, dtype=np.float32)
