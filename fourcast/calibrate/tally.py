"""What an ensemble's forecasts were worth: sums over initial times that add, and the scores that follow from them."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from numpy.typing import NDArray

from fourcast.distributed import Process
from fourcast.verify.area_means import whole
from fourcast.verify.conventions import CONVENTIONS
from fourcast.verify.scores import Fields, ensemble_mean, score

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
AT_ONCE = 4
"""Channels that are scored side by side: each takes several times the memory of its members' fields."""


@dataclass(frozen=True, eq=False)
class Tally:
    """Sums of area means over initial times, in place. L lead times, 0 first; C channels; M members; R = M + 1 ranks.

    init_times_1: how many were added. variance_LC: of the members, divisor M - 1. squared_error_LC: of their mean.
    crps_LC: the fair one. ranks_LCR: shares of the area by the analysis' rank.
    """

    init_times_1: Float64
    variance_LC: Float64
    squared_error_LC: Float64
    crps_LC: Float64
    ranks_LCR: Float64

    @staticmethod
    def zero(leads: int, channels: int, members: int) -> "Tally":
        """Of nothing."""
        table = leads, channels
        return Tally(np.zeros(1), np.zeros(table), np.zeros(table), np.zeros(table), np.zeros((*table, members + 1)))

    def add(self, lead: int, members_MCHW: Float32, analysis_CHW: Float32, weights_H: Float64) -> None:
        """Add one initial time's members at lead time number ``lead``, in physical units; each lead time once."""
        means = whole(weights_H, analysis_CHW.shape[-1])

        def add_channel(c: int) -> None:
            members_MHW = members_MCHW[:, c]
            singles, ensembles = {"mean": ensemble_mean(members_MHW)}, {"members": members_MHW}
            fields = Fields(analysis_CHW[c], None, singles, ensembles)
            scored = score(fields, means, CONVENTIONS["weatherbench2"], "refuse", energy=False)
            self.variance_LC[lead, c] += scored.statistics["variance"]["members"][0]
            self.crps_LC[lead, c] += scored.statistics["fair_crps"]["members"][0]
            self.squared_error_LC[lead, c] += scored.statistics["squared_error"]["mean"][0]
            self.ranks_LCR[lead, c] += scored.ranks["members"][0]

        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(add_channel, range(len(analysis_CHW))))
        self.init_times_1[:] += lead == 0

    def over(self, process: Process) -> "Tally":
        """These sums over all processes."""
        parts = [torch.from_numpy(getattr(self, each.name)) for each in fields(self)]
        total = process.sum(torch.cat([part.flatten() for part in parts]))
        pieces = total.split([part.numel() for part in parts])
        return Tally(*(piece.view_as(part).numpy() for piece, part in zip(pieces, parts, strict=True)))

    def scores(self) -> "EnsembleScores":
        """The scores of all that was added."""
        count, members = self.init_times_1[0], self.ranks_LCR.shape[-1] - 1
        return EnsembleScores(
            spread_LC=np.sqrt((members + 1) / members * self.variance_LC / count),
            error_LC=np.sqrt(self.squared_error_LC / count),
            crps_LC=self.crps_LC / count,
            ranks_LCR=self.ranks_LCR / count,
        )


@dataclass(frozen=True, eq=False)
class EnsembleScores:
    """Scores of M members by lead time and channel, in units of the channels.

    spread_LC: sqrt((M + 1) / M · mean variance), which equals error_LC, the RMSE of the ensemble mean, where members
    and analysis are draws of one distribution. crps_LC: the fair one. ranks_LCR: the analysis' rank, which add up to 1.
    """

    spread_LC: Float64
    error_LC: Float64
    crps_LC: Float64
    ranks_LCR: Float64
    ratio_LC: Float64 = field(init=False)
    """Spread over error; NaN where there is no error."""

    def __post_init__(self) -> None:
        ratio_LC = np.full_like(self.spread_LC, np.nan)
        np.divide(self.spread_LC, self.error_LC, out=ratio_LC, where=self.error_LC > 0)
        object.__setattr__(self, "ratio_LC", ratio_LC)
