"""Sums of ensembles' scores: worked out by hand."""

import numpy as np
import pytest
import torch

from fourcast.calibrate.tally import Tally
from fourcast.distributed import Process

ONE = np.ones(1)
ALONE = Process(0, 1, 0, 1, torch.device("cpu"))


def fields(*values: float) -> np.ndarray:
    """[M, 1, 1, 1]"""
    return np.array(values, np.float32)[:, None, None, None]


def test_scores_are_made_from_sums_over_initial_times() -> None:
    tally = Tally.zero(leads=2, channels=1, members=2)
    for lead in (0, 1):
        tally.add(lead, fields(1, 3), fields(0)[0], ONE)  # variance 2, error of the mean 2, CRPS 2 - 1, rank 0
        tally.add(lead, fields(4, 0), fields(2)[0], ONE)  # variance 8, error 0, CRPS 2 - 2, rank 1
    scores = tally.over(ALONE).scores()
    assert scores.spread_LC == pytest.approx(np.full((2, 1), np.sqrt(1.5 * 5)))  # (M + 1) / M = 3/2
    assert scores.error_LC == pytest.approx(np.full((2, 1), np.sqrt(2)))
    assert scores.ratio_LC == pytest.approx(np.full((2, 1), np.sqrt(3.75)))
    assert scores.crps_LC == pytest.approx(np.full((2, 1), 0.5))
    np.testing.assert_allclose(scores.ranks_LCR, np.full((2, 1, 3), [0.5, 0.5, 0.0]))


def test_a_forecast_without_error_has_no_ratio() -> None:
    tally = Tally.zero(leads=1, channels=1, members=2)
    tally.add(0, fields(1, 3), fields(2)[0], ONE)
    assert np.isnan(tally.scores().ratio_LC).all()


def test_channels_and_rows_count_by_themselves_and_by_area() -> None:
    tally = Tally.zero(leads=1, channels=2, members=2)
    members = np.zeros((2, 2, 2, 3), np.float32)  # [M, C, H, W]
    members[1, 0, 0], members[1, 1, 1] = 2.0, 4.0  # variances 2 and 8 in one row each
    tally.add(0, members, np.full((2, 2, 3), -1, np.float32), np.array([1.5, 0.5]))
    # Variances (1.5 · 2 + 0) / 2 and (0 + 0.5 · 8) / 2.
    np.testing.assert_allclose(tally.scores().spread_LC, np.sqrt(1.5 * np.array([[1.5, 2.0]])))
    # The means miss by 2 and 1, by 1 and 3: (1.5 · 4 + 0.5 · 1) / 2, (1.5 · 1 + 0.5 · 9) / 2.
    np.testing.assert_allclose(tally.scores().error_LC, np.sqrt([[3.25, 3.0]]))
