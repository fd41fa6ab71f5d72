"""What pictures show: where things lie on a map, and on which scale."""

import numpy as np
import pytest

from fourcast.drawing import Panel, centred, draw_maps, labelled, round_levels
from fourcast.grid import Grid

GRID = Grid(np.array([60.0, 0.0, -60.0]), 45.0 * np.arange(8))
FIELD = np.tile(GRID.longitude, (3, 1)) + np.array([[1.0], [2.0], [3.0]])
"""Each point says where it is: its longitude, and its row's number."""


def test_a_global_map_is_centred_on_greenwich_and_closes() -> None:
    longitude, latitude, shown = centred(FIELD, GRID)
    assert longitude.tolist() == [-180, -135, -90, -45, 0, 45, 90, 135, 180]
    assert latitude.tolist() == GRID.latitude.tolist()
    assert shown[0].tolist() == [181, 226, 271, 316, 1, 46, 91, 136, 181]


def test_a_region_stays_where_it_is() -> None:
    region = Grid(GRID.latitude, np.array([170.0, 180.0, 190.0]))
    longitude, _, shown = centred(FIELD[:, :3], region)
    assert longitude.tolist() == [170, 180, 190]
    assert shown.tolist() == FIELD[:, :3].tolist()


def test_a_large_map_is_thinned_out() -> None:
    fine = Grid(np.linspace(90, -89.75, 720), 0.25 * np.arange(1440))
    field = np.broadcast_to(fine.longitude, fine.shape)
    longitude, latitude, shown = centred(field, fine)
    assert shown.shape == (360, 721)
    assert (longitude[0], longitude[-1]) == (-180, 180)
    assert shown[0] == pytest.approx(longitude % 360)
    assert len(latitude) == 360


def test_levels_are_round_and_leave_out_what_is_not_finite() -> None:
    field = np.array([[0.0, 99.0], [np.nan, np.inf]])
    levels = round_levels([field, field - 1], "viridis")
    assert (levels[0], levels[-1]) == (-5, 100)
    assert np.all(np.diff(levels) == 5)
    signed = round_levels([field], "PuOr_r")
    assert signed.tolist() == (-signed[::-1]).tolist()
    spread = round_levels([np.array([3.0, 8.0])], "cividis")
    assert (spread[0], spread[-1]) == (0, 8)
    assert np.isfinite(round_levels([np.full((2, 2), np.nan)], "viridis")).all()


def test_units_have_raised_exponents() -> None:
    assert labelled("z500", "m2 s-2") == "z500 (m$^{2}$ s$^{-2}$)"
    assert labelled("sp", "Pa") == "sp (Pa)"


def test_panels_show_their_levels_and_what_lies_beyond() -> None:
    pytest.importorskip("matplotlib")
    levels = round_levels([FIELD], "viridis")
    wild = np.where(FIELD > 300, np.inf, 10 * FIELD)
    nothing = np.full_like(FIELD, np.nan)
    panels = [Panel(name, field, "viridis", levels) for name, field in
              (("analysis", FIELD), ("forecast", wild), ("broken", nothing))]  # fmt: skip
    figure = draw_maps([*panels, panels[0]], GRID, (FIELD > 100).astype(float), "K")
    figure.draw_without_rendering()
    drawn = {axis.get_title(): axis.collections[0] for axis in figure.axes if axis.get_title()}
    assert {name: contours.extend for name, contours in drawn.items()} == {
        "analysis": "neither", "forecast": "both", "broken": "neither"
    }  # fmt: skip
    assert all(contours.levels.tolist() == levels.tolist() for contours in drawn.values())


def test_the_colour_bar_of_an_error_names_zero() -> None:
    pytest.importorskip("matplotlib")
    for size in (3.0, 4.4, 7.1, 19.0):
        levels = round_levels([np.array([[-size, 1.0]])], "PuOr_r")
        panel = Panel("error", FIELD / 100, "PuOr_r", levels)
        bars = draw_maps([panel, panel], GRID, None, "K").axes[2:]
        ticks = bars[0].get_xticks().tolist()
        assert 0.0 in ticks
        assert set(ticks) <= set(levels.tolist())
        assert 4 <= len(ticks) <= 8
