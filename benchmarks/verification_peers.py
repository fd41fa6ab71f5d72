"""The other programs' side of benchmarks/verification.py: the same scores, of the same files.

    python verification_peers.py {scores,weatherbench2} {loaded,dask} TASK.json RESULTS.npz

Run with a Python that has ``scores``, or ``weatherbench2`` and the checkout it came from in PYTHONPATH; neither needs
fourcast. RESULTS: rows of METRIC_SYSTEM [R, L, C] by region (the globe first), lead time and channel, the last ones of
ranks [M + 1]; brier [L].
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

PLANE = ["latitude", "longitude"]
AVERAGED = ["time", *PLANE]
Results = dict[str, np.ndarray]


def channels_of(dataset: xr.Dataset, task: dict[str, Any], *dims: str) -> np.ndarray:
    """The task's channels side by side, with ``dims`` first and channel after them."""
    fields = []
    for variable, level in task["channels"].values():
        field = dataset[variable]
        fields.append(field.sel(level=level, drop=True) if level is not None else field)
    arrays = [field.transpose(*dims, ...).values for field in fields]
    return np.stack(arrays, axis=len(dims))


def cell_weights(latitude: xr.DataArray) -> xr.DataArray:
    """Differences of the sines of the cells' edges, mean 1, as WeatherBench 2 has them."""
    edges = np.deg2rad(np.concatenate([[-90.0], (latitude.values[1:] + latitude.values[:-1]) / 2, [90.0]]))
    area = np.diff(np.sin(edges))
    return latitude.copy(data=area / area.mean())


def of_scores(task: dict[str, Any], way: str) -> Results:
    """With ``scores``: in memory, or with members in dask chunks of a few initial times, in one computation."""
    # Imported here: the environment of the other program need not have it.
    import dask

    forecast = xr.open_zarr(task["forecast"], chunks={"time": task["chunk"]} if way == "dask" else None)
    valid = forecast["time"] + forecast["prediction_timedelta"]
    names = list(forecast.data_vars)
    truth = xr.open_zarr(task["analyses"], chunks=None)[names].load().sel(time=valid).drop_vars("time")
    season = {"dayofyear": valid.dt.dayofyear, "hour": valid.dt.hour}
    normal = xr.open_zarr(task["climatology"], chunks=None)[names].sel(season).load()
    if way == "loaded":
        forecast = forecast.load()
    lazy = scores_of(forecast, truth.assign_coords(time=forecast["time"]), normal, task)
    (found,) = dask.compute(lazy)
    results = {}
    for name, values in found.items():
        if name == "brier":
            results[name] = values.squeeze().values
        else:
            results[name] = channels_of(values, task, "prediction_timedelta")[None]
    return results


def scores_of(forecast: xr.Dataset, truth: xr.Dataset, normal: xr.Dataset, task: dict[str, Any]) -> dict[str, Any]:
    """Datasets by metric, lazy where their input is."""
    from operator import gt

    from scores.continuous import additive_bias, mae, mse
    from scores.probability import brier_score_for_ensemble, crps_for_ensemble, rank_histogram

    weights = cell_weights(forecast["latitude"])
    over: dict[str, Any] = {"reduce_dims": AVERAGED, "weights": weights}
    found: dict[str, Any] = {}
    for system, field in (("control", forecast.isel(number=0, drop=True)), ("ensemble_mean", forecast.mean("number"))):
        for name, function in (("mse", mse), ("mae", mae), ("bias", additive_bias)):
            found[f"{name}_{system}"] = function(field, truth, **over)
        found[f"acc_{system}"] = anomaly_correlation(field - normal, truth - normal, weights)
    found["crps"] = crps_for_ensemble(forecast, truth, "number", method="fair", **over)
    found["variance"] = forecast.var("number", ddof=1).weighted(weights).mean(AVERAGED)
    found["ranks"] = rank_histogram(forecast, truth, "number", **over)
    variable, threshold = task["event"]
    found["brier"] = brier_score_for_ensemble(
        forecast[variable], truth[variable], "number", threshold,
        fair_correction=True, event_threshold_operator=gt, **over,
    )  # fmt: skip
    return found


def anomaly_correlation(forecast: xr.Dataset, truth: xr.Dataset, weights: xr.DataArray) -> xr.Dataset:
    """Uncentred, averaged over initial times; the package has none."""

    def mean(values: xr.Dataset) -> xr.Dataset:
        return values.weighted(weights).mean(PLANE)

    return (mean(forecast * truth) / np.sqrt(mean(forecast**2) * mean(truth**2))).mean("time")


def of_weatherbench2(task: dict[str, Any], way: str) -> Results:
    """With the functions behind its scripts/evaluate.py --use_beam=False, which reads by dask, or from memory."""
    # Imported here: the environment of the other program need not have it.
    from weatherbench2 import config, evaluation, metrics
    from weatherbench2.thresholds import Threshold

    class Constant(Threshold):
        def compute(self, truth: xr.Dataset) -> xr.Dataset:
            return xr.full_like(truth, self.quantile)

    variables = list(dict.fromkeys(variable for variable, _ in task["channels"].values()))
    levels = sorted({level for _, level in task["channels"].values() if level is not None})
    selection = config.Selection(variables=variables, levels=levels or None, time_slice=slice(None, None))
    data = config.Data(selection, config.Paths(task["forecast"], task["analyses"], "", climatology=task["climatology"]))
    climatology = evaluation.make_latitude_increasing(xr.open_zarr(task["climatology"]))
    regions = predefined_regions(task["regions"])
    single = {
        "mse": metrics.MSE(),
        "mae": metrics.MAE(),
        "bias": metrics.Bias(),
        "acc": metrics.ACC(climatology),
    }
    ensemble = {
        "crps": metrics.CRPS(ensemble_dim="number"),
        "variance": metrics.EnsembleVariance(ensemble_dim="number"),
    }
    variable, threshold = task["event"]
    event = {"brier": metrics.DebiasedEnsembleBrierScore([Constant(xr.Dataset(), threshold)], "number")}
    forecast, truth, _ = evaluation.open_forecast_and_truth_datasets(data, config.Eval({}), use_dask=True)
    truth = truth.sel(time=forecast.valid_time)
    if way == "loaded":
        forecast, truth = forecast.load(), truth.load()

    def evaluated(chosen: xr.Dataset, scored: dict[str, Any], against: xr.Dataset = truth) -> xr.Dataset:
        evaluation_config = config.Eval(scored, regions=regions)
        return evaluation._metric_and_region_loop(chosen, against, evaluation_config, skipna=False).compute()

    found: Results = {}
    fields = {"control": forecast.isel(number=0, drop=True), "ensemble_mean": forecast.mean("number")}
    for system, field in fields.items():
        values = evaluated(field, single)
        for name in single:
            found[f"{name}_{system}"] = channels_of(values.sel(metric=name), task, "region", "lead_time")
    values = evaluated(forecast, ensemble)
    for name in ensemble:
        found[name] = channels_of(values.sel(metric=name), task, "region", "lead_time")
    values = evaluated(forecast[[variable]], event, truth[[variable]])
    found["brier"] = values[variable].isel(region=0, metric=0).transpose("lead_time", ...).values.squeeze()
    ranks = metrics.RankHistogram(ensemble_dim="number").compute(forecast, truth)
    averaged = metrics._spatial_average(ranks, regions["global"], skipna=False).compute()
    found["ranks"] = channels_of(averaged, task, "lead_time")[None]
    return found


def predefined_regions(names: list[str]) -> dict[str, Any]:
    """Those of scripts/evaluate.py by our names."""
    from weatherbench2.regions import SliceRegion

    regions = {
        "global": SliceRegion(),
        "tropics": SliceRegion(lat_slice=slice(-20, 20)),
        "northern_extratropics": SliceRegion(lat_slice=slice(20, None)),
        "southern_extratropics": SliceRegion(lat_slice=slice(None, -20)),
        "europe": SliceRegion(slice(35, 75), [slice(360 - 12.5, None), slice(0, 42.5)]),
        "north_america": SliceRegion(slice(25, 60), slice(360 - 120, 360 - 75)),
        "east_asia": SliceRegion(slice(25, 60), slice(102.5, 150)),
    }
    return {name: regions[name] for name in names}


def main(program: str, way: str, task: str, results: str) -> None:
    programs = {"scores": of_scores, "weatherbench2": of_weatherbench2}
    np.savez(results, **programs[program](json.loads(Path(task).read_text(encoding="utf-8")), way))


if __name__ == "__main__":
    main(*sys.argv[1:])
