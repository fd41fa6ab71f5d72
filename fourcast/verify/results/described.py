"""What files of results say of themselves: their coordinates, and what was verified how."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from fourcast import __version__
from fourcast.forecast.netcdf import SYNTHETIC
from fourcast.variables import parse_channels
from fourcast.verify.plan import Plan
from fourcast.verify.probabilities import BINS
from fourcast.verify.results.bootstrap import FEWEST, block_length
from fourcast.verify.results.results_file import Coordinate
from fourcast.verify.spectra import BANDS, band_wavelengths
from fourcast.verify.systems import references

SYSTEMS = {
    "control": "member 0, started from the unperturbed analysis, or the only member",
    "ensemble_mean": "the mean of all members",
    "ensemble": "all members, the control among them",
    "persistence": "the analysis at the initial time",
    "climatology": "the climatology at the valid time",
    "climatology_ensemble": "the probabilistic climatology: analyses of other times at the same hour of day and, where "
    "the climatology has seasons, the same time of the year",
}


def axes(plan: Plan, present: Collection[str]) -> dict[str, Coordinate]:
    """Coordinates of what is scored; those of ranks, spectra and events where the parts hold any."""
    channels = parse_channels(plan.channels)
    levels = np.array([np.nan if c.level is None else c.level for c in channels])
    init = {"standard_name": "forecast_reference_time", "long_name": "initial time"}
    lead = {"standard_name": "forecast_period", "long_name": "lead time"}
    pressure = {"standard_name": "air_pressure", "units": "hPa", "positive": "down"}
    found = {
        "system": _names("system", plan.systems, "what was scored"),
        "reference": _names("reference", references(plan.systems), "what a system is compared with"),
        "init_time": Coordinate(("init_time",), plan.init_times, init),
        "lead_time": Coordinate(("lead_time",), np.array(plan.lead_hours).astype("timedelta64[h]"), lead),
        "channel": _names("channel", plan.channels, "channel"),
        "region": _names("region", plan.regions, "region"),
        "units": _names("channel", [c.variable.units for c in channels], "units of the channel"),
        "variable": _names("channel", [c.variable.name for c in channels], "variable of the channel"),
        "level": Coordinate(("channel",), levels, pressure),
    }
    if "rank_sum" in present:
        found["ensemble"] = _names("ensemble", plan.ensembles, "ensemble")
        found["rank"] = _numbers("rank", np.arange(max(plan.members.values()) + 1), "members below the analysis")
    if plan.events:
        found["event"] = _names("event", [f"{e.channel} {e.condition}" for e in plan.events], "event")
        found["bin"] = _numbers("bin", np.linspace(0, 1, BINS), "middle of a bin of forecast probabilities")
    return found | (_spectral(plan) if "spectrum_sum" in present else {})


def _spectral(plan: Plan) -> dict[str, Coordinate]:
    """Of spectra: what they are of, latitudes, wavenumbers and mean wavelengths."""
    wavelength = band_wavelengths(plan.grid, plan.means.weights_H)
    return {
        "spectrum": _names("spectrum", plan.spectrum_names, "what the spectrum is of"),
        "band": _names("band", tuple(BANDS), "latitudes"),
        "wavenumber": _numbers("wavenumber", np.arange(wavelength.shape[1]), "waves round the circle of latitude"),
        "wavelength": Coordinate(
            ("band", "wavenumber"), wavelength, {"long_name": "mean wavelength in these latitudes", "units": "m"}
        ),
    }


def _names(dim: str, names: Sequence[str], text: str) -> Coordinate:
    return Coordinate((dim,), np.array(names, dtype=object), {"long_name": text})


def _numbers(dim: str, values: NDArray[np.number], text: str) -> Coordinate:
    kind = np.int32 if values.dtype.kind == "i" else np.float64
    return Coordinate((dim,), values.astype(kind), {"long_name": text, "units": "1"})


def described(plan: Plan, title: str) -> dict[str, str | int | float]:
    """Global attributes: what was verified against what, by which definitions, by whom."""
    config = plan.config
    kinds = {name.rpartition("/")[2] for name in plan.systems}
    return {
        "Conventions": "CF-1.11",
        "title": title,
        "source": f"fourcast {__version__}",
        "history": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} written by fourcast {__version__}",
        "references": "Rasp et al. 2024, WeatherBench 2, https://arxiv.org/abs/2308.15560",
        "forecasts": "\n".join(forecast.name for forecast in plan.forecasts),
        "forecast": "\n".join(str(forecast.path) for forecast in plan.forecasts),
        "analyses": str(plan.targets.path),
        "climatology": config.climatology or f"that of {plan.targets.path}",
        "convention": plan.convention.name,
        "convention_text": plan.convention.text,
        "systems": "\n".join(f"{kind}: {text}" for kind, text in SYSTEMS.items() if kind in kinds),
        **_uncertainty(plan),
        "digest": plan.digest,
        **({"comment": SYNTHETIC} if plan.synthetic else {}),
        **({"left_out": "\n".join(plan.left_out)} if plan.left_out else {}),
    }


def _uncertainty(plan: Plan) -> dict[str, str | int | float]:
    """How intervals were made, or why there are none."""
    config, size = plan.config.uncertainty, len(plan.init_times)
    if config.samples == 0:
        return {"uncertainty": "no intervals were asked for", "uncertainty_samples": 0}
    if size < FEWEST:
        times = "1 initial time is" if size == 1 else f"{size} initial times are"
        text = f"no intervals: {times} too few, from {FEWEST} on they are given"
        return {"uncertainty": text, "uncertainty_samples": 0}
    block = block_length(size, config)
    text = (
        f"{100 * config.level:g} % intervals of {config.samples} resamples of the {size} initial times in blocks of "
        f"{block} (paired moving-block bootstrap); none where fewer than {FEWEST} count"
    )
    return {
        "uncertainty": text,
        "uncertainty_samples": config.samples,
        "uncertainty_block": block,
        "uncertainty_level": config.level,
    }
