"""Metrics from statistics, worked out by hand."""

import numpy as np
import pytest

from fourcast.verify.results.metrics import METRICS, average, score, series
from fourcast.verify.systems import is_ensemble, kind, references, sibling

ONE = ("control", "ensemble_mean", "ensemble", "persistence", "climatology_ensemble")
NAN = np.nan


def statistics(**given: list[list[float]]) -> dict[str, np.ndarray]:
    """Statistics [I, S, 1] of ``ONE`` from rows of initial times."""
    return {name: np.array(rows)[..., None] for name, rows in given.items()}


# Two initial times. Squared errors of control 1 and 9, of the mean 4 and 0, of persistence 16 and 16.
GIVEN = statistics(
    squared_error=[[1, 4, NAN, 16, NAN], [9, 0, NAN, 16, NAN]],
    absolute_error=[[1, 2, NAN, 4, NAN], [3, 0, NAN, 4, NAN]],
    error=[[1, -2, NAN, 4, NAN], [-3, 0, NAN, 4, NAN]],
    anomaly_correlation=[[0.5, 0.25, NAN, 0, NAN], [1.0, 0.75, NAN, 0, NAN]],
    fair_crps=[[NAN, NAN, 0.5, NAN, 2], [NAN, NAN, 1.5, NAN, 4]],
    crps=[[NAN, NAN, 1.0, NAN, 3], [NAN, NAN, 2.0, NAN, 5]],
    variance=[[NAN, NAN, 1.0, NAN, 9], [NAN, NAN, 2.0, NAN, 9]],
    energy_score=[[NAN, NAN, 0.25, NAN, 1], [NAN, NAN, 0.75, NAN, 3]],
)


def found(root_first: bool = False, weights: list[float] | None = None) -> dict[str, list[float]]:
    weights_BI = np.array([weights or [1.0, 1.0]])
    return {
        name: values[0, :, 0].tolist()
        for name, values in score(GIVEN, ONE, {"ensemble": 3}, weights_BI, root_first).items()
    }


def test_metrics_are_those_worked_out_by_hand() -> None:
    metrics = found()
    np.testing.assert_allclose(metrics["rmse"], [np.sqrt(5), np.sqrt(2), NAN, 4, NAN])
    np.testing.assert_allclose(metrics["mse"], [5, 2, NAN, 16, NAN])
    np.testing.assert_allclose(metrics["mae"], [2, 1, NAN, 4, NAN])
    np.testing.assert_allclose(metrics["bias"], [-1, -1, NAN, 4, NAN])
    np.testing.assert_allclose(metrics["acc"], [0.75, 0.5, NAN, 0, NAN])
    np.testing.assert_allclose(metrics["crps"], [2, 1, 1, 4, 3])  # of single fields their absolute error
    np.testing.assert_allclose(metrics["crps_standard"], [NAN, NAN, 1.5, NAN, 4])
    # Of single fields the mean distance, (1 + 3) / 2 and (2 + 0) / 2, which is not the RMSE.
    np.testing.assert_allclose(metrics["energy_score"], [2, 1, 0.5, 4, 2])
    np.testing.assert_allclose(metrics["spread"], [NAN, NAN, np.sqrt(1.5), NAN, 3])
    # √(4/3) √1.5 / √2 = 1: a reliable ensemble of three. 2 − 1.5 / 3 is left of the mean's squared error.
    np.testing.assert_allclose(metrics["spread_skill_ratio"], [NAN, NAN, 1, NAN, NAN])
    np.testing.assert_allclose(metrics["debiased_rmse"], [NAN, np.sqrt(1.5), NAN, NAN, NAN])


def test_the_root_may_come_before_the_mean() -> None:
    metrics = found(root_first=True)
    np.testing.assert_allclose(metrics["rmse"], [2, 1, NAN, 4, NAN])
    np.testing.assert_allclose(metrics["spread"], [NAN, NAN, (1 + np.sqrt(2)) / 2, NAN, 3])
    assert metrics["mse"] == pytest.approx(found()["mse"], nan_ok=True)
    np.testing.assert_allclose(metrics["acc"], found()["acc"])
    # Of the mean variance, not of the mean spread, is what more members would remove.
    np.testing.assert_allclose(metrics["debiased_rmse"], found()["debiased_rmse"])


def test_an_initial_time_counts_as_often_as_it_is_drawn() -> None:
    np.testing.assert_allclose(found(weights=[0.0, 2.0])["rmse"], [3, 0, NAN, 4, NAN])
    np.testing.assert_allclose(found(weights=[3.0, 1.0])["mse"], [3, 3, NAN, 16, NAN])


def test_no_skill_without_an_error_and_no_root_of_less_than_nothing() -> None:
    perfect = {**GIVEN, "squared_error": np.zeros_like(GIVEN["squared_error"])}
    metrics = score(perfect, ONE, {"ensemble": 3}, np.ones((1, 2)))
    assert np.isnan(metrics["spread_skill_ratio"]).all()
    assert np.isnan(metrics["debiased_rmse"]).all()  # 0 − 1.5 / 3


def test_what_no_system_has_is_left_out() -> None:
    alone = {"squared_error": np.array([[4.0], [0.0]])[..., None]}
    metrics = score(alone, ("control",), {}, np.ones((1, 2)))
    assert set(metrics) == {"rmse", "mse", "energy_score"}
    assert series(METRICS["seeps"], alone, ("control",), False) is None


def test_means_leave_out_what_is_missing() -> None:
    values = np.array([[1.0, NAN, NAN], [3.0, 5.0, NAN], [8.0, 7.0, NAN]])
    np.testing.assert_allclose(average(values, np.ones((1, 3))), [[4, 6, NAN]])
    drawn = np.array([[2.0, 0, 0], [0, 2, 1]])
    np.testing.assert_allclose(average(values, drawn), [[1, NAN, NAN], [14 / 3, 17 / 3, NAN]])


def test_an_infinite_statistic_is_not_passed_over() -> None:
    assert average(np.array([[1.0], [np.inf]]), np.ones((1, 2))) == np.inf


def test_sums_of_any_partition_make_the_same_means() -> None:
    values = np.random.default_rng(3).normal(size=(37, 3, 2))
    values[5:9, 1] = NAN
    whole = average(values, np.ones((1, 37)))[0]
    pieces = [values[:1], values[1:20], values[20:]]
    total = sum(np.nansum(piece, axis=0) for piece in pieces)
    count = sum(np.isfinite(piece).sum(axis=0) for piece in pieces)
    np.testing.assert_allclose(whole, total / count, rtol=1e-12)


def test_systems_have_kinds_and_forecasts() -> None:
    assert (kind("a/ensemble_mean"), kind("persistence")) == ("ensemble_mean", "persistence")
    assert (sibling("a/ensemble", "control"), sibling("ensemble", "control")) == ("a/control", "control")
    assert is_ensemble("a/ensemble")
    assert not is_ensemble("a/ensemble_mean")
    assert references(("control", "persistence", "climatology")) == ("persistence", "climatology")
    several = ("a/control", "a/ensemble", "b/control", "persistence")
    assert references(several) == ("persistence", "a/control", "a/ensemble")
