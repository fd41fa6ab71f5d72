"""The map of a page: as much of one forecast as its size allows."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fourcast.errors import InputError
from fourcast.forecast.events import Event, parse_events
from fourcast.report.choice import Choice, choices
from fourcast.report.coarse import coarse_axis, column_edges, row_edges
from fourcast.report.coast import coastlines
from fourcast.report.colours import colour_tables
from fourcast.report.fields import Packs, describe_channel, read_channel
from fourcast.report.forecast import Analyses, Shown
from fourcast.report.packing import pack_fields
from fourcast.report.page import as_json, pack_elements
from fourcast.verify_config import ReportConfig

MARGIN = 1.1
"""An estimate of the size may be wrong by this factor."""


@dataclass(frozen=True, eq=False)
class MapSection:
    """JSON of the map for the page, and its packs."""

    content: dict[str, Any]
    packs: Packs

    @property
    def size(self) -> int:
        """Bytes of both in the page."""
        return len(pack_elements(self.packs.texts)) + len(as_json(self.content).encode())


def make_map(
    config: ReportConfig, shown: Shown, analyses: Analyses | None, events: tuple[Event, ...], budget: float
) -> MapSection:
    """The first of the choices, from all on to ever less, that fits into ``budget`` bytes; else the last.

    InputError where ``config`` names what the forecast does not hold.
    """
    everything = _everything(config, shown)
    events = tuple(event for event in events if event.channel in everything.channels)
    options = list(choices(everything, config, _degrees(shown)))
    sizes = _Sizes(shown, analyses is not None, events)
    fitting = [option for option in options if sizes.estimate(option) <= budget * MARGIN] or options[-1:]
    for option in fitting:
        made = _make(option, everything, shown, analyses, events)
        if made.size <= budget:
            break
    return made


def chosen_events(wanted: list[str] | None, scored: list[str], shown: Shown) -> tuple[Event, ...]:
    """The events a configuration names, whose channels the forecast must hold; else those scored that it holds."""
    if wanted is None:
        return tuple(event for event in parse_events(scored, "events") if event.channel in shown.channels)
    events = parse_events(wanted, "probability")
    missing = sorted({event.channel for event in events} - set(shown.channels))
    if missing:
        raise InputError(f"probability: the forecast has no {', '.join(missing)}; it holds {_listed(shown.channels)}")
    return events


def _everything(config: ReportConfig, shown: Shown) -> Choice:
    return Choice(
        channels=_asked("channels", config.channels, shown.channels),
        lead_hours=_asked("lead_hours", config.lead_hours, shown.lead_hours),
        members=_asked("members", config.members, shown.members),
    )


def _asked(name: str, asked: list[Any] | None, held: tuple[Any, ...]) -> tuple[Any, ...]:
    if asked == []:
        raise InputError(f"{name}: the list is empty; leave {name} out for all, or name some of {_listed(held)}")
    missing = [item for item in asked or () if item not in held]
    if missing:
        raise InputError(f"{name}: the forecast has no {_listed(missing)}; it holds {_listed(held)}")
    return held if asked is None else tuple(item for item in held if item in asked)


def _degrees(shown: Shown) -> float:
    """The wider of the steps between rows and columns."""
    steps = [np.abs(np.diff(axis)).mean() for axis in (shown.latitude, shown.longitude) if len(axis) > 1]
    return float(max(steps, default=1.0))


class _Sizes:
    """Estimates how large choices become, from a few fields of the forecast."""

    def __init__(self, shown: Shown, analyses: bool, events: tuple[Event, ...]) -> None:
        self.shown, self.analyses, self.events = shown, analyses, events
        names = shown.channels[:: -(-len(shown.channels) // 3)]
        self.samples = [shown.read(name, shown.lead_hours[-1])[:1] for name in names]
        self.rates: dict[int, float] = {}

    def estimate(self, choice: Choice) -> float:
        """Characters of all packs."""
        several = len(self.shown.members) > 1
        views = len(choice.members) + 2 * several + self.analyses
        happening = sum(event.channel in choice.channels for event in self.events) * several
        height, width = (-(-len(axis) // choice.block) for axis in (self.shown.latitude, self.shown.longitude))
        fields = (views * len(choice.channels) + happening) * len(choice.lead_hours)
        return fields * height * width * self._rate(choice.steps)

    def _rate(self, steps: int) -> float:
        """Characters for each value."""
        if steps not in self.rates:
            size = sum(len(pack_fields(sample, steps).text) for sample in self.samples)
            self.rates[steps] = size / sum(sample.size for sample in self.samples)
        return self.rates[steps]


def _make(
    choice: Choice, everything: Choice, shown: Shown, analyses: Analyses | None, events: tuple[Event, ...]
) -> MapSection:
    packs = Packs()
    channels = [
        describe_channel(read_channel(name, choice, shown, analyses, events), packs, choice.steps)
        for name in choice.channels
    ]
    latitude, longitude = coarse_axis(shown.latitude, choice.block), coarse_axis(shown.longitude, choice.block)
    content = {
        "init_time": str(shown.init_time),
        "lead_hours": choice.lead_hours,
        "members": choice.members,
        "member_count": len(shown.members),
        "latitude": latitude.tolist(),
        "longitude": longitude.tolist(),
        "latitude_edges": row_edges(latitude).tolist(),
        "longitude_edges": column_edges(longitude).tolist(),
        "block": choice.block,
        "channels": channels,
        "events": [f"{event.channel} {event.condition}" for event in events if len(shown.members) > 1],
        "colours": colour_tables(),
        "coast": _coast(analyses),
        "left_out": _left_out(choice, everything, shown, analyses),
    }
    return MapSection(content, packs)


def _coast(analyses: Analyses | None) -> list[list[int]]:
    land_HW = None if analyses is None else analyses.targets.land_HW
    return [] if analyses is None or land_HW is None else coastlines(land_HW, analyses.targets.grid)


def _left_out(choice: Choice, everything: Choice, shown: Shown, analyses: Analyses | None) -> list[str]:
    """Sentences on what the map lacks, for its readers."""
    said = []
    if choice.block > 1:
        said.append(f"Each point is the mean over {choice.block} × {choice.block} points of the forecast's grid.")
    for name, word in (("channels", "channels"), ("lead_hours", "lead times"), ("members", "members")):
        kept, held = getattr(choice, name), getattr(shown, name)
        if len(kept) < len(held):
            said.append(f"{len(kept)} of {len(held)} {word} are here: {_listed(kept)}.")
    if len(choice.members) < len(shown.members):
        said.append(f"Mean, spread and probabilities are those of all {len(shown.members)} members.")
    if analyses is not None and analyses.targets.land_HW is None:
        said.append("No coastlines: the analyses come without a land–sea mask (lsm).")
    if replace(choice, steps=everything.steps) != everything:
        said.append("A larger page holds more: megabytes=…, or name channels=, lead_hours= and members=.")
    return said


def _listed(items: tuple[Any, ...] | list[Any]) -> str:
    return ", ".join(map(str, items))
