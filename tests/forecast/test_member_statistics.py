"""Statistics over members: by hand, by their invariants, and against numpy."""

from itertools import permutations

import numpy as np
import pytest

from fourcast.forecast import member_statistics
from fourcast.forecast.events import parse_events
from fourcast.forecast.member_statistics import MAXIMUM, MEAN, MINIMUM, SPREAD, compute, quantile

ORDERED = (MINIMUM, MAXIMUM, quantile(0.0), quantile(0.1), quantile(0.5), quantile(0.75), quantile(1.0))
EVERY = (MEAN, SPREAD, *ORDERED)
NAN = float("nan")


def at_a_point(values: list[float], *statistics: member_statistics.Statistic) -> list[float]:
    return compute(statistics, (), np.array(values, np.float32)[:, None, None]).ravel().tolist()


def temperatures(members: int, shape: tuple[int, int] = (5, 7)) -> np.ndarray:
    return np.random.default_rng(members).normal(280, 10, (members, *shape)).astype(np.float32)


def test_five_members_by_hand() -> None:
    # Deviations of 4 0 1 9 1 from 3: 1 -3 -2 6 -2, squares 54, divided by 4: 13.5. In order: 0 1 1 4 9.
    # The quantile 0.1 lies at place 0.4, 0.75 at place 3.
    values = [4.0, 0.0, 1.0, 9.0, 1.0]
    assert at_a_point(values, MEAN, SPREAD) == [3.0, pytest.approx(13.5**0.5, rel=1e-7)]
    assert at_a_point(values, *ORDERED) == [0.0, 9.0, 0.0, pytest.approx(0.4), 1.0, 4.0, 9.0]


def test_four_members_by_hand() -> None:
    # Deviations of 2 8 2 4 from 4: -2 4 -2 0, squares 24, divided by 3: 8. In order: 2 2 4 8.
    # The quantile 0.1 lies at place 0.3, the median between 2 and 4, 0.75 at place 2.25.
    values = [2.0, 8.0, 2.0, 4.0]
    assert at_a_point(values, MEAN, SPREAD) == [4.0, pytest.approx(8**0.5, rel=1e-7)]
    assert at_a_point(values, *ORDERED) == [2.0, 8.0, 2.0, 2.0, 3.0, 5.0, 8.0]


def test_two_members_by_hand() -> None:
    assert at_a_point([3.0, 1.0], MEAN, SPREAD) == [2.0, pytest.approx(2**0.5, rel=1e-7)]
    expected = [1.0, 3.0, 1.0, pytest.approx(1.2), 2.0, 2.5, 3.0]
    assert at_a_point([3.0, 1.0], *ORDERED) == expected


def test_one_member_is_its_own_mean_and_quantiles() -> None:
    assert at_a_point([5.5], MEAN, *ORDERED) == [5.5] * 8


@pytest.mark.parametrize("members", [2, 7, 1000])
def test_members_that_agree_have_no_spread_and_no_rounding(members: int) -> None:
    value = float(np.float32(0.1))
    assert at_a_point([value] * members, *EVERY) == [value, 0.0] + [value] * 7


def test_a_small_spread_about_a_large_mean_is_exact() -> None:
    """In float32 a mean of 100000.5 would be lost, and with it the deviations of a half."""
    low, high = 100000.0, 100001.0
    assert at_a_point([low, high, low, high], MEAN, SPREAD) == [100000.5, pytest.approx((1 / 3) ** 0.5, rel=1e-7)]


def test_sums_do_not_lose_small_members() -> None:
    """2^24 + 1 is no float32."""
    assert at_a_point([2.0**24, 1.0, 1.0, 2.0], MEAN) == [2.0**22 + 1]


@pytest.mark.parametrize("members", [2, 3, 10, 51])
@pytest.mark.parametrize("q", [0.0, 0.001, 0.1, 0.25, 1 / 3, 0.5, 0.7, 0.9, 0.99, 1.0])
def test_quantiles_are_numpys_of_float64_to_the_bit(members: int, q: float) -> None:
    fields = temperatures(members)
    fields[1] = fields[0]  # ties
    expected = np.quantile(fields.astype(np.float64), q, axis=0).astype(np.float32)
    np.testing.assert_array_equal(compute((quantile(q),), (), fields)[0], expected)


@pytest.mark.parametrize("members", [2, 3, 50])
def test_mean_and_spread_are_numpys_of_float64(members: int) -> None:
    fields = temperatures(members)
    wide = fields.astype(np.float64)
    mean, spread = compute((MEAN, SPREAD), (), fields)
    np.testing.assert_allclose(mean, wide.mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(spread, wide.std(axis=0, ddof=1), rtol=1e-7)


def test_the_order_of_members_does_not_matter_to_what_is_sorted_or_counted() -> None:
    events, fields = parse_events(["t2m > 280"], "events"), temperatures(4)
    statistics = (MINIMUM, MAXIMUM, quantile(0.1), quantile(0.5))
    expected, moments = compute(statistics, events, fields), compute((MEAN, SPREAD), (), fields)
    for order in permutations(range(4)):
        other = fields[list(order)]
        np.testing.assert_array_equal(compute(statistics, events, other), expected)
        np.testing.assert_allclose(compute((MEAN, SPREAD), (), other), moments, rtol=2e-7)


def test_statistics_come_in_the_order_asked_for_with_events_behind() -> None:
    fields, events = temperatures(5), parse_events(["t2m > 280", "t2m <= 280"], "events")
    together = compute(EVERY, events, fields)
    assert together.shape == (11, 5, 7)
    assert together.dtype == np.float32
    for i, statistic in enumerate(EVERY):
        np.testing.assert_array_equal(together[i], compute((statistic,), (), fields)[0])
    np.testing.assert_array_equal(together[9], (fields > 280).mean(axis=0, dtype=np.float64).astype(np.float32))
    np.testing.assert_allclose(together[9] + together[10], 1, rtol=1e-7)


def test_members_are_read_only_and_may_lie_apart() -> None:
    """As views of [M, C, h, w] and of a region do."""
    states = np.random.default_rng(0).normal(size=(6, 3, 9, 11)).astype(np.float32)
    view = states[:, 1, 2:7, 1:8]
    expected = compute(EVERY, (), view.copy())
    states.setflags(write=False)
    np.testing.assert_array_equal(compute(EVERY, (), view), expected)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("block", [1, 37, 1 << 20])
def test_blocks_and_threads_leave_no_trace(block: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fields, events = temperatures(6), parse_events(["t2m > 280"], "events")
    expected = compute(EVERY, events, fields)
    monkeypatch.setattr(member_statistics, "BLOCK", block)
    monkeypatch.setattr(member_statistics, "THREADS", threads)
    np.testing.assert_array_equal(compute(EVERY, events, fields), expected)


@pytest.mark.parametrize("member", [0, 2, 4])
def test_a_missing_member_makes_everything_missing_there_alone(member: int) -> None:
    fields = temperatures(5)
    fields[member, 1, 3] = NAN
    missing = np.isnan(compute(EVERY, (), fields))
    assert missing[:, 1, 3].all()
    assert missing.sum() == len(EVERY)


@pytest.mark.parametrize(
    ("q", "name"),
    [(0.1, "0.10"), (0.25, "0.25"), (0.975, "0.975"), (1.0, "1.00"), (0, "0.00"), (1e-5, "0.00001")],
)
def test_a_quantile_has_a_name_of_its_own(q: float, name: str) -> None:
    assert quantile(q).name == f"quantile_{name}"
