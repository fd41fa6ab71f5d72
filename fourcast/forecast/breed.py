"""Bred vectors: differences between forecasts that have grown in the model itself, in pairs of either sign.

A pair starts as analysis + p and analysis - p. The model carries both over a cycle; half of their difference is the
new p, scaled back to the size of the old one and put around the next analysis. What is left after some cycles is what
the model lets grow fastest (Toth and Kalnay 1997, Mon. Weather Rev. 125, 3297). Both halves see the same noise, where
a model sees any.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourcast.errors import InputError
from fourcast.forecast.batching import Batch, Batching
from fourcast.forecast.forecaster import Forecaster
from fourcast.forecast.rollout import stepped
from fourcast.forecast.sphere import RandomFields, on_one_core_each
from fourcast.noise import stream

Array = NDArray[np.float64]
Float32 = NDArray[np.float32]
Analysis = Callable[[np.datetime64], Float32]
"""Time → the analysis [C, H, W] in normalised units, which stays the giver's."""
BRED_KIND = 2
"""What tells the streams of first differences from those of other draws, in keys (seed, hours, pair, 0, kind)."""
FIRST_STEP = 2**20
"""The number of the first step of breeding: a forecast does not come so far, so no step shares its noise."""


@dataclass(frozen=True, eq=False)
class Breeding:
    """How bred vectors are made.

    amplitude_C: what their size is measured by, not all 0. cycles: how many, of cycle_hours each. weights_H: of the
    rows' areas, mean 1. fields: what the first differences are drawn from; None: white noise.
    """

    amplitude_C: Float32
    cycles: int
    cycle_hours: int
    weights_H: Array
    fields: RandomFields | None

    def size(self, p_PCHW: Float32) -> Array:
        """[P]: sqrt(mean over channels c with a_c > 0 of (area mean of p_c²) / a_c²), a the amplitude."""
        measured = self.amplitude_C > 0
        weights_H = self.weights_H / (p_PCHW.shape[2] * p_PCHW.shape[3])
        square_PC = np.einsum("pchw,pchw,h->pc", p_PCHW, p_PCHW, weights_H)[:, measured]
        root: Array = np.sqrt((square_PC / np.square(self.amplitude_C[measured], dtype=np.float64)).mean(axis=1))
        return root


def breed(
    breeding: Breeding, forecaster: Forecaster, pairs: Batch, batching: Batching, analysis: Analysis
) -> tuple[Float32, Array]:
    """Vectors p [P, C, H, W] of size 1 for the initial time, and by how much each cycle made them grow [cycles, P].

    pairs: a pair's number keys its random numbers; its place, among the pairs of its model, gives its halves' places.
    InputError where a difference vanishes or ceases to be finite.
    """
    steps = breeding.cycle_hours // forecaster.card.step_hours
    cycle = np.timedelta64(breeding.cycle_hours, "h")
    halves = Batch(
        pairs.init_time,
        tuple(number for number in pairs.numbers for _ in range(2)),
        tuple(2 * place + half for place in pairs.places for half in range(2)),
        pairs.seed,
    )
    growth = np.empty((breeding.cycles, len(pairs.numbers)))
    p_PCHW = _first(breeding, pairs, (len(forecaster.channels), *forecaster.card.grid.shape))
    for i in range(breeding.cycles):
        start = halves.init_time - (breeding.cycles - i) * cycle
        state = analysis(start)
        around = np.stack([state + p_PCHW, state - p_PCHW], axis=1).reshape(-1, *state.shape)
        later = stepped(forecaster, around, halves, FIRST_STEP + i * steps, steps, batching)
        _require(bool(np.isfinite(later).all()), "ceased to be finite", start)
        p_PCHW = np.float32(0.5) * (later[0::2] - later[1::2])
        growth[i] = breeding.size(p_PCHW)
        _require(bool((growth[i] > 0).all()), "vanished", start)
        p_PCHW = _divided(p_PCHW, growth[i])
    return p_PCHW, growth


def _first(breeding: Breeding, pairs: Batch, shape_CHW: tuple[int, ...]) -> Float32:
    """A random difference of size 1 for each pair to begin with."""
    p_PCHW = np.empty((len(pairs.numbers), *shape_CHW), np.float32)

    def draw(row: int) -> None:
        generator = stream(pairs.seed, pairs.hours, pairs.numbers[row], 0, BRED_KIND)
        if breeding.fields is None:
            p_PCHW[row] = generator.standard_normal(shape_CHW, dtype=np.float32)
        else:
            p_PCHW[row] = breeding.fields.draw(generator, len(breeding.amplitude_C))

    on_one_core_each(draw, len(p_PCHW))
    p_PCHW *= breeding.amplitude_C[:, None, None]
    return _divided(p_PCHW, breeding.size(p_PCHW))


def _divided(p_PCHW: Float32, size_P: Array) -> Float32:
    divided: Float32 = p_PCHW / size_P.astype(np.float32)[:, None, None, None]
    return divided


def _require(good: bool, otherwise: str, start: np.datetime64) -> None:
    if not good:
        raise InputError(
            f"ensemble.bred: a difference bred from {start} {otherwise}; inspect the model and the analysis of that "
            "time, or choose another perturbation"
        )
