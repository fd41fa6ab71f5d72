"""Per-channel mean, standard deviation and standard deviation of the change over one step, from additive sums."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourcast.grid import area_weights

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Statistics:
    """Area-weighted statistics in physical units, each [C].

    tendency_std is the root-mean-square change over one step of the store, the natural scale of what a model adds.
    """

    mean: Float64
    std: Float64
    tendency_std: Float64


class StatisticsSums:
    """Running weighted moments of fields (Chan, Golub & LeVeque 1979): no cancellation, any partition of the times.

    Missing values carry no weight. Fields are taken one time after the other, which bounds the memory.
    """

    def __init__(self, latitude: Float64, channels: int) -> None:
        self.weights = area_weights(latitude)
        self.count = np.zeros(channels)
        self.mean = np.zeros(channels)
        self.squares = np.zeros(channels)
        self.steps = np.zeros(channels)
        self.step_squares = np.zeros(channels)

    def add(self, fields: NDArray[np.float32]) -> None:
        """Add fields [T, C, H, W]."""
        for values_CHW in fields:
            self._add_one(values_CHW.astype(np.float64))

    def _add_one(self, values_CHW: Float64) -> None:
        count, mean = self._area_mean(values_CHW)
        _, squares = self._area_mean((values_CHW - mean[:, None, None]) ** 2)
        total = np.maximum(self.count + count, np.finfo(float).tiny)
        shift = mean - self.mean
        self.squares += count * squares + shift**2 * (self.count * count / total)
        self.mean += shift * (count / total)
        self.count += count

    def add_steps(self, before: NDArray[np.float32], after: NDArray[np.float32]) -> None:
        """Add pairs of fields [T, C, H, W] one step apart."""
        for one_CHW, next_CHW in zip(before, after, strict=True):
            count, square = self._area_mean((next_CHW.astype(np.float64) - one_CHW) ** 2)
            self.step_squares += count * square
            self.steps += count

    def finish(self) -> Statistics:
        """The statistics of everything added; NaN where there was nothing to learn from."""
        some, stepped = self.count > 0, self.steps > 0
        mean, std, tendency_std = (np.full_like(self.mean, np.nan) for _ in range(3))
        mean[some] = self.mean[some]
        std[some] = np.sqrt(self.squares[some] / self.count[some])
        tendency_std[stepped] = np.sqrt(self.step_squares[stepped] / self.steps[stepped])
        return Statistics(mean, std, tendency_std)

    def _area_mean(self, values_CHW: Float64) -> tuple[Float64, Float64]:
        """The share of the area where there are values [C], and their mean there [C], 0 where there are none."""
        present = np.isfinite(values_CHW)
        size = values_CHW[0].size
        share = np.einsum("chw,h->c", present.astype(np.float64), self.weights) / size
        total = np.einsum("chw,h->c", np.where(present, values_CHW, 0.0), self.weights) / size
        return share, np.divide(total, share, out=np.zeros_like(total), where=share > 0)
