"""How members share calls of the model, so that in exact mode a member's bits depend on nothing but itself.

A matrix product may round a row differently with the number of rows and of cores. In exact mode every call therefore
has the same number of members, each member has a slot of its own in a call of its own, and on a CPU a call has one
core to itself, several calls running side by side. In fast mode all members of a batch share one call on all cores.
"""

from dataclasses import dataclass

import numpy as np
import torch

from fourcast.forecast.forecaster import Forecaster

CPU_SIZES = ((1024, 1), (512, 2), (256, 4), (0, 8))
"""From how many tokens on a call takes how many members: enough that Python's part of a call does not count."""
GPU_SIZES = ((8192, 1), (4096, 2), (2048, 4), (0, 8))
"""The same of a GPU, which small calls do not fill."""


@dataclass(frozen=True)
class Batch:
    """Members that are rolled forward together from one initial time.

    numbers: of the members. places: of each among all members of its model; where it stands in which call follows
    from it alone.
    """

    init_time: np.datetime64
    numbers: tuple[int, ...]
    places: tuple[int, ...]
    seed: int

    def __post_init__(self) -> None:
        assert len(self.numbers) == len(self.places) == len(set(self.places)) > 0, self

    @property
    def hours(self) -> int:
        """The initial time in keys of random streams: hours since 1970, modulo 2⁶⁴."""
        return int(self.init_time.astype("datetime64[h]").astype(np.int64)) % 2**64


@dataclass(frozen=True)
class Batching:
    """How members share calls: ``size`` in each, ``threads`` calls side by side (one outside exact mode on a CPU)."""

    exact: bool
    size: int
    threads: int


@dataclass(frozen=True)
class Call:
    """Members of a batch that share one call of the model.

    rows: of the batch. slots: where each stands in the call. sources: what each slot of the call holds, by its
    position in ``rows``; a slot whose member is absent repeats the first.
    """

    rows: tuple[int, ...]
    slots: tuple[int, ...]
    sources: tuple[int, ...]


def choose_batching(forecaster: Forecaster, exact: bool | None, members_at_once: int) -> Batching:
    """How ``members_at_once`` share calls; ``exact`` null: exact where that costs nothing to speak of.

    That is on any accelerator, and on a CPU where there are enough members to give every core a full call.
    """
    size, on_cpu = exact_size(forecaster), forecaster.device.type == "cpu"
    cores = torch.get_num_threads() if on_cpu else 1
    if exact is None:
        exact = not on_cpu or members_at_once >= size * cores
    return Batching(True, size, cores) if exact else Batching(False, members_at_once, 1)


def exact_size(forecaster: Forecaster) -> int:
    """How many members a call has in exact mode: it follows from the model's tokens and the kind of device alone."""
    model = forecaster.card.model
    tokens = len(forecaster.card.latitude) * len(forecaster.card.longitude) // model.patch_size**2
    sizes = CPU_SIZES if forecaster.device.type == "cpu" else GPU_SIZES
    return next(size for least, size in sizes if tokens >= least)


def divided(places: tuple[int, ...], batching: Batching) -> tuple[Call, ...]:
    """The calls of members at ``places``: in exact mode place // size shares a call, place % size is the slot in it."""
    everyone = tuple(range(len(places)))
    if not batching.exact:
        return (Call(everyone, everyone, everyone),)
    shares = [place // batching.size for place in places]
    rows_of = ([row for row in everyone if shares[row] == share] for share in sorted(set(shares)))
    return tuple(_call(rows, [places[row] % batching.size for row in rows], batching.size) for rows in rows_of)


def _call(rows: list[int], slots: list[int], size: int) -> Call:
    sources = (slots.index(slot) if slot in slots else 0 for slot in range(size))
    return Call(tuple(rows), tuple(slots), tuple(sources))
