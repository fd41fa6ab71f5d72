"""Spectra and maps where there is no finite analysis."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fourcast.verify.extras import point_errors, spectra_of

PLAN: Any = SimpleNamespace(
    map_points=(slice(None), slice(None)), map_systems=("ensemble_mean",), ensembles=("ensemble",)
)


@pytest.mark.parametrize("gap", [np.nan, np.inf, -np.inf])
def test_points_without_a_finite_analysis_have_no_error_and_no_spectrum(gap: float) -> None:
    target = np.array([[1.0, gap], [3.0, 4.0]], dtype=np.float32)
    members = np.stack([target - 1, target + 3])
    singles = {"ensemble_mean": np.array([[2.0, gap], [4.0, 5.0]])}
    errors, variances = point_errors(PLAN, target, singles, {"ensemble": members})
    np.testing.assert_array_equal(errors, [[[1, np.nan], [1, 1]]])
    np.testing.assert_array_equal(variances, [[[8, np.nan], [8, 8]]])
    assert spectra_of(PLAN, target, singles, {"ensemble": members}) is None
