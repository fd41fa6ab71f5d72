"""What is written of the model's output."""

from typing import Any

import numpy as np
import pytest

from fourcast.config import ForecastConfig
from fourcast.errors import InputError
from fourcast.forecast.derived import derive
from fourcast.forecast.select import Selection, make_selection
from fourcast.forecast_config import FilesConfig
from fourcast.grid import Grid

OUTPUTS = ("u10m", "v10m", "t2m", "u850", "v850", "t850", "t500", "z500")
GRID = Grid(np.linspace(80, -80, 9), np.arange(12) * 30.0)


def select(variables: Any = None, lead_hours: int = 24, grid: Grid = GRID, **files: Any) -> Selection:
    config = ForecastConfig(
        init_times=["2026-08-10T00"], variables=variables, lead_hours=lead_hours, files=FilesConfig(**files)
    )
    return make_selection(config, OUTPUTS, grid, step_hours=6)


def fields() -> np.ndarray:
    """[M, C, H, W], every number different."""
    return np.arange(2 * len(OUTPUTS) * 9 * 12, dtype=np.float32).reshape(2, len(OUTPUTS), 9, 12)


def test_by_default_everything_the_model_forecasts_and_nothing_derived() -> None:
    selection = select()
    assert selection.channels == OUTPUTS
    assert selection.lead_hours == (0, 6, 12, 18, 24)
    assert selection.latitude is not None
    np.testing.assert_array_equal(selection.latitude, GRID.latitude)
    np.testing.assert_array_equal(selection.longitude, GRID.longitude)
    np.testing.assert_array_equal(selection.take(fields()), fields())


@pytest.mark.parametrize(
    ("variables", "channels"),
    [
        (["t"], ("t850", "t500")),
        (["z500", "t2m"], ("t2m", "z500")),
        (["t", "t500", "t500"], ("t850", "t500")),
        (["ws10m"], ("ws10m",)),
        (["ws", "t2m"], ("t2m", "ws850")),
        (["vo850", "u"], ("u850", "vo850")),
    ],
)
def test_variables_and_channels_by_name(variables: list[str], channels: tuple[str, ...]) -> None:
    assert select(variables).channels == channels


def test_levels_leave_fields_without_level_alone() -> None:
    assert select(levels=[500]).channels == ("u10m", "v10m", "t2m", "t500", "z500")
    assert select(["t", "ws", "t2m"], levels=[850]).channels == ("t2m", "t850", "ws850")


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"variables": ["q"]}, "the model has no q; it forecasts u10m, v10m"),
        ({"variables": ["t850", "ws500", "t9"]}, "the model has no ws500, t9.*of which follow ws850, vo850, ws10m"),
        ({"levels": [850, 700]}, "files.levels: nothing is written at 700 hPa; choose among 500, 850"),
        ({"variables": ["t2m"], "levels": [850]}, "at 850 hPa; choose among no levels"),
        ({"variables": ["t850", "t"], "levels": [500]}, r"names t850, which files.levels=\[500\] leaves out"),
        ({"variables": ["t"], "levels": []}, "leaves nothing of t850, t500"),
        ({"every_hours": 9}, "files.every_hours=9 is no multiple of the model's step of 6 h"),
        ({"region": [89.0, 0.0, 81.0, 90.0]}, "has no point of the model's grid, 9×12"),
        ({"region": [80.0, 1.0, 70.0, 29.0]}, "has no point"),
    ],
)
def test_bad_requests_are_named(request_: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        select(**request_)


def test_lead_times() -> None:
    assert select(every_hours=12).lead_hours == (0, 12, 24)
    assert select(every_hours=24).lead_hours == (0, 24)
    with pytest.raises(InputError, match=r"lead_hours=24 is no multiple of files\.every_hours=18"):
        select(every_hours=18, lead_hours=24)


@pytest.mark.parametrize(
    ("west", "east", "longitudes"),
    [
        (60, 120, [60, 90, 120]),
        (45, 100, [60, 90]),
        (-30, 30, [-30, 0, 30]),
        (330, 30, [-30, 0, 30]),
        (-90, -30, [270, 300, 330]),
        (-60, 0, [-60, -30, 0]),
        (0, 60, [0, 30, 60]),
        (150, 210, [150, 180, 210]),
        (170, 10, [180 - 360, -150, -120, -90, -60, -30, 0]),
        (150, 10, [150, 180, 210, 240, 270, 300, 330, 360]),
        (90, 90, [90]),
        (30, 0, [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 330, 360]),
        (0, 360, list(range(0, 360, 30))),
        (-180, 180, list(range(0, 360, 30))),
    ],
)
def test_a_region_keeps_its_points_and_their_values(west: float, east: float, longitudes: list[float]) -> None:
    selection = select(region=[65.0, west, 20.0, east])
    np.testing.assert_array_equal(selection.latitude, [60, 40, 20])
    np.testing.assert_array_equal(selection.longitude, longitudes)
    assert (np.diff(selection.longitude) > 0).all()
    taken = selection.take(fields())
    assert taken.flags.c_contiguous
    assert taken.dtype == np.float32
    columns = (np.array(longitudes, dtype=int) % 360) // 30
    np.testing.assert_array_equal(taken, fields()[:, :, 1:4][..., columns])


def test_borders_that_decimals_do_not_hit_exactly_belong_to_the_region() -> None:
    grid = Grid(np.arange(5, -5, -0.1)[:50], np.arange(50) * 0.1)
    selection = select(grid=grid, region=[4.3, 0.3, 0.7, 0.7])
    np.testing.assert_allclose(selection.latitude[[0, -1]], [4.3, 0.7])
    np.testing.assert_allclose(selection.longitude, [0.3, 0.4, 0.5, 0.6, 0.7])


def test_derived_fields_of_a_region_are_those_of_the_whole_grid() -> None:
    rng = np.random.default_rng(0)
    states = rng.normal(size=(3, len(OUTPUTS), *GRID.shape)).astype(np.float32)
    before = states.copy()
    selection = select(["vo850", "ws10m", "t500"], region=[40.0, -60.0, -40.0, 60.0])
    assert selection.channels == ("t500", "vo850", "ws10m")
    taken = selection.take(states)
    columns = [10, 11, 0, 1, 2]
    vorticity = derive("vo850", {"u850": states[:, 3], "v850": states[:, 4]}, GRID)
    np.testing.assert_array_equal(taken[:, 0], states[:, 6, 2:7][..., columns])
    np.testing.assert_array_equal(taken[:, 1], vorticity[:, 2:7][..., columns])
    np.testing.assert_array_equal(taken[:, 2], np.hypot(states[:, 0], states[:, 1])[:, 2:7][..., columns])
    np.testing.assert_array_equal(states, before)
    assert taken.flags.c_contiguous
