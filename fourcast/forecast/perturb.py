"""Perturbations of initial states: pure functions whose every number is keyed by who draws it."""

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


def member_generator(seed: int, init_time: np.datetime64, member: int) -> np.random.Generator:
    """The random stream of one member: Philox, a counter-based generator (Salmon et al. 2011), keyed by all three.

    It depends on nothing else, so a member's numbers are the same bits in any batch, on any rank, drawn alone or
    again after a restart.
    """
    hours = int(init_time.astype("datetime64[h]").astype(np.int64))
    key = np.random.SeedSequence([seed, hours % 2**64, member]).generate_state(2, np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def gaussian(shape: tuple[int, ...], amplitude: float, generator: np.random.Generator) -> Float32:
    """Independent Gaussian noise in normalised units (FourCastNet's published ensembles: amplitude 0.3)."""
    return np.float32(amplitude) * generator.standard_normal(shape, dtype=np.float32)


def perturbed(state_CHW: Float32, amplitude: float, seed: int, init_time: np.datetime64, member: int) -> Float32:
    """The initial state of ``member`` in normalised units; member 0 is the unperturbed analysis."""
    if member == 0:
        return state_CHW.copy()
    return state_CHW + gaussian(state_CHW.shape, amplitude, member_generator(seed, init_time, member))
