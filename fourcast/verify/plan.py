"""What a verification is of: opened inputs that fit together, and what is scored of them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fourcast.drawing import WIDEST
from fourcast.forecast.events import Event
from fourcast.grid import Grid
from fourcast.variables import parse_channels
from fourcast.verify.area_means import AreaMeans
from fourcast.verify.climate_ensemble import ClimateEnsemble
from fourcast.verify.conventions import Convention
from fourcast.verify.headline import headline
from fourcast.verify.inputs.climate import Climate
from fourcast.verify.inputs.forecasts import Forecast
from fourcast.verify.inputs.targets import Targets
from fourcast.verify.scores import Missing
from fourcast.verify.systems import BASELINES
from fourcast.verify_config import VerifyConfig

Times = NDArray[np.datetime64]
MAP_LEADS = (24, 72, 120)


@dataclass(frozen=True, eq=False)
class Plan:
    """Opened inputs that fit together, and what is to be scored of them.

    forecasts: of the same initial and lead times, on the grid of the targets. verified: [I, L], whether a case and the
    analyses of its initial and valid time are there. climate: None where there is no climatology, and then no ACC;
    climate_channels: those it holds. climate_ensemble: None where analyses of other years are too few. spectra: whether
    to make them. digest: of all that decides about the results. left_out: in words.
    """

    config: VerifyConfig
    convention: Convention
    forecasts: tuple[Forecast, ...]
    targets: Targets
    channels: tuple[str, ...]
    verified: NDArray[np.bool_]
    means: AreaMeans
    climate: Climate | None
    climate_channels: tuple[str, ...]
    climate_ensemble: ClimateEnsemble | None
    events: tuple[Event, ...]
    spectra: bool
    digest: str
    left_out: tuple[str, ...]

    @property
    def init_times(self) -> Times:
        """[I], increasing."""
        return self.forecasts[0].init_times

    @property
    def lead_hours(self) -> tuple[int, ...]:
        """Increasing."""
        return self.forecasts[0].lead_hours

    @property
    def grid(self) -> Grid:
        """Of the analyses and all forecasts."""
        return self.targets.grid

    @property
    def regions(self) -> tuple[str, ...]:
        """Their names."""
        return self.means.names

    @property
    def synthetic(self) -> bool:
        """Whether a simulated planet's weather is among what is compared."""
        return self.targets.synthetic or any(forecast.synthetic for forecast in self.forecasts)

    @cached_property
    def members(self) -> dict[str, int]:
        """How many members each forecast's ensemble has, by system; one member alone is no ensemble."""
        sizes = {named(f, "ensemble"): len(f.members) for f in self.forecasts}
        return {system: size for system, size in sizes.items() if size >= 2}

    @property
    def ensembles(self) -> tuple[str, ...]:
        """The systems that are ensembles of forecasts."""
        return tuple(self.members)

    @cached_property
    def systems(self) -> tuple[str, ...]:
        """Everything that is scored: what comes of each forecast, then the baselines."""
        own = [system for forecast in self.forecasts for system in systems_of(forecast)]
        have = (True, self.climate is not None, self.climate_ensemble is not None)
        return (*own, *(name for name, there in zip(BASELINES, have, strict=True) if there))

    @property
    def missing(self) -> Missing:
        """What to do where a forecast has no number although the analysis has one."""
        return "skip" if self.config.missing == "skip" else "refuse"

    def events_of(self, channel: str) -> list[tuple[int, Event]]:
        """The events of a channel, each with its place among all."""
        return [(place, event) for place, event in enumerate(self.events) if event.channel == channel]

    @cached_property
    def spectrum_names(self) -> tuple[str, ...]:
        """Fields whose spectra are made: the analysis, single forecasts and the members of ensembles."""
        kinds = {"ensemble": "members"}
        own = [system for forecast in self.forecasts for system in systems_of(forecast)]
        parts = [system.rpartition("/") for system in own]
        return ("analysis", *(name + slash + kinds.get(kind, kind) for name, slash, kind in parts))

    @cached_property
    def map_channels(self) -> tuple[str, ...]:
        """Channels of which errors are mapped."""
        chosen = self.config.maps.channels
        if chosen is None:
            return headline(self.channels)
        return tuple(channel.name for channel in parse_channels(chosen)) if chosen else ()

    @cached_property
    def map_leads(self) -> tuple[int, ...]:
        """Lead times in hours of which errors are mapped: MAP_LEADS, where there are none the last."""
        if self.config.maps.lead_hours is not None:
            return tuple(sorted(set(self.config.maps.lead_hours)))
        return tuple(hours for hours in self.lead_hours if hours in MAP_LEADS) or self.lead_hours[-1:]

    @cached_property
    def map_systems(self) -> tuple[str, ...]:
        """Systems whose errors are mapped: the single fields of forecasts."""
        own = [system for forecast in self.forecasts for system in systems_of(forecast)]
        return tuple(system for system in own if system not in self.members)

    @cached_property
    def map_points(self) -> tuple[slice, slice]:
        """Rows and columns that a map has: every so many that there are at most WIDEST columns."""
        step = -(-self.grid.shape[1] // WIDEST)
        return slice(None, None, step), slice(None, None, step)

    def valid_time(self, i_init: int, i_lead: int) -> np.datetime64:
        """When a case's forecast is for."""
        return np.datetime64(self.init_times[i_init] + np.timedelta64(self.lead_hours[i_lead], "h"))


def named(forecast: Forecast, kind: str) -> str:
    """``NAME/kind``, or the kind alone where the forecast has no name."""
    return f"{forecast.name}/{kind}" if forecast.name else kind


def control_position(forecast: Forecast) -> int | None:
    """Where its unperturbed member is: member 0, or the only one; None where it has none."""
    if len(forecast.members) == 1:
        return 0
    return forecast.members.index(0) if 0 in forecast.members else None


def systems_of(forecast: Forecast) -> tuple[str, ...]:
    """The systems that a forecast is scored as."""
    control = () if control_position(forecast) is None else ("control",)
    ensemble = ("ensemble_mean", "ensemble") if len(forecast.members) >= 2 else ()
    return tuple(named(forecast, kind) for kind in (*control, *ensemble))
