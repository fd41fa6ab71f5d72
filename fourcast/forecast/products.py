"""Products of an ensemble, made while it runs: each a file beside the members', in their layout but without a number.

    RUN/2026-08-10T00/mean.nc, spread.nc, minimum.nc, maximum.nc, quantile_0.10.nc, …, probability.nc

``make_products`` checks a request; ``Products`` takes all members' fields of one initial time as they come and never
holds more than one of them. What is computed, and how, stands in member_statistics.py and events.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourcast.errors import InputError
from fourcast.forecast.derived import derivable
from fourcast.forecast.events import Event, parse_events
from fourcast.forecast.member_statistics import MAXIMUM, MEAN, MINIMUM, SPREAD, Statistic, compute, quantile
from fourcast.forecast.netcdf import Column, Header, columns_of
from fourcast.forecast.product_columns import PROBABILITY, event_column, product_attributes, ranges, statistic_column
from fourcast.forecast.writer import BackgroundWriter
from fourcast.forecast_config import ProductsConfig

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class ProductPlan:
    """What is made of all members of an initial time: statistics of every channel of ``channels``, and events."""

    statistics: tuple[Statistic, ...]
    events: tuple[Event, ...]
    channels: tuple[str, ...]
    members: tuple[int, ...]

    @property
    def channels_needed(self) -> tuple[str, ...]:
        """The channels to hand over at every lead time: those of the statistics, then what only events look at."""
        described = self.channels if self.statistics else ()
        return tuple(dict.fromkeys((*described, *(event.channel for event in self.events))))

    @property
    def fields(self) -> int:
        """How many 2-D fields a lead time has in all product files; so many are held in memory."""
        return len(self.statistics) * len(self.channels) + len(self.events)


def make_products(
    config: ProductsConfig, channels: tuple[str, ...], outputs: tuple[str, ...], members: Sequence[int]
) -> ProductPlan | None:
    """The products that a configuration asks for, of the ``channels`` written; None where it asks for none.

    InputError for an event that cannot be read or whose channel neither is among the model's ``outputs`` nor follows
    from them, and for a spread of fewer than two members.
    """
    statistics, events = _statistics(config), parse_events(config.probability or (), "products.probability")
    if SPREAD in statistics and len(members) < 2:
        raise InputError(
            f"products.statistics: a spread takes two members or more, found {len(members)}; raise ensemble.size or "
            "leave spread out"
        )
    _require_channels(events, (*outputs, *derivable(outputs)))
    return ProductPlan(statistics, events, channels, tuple(members)) if config.any else None


def _require_channels(events: tuple[Event, ...], available: tuple[str, ...]) -> None:
    missing = sorted({event.channel for event in events} - set(available))
    if missing:
        raise InputError(
            f"products.probability: the model has no {', '.join(missing)}; it gives {', '.join(available)}"
        )


def product_files(config: ProductsConfig) -> tuple[str, ...]:
    """The names of the files that every initial time has beside its members'."""
    names = [statistic.name for statistic in _statistics(config)]
    return tuple(f"{name}.nc" for name in (*names, *([PROBABILITY] if config.probability else [])))


def _statistics(config: ProductsConfig) -> tuple[Statistic, ...]:
    named = {statistic.name: statistic for statistic in (MEAN, SPREAD, MINIMUM, MAXIMUM)}
    wanted = [named[name] for name in config.statistics or ()]
    return tuple(dict.fromkeys((*wanted, *(quantile(q) for q in sorted(config.quantiles)))))


class Products:
    """The product files of one initial time, filled with one field of all members after the other.

    header: that of the members' files, whatever its number, in a layout of plan.channels. Products are not rounded:
    keep_bits holds for members alone. Files are written by ``writer`` and appear once finished and whole.
    """

    def __init__(self, plan: ProductPlan, header: Header, writer: BackgroundWriter, folder: Path) -> None:
        assert header.channels == plan.channels, (header.channels, plan.channels)
        self._plan = plan
        shape = (len(header.latitude), len(header.longitude))
        self._statistics_PCHW = np.empty((len(plan.statistics), len(plan.channels), *shape), np.float32)
        self._events_EHW = np.empty((len(plan.events), *shape), np.float32)
        self._handles = [
            writer.open(folder / f"{name}.nc", _header(plan, header, name, columns), columns)
            for name, columns in _files(plan)
        ]
        self._leads = len(header.lead_hours)
        self._i_lead = 0
        self._awaited = set(plan.channels_needed)

    def add(self, i_lead: int, channel: str, field_MHW: Float32) -> None:
        """Take a field of all members, in the order of plan.members; the array may be reused afterwards.

        Lead times come in order, and at each all of plan.channels_needed, in any order.
        """
        plan = self._plan
        assert i_lead == self._i_lead, (i_lead, self._i_lead)
        assert field_MHW.shape == (len(plan.members), *self._events_EHW.shape[1:]), field_MHW.shape
        self._awaited.remove(channel)
        statistics = plan.statistics if channel in plan.channels else ()
        places = [i for i, event in enumerate(plan.events) if event.channel == channel]
        made_PHW = compute(statistics, tuple(plan.events[i] for i in places), field_MHW)
        if statistics:
            self._statistics_PCHW[:, plan.channels.index(channel)] = made_PHW[: len(statistics)]
        self._events_EHW[places] = made_PHW[len(statistics) :]
        if not self._awaited:
            self._write()

    def finish(self) -> None:
        """Give the files their names; all lead times must have come."""
        assert self._i_lead == self._leads, f"products finished after {self._i_lead} of {self._leads} lead times"
        for handle in self._handles:
            handle.finish()

    def _write(self) -> None:
        fields = [*self._statistics_PCHW, *([self._events_EHW] if self._plan.events else [])]
        for handle, fields_CHW in zip(self._handles, fields, strict=True):
            handle.write(self._i_lead, fields_CHW)
        self._i_lead += 1
        self._awaited = set(self._plan.channels_needed)


def _files(plan: ProductPlan) -> list[tuple[str, tuple[Column, ...]]]:
    """The name of each file, without its ending, and what lies in it."""
    columns = columns_of(plan.channels)
    files = [(s.name, tuple(statistic_column(s, column) for column in columns)) for s in plan.statistics]
    return [*files, *([(PROBABILITY, tuple(map(event_column, plan.events)))] if plan.events else [])]


def _header(plan: ProductPlan, header: Header, name: str, columns: tuple[Column, ...]) -> Header:
    channels = tuple(column.name for column in columns) if name == PROBABILITY else plan.channels
    attributes = {**header.attributes, **product_attributes(name, plan.members)}
    own = replace(header, channels=channels, attributes=attributes, members=ranges(plan.members))
    return replace(own, number=None, keep_bits=None)
