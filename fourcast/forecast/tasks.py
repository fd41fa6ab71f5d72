"""Who computes which members of a run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fourcast.forecast.batching import Batching

Members = tuple[int, ...]


@dataclass(frozen=True)
class Unfinished:
    """What a run lacks of an initial time: the members without a file, and whether products are missing."""

    init_time: np.datetime64
    members: Members
    products: bool


@dataclass(frozen=True)
class Task:
    """Members that one process rolls forward together from one initial time.

    missing: those of them whose files are to be written. team: where products are made as they go, the ranks that
    share all members of the initial time, this one's part of which is ``members``; else none.
    """

    init_time: np.datetime64
    members: Members
    missing: Members
    team: tuple[int, ...] = ()


def share_out(
    unfinished: Sequence[Unfinished], members: Members, batching: Batching, at_once: int, world_size: int
) -> list[list[Task]]:
    """The tasks of every rank, in order.

    An initial time that lacks products takes all its members at once: of one rank, or where there are fewer such times
    than ranks, a part of every rank; these tasks come first and in the same order everywhere, for their ranks wait for
    each other. The others are batches of ``at_once`` members, dealt out in turn. In exact mode these are of missing
    members alone; else what is computed together must not depend on what is finished, or rounding would differ.
    """
    together = [each for each in unfinished if each.products]
    shared = len(together) < world_size
    tasks: list[list[Task]] = [[] for _ in range(world_size)]
    for i, each in enumerate(together):
        team = tuple(range(world_size)) if shared else (i % world_size,)
        for rank, part in zip(team, team_parts(members, batching, len(team)), strict=True):
            tasks[rank].append(Task(each.init_time, part, _of(part, each.members), team))
    alone = [
        Task(each.init_time, batch, _of(batch, each.members))
        for each in unfinished
        if not each.products
        for batch in _batches(each.members if batching.exact else members, at_once)
    ]
    for i, task in enumerate(task for task in alone if task.missing):
        tasks[i % world_size].append(task)
    return tasks


def share_of(
    unfinished: Sequence[Unfinished], calls: Sequence[tuple[np.datetime64, Members]], place: int, count: int
) -> list[Unfinished]:
    """What of ``unfinished`` share ``place`` of ``count`` has to make: consecutive ``calls``, as many as the others.

    Which members belong to a share does not depend on what is finished.
    """
    mine: dict[np.datetime64, Members] = {}
    for time, members in calls[len(calls) * place // count : len(calls) * (place + 1) // count]:
        mine[time] = mine.get(time, ()) + members
    found = [
        Unfinished(each.init_time, _of(each.members, mine[each.init_time]), each.products)
        for each in unfinished
        if each.init_time in mine
    ]
    return [each for each in found if each.members or each.products]


def team_parts(members: Members, batching: Batching, team_size: int) -> list[Members]:
    """``members`` in as many parts as a team has ranks; those that share a call of the model stay together."""
    size = batching.size if batching.exact else 1
    calls = sorted({member // size for member in members})
    shares = [set(share.tolist()) for share in np.array_split(np.array(calls), team_size)]
    return [tuple(m for m in members if m // size in share) for share in shares]


def _batches(members: Members, size: int) -> Iterator[Members]:
    return (members[first : first + size] for first in range(0, len(members), size))


def _of(members: Members, wanted: Members) -> Members:
    return tuple(member for member in members if member in wanted)
