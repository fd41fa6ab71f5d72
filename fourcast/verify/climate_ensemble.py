"""Probabilistic climatology: the weather of other years at the same time of the year, as an ensemble.

What an ensemble without any knowledge of the present would say. It is scored by CRPS and the like as an ensemble
forecast is; a forecast that has lost all skill scores no better.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fourcast.data.climatology import hour_of_day
from fourcast.verify.inputs.targets import Targets

Float32 = NDArray[np.float32]
Times = NDArray[np.datetime64]

FEWEST = 5
"""Members below which there is no probabilistic climatology, where as many are asked for."""
APART_DAYS = {True: 180, False: 10}
"""How far from the valid time an analysis must lie to know nothing of its weather: with seasons (the same time of
another year), and in a record so short that its climatology has none."""


@dataclass(frozen=True, eq=False)
class ClimateEnsemble:
    """Analyses of other times that serve as members.

    period: first and last time to draw from, that of the climatology. members: how many at most; 0 for none.
    window_days: how far from the calendar day of the valid time. seasonal: whether the time of the year counts; if
    not, all days do.
    """

    targets: Targets
    period: tuple[np.datetime64, np.datetime64]
    members: int
    window_days: int
    seasonal: bool

    def candidates(self, valid: np.datetime64) -> Times:
        """All times that may stand for ``valid``, increasing.

        Of the period and the same hour of day; on a calendar day within ``window_days`` of that of ``valid`` (29
        February is 1 March in other years); and at least 180 days from ``valid``, or 10 without seasons.
        """
        valid = valid.astype("datetime64[h]")
        times = _within(self.targets.times, *self.period)
        times = times[hour_of_day(times) == hour_of_day(np.asarray(valid))]
        if self.seasonal:
            times = times[self._in_season(times, valid)]
        return times[np.abs(times - valid) >= np.timedelta64(24 * APART_DAYS[self.seasonal], "h")]

    def times(self, valid: np.datetime64) -> Times:
        """Which analyses are the members for ``valid``: of n candidates, number ⌊(i + ½) n / members⌋ for every i.

        All of them where there are no more than ``members``; none where there are fewer than 5 or, if fewer are asked
        for, than that.
        """
        found = self.candidates(valid)
        if self.members == 0 or len(found) < min(self.members, FEWEST):
            return found[:0]
        if len(found) <= self.members:
            return found
        return found[(2 * np.arange(self.members) + 1) * len(found) // (2 * self.members)]

    def read(self, valid: np.datetime64, channels: tuple[str, ...]) -> Float32 | None:
        """The members' fields [C, M, H, W] in physical units, or None where there are none."""
        times = self.times(valid)
        return self.targets.read(times, channels).swapaxes(0, 1) if len(times) else None

    def with_one_size(self, valid: Iterable[np.datetime64]) -> "ClimateEnsemble":
        """This ensemble with as many members as there are for each of the ``valid`` times that have any."""
        sizes = [len(self.times(time)) for time in valid]
        return replace(self, members=min((size for size in sizes if size), default=0))

    def _in_season(self, times: Times, valid: np.datetime64) -> NDArray[np.bool_]:
        years = times.astype("datetime64[Y]")
        day_of_month = valid.astype("datetime64[D]") - valid.astype("datetime64[M]")
        month = valid.astype("datetime64[M]").astype(np.int64) % 12
        near = np.zeros(len(times), dtype=bool)
        for shift in (-1, 0, 1):  # a window across the new year reaches into the year beside it
            same_day = (years + shift).astype("datetime64[M]") + month
            distance = times.astype("datetime64[D]") - (same_day.astype("datetime64[D]") + day_of_month)
            near |= np.abs(distance.astype(np.int64)) <= self.window_days
        return near


def _within(times: Times, first: np.datetime64, last: np.datetime64) -> Times:
    return times[(first <= times) & (times <= last)]
