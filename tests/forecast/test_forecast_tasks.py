"""Who computes which members: everything once, nothing twice, and what belongs together by one process or team."""

from dataclasses import replace

import numpy as np
import pytest

from fourcast.forecast.batching import Batching
from fourcast.forecast.tasks import Unfinished, share_of, share_out, team_parts

FIRST, SECOND, THIRD = np.datetime64("2026-08-05T00", "h") + 24 * np.arange(3)
EXACT, FAST = Batching(True, 4, 2), Batching(False, 3, 1)
TEN = tuple(range(10))


def test_in_exact_mode_only_missing_members_are_computed() -> None:
    (tasks,) = share_out([Unfinished(FIRST, (1, 3, 7, 8), False)], TEN, EXACT, 3, 1)
    assert [(task.members, task.missing, task.team) for task in tasks] == [((1, 3, 7), (1, 3, 7), ()), ((8,), (8,), ())]


def test_else_what_is_computed_together_does_not_depend_on_what_is_finished() -> None:
    (tasks,) = share_out([Unfinished(FIRST, (1, 7), False)], TEN, FAST, 3, 1)
    assert [(task.members, task.missing) for task in tasks] == [((0, 1, 2), (1,)), ((6, 7, 8), (7,))]


def test_batches_are_dealt_out_in_turn() -> None:
    lacking = [Unfinished(time, TEN, False) for time in (FIRST, SECOND)]
    tasks = share_out(lacking, TEN, EXACT, 4, 3)
    assert [len(of_rank) for of_rank in tasks] == [2, 2, 2]
    done = [(task.init_time, member) for of_rank in tasks for task in of_rank for member in task.missing]
    assert sorted(done) == [(time, member) for time in (FIRST, SECOND) for member in TEN]


def test_products_take_all_members_even_where_most_are_there() -> None:
    (tasks,) = share_out([Unfinished(FIRST, (2,), True)], TEN, EXACT, 3, 1)
    assert [(task.members, task.missing, task.team) for task in tasks] == [(TEN, (2,), (0,))]


def test_an_initial_time_with_products_belongs_to_one_rank_where_there_are_enough() -> None:
    lacking = [Unfinished(time, (), True) for time in (FIRST, SECOND, THIRD)]
    tasks = share_out(lacking, TEN, EXACT, 3, 2)
    assert [[(task.init_time, task.members, task.team) for task in of_rank] for of_rank in tasks] == [
        [(FIRST, TEN, (0,)), (THIRD, TEN, (0,))],
        [(SECOND, TEN, (1,))],
    ]


def test_else_every_rank_has_a_part_and_all_meet_in_the_same_order() -> None:
    lacking = [Unfinished(time, TEN, True) for time in (FIRST, SECOND)]
    tasks = share_out([*lacking, Unfinished(THIRD, (0,), False)], TEN, EXACT, 3, 3)
    together = [[task for task in of_rank if task.team] for of_rank in tasks]
    assert [[task.init_time for task in of_rank] for of_rank in together] == [[FIRST, SECOND]] * 3
    assert [task.members for task in (of_rank[0] for of_rank in together)] == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)]
    assert all(of_rank[:2] == shared for of_rank, shared in zip(tasks, together, strict=True))


@pytest.mark.parametrize("team", [1, 2, 3, 5])
@pytest.mark.parametrize("members", [TEN, (0, 3, 9), (37,)])
def test_a_team_divides_members_between_calls_and_loses_none(members: tuple[int, ...], team: int) -> None:
    parts = team_parts(members, EXACT, team)
    assert len(parts) == team
    assert tuple(member for part in parts for member in part) == members
    calls = [{member // 4 for member in part} for part in parts]
    assert sum(map(len, calls)) == len(set().union(*calls))
    assert team_parts(members, replace(EXACT, exact=False), 1) == [members]


def test_shares_are_consecutive_calls_whatever_is_finished() -> None:
    calls = [(time, part) for time in (FIRST, SECOND) for part in ((0, 1, 2, 3), (4, 5, 6, 7), (8, 9))]
    lacking = [Unfinished(FIRST, (0, 5, 9), False), Unfinished(SECOND, TEN, False)]
    shares = [share_of(lacking, calls, place, 4) for place in range(4)]  # of 1, 2, 1 and 2 calls
    assert [[(each.init_time, each.members) for each in share] for share in shares] == [
        [(FIRST, (0,))],
        [(FIRST, (5, 9))],
        [(SECOND, (0, 1, 2, 3))],
        [(SECOND, (4, 5, 6, 7, 8, 9))],
    ]


def test_of_more_shares_than_calls_some_are_empty() -> None:
    lacking = [Unfinished(FIRST, (), True), Unfinished(SECOND, TEN, True)]
    shares = [share_of(lacking, [(FIRST, TEN), (SECOND, TEN)], place, 3) for place in range(3)]
    assert shares == [[], lacking[:1], lacking[1:]]
