"""The climatology that anomalies are taken from: that of a store, or a file in WeatherBench 2's layout.

A store's is seasonal where its analyses cover a year: annual harmonics for every hour of day.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourcast.data.climatology import harmonic_basis
from fourcast.data.store import Store, array_in
from fourcast.errors import InputError
from fourcast.grid import Grid
from fourcast.verify.inputs.climate import Climate
from fourcast.verify.inputs.foreign_climatology import open_foreign
from fourcast.verify.inputs.recent import Recent
from fourcast.verify.inputs.targets import Targets
from fourcast.verify_config import VerifyConfig

Float32 = NDArray[np.float32]
NONE = "none"
"""What ``climatology`` says where there shall be none."""


def open_climate(config: VerifyConfig, targets: Targets) -> Climate | None:
    """The climatology that ``config.climatology`` names, by default that of the store; None where it shall be none.

    InputError where there is none, or it is on another grid than the analyses.
    """
    if config.climatology == NONE:
        return None
    if config.climatology is not None:
        return open_foreign(config.climatology, targets.grid)
    if targets.store is None:
        raise InputError(
            f"{targets.path} has no climatology beside its analyses; name one in WeatherBench 2's layout with "
            "climatology=FILE.zarr, or go without: climatology=none"
        )
    return _of_store(targets.store, targets.grid)


def _of_store(store: Store, grid: Grid) -> Climate:
    hours = np.asarray(array_in(store.group, "climatology_hour")[:]).astype(int)
    seasonal = array_in(store.group, "climatology").shape[1] > 1
    reader = _StoreClimate(store, tuple(hours.tolist()), Recent())
    return Climate(str(store.path), store.channels, grid, seasonal, reader.hours, reader)


@dataclass(frozen=True, eq=False)
class _StoreClimate:
    """A store's coefficients, of which one hour of one channel is read at a time."""

    store: Store
    hours: tuple[int, ...]
    recent: Recent

    def at(self, hour: int, day: int, time: np.datetime64, channel: str) -> Float32:
        coefficients = self._coefficients(hour, channel)
        basis = harmonic_basis(np.array([time]), (len(coefficients) - 1) // 2)[0]
        return np.tensordot(basis.astype(np.float32), coefficients, axes=1)

    def static(self, channel: str) -> Float32:
        means = [self._coefficients(hour, channel)[0].astype(np.float64) for hour in self.hours]
        return np.mean(means, axis=0).astype(np.float32)

    def _coefficients(self, hour: int, channel: str) -> Float32:
        """[term, H, W] of one hour of day."""
        array, place = array_in(self.store.group, "climatology"), self.store.channels.index(channel)

        def read() -> Float32:
            return np.asarray(array[self.hours.index(hour), :, place], dtype=np.float32)

        return self.recent.get((hour, channel), read)
