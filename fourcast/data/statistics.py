"""Per-channel mean, standard deviation, extremes, and size of the change over one step, from additive sums."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourcast.grid import area_weights

Float64 = NDArray[np.float64]
SUMS = ("count", "mean", "squares", "steps", "step_squares", "minimum", "maximum")


@dataclass(frozen=True, eq=False)
class Statistics:
    """Area-weighted statistics in physical units, each [C].

    tendency_std is the root-mean-square change over one step of the store, the natural scale of what a model adds.
    minimum and maximum are over all points and times.
    """

    mean: Float64
    std: Float64
    tendency_std: Float64
    minimum: Float64
    maximum: Float64


class StatisticsSums:
    """Running weighted moments of fields (Chan, Golub & LeVeque 1979): no cancellation, any partition of the times.

    Missing values carry no weight. Fields are taken one time after the other, which bounds the memory, and makes the
    result the same bits however the times are cut into calls.
    """

    def __init__(self, latitude: Float64, channels: int) -> None:
        self.weights = area_weights(latitude)
        self.count = np.zeros(channels)
        self.mean = np.zeros(channels)
        self.squares = np.zeros(channels)
        self.steps = np.zeros(channels)
        self.step_squares = np.zeros(channels)
        self.minimum = np.full(channels, np.nan)
        self.maximum = np.full(channels, np.nan)

    def add(self, fields: NDArray[np.float32]) -> None:
        """Add fields [T, C, H, W]."""
        for values_CHW in fields:
            self._add_one(values_CHW)

    def _add_one(self, values_CHW: NDArray[np.float32]) -> None:
        filled, share, mean = self._area_mean(values_CHW.astype(np.float64))
        absent = np.isnan(filled)
        deviations = filled - mean[:, None, None]
        if absent.any():
            deviations[absent] = 0.0
        squares = _ratio(self._area_sum_of_squares(deviations), share)
        total = np.maximum(self.count + share, np.finfo(float).tiny)
        shift = mean - self.mean
        self.squares += share * squares + shift**2 * (self.count * share / total)
        self.mean += shift * (share / total)
        self.count += share
        self.minimum = np.fmin(self.minimum, np.fmin.reduce(filled, axis=(1, 2)))
        self.maximum = np.fmax(self.maximum, np.fmax.reduce(filled, axis=(1, 2)))

    def add_steps(self, before: NDArray[np.float32], after: NDArray[np.float32]) -> None:
        """Add pairs of fields [T, C, H, W] one step apart."""
        for one_CHW, next_CHW in zip(before, after, strict=True):
            change = next_CHW.astype(np.float64) - one_CHW
            absent = ~np.isfinite(change)
            share = np.ones(len(change))
            if absent.any():
                change[absent] = 0.0
                share = self._area_share(~absent)
            self.step_squares += self._area_sum_of_squares(change)
            self.steps += share

    def finish(self) -> Statistics:
        """The statistics of everything added; NaN where there was nothing to learn from."""
        some, stepped = self.count > 0, self.steps > 0
        mean, std, tendency_std = (np.full_like(self.mean, np.nan) for _ in range(3))
        mean[some] = self.mean[some]
        std[some] = np.sqrt(self.squares[some] / self.count[some])
        tendency_std[stepped] = np.sqrt(self.step_squares[stepped] / self.steps[stepped])
        return Statistics(mean, std, tendency_std, self.minimum.copy(), self.maximum.copy())

    def state(self) -> dict[str, Float64]:
        """The sums by name, for ``restore``."""
        return {name: getattr(self, name) for name in SUMS}

    def restore(self, state: Mapping[str, Float64]) -> None:
        """Go on from the sums of ``state``."""
        for name in SUMS:
            setattr(self, name, np.array(state[name], dtype=np.float64))

    def _area_mean(self, values_CHW: Float64) -> tuple[Float64, Float64, Float64]:
        """Values with NaN where they are not finite, the share of the area of the others [C], and their mean [C]."""
        present = np.isfinite(values_CHW)
        if present.all():
            share, known = np.ones(len(values_CHW)), values_CHW
        else:
            share, known = self._area_share(present), np.where(present, values_CHW, 0.0)
            values_CHW = np.where(present, values_CHW, np.nan)
        total = known.sum(axis=2) @ self.weights / values_CHW[0].size
        return values_CHW, share, _ratio(total, share)

    def _area_share(self, present_CHW: NDArray[np.bool_]) -> Float64:
        return present_CHW.sum(axis=2) @ self.weights / present_CHW[0].size

    def _area_sum_of_squares(self, values_CHW: Float64) -> Float64:
        """Σ weight · value² over the area, as a share of it: [C, H, W] → [C]."""
        return np.einsum("chw,chw->ch", values_CHW, values_CHW) @ self.weights / values_CHW[0].size


def _ratio(total: Float64, share: Float64) -> Float64:
    return np.divide(total, share, out=np.zeros_like(total), where=share > 0)
