"""What goes into a page of bounded size, coarse grids, and the order of columns on a map."""

import itertools

import numpy as np
import pytest

from fourcast.report.choice import Choice, choices, first_channels
from fourcast.report.coarse import block_means, coarse_axis, column_edges
from fourcast.report.fields import rounded_range
from fourcast.report.forecast import map_order
from fourcast.verify_config import ReportConfig

EVERYTHING = Choice(("t850", "q500", "z500", "u10m"), tuple(range(0, 241, 6)), tuple(range(50)))


def size(choice: Choice) -> float:
    return len(choice.channels) * len(choice.lead_hours) * len(choice.members) / choice.block**2


def test_choices_become_ever_smaller() -> None:
    found = list(choices(EVERYTHING, ReportConfig(run="x"), 0.25))
    assert found[0] == EVERYTHING
    sizes = [size(choice) for choice in found]
    assert all(later <= earlier for earlier, later in itertools.pairwise(sizes))
    assert {choice.block for choice in found[:5]} == {1, 2, 3, 4}
    assert found[-1].members == (0, 1)
    assert found[-1].lead_hours == (0, 24, 72, 120, 240)


def test_what_is_named_stays() -> None:
    config = ReportConfig(run="x", channels=["q500"], lead_hours=[6], members=[7])
    named = Choice(("q500",), (6,), (7,))
    assert {(c.channels, c.lead_hours, c.members) for c in choices(named, config, 5.0)} == {(("q500",), (6,), (7,))}


def test_headline_channels_keep_their_order() -> None:
    assert first_channels(("q500", "t850", "u10m", "z500"), 2) == ("t850", "z500")
    assert first_channels(("r50", "q50"), 5) == ("r50", "q50")


def test_block_means_by_hand() -> None:
    field = np.array([[1, 2, 3], [3, 6, 5], [np.nan, 7, np.nan]], np.float32)
    # Blocks: (1, 2, 3, 6), (3, 5), (·, 7), (·).
    np.testing.assert_array_equal(block_means(field, 2), np.array([[3, 4], [7, np.nan]], np.float32))
    np.testing.assert_array_equal(coarse_axis(np.array([90.0, 88, 86]), 2), [89, 86])
    np.testing.assert_array_equal(column_edges(np.array([10.0, 20, 40])), [5, 15, 30, 50])


@pytest.mark.parametrize(
    ("longitude", "expected"),
    [
        ([0, 90, 180, 270], [-180, -90, 0, 90]),
        ([10, 20, 30], [10, 20, 30]),
        ([0, 10, 340, 350], [-20, -10, 0, 10]),
        ([200], [200]),
    ],
)
def test_columns_go_from_west_to_east(longitude: list[float], expected: list[float]) -> None:
    columns, places = map_order(np.array(longitude, float))
    np.testing.assert_array_equal(places, expected)
    np.testing.assert_array_equal(np.array(longitude)[columns] % 360, places % 360)


def test_ranges_are_round() -> None:
    assert rounded_range(-3.96, 3.96) == [-4.0, 4.0]
    assert rounded_range(0.0, 0.0193) == pytest.approx([0.0, 0.02])
    assert rounded_range(5.0, 5.0) == [4.995, 5.005]
