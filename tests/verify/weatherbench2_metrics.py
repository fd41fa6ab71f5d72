"""What WeatherBench 2's own classes make of forecasts in an .npz file; run with a Python that has weatherbench2.

    python weatherbench2_metrics.py CASES.npz RESULTS.npz

CASES: ``cases``, names, and of every case as KEY_CASE: latitude [H] (increasing), longitude [W], land [H, W],
init_times [I], lead_hours [L], days [D], hours [Q], threshold, regions [R], and in float64 forecast [I, L, M, H, W],
truth [I, L, H, W], climatology [Q, D, H, W], dry_fraction [H, W] and wet_threshold [Q, D, H, W] in metres.

RESULTS, METRIC_CASE: means over time [R, L], of rank histograms [R, L, M + 1]; spectra of truth
[I, L, H, K]; wavelengths [H, K]; regions [R].
"""

import itertools
import sys
from collections.abc import Mapping

import numpy as np
import xarray as xr
from weatherbench2 import metrics
from weatherbench2.derived_variables import ZonalEnergySpectrum
from weatherbench2.regions import CombinedRegion, LandRegion, Region, SliceRegion
from weatherbench2.thresholds import Threshold

PRECIPITATION = "total_precipitation_6hr"
VARIABLE = "field"
SEED = 1
"""Of the random numbers that part members which are equal."""


class Constant(Threshold):
    """The same threshold everywhere, kept where theirs has a climatology."""

    def compute(self, truth: xr.Dataset) -> xr.Dataset:
        return xr.full_like(truth, self.quantile)


def regions_of(land: xr.DataArray) -> dict[str, Region]:
    """As in their scripts/evaluate.py, but for names with underscores."""
    extratropics = SliceRegion(lat_slice=[slice(None, -20), slice(20, None)])
    tropics = SliceRegion(lat_slice=slice(-20, 20))
    boxes = {
        "global": SliceRegion(),
        "tropics": tropics,
        "extratropics": extratropics,
        "northern_extratropics": SliceRegion(lat_slice=slice(20, None)),
        "southern_extratropics": SliceRegion(lat_slice=slice(None, -20)),
        "europe": SliceRegion(slice(35, 75), [slice(360 - 12.5, None), slice(0, 42.5)]),
        "north_america": SliceRegion(slice(25, 60), slice(360 - 120, 360 - 75)),
        "north_atlantic": SliceRegion(slice(25, 65), slice(360 - 70, 360 - 10)),
        "north_pacific": SliceRegion(slice(25, 60), slice(145, 360 - 130)),
        "east_asia": SliceRegion(slice(25, 60), slice(102.5, 150)),
        "australia_new_zealand": SliceRegion(slice(-45, -12.5), slice(120, 175)),
        "arctic": SliceRegion(lat_slice=slice(60, 90)),
        "antarctic": SliceRegion(lat_slice=slice(-90, -60)),
    }
    on_land = {
        "global_land": LandRegion(land),
        "extratropics_land": CombinedRegion([extratropics, LandRegion(land)]),
        "tropics_land": CombinedRegion([tropics, LandRegion(land)]),
    }
    return boxes | on_land


class Case:
    """One case as datasets of theirs."""

    def __init__(self, held: Mapping[str, np.ndarray]) -> None:
        init = xr.DataArray(held["init_times"].astype("datetime64[ns]"), dims="init_time")
        lead = xr.DataArray(held["lead_hours"].astype("timedelta64[h]").astype("timedelta64[ns]"), dims="lead_time")
        plane = {"latitude": held["latitude"], "longitude": held["longitude"]}
        when = {"init_time": init.values, "lead_time": lead.values, "valid_time": init + lead}
        season = {"hour": held["hours"], "dayofyear": held["days"]}

        def dataset(kind: str, coordinates: dict, dims: tuple[str, ...], variable: str = VARIABLE) -> xr.Dataset:
            return xr.Dataset({variable: ((*dims, "latitude", "longitude"), held[kind])}, coordinates | plane)

        members = {"realization": np.arange(held["forecast"].shape[2])}
        self.forecast = dataset("forecast", when | members, ("init_time", "lead_time", "realization"))
        self.truth = dataset("truth", when, ("init_time", "lead_time"))
        self.climatology = dataset("climatology", season, ("hour", "dayofyear"))
        wet = dataset("wet_threshold", season, ("hour", "dayofyear"), f"{PRECIPITATION}_seeps_threshold")
        dry = dataset("dry_fraction", {}, (), f"{PRECIPITATION}_seeps_dry_fraction")
        # Their dry fraction goes by hour and day; they take its mean over both.
        self.seeps = wet.merge(dry.expand_dims(season))
        self.threshold = float(held["threshold"])
        known = regions_of(xr.DataArray(held["land"], list(plane.items())))
        self.regions = {name: known[name] for name in held["regions"].tolist()}


def metrics_of(case: Case) -> dict[str, tuple[metrics.Metric, xr.Dataset]]:
    """By name, their metric and the forecast that it scores."""
    control = case.forecast.isel(realization=0, drop=True)
    mean = case.forecast.mean("realization", skipna=False)
    above = [Constant(xr.Dataset(), case.threshold)]
    deterministic = {
        "mse": metrics.MSE(),
        "mae": metrics.MAE(),
        "bias": metrics.Bias(),
        "acc": metrics.ACC(case.climatology),
    }
    of_ensembles = {
        "crps": metrics.CRPS(),
        "ensemble_variance": metrics.EnsembleVariance(),
        "ensemble_mean_mse": metrics.EnsembleMeanMSE(),
        "debiased_ensemble_mean_mse": metrics.DebiasedEnsembleMeanMSE(),
        "brier": metrics.EnsembleBrierScore(above),
        "fair_brier": metrics.DebiasedEnsembleBrierScore(above),
        "energy_score_neighbours": metrics.EnergyScore(),
        "mean_rmse_root_first": metrics.EnsembleMeanRMSESqrtBeforeTimeAvg(),
    }
    return (
        {f"{name}_control": (metric, control) for name, metric in deterministic.items()}
        | {f"{name}_ensemble_mean": (metric, mean) for name, metric in deterministic.items()}
        | {name: (metric, case.forecast) for name, metric in of_ensembles.items()}
        | {"rmse_root_first": (metrics.RMSESqrtBeforeTimeAvg(), control)}
    )


def energy_score(case: Case, region: Region) -> np.ndarray:
    """The mean of their energy score over all pairs of members [L]: theirs of a pair is fair."""
    pairs = list(itertools.combinations(range(case.forecast.sizes["realization"]), 2))
    chosen = xr.DataArray(pairs, dims=("pair", "realization"))
    forecast = case.forecast.drop_vars("realization").isel(realization=chosen)
    scores = metrics.EnergyScore().compute(forecast, case.truth, region, skipna=True)
    return scores[VARIABLE].mean("pair").values


def rank_histogram(case: Case, region: Region) -> np.ndarray:
    """Their ranks, averaged over a region and time [L, M + 1], without the points where truth has no number."""
    ranks = metrics.RankHistogram(seed=SEED).compute_chunk(case.forecast, case.truth)
    ranks = ranks.where(case.truth.notnull())
    mean = metrics._spatial_average(ranks, region, skipna=True).mean("init_time")
    return mean[VARIABLE].transpose("lead_time", "bins").values


def seeps(case: Case, region: Region) -> np.ndarray:
    """Their SEEPS of the control, of the field read as 6-hourly precipitation in metres [L]."""
    metric = metrics.SEEPS(case.seeps, dry_threshold_mm=0.1, precip_name=PRECIPITATION)
    named = {VARIABLE: PRECIPITATION}
    control = case.forecast.isel(realization=0, drop=True).rename(named)
    return metric.compute(control, case.truth.rename(named), region)[PRECIPITATION].values


def results_of(case: Case) -> dict[str, np.ndarray]:
    regions = case.regions.values()
    found = {
        metric: np.stack([m.compute(forecast, case.truth, r, skipna=True)[VARIABLE].values.squeeze() for r in regions])
        for metric, (m, forecast) in metrics_of(case).items()
    }
    for metric, function in (("energy_score", energy_score), ("ranks", rank_histogram), ("seeps", seeps)):
        found[metric] = np.stack([function(case, region) for region in regions])
    spectrum = ZonalEnergySpectrum(VARIABLE).compute(case.truth)
    rows = ("latitude", "zonal_wavenumber")
    spectra = {
        "spectrum": spectrum.transpose("init_time", "lead_time", *rows).values,
        "wavelength": spectrum["wavelength"].transpose(*rows).values,
        "regions": np.array(list(case.regions)),
    }
    return found | spectra


def main(source: str, target: str) -> None:
    with np.load(source) as held:
        cases = {
            name: Case({key.removesuffix(f"_{name}"): held[key] for key in held if key.endswith(f"_{name}")})
            for name in held["cases"]
        }
    found = {f"{key}_{name}": array for name, case in cases.items() for key, array in results_of(case).items()}
    np.savez(target, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
