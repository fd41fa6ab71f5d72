"""Perturbations of initial states and noise of models: pure functions whose numbers are keyed by who draws them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fourcast.noise import normal_fields, stream

Float32 = NDArray[np.float32]


def member_generator(seed: int, init_time: np.datetime64, member: int) -> np.random.Generator:
    """The random stream of one member's initial state.

    It depends on nothing else, so a member's numbers are the same bits in any batch, on any rank, drawn alone or
    again after a restart.
    """
    return stream(seed, _hours(init_time), member)


def gaussian(shape: tuple[int, ...], amplitude: float, generator: np.random.Generator) -> Float32:
    """Independent Gaussian noise in normalised units (FourCastNet's published ensembles: amplitude 0.3)."""
    return np.float32(amplitude) * generator.standard_normal(shape, dtype=np.float32)


def perturbed(state_CHW: Float32, amplitude: float, seed: int, init_time: np.datetime64, member: int) -> Float32:
    """The initial state of ``member`` in normalised units; member 0 is the unperturbed analysis."""
    if member == 0:
        return state_CHW.copy()
    return state_CHW + gaussian(state_CHW.shape, amplitude, member_generator(seed, init_time, member))


def model_noise(
    shape_NHW: tuple[int, int, int], seed: int, init_time: np.datetime64, members: Sequence[int], step: int
) -> Float32:
    """The standard normal noise [M, N, H, W] that a model with N noise channels sees at ``step`` of a forecast.

    Steps count from 1. Every member has its own, member 0 too: as the control it starts from the unperturbed
    analysis, and is one draw of the model like the others.
    """
    assert step >= 1, step  # step 0 would be the stream of the initial state
    hours = _hours(init_time)
    return normal_fields([(seed, hours, member, step) for member in members], shape_NHW)


def _hours(init_time: np.datetime64) -> int:
    return int(init_time.astype("datetime64[h]").astype(np.int64)) % 2**64
