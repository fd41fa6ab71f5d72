"""Events: which texts are one, what they are called on file, and how likely members make them."""

import re

import numpy as np
import pytest

from fourcast.errors import InputError
from fourcast.forecast.events import Event, parse_events

NAN = np.float32("nan")


@pytest.mark.parametrize(
    ("text", "event", "name"),
    [
        ("ws10m > 17.2", Event("ws10m", ">", 17.2), "prob_ws10m_gt_17p2"),
        ("tp06 >= 0.01", Event("tp06", ">=", 0.01), "prob_tp06_ge_0p01"),
        ("t2m<273.15", Event("t2m", "<", 273.15), "prob_t2m_lt_273p15"),
        (" z500<=5.2e4 ", Event("z500", "<=", 52000.0), "prob_z500_le_52000"),
        ("u850 < -5.", Event("u850", "<", -5.0), "prob_u850_lt_m5"),
        ("w500 > +.0000125", Event("w500", ">", 1.25e-5), "prob_w500_gt_0p0000125"),
        ("v10m >= -0", Event("v10m", ">=", 0.0), "prob_v10m_ge_0"),
    ],
)
def test_an_event_and_its_name_on_file(text: str, event: Event, name: str) -> None:
    assert parse_events([text], "products.probability") == (event,)
    assert event.name == name
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name)


def test_events_keep_their_order_and_come_once() -> None:
    events = parse_events(["t2m < 273.15", "t2m>300", "t2m<273.150"], "events")
    assert [event.name for event in events] == ["prob_t2m_lt_273p15", "prob_t2m_gt_300"]


@pytest.mark.parametrize(
    "text",
    ["", "t2m", "t2m >", "> 3", "t2m = 3", "t2m == 3", "t2m => 3", "t2m > 3 K", "3 < t2m", "t2m > x", "t2m > nan",
     "t2m > inf", "t2m > 1e39", "t2m > 1_000", "t2m > 0x10", "t 2m > 3", "270 < t2m < 280", "t2m > 3,5"],
)  # fmt: skip
def test_what_is_no_event_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match=r"products.probability: .* is no event; write .*'ws10m > 17.2'") as refused:
        parse_events(["t2m > 3", text], "products.probability")
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize(
    ("comparison", "expected"), [(">", [0.25, 0.0]), (">=", [0.75, 1.0]), ("<", [0.25, 0.0]), ("<=", [0.75, 1.0])]
)
def test_probability_is_the_fraction_of_members(comparison: str, expected: list[float]) -> None:
    # At the first point one member lies below 2, two on it and one above; at the second all lie on it.
    members = np.array([[1, 2], [2, 2], [2, 2], [5, 2]], np.float32)
    found = Event("t2m", comparison, 2.0).probability(members)
    assert found.dtype == np.float32
    assert found.tolist() == expected


def test_a_value_that_is_written_as_the_threshold_equals_it() -> None:
    """The float32 nearest to 0.01 is a little below the number; the one nearest to 17.2 a little above."""
    for number in (0.01, 17.2):
        value = np.float32([[number]])
        assert Event("tp06", ">=", number).probability(value) == 1
        assert Event("tp06", "<=", number).probability(value) == 1
        assert Event("tp06", ">", number).probability(value) == 0
        assert Event("tp06", "<", number).probability(value) == 0


@pytest.mark.parametrize("members", [1, 3, 7, 50])
def test_an_event_and_its_contrary_add_up_to_one(members: int) -> None:
    values = np.random.default_rng(0).integers(0, 5, (members, 40)).astype(np.float32)
    for one, other in ((">", "<="), (">=", "<")):
        both = [Event("t2m", comparison, 2.0).probability(values) for comparison in (one, other)]
        np.testing.assert_allclose(both[0] + both[1], 1, rtol=1e-7)
        assert 0 < both[0].mean() < 1


def test_a_missing_member_makes_the_probability_missing_there_alone() -> None:
    members = np.array([[NAN, 1], [3, 3]], np.float32)
    for comparison in (">", "<"):
        np.testing.assert_array_equal(Event("sst", comparison, 2.0).probability(members), [NAN, 0.5])
