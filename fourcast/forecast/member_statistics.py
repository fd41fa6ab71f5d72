"""What is computed of all members at every point: mean, spread, minimum, maximum and quantiles.

    mean       the sum over members in float64, divided by M
    spread     the standard deviation with divisor M - 1, of deviations from that mean in float64
    quantile q on a straight line between the two order statistics beside place q (M - 1), counted from 0: numpy's
               default method, type 7 of Hyndman and Fan (1996), in float64; 0 is the minimum, 1 the maximum

Each is rounded once, to float32. All are NaN where a member is NaN. Minimum, maximum and quantiles do not depend on
the order of the members; of mean and spread the last bit may.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourcast.forecast.events import Event

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
BLOCK = 1 << 17
"""So many values are worked on together: in float64 a megabyte, which stays in a core's cache."""
THREADS = min(8, os.cpu_count() or 1)
"""Of numpy, which share the blocks of a large field; they change no bit."""


@dataclass(frozen=True)
class Statistic:
    """kind: mean, spread, or quantile; minimum and maximum are the quantiles 0 and 1 under names of their own."""

    name: str
    kind: str
    quantile: float = 0.0


MEAN = Statistic("mean", "mean")
SPREAD = Statistic("spread", "spread")
MINIMUM = Statistic("minimum", "quantile", 0.0)
MAXIMUM = Statistic("maximum", "quantile", 1.0)


def quantile(q: float) -> Statistic:
    """A quantile under a name that no other has: ``quantile_0.10``, ``quantile_0.975``."""
    return Statistic(f"quantile_{np.format_float_positional(q, min_digits=2)}", "quantile", q)


def compute(statistics: tuple[Statistic, ...], events: tuple[Event, ...], field_MHW: Float32) -> Float32:
    """Statistics and then probabilities of events [P, H, W] of one field of all members, each in the order given.

    Beyond its result it takes a few megabytes, however many members there are; and a copy of a field whose rows do
    not lie one behind the other in memory.
    """
    members, points = len(field_MHW), field_MHW[0].size
    field_MN = field_MHW.reshape(members, points)
    result_PN = np.empty((len(statistics) + len(events), points), np.float32)
    step = max(1, BLOCK // members)
    blocks = [slice(first, first + step) for first in range(0, points, step)]

    def work(block: slice) -> None:
        _compute_block(statistics, events, field_MN[:, block], result_PN[:, block])

    if len(blocks) == 1:
        work(blocks[0])
    else:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, blocks))
    return result_PN.reshape(len(result_PN), *field_MHW.shape[1:])


def _compute_block(
    statistics: tuple[Statistic, ...], events: tuple[Event, ...], field_MN: Float32, result_PN: Float32
) -> None:
    kinds = {statistic.kind for statistic in statistics}
    moments = _mean_and_spread(field_MN) if kinds & {"mean", "spread"} else {}
    ordered_NM = _ordered(field_MN) if "quantile" in kinds else None
    for i, statistic in enumerate(statistics):
        if ordered_NM is None or statistic.kind != "quantile":
            result_PN[i] = moments[statistic.kind]
        else:
            result_PN[i] = _quantile(ordered_NM, statistic.quantile)
    for i, event in enumerate(events, start=len(statistics)):
        result_PN[i] = event.probability(field_MN)


def _ordered(field_MN: Float32) -> Float32:
    """A row for every point, so that a sort reads and writes in order: increasing values [N, M], NaN last."""
    rows_NM = field_MN.T.copy()
    rows_NM.sort(axis=1)
    return rows_NM


def _mean_and_spread(field_MN: Float32) -> dict[str, Float64]:
    values, members = field_MN.astype(np.float64), len(field_MN)
    mean = values.sum(axis=0) / members
    values -= mean
    values *= values
    return {"mean": mean, "spread": np.sqrt(values.sum(axis=0) / max(members - 1, 1))}


def _quantile(ordered_NM: Float32, q: float) -> Float64:
    """Of values in increasing order."""
    last = ordered_NM.shape[1] - 1
    lower = int(q * last)
    weight = q * last - lower
    below = ordered_NM[:, lower].astype(np.float64)
    above = ordered_NM[:, min(lower + 1, last)].astype(np.float64)
    # From the nearer of the two, so that a weight of 1 would give the upper one to the bit.
    value = below + (above - below) * weight if weight < 0.5 else above - (above - below) * (1 - weight)
    value[np.isnan(ordered_NM[:, last])] = np.nan
    return value
