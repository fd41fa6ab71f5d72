"""Before the first step: whether every state that a forecast starts from can be what it says.

A state is held against what its variables can be on the Earth (``fourcast.data.admission``) and against the
statistics of the training, which the checkpoint keeps. Global means of real analyses stay within about half a standard
deviation of the training's mean, for that deviation holds the whole contrast from tropics to poles, and their spreads
within a factor of two and a half of it: of ERA5, ERA-Interim, IFS and GFS fields from 1959 to 2026, against published
statistics of FourCastNet, at most 0.52 deviations and 0.44 to 1.1 times. Other units, levels or variables lie far
beyond: °C for K 13 deviations, geopotential metres for m² s⁻² 15, hPa for Pa 75.
"""

import logging
from collections.abc import Iterable, Iterator
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from fourcast.checkpoint import Card
from fourcast.data.admission import Fault, check, is_allowed
from fourcast.data.store import Times
from fourcast.errors import InputError
from fourcast.forecast.initial import Analyses, require_times
from fourcast.grid import Grid, area_weights
from fourcast.progress import StatusLine, duration

log = logging.getLogger(__name__)

Float32 = NDArray[np.float32]
EARTH = ("mean", "spread")
"""Kinds of faults that compare with the climate of the Earth, which a simulated planet need not have."""
HOLES = ("missing", "infinite")
TRAINING = "training"
"""The kind of a fault against the statistics of the training."""
MOST_DEVIATIONS = 5.0
"""How far an area mean may lie from the training's mean, in its standard deviations."""
MOST_RATIO = 4.0
"""By which factor the spread of a global field may differ from the training's standard deviation."""
MOST_FAULTS = 12


def preflight(analyses: Analyses, times: Iterable[np.datetime64], card: Card, allow: Iterable[str] | None) -> None:
    """Read and check the states at ``times``, one after the other; what is wrong comes in one InputError.

    times: all that a forecast needs, in any order. allow: faults that are meant, each by its kind (range, mean,
    spread, training) or for one channel, as in t850:range; they are logged. Missing and infinite values are never
    allowed, for a model makes nothing else of them. On a simulated planet means and spreads are not compared with the
    Earth's.
    """
    wanted = np.unique(np.array(list(times), dtype="datetime64[h]"))
    require_times(analyses, wanted)
    allowed = frozenset(allow or ())
    found: dict[tuple[str, str], list[Fault]] = {}
    for time in _watched(wanted):
        for fault in _faults(analyses, time, card):
            found.setdefault((fault.channel, fault.kind), []).append(fault)
    refused = []
    for faults in found.values():
        if faults[0].kind in HOLES or not is_allowed(faults[0], allowed):
            refused.append(_said(faults) + _way_out(faults[0]))
        else:
            log.warning("initial states: %s; allowed", _said(faults))
    if refused:
        more = f"; and {len(refused) - MOST_FAULTS} faults more" if len(refused) > MOST_FAULTS else ""
        raise InputError(f"initial states in {analyses.name}: {'; '.join(refused[:MOST_FAULTS])}{more}")


def _faults(analyses: Analyses, time: np.datetime64, card: Card) -> list[Fault]:
    """The faults of the state at ``time``."""
    fields, channels, grid = analyses.read(time), tuple(card.channels or ()), card.grid
    assert fields.shape == (len(channels), *grid.shape), fields.shape
    faults = [fault for fault in check(fields[None], np.array([time]), channels, grid) if fault.kind not in HOLES]
    if analyses.synthetic or card.synthetic:
        faults = [fault for fault in faults if fault.kind not in EARTH]
    known = {fault.channel for fault in faults}
    unlike = [fault for fault in _unlike_training(fields, time, card) if fault.channel not in known]
    return [*_holes(fields, time, channels, grid), *faults, *unlike]


def _holes(fields: Float32, time: np.datetime64, channels: tuple[str, ...], grid: Grid) -> list[Fault]:
    """Faults for missing and for infinite values, with the first point of each."""
    faults = []
    for name, field in zip(channels, fields, strict=True):
        if np.isfinite(field).all():
            continue
        for kind, test in zip(HOLES, (np.isnan, np.isinf), strict=True):
            where = test(field)
            if where.any():
                row, column = (int(i) for i in np.argwhere(where)[0])
                text = (
                    f"{name} has {where.sum()} {kind} values of {where.size} at {time}, the first at latitude "
                    f"{grid.latitude[row]:g}, longitude {grid.longitude[column]:g}"
                )
                faults.append(Fault(name, (time,), kind, text))
    return faults


def _unlike_training(fields: Float32, time: np.datetime64, card: Card) -> list[Fault]:
    """Faults for area means and spreads that the training never saw; of a region, whose spread varies, means alone."""
    faults, weights = [], area_weights(card.grid.latitude)
    for name, field, mean, std in zip(card.channels or (), fields, card.mean or (), card.std or (), strict=True):
        if not np.isfinite(field).all():
            continue
        found = float(field.mean(axis=1, dtype=np.float64) @ weights / len(weights))
        square = np.mean((field.astype(np.float64) - found) ** 2, axis=1) @ weights / len(weights)
        spread = float(np.sqrt(square))
        if abs(found - mean) > MOST_DEVIATIONS * std:
            text = f"{name} has a mean of {found:.4g} at {time}, that of the training is {mean:.4g} ± {std:.3g}"
            faults.append(Fault(name, (time,), TRAINING, text))
        elif card.grid.is_global and not std / MOST_RATIO <= spread <= std * MOST_RATIO:
            text = f"{name} has a standard deviation of {spread:.3g} at {time}, that of the training is {std:.3g}"
            faults.append(Fault(name, (time,), TRAINING, text))
    return faults


def _said(faults: list[Fault]) -> str:
    """One sentence for the faults of one channel and kind at several times."""
    text = faults[0].message.partition("; if that is meant")[0].replace("at 1 of 1 times from", "at")
    return text + (f" (and at {len(faults) - 1} other times)" if len(faults) > 1 else "")


def _way_out(fault: Fault) -> str:
    if fault.kind in HOLES:
        return "; fill them, or start from other analyses"
    return f"; if that is meant, pass allow=[{fault.channel}:{fault.kind}]"


def _watched(times: Times) -> Iterator[np.datetime64]:
    """``times``, with a line on standard error that says how far it is where that takes longer than a moment."""
    line, start, shown = StatusLine(), monotonic(), False
    for done, time in enumerate(times):
        if done and line.due():
            left = (monotonic() - start) / done * (len(times) - done)
            line.show(f"  initial states checked {done}/{len(times)}, {duration(left)} left")
            shown = True
        yield time
    if shown:
        line.end(f"  initial states checked {len(times)}/{len(times)}, took {duration(monotonic() - start)}")
