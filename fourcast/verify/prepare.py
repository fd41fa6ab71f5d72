"""Open and check everything that a verification needs, before the first field is read."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourcast.data.climatology import hour_of_day
from fourcast.errors import InputError
from fourcast.forecast.events import Event, parse_events
from fourcast.grid import Grid, closes_circle
from fourcast.variables import parse_channels
from fourcast.verify.area_means import AreaMeans
from fourcast.verify.climate_ensemble import ClimateEnsemble
from fourcast.verify.common import labels, select_common
from fourcast.verify.conventions import CONVENTIONS, row_weights
from fourcast.verify.digest import digest_of
from fourcast.verify.inputs.align import align, shared_channels, verifiable
from fourcast.verify.inputs.climate import Climate
from fourcast.verify.inputs.climatology import open_climate
from fourcast.verify.inputs.forecasts import Forecast, open_forecast
from fourcast.verify.inputs.targets import Targets, open_targets
from fourcast.verify.plan import Plan
from fourcast.verify.regions import make_regions
from fourcast.verify.systems import CLIMATE_ENSEMBLE
from fourcast.verify_config import VerifyConfig

Times = NDArray[np.datetime64]


def make_plan(config: VerifyConfig) -> Plan:
    """Open what ``config`` names; InputError where that does not fit together, naming what and the way out."""
    opened, targets = _aligned(config)
    channels, unscored = shared_channels(opened, targets, config.channels)
    channels = _with_those_of_events(config, channels, (*opened, targets))
    forecasts, uncommon = select_common(opened, config)
    verified = verifiable(forecasts, targets, channels)
    events = _events(config, channels, forecasts)
    _require_maps(config, channels, forecasts[0].lead_hours)
    convention = CONVENTIONS[config.convention]
    regions = make_regions(config, targets.grid, targets.land_HW)
    climate = open_climate(config, targets)
    valid = _valid_times(forecasts[0], verified)
    climate_channels, no_climate = _climate_channels(climate, channels, targets, valid)
    ensemble, no_ensemble = _climate_ensemble(config, targets, climate, valid)
    spectra, no_spectra = _spectra(config, targets.grid)
    return Plan(
        config=config,
        convention=convention,
        forecasts=forecasts,
        targets=targets,
        channels=channels,
        verified=verified,
        means=AreaMeans(regions, row_weights(convention, targets.grid)),
        climate=climate,
        climate_channels=climate_channels,
        climate_ensemble=ensemble,
        events=events,
        spectra=spectra,
        digest=digest_of(config, forecasts),
        left_out=(*unscored, *uncommon, *no_climate, *no_ensemble, *no_spectra),
    )


def _aligned(config: VerifyConfig) -> tuple[tuple[Forecast, ...], Targets]:
    """All forecasts and the analyses on one grid."""
    names = labels(config.forecast, config.names)
    for path in config.forecast:
        if "://" not in path and not Path(path).exists() and not any(mark in path for mark in "*?["):
            raise InputError(f"{path} holds no forecast, for it is not there; make it: fourcast forecast output=…")
    forecasts = [open_forecast(path, name) for path, name in zip(config.forecast, names, strict=True)]
    targets = open_targets(config.store)
    for forecast in forecasts:  # one of them may lack a row that all others then lose
        _, targets = align(forecast, targets)
    return tuple(align(forecast, targets)[0] for forecast in forecasts), targets


def _valid_times(forecast: Forecast, verified: NDArray[np.bool_]) -> Times:
    """The valid times of the verified cases, each once."""
    valid = forecast.init_times[:, None] + np.array(forecast.lead_hours) * np.timedelta64(1, "h")
    return np.unique(valid[verified])


def _climate_channels(
    climate: Climate | None, channels: tuple[str, ...], targets: Targets, valid: Times
) -> tuple[tuple[str, ...], list[str]]:
    """The channels that have a climatology, which only those may lack that follow from winds."""
    if climate is None:
        return (), []
    lacking = [name for name in channels if not climate.holds(name)]
    climate.require(tuple(name for name in lacking if name in targets.channels))
    hours = set(hour_of_day(valid).tolist()) - set(climate.hours)
    if hours:
        raise InputError(
            f"{climate.path} has a climatology of the hours {', '.join(map(str, climate.hours))} UTC and not of "
            f"{', '.join(map(str, sorted(hours)))} UTC, which forecasts are valid at; change lead_hours, name another "
            "with climatology=, or go without: climatology=none"
        )
    note = [f"without climatology and ACC, for {climate.path} has none of them: {', '.join(lacking)}"]
    return tuple(name for name in channels if name not in lacking), note if lacking else []


def _with_those_of_events(
    config: VerifyConfig, channels: tuple[str, ...], everyone: Sequence[Forecast | Targets]
) -> tuple[str, ...]:
    """Where no channels are asked for, ``channels`` and those of events that none holds and that follow everywhere."""
    if config.channels:
        return channels
    of_events = dict.fromkeys(event.channel for event in parse_events(config.events, "events"))
    held = {name for part in everyone for name in part.channels}
    more = [name for name in of_events if name not in held and all(part.can_read(name) for part in everyone)]
    return (*channels, *more)


def _events(config: VerifyConfig, channels: tuple[str, ...], forecasts: Sequence[Forecast]) -> tuple[Event, ...]:
    """The events to score, of channels that are scored, for which there must be an ensemble."""
    events = parse_events(config.events, "events")
    missing = [event for event in events if event.channel not in channels]
    if missing:
        raise InputError(
            f"events: {missing[0].channel} of '{missing[0].channel} {missing[0].condition}' is not among the channels "
            f"that are scored, {', '.join(channels)}; add it to channels, where forecast and analyses hold it"
        )
    if events and all(len(forecast.members) < 2 for forecast in forecasts):
        raise InputError(
            f"events need the probabilities of an ensemble of two members or more, and "
            f"{', '.join(str(f.path) for f in forecasts)} has one member; forecast with "
            "ensemble.size=, or pass events=[]"
        )
    return events


def _require_maps(config: VerifyConfig, channels: tuple[str, ...], lead_hours: tuple[int, ...]) -> None:
    """InputError where maps are asked for of what is not scored."""
    asked = parse_channels(config.maps.channels) if config.maps.channels else ()
    missing = [channel.name for channel in asked if channel.name not in channels]
    late = [hours for hours in config.maps.lead_hours or [] if hours not in lead_hours]
    if missing or late:
        what = f"channel {missing[0]}" if missing else f"lead time of {late[0]} h"
        raise InputError(f"maps: there is no {what} among what is scored; change maps.channels or maps.lead_hours")


def _climate_ensemble(
    config: VerifyConfig, targets: Targets, climate: Climate | None, valid: Times
) -> tuple[ClimateEnsemble | None, list[str]]:
    """The probabilistic climatology, and why there is none."""
    if climate is None or config.climatology_members == 0:
        return None, []
    period = targets.climatology_period
    if period is None:
        return None, [f"no {CLIMATE_ENSEMBLE}: {targets.path} does not say of which years its climatology is"]
    window = config.climatology_window_days
    ensemble = ClimateEnsemble(targets, period, config.climatology_members, window, climate.seasonal)
    ensemble = ensemble.with_one_size(valid)
    if ensemble.members:
        return ensemble, []
    return None, [f"no {CLIMATE_ENSEMBLE}: {targets.path} holds too few analyses of other years for it"]


def _spectra(config: VerifyConfig, grid: Grid) -> tuple[bool, list[str]]:
    """Whether spectra are made, and why not."""
    if not config.spectra or closes_circle(grid.longitude):
        return config.spectra, []
    return False, ["no spectra: the longitudes of the grid are no whole circle"]
