"""Training losses against values worked out by hand."""

import numpy as np
import pytest
import torch

from fourcast.grid import Grid
from fourcast.train.loss import build_loss, relative_l2

GRID = Grid(np.array([60.0, 0.0, -60.0]), np.array([0.0, 180.0]))


def test_relative_l2_is_a_mean_over_samples() -> None:
    targets = torch.zeros(2, 2, 1, 2)
    targets[0], targets[1] = 1.0, 3.0
    predictions = targets.clone()
    predictions[0, 0, 0, 0] += 1.0  # an error of 1 against a norm of sqrt(4)
    predictions[1] *= 2  # an error as large as the norm
    assert relative_l2(predictions, targets).item() == pytest.approx((1 / 2 + 1) / 2)
    assert build_loss("relative_l2", GRID, torch.ones(2)) is relative_l2


def test_area_mse_weighs_rows_and_channels() -> None:
    loss = build_loss("area_mse", GRID, torch.tensor([1.0, 2.0]))
    targets = torch.zeros(1, 2, 3, 2)
    # Rows reach from pole to 30 degrees, 30 to −30, −30 to pole: shares of the area 1/4, 1/2, 1/4.
    for row, share in enumerate((1 / 4, 1 / 2, 1 / 4)):
        predictions = targets.clone()
        predictions[0, 0, row] = 6.0
        assert loss(predictions, targets).item() == pytest.approx(36 * share / 2, rel=1e-6)
    predictions = targets.clone()
    predictions[0, 1] = 6.0  # three typical changes of this channel
    assert loss(predictions, targets).item() == pytest.approx(9 / 2, rel=1e-6)


@pytest.mark.parametrize("name", ["relative_l2", "area_mse"])
def test_a_perfect_forecast_costs_nothing(name: str) -> None:
    targets = torch.randn(2, 2, 3, 2)
    assert build_loss(name, GRID, torch.ones(2))(targets.clone(), targets).item() == 0
