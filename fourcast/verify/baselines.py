"""Analyses and what forecasts nothing but the past: persistence, climatology, and the analyses of other years."""

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fourcast.verify.case import FoundBaselines, Inputs, score_baselines
from fourcast.verify.inputs.recent import Recent
from fourcast.verify.plan import Plan

Float32 = NDArray[np.float32]
Times = NDArray[np.datetime64]
Group = tuple[str, ...]
MOST_SCORED = 8192
"""Valid times and channels whose scores are remembered, of some kilobytes each."""
MOST_BYTES = 2**26
"""Analyses that are read at a time, unless one is more."""


@dataclass(eq=False)
class Baselines:
    """Fields [C, H, W] of groups of channels, kept while they fit, and what the baselines of valid times come to.

    Only the thread that owns this reads; parts of one process share it.
    """

    plan: Plan
    fields: Recent = field(default_factory=Recent)
    scored: dict[tuple[np.datetime64, str], "Future[FoundBaselines]"] = field(default_factory=dict)

    def analysis(self, time: np.datetime64, channels: Group) -> Float32:
        """The analysis at a time: the target at a valid time, the persistence forecast at an initial time."""
        return self.fields.get((time, channels), lambda: self.plan.targets.read(np.array([time]), channels)[0])

    def read_ahead(self, times: Times, channels: Group) -> None:
        """Read the analyses of ``times`` that are not remembered, several at once, so far as they fit into memory."""
        rising = np.unique(times)
        new = [time for time in rising if (time, channels) not in self.fields]
        size = 4 * len(channels) * self.plan.grid.shape[0] * self.plan.grid.shape[1]
        if size * len(rising) > self.fields.limit_bytes // 2:
            return
        for start in range(0, len(new), most := max(1, MOST_BYTES // size)):
            chosen = np.array(new[start : start + most])
            for time, fields_CHW in zip(chosen, self.plan.targets.read(chosen, channels), strict=True):
                self.fields.get((time, channels), fields_CHW.copy)

    def climatology(self, time: np.datetime64, channels: Group) -> dict[str, Float32]:
        """The climatology [H, W] of the channels that have one, at a time or of all times, as the convention says."""
        climate = self.plan.climate
        held = tuple(name for name in channels if name in self.plan.climate_channels)
        if climate is None or not held:
            return {}
        if self.plan.convention.static_climatology:
            fields_CHW = self.fields.get(("static", held), lambda: climate.static(held))
        else:
            fields_CHW = self.fields.get(("climatology", time, held), lambda: climate.at(time, held))
        return dict(zip(held, fields_CHW, strict=True))

    def others(self, time: np.datetime64, channels: Group) -> Float32 | None:
        """The probabilistic climatology [C, K, H, W] of a valid time; None where it has none."""
        ensemble = self.plan.climate_ensemble
        return None if ensemble is None else ensemble.read(time, channels)

    def start(self, pool: Executor, given: Sequence[Inputs]) -> list["Future[FoundBaselines]"]:
        """The scores of the baselines at a case's valid time, being made where they are not remembered.

        given: the inputs of every channel.
        """
        new = [inputs for inputs in given if (inputs.valid_time, inputs.channel) not in self.scored]
        fields_CKHW = self.others(new[0].valid_time, tuple(inputs.channel for inputs in new)) if new else None
        for c, inputs in enumerate(new):
            climate_KHW = None if fields_CKHW is None else fields_CKHW[c]
            future = pool.submit(score_baselines, self.plan, inputs, climate_KHW)
            self.scored[inputs.valid_time, inputs.channel] = future
        found = [self.scored[inputs.valid_time, inputs.channel] for inputs in given]
        for oldest in list(self.scored)[: max(0, len(self.scored) - MOST_SCORED)]:
            del self.scored[oldest]
        return found
