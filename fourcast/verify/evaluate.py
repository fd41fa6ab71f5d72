"""The verb ``fourcast verify``: score a forecast run against a store, beside persistence and climatology."""

import sys
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fourcast import __version__
from fourcast.config import VerifyConfig
from fourcast.data.store import Store, Times, open_store
from fourcast.errors import InputError
from fourcast.files import whole_directory
from fourcast.forecast.derived import WINDS
from fourcast.forecast.netcdf import SYNTHETIC
from fourcast.forecast.reader import channel, open_ensemble
from fourcast.grid import area_weights
from fourcast.progress import progress
from fourcast.variables import parse_channel, parse_channels
from fourcast.verify.baselines import Baselines
from fourcast.verify.maps import draw_run
from fourcast.verify.plots import draw_scores, require_matplotlib
from fourcast.verify.scores import CONVENTIONS, DIMENSIONLESS, SQUARED, STATISTICS, compare, metrics, sums, systems
from fourcast.verify.table import report, summary, write_csv


def verify(config: VerifyConfig) -> Path:
    """Write scores.nc, scores.csv, scores.md and pictures into config.output, replacing an earlier verification.

    Raises InputError where forecast and store do not fit together, or the output is some other directory.
    """
    output = Path(config.output)
    if config.plots:
        require_matplotlib()
    _refuse_foreign(output)
    run, store = open_ensemble(config.forecast), open_store(config.store)
    channels = tuple(c.name for c in parse_channels(config.channels or _analysed(run, store)))
    _require_fit(run, store, channels)
    baselines = Baselines.of(store, channels)
    statistics = evaluate(run, baselines)
    members = run.sizes["number"]
    scores = statistics.merge(metrics(sums(statistics), members)).assign_attrs(members=members)
    scores = _describe(scores, config, store.synthetic or bool(run.attrs.get("synthetic")))
    with whole_directory(output) as folder:
        scores.to_netcdf(folder / "scores.nc")
        write_csv(scores, folder / "scores.csv")
        pictures: list[Path] = []
        if config.plots:
            pictures = [*draw_scores(scores, folder), draw_run(run, baselines, scores, folder)]
        (folder / "scores.md").write_text(report(scores, pictures), encoding="utf-8")
    print(summary(scores))
    return output


def _refuse_foreign(output: Path) -> None:
    """Raise InputError where ``output`` holds anything but an earlier verification, which is replaced."""
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file; name a folder as output")
    others = [path.name for path in output.glob("*") if path.stem != "scores" and path.suffix != ".png"]
    if others:
        some = ", ".join(sorted(others)[:3])
        raise InputError(f"{output} holds {some}, which is no verification; name another output")


def evaluate(run: xr.Dataset, baselines: Baselines) -> xr.Dataset:
    """Statistics (system, init_time, lead_time, channel) of an opened run; ``verified`` says which exist.

    One field of all members is in memory at a time. A pair (init_time, lead_time) is skipped where the store
    lacks the analysis at its initial or its valid time.
    """
    channels = baselines.channels
    init, valid = (run[name].values.astype("datetime64[h]") for name in ("init_time", "valid_time"))
    verified = np.isin(valid, baselines.store.times) & np.isin(init, baselines.store.times)[:, None]
    _require_any(verified, valid, baselines.store)
    names = systems(run.sizes["number"])
    values = np.full((len(STATISTICS), len(names), *verified.shape, len(channels)), np.nan)
    pairs = np.argwhere(verified)
    for i, s in progress(pairs, len(pairs), "scored initial × lead times"):
        at = run.isel(init_time=i, lead_time=s)
        found = _compare_channels(at, baselines, init[i], valid[i, s])
        values[:, :, i, s] = [[[f[n].get(k, np.nan) for f in found] for n in names] for k in STATISTICS]
    dims = ("system", "init_time", "lead_time", "channel")
    return xr.Dataset(
        {name: (dims, array) for name, array in zip(STATISTICS, values, strict=True)}
        | {"verified": (dims[1:3], verified)},
        {"system": list(names), "channel": list(channels)} | {d: run[d] for d in dims[1:3]},
    )


def _compare_channels(
    at: xr.Dataset, baselines: Baselines, init: np.datetime64, valid: np.datetime64
) -> list[dict[str, dict[str, float]]]:
    """Statistics of every channel at one initial and lead time of the run."""
    weights = area_weights(at["latitude"].values)
    control = at["number"].values.tolist().index(0)
    target, persistence = baselines.analysis(valid), baselines.analysis(init)
    climatology = baselines.climatology(valid)
    found = []
    for c, name in enumerate(baselines.channels):
        members = channel(at, name).values
        singles = {"control": members[control], "persistence": persistence[c], "climatology": climatology[c]}
        found.append(compare(members, singles, target[c], weights))
    return found


def _analysed(run: xr.Dataset, store: Store) -> tuple[str, ...]:
    """The forecast's channels without those derived from winds, of which stores seldom have analyses."""
    held = tuple(run.attrs["channels"])
    left = [name for name in held if name not in store.channels and parse_channel(name).variable.name in WINDS]
    if left:
        print(f"not scored, for {store.path} does not hold them: {', '.join(left)}", file=sys.stderr)
    return tuple(name for name in held if name not in left)


def _require_fit(run: xr.Dataset, store: Store, channels: tuple[str, ...]) -> None:
    for name in channels:
        channel(run, name)
    store.channel_positions(channels)
    points = {name: run[name].values for name in ("latitude", "longitude")}
    whole = {"latitude": store.grid.latitude, "longitude": store.grid.longitude}
    if not all(_same(points[name], whole[name]) for name in points):
        found = {name: f"{len(v)} from {v[0]:g} to {v[-1]:g}" for name, v in points.items()}
        raise InputError(
            f"the forecast has {found['latitude']} latitudes and {found['longitude']} longitudes, {store.path} is on "
            f"{store.grid}; verify whole fields (files.region=null) against a store on the forecast's grid"
        )
    if 0 not in run["number"].values:
        raise InputError(
            f"the forecast has members {run['number'].values.tolist()} but not 0, the unperturbed control; "
            "forecast it too (ensemble.members)"
        )


def _same(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=0, atol=1e-3)


def _require_any(verified: NDArray[np.bool_], valid: Times, store: Store) -> None:
    if not verified.any():
        raise InputError(
            f"{store.path} covers {store.times[0]} to {store.times[-1]} and no forecast valid between {valid.min()} "
            f"and {valid.max()} can be verified with it; name a store with the analyses of that period"
        )


def _describe(scores: xr.Dataset, config: VerifyConfig, synthetic: bool) -> xr.Dataset:
    """Add units, conventions and what was compared."""
    units = [parse_channel(str(name)).variable.units for name in scores["channel"].values]
    scores = scores.assign_coords(units=("channel", units))
    for name in map(str, scores.data_vars):
        scores[name].attrs["long_name"] = CONVENTIONS.get(name, name.replace("_", " "))
        if name in DIMENSIONLESS:
            scores[name].attrs["units"] = "1"
        else:
            squared = "squared units" if name in SQUARED else "units"
            scores[name].attrs["comment"] = f"in {squared} of the channel, see the coordinate units"
    return scores.assign_attrs(
        title="Forecast verification",
        source=f"fourcast {__version__}",
        forecast=config.forecast,
        analyses=config.store,
        conventions="; ".join(f"{name}: {text}" for name, text in CONVENTIONS.items()),
        **({"comment": SYNTHETIC} if synthetic else {}),
    )
