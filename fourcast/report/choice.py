"""What of a forecast goes into a page of bounded size, and what is left out."""

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace

from fourcast.report.packing import COARSE, FINE
from fourcast.verify.headline import headline
from fourcast.verify_config import ReportConfig

FINEST_DEGREES = 1.0
"""Grids are coarsened to about this before anything else is left out."""
MEMBERS = (16, 8, 4, 2)
LEAD_STEPS = (12, 24)
CHANNELS = (12, 6)
HEADLINE_LEADS = (0, 24, 72, 120, 240)
COARSER = (2, 3, 4, 6, 8, 12, 16)
"""Last resort: blocks so many times as large."""


@dataclass(frozen=True)
class Choice:
    """What is kept: names, lead times and members, one point for each block × block, values in so many steps."""

    channels: tuple[str, ...]
    lead_hours: tuple[int, ...]
    members: tuple[int, ...]
    block: int = 1
    steps: int = FINE


def choices(everything: Choice, config: ReportConfig, degrees: float) -> Iterator[Choice]:
    """From all of a forecast on a grid of ``degrees`` to ever less of it; what ``config`` names stays.

    Precision goes first, then resolution down to about a degree, members, lead times, channels, and resolution again.
    """
    yield everything
    choice = replace(everything, steps=COARSE)
    yield choice
    for block in _blocks(degrees):
        choice = replace(choice, block=block)
        yield choice
    for lesser in _less(choice, config):
        choice = lesser
        yield choice
    for times in COARSER:
        yield replace(choice, block=choice.block * times)


def _blocks(degrees: float) -> list[int]:
    return [block for block in (2, 3, 4, 6, 8, 10) if degrees * block <= FINEST_DEGREES + 1e-6]


def _less(choice: Choice, config: ReportConfig) -> Iterator[Choice]:
    for size in MEMBERS if config.members is None else ():
        choice = replace(choice, members=choice.members[:size])
        yield choice
    for step in LEAD_STEPS if config.lead_hours is None else ():
        choice = replace(choice, lead_hours=_some(choice.lead_hours, range(0, choice.lead_hours[-1] + 1, step)))
        yield choice
    for count in CHANNELS if config.channels is None else ():
        choice = replace(choice, channels=first_channels(choice.channels, count))
        yield choice
    if config.lead_hours is None:
        yield replace(choice, lead_hours=_some(choice.lead_hours, HEADLINE_LEADS))


def _some(hours: tuple[int, ...], wanted: Container[int]) -> tuple[int, ...]:
    """Those of ``hours`` that are wanted; all where none is."""
    return tuple(hour for hour in hours if hour in wanted) or hours


def first_channels(channels: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Up to ``count`` channels, those everybody looks at first, in the order they have here."""
    kept = headline(channels, count)
    return tuple(name for name in channels if name in kept)
