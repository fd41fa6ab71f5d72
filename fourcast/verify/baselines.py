"""Forecasts that cost nothing, which a model has to beat: persistence and climatology."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourcast.data.climatology import Climatology
from fourcast.data.store import Store

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Baselines:
    """Analyses of a store and the forecasts that follow from them alone, as [C, H, W] in physical units."""

    store: Store
    channels: tuple[str, ...]
    climate: Climatology

    @classmethod
    def of(cls, store: Store, channels: tuple[str, ...]) -> "Baselines":
        """The baselines for ``channels``; InputError names those the store lacks."""
        return cls(store, channels, store.climatology(channels))

    def analysis(self, time: np.datetime64) -> Float32:
        """The analysis at ``time``: the target at a valid time, the persistence forecast at an initial time."""
        return self.store.read(self.store.time_positions(np.array([time])), self.channels)[0]

    def climatology(self, time: np.datetime64) -> Float32:
        """The climatological field at ``time``."""
        return self.climate.at(np.array([time]).astype("datetime64[h]"))[0]
