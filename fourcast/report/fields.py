"""One channel of a forecast as packs for the map: members, their mean and spread, probabilities, and analyses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourcast.drawing import DIVERGING, FROM_ZERO
from fourcast.forecast.events import Event
from fourcast.forecast.member_statistics import MEAN, SPREAD, compute
from fourcast.report.choice import Choice
from fourcast.report.coarse import block_means
from fourcast.report.colours import AMOUNTS, table_of
from fourcast.report.forecast import Analyses, Shown
from fourcast.report.packing import Packed, pack_fields
from fourcast.variables import parse_channel

Float32 = NDArray[np.float32]
ROBUST = (0.1, 99.9)
"""Percentiles of a field between which it is coloured."""


@dataclass(frozen=True, eq=False)
class ChannelFields:
    """What the map holds of one channel: fields [L, H, W] by view, coarsened.

    Views: mean, spread, analysis, ``member 3``, and events by their text. What there is not is not in it.
    """

    name: str
    views: Mapping[str, Float32]


def read_channel(
    name: str, choice: Choice, shown: Shown, analyses: Analyses | None, events: tuple[Event, ...]
) -> ChannelFields:
    """Read all members of a channel, one lead time after the other, and keep what was chosen."""
    own = tuple(event for event in events if event.channel == name)
    stacks: dict[str, list[Float32]] = {}
    for hours in choice.lead_hours:
        for view, values in _views(shown.read(name, hours), shown.members, choice, own).items():
            stacks.setdefault(view, []).append(values)
    views = {view: np.stack(values) for view, values in stacks.items()}
    found = None if analyses is None else analyses.read(name, shown.init_time + np.array(choice.lead_hours))
    if found is not None and np.isfinite(found).any():
        views["analysis"] = block_means(found, choice.block)
    return ChannelFields(name, views)


def _views(
    field_MHW: Float32, members: tuple[int, ...], choice: Choice, events: tuple[Event, ...]
) -> dict[str, Float32]:
    """Fields of one lead time [H, W] by view."""
    kept = {f"member {number}": field_MHW[members.index(number)] for number in choice.members}
    several = (MEAN, SPREAD) if len(members) > 1 else ()
    made_PHW = compute(several, events if several else (), field_MHW)
    names = [statistic.name for statistic in several] + [f"{e.channel} {e.condition}" for e in events]
    fields = kept | dict(zip(names, made_PHW, strict=False))
    return {view: block_means(values, choice.block) for view, values in fields.items()}


@dataclass(eq=False)
class Packs:
    """Texts by name."""

    texts: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, packed: Packed) -> dict[str, Any]:
        """Keep a pack; how it is found and decoded."""
        self.texts[name] = packed.text
        low, high = (None if np.isnan(edge) else edge for edge in (packed.low, packed.high))
        coded = {"scale": packed.scale, "offset": packed.offset, "rounding": packed.rounding}
        return {"pack": name, **coded, "low": low, "high": high}


def describe_channel(fields: ChannelFields, packs: Packs, steps: int) -> dict[str, Any]:
    """The channel for the page: its names, units, colours with their ranges, and where its fields are packed."""
    channel = parse_channel(fields.name)
    variable = channel.variable
    views = {
        view: packs.add(f"{fields.name} {view}", pack_fields(values, steps)) for view, values in fields.views.items()
    }
    return {
        "name": fields.name,
        "variable": variable.name,
        "level": channel.level,
        "long_name": variable.long_name.replace("_", " "),
        "units": variable.units,
        "accumulated": variable.cell_methods is not None,
        "colours": _colours(fields, table_of(variable)),
        "views": views,
    }


def _colours(fields: ChannelFields, table: str) -> dict[str, Any]:
    """By kind of view the colour table and the range over all lead times: [low, high], or None without numbers."""
    views = fields.views
    values = [v for name, v in views.items() if name in ("mean", "analysis") or name.startswith("member ")]
    best = views.get("mean", next((v for name, v in views.items() if name.startswith("member ")), None))
    errors = [best - views["analysis"]] if best is not None and "analysis" in views else []
    return {
        "value": {"table": table, "range": _range(values, table)},
        "spread": {"table": FROM_ZERO, "range": _range([views[n] for n in ("spread",) if n in views], FROM_ZERO)},
        "error": {"table": DIVERGING[1], "range": _range(errors, DIVERGING[1])},
        "probability": {"table": AMOUNTS, "range": [0.0, 1.0]},
    }


def _range(fields: list[Float32], table: str) -> list[float] | None:
    """From the lowest to the highest of robust percentiles; from 0, or symmetric about it, as the table asks."""
    planes = [plane[np.isfinite(plane)] for stack in fields for plane in stack]
    edges = [np.percentile(plane, ROBUST) for plane in planes if plane.size]
    if not edges:
        return None
    low, high = float(min(edge[0] for edge in edges)), float(max(edge[1] for edge in edges))
    if table == FROM_ZERO:
        low = 0.0
    if table in DIVERGING:
        low, high = -max(-low, high), max(-low, high)
    return rounded_range(low, high)


def rounded_range(low: float, high: float) -> list[float]:
    """The range widened to multiples of a round fraction, about a twentieth, of its width."""
    if not high > low:
        margin = abs(low) * 1e-3 or 1.0
        return [low - margin, high + margin]
    raw = (high - low) / 20
    power = 10.0 ** np.floor(np.log10(raw))
    step = power * next(times for times in (1, 2, 2.5, 5, 10) if times * power >= raw * (1 - 1e-9))
    return [float(np.floor(low / step + 1e-9) * step), float(np.ceil(high / step - 1e-9) * step)]
