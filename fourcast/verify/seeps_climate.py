"""The climatology that SEEPS needs: how often precipitation is dry, and where heavy precipitation begins."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fourcast.data.climatology import hour_of_day
from fourcast.errors import InputError
from fourcast.files import whole_file
from fourcast.grid import Grid
from fourcast.progress import progress
from fourcast.verify.inputs.targets import Targets

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Times = NDArray[np.datetime64]

DRY_BELOW = {"tp06": 1e-4}
"""Below which precipitation in metres a channel is dry: 0.1 mm in 6 hours, as in WeatherBench 2."""
WEATHERBENCH2 = {"tp06": "total_precipitation_6hr"}
LEAST_DRY, MOST_DRY = 0.1, 0.85
"""Points whose climatological share of dry analyses does not lie between these are not scored."""
FEWEST = 100
"""Analyses that a month must hold at each hour of day to have a threshold of its own."""
BINS_PER_DOUBLING = 8
BINS = 12 * BINS_PER_DOUBLING
"""Wet amounts are counted in bins from the dry limit to 4096 times it, each 9 % wide."""
BATCH = 1 << 24
"""Values that are read at a time."""


@dataclass(frozen=True, eq=False)
class SeepsClimate:
    """What is dry, light and heavy where and when.

    dataset: dry_fraction (latitude, longitude), and heavy (hour, season, latitude, longitude), where heavy
    precipitation begins in metres; season is ``month`` (1 to 12, or the one value 0 for all) or ``dayofyear``. May be
    kept in a netCDF file. dry_below: metres.
    """

    dataset: xr.Dataset
    dry_below: float

    @cached_property
    def dry_fraction(self) -> Float64:
        """The climatological share of dry analyses [H, W], over all hours and seasons alike; NaN without analyses."""
        return np.asarray(self.dataset["dry_fraction"].values, dtype=np.float64)

    @cached_property
    def scored(self) -> NDArray[np.bool_]:
        """[H, W]: where precipitation is neither so rare nor so usual that its categories say little."""
        return (self.dry_fraction > LEAST_DRY) & (self.dry_fraction < MOST_DRY)

    def heavy_at(self, valid: np.datetime64) -> Float32:
        """Where heavy precipitation begins [H, W] at a time, in metres; InputError for an hour that has none."""
        heavy = self.dataset["heavy"]
        hour, day = int(hour_of_day(np.asarray(valid))), valid.astype("datetime64[D]")
        if hour not in heavy["hour"].values:
            raise InputError(
                f"the climatology of precipitation holds hours {heavy['hour'].values.tolist()} UTC, not that of {valid}"
            )
        if "dayofyear" in heavy.dims:
            season = {"dayofyear": int((day - day.astype("datetime64[Y]")).astype(np.int64)) + 1}
        else:
            month = int(day.astype("datetime64[M]").astype(np.int64)) % 12 + 1
            season = {"month": month if heavy.sizes["month"] > 1 else 0}
        return np.asarray(heavy.sel({"hour": hour, **season}).values, dtype=np.float32)


def kept_climate(targets: Targets, stored: xr.Dataset | None, channel: str, folder: Path) -> SeepsClimate | None:
    """``stored_seeps_climate`` where there is one, else ``seeps_climate``, made once and then read from ``folder``."""
    found = None if stored is None else stored_seeps_climate(stored, targets.grid, channel)
    if found is not None:
        return found
    path, made_from = folder / f"seeps_{channel}.nc", _made_from(targets)
    if path.exists():
        kept = xr.load_dataset(path, engine="netcdf4")
        if kept.attrs["made_from"] == made_from:
            return SeepsClimate(kept, DRY_BELOW[channel])
    found = seeps_climate(targets, channel)
    if found is not None:
        with whole_file(path) as temporary:
            found.dataset.assign_attrs(made_from=made_from).to_netcdf(temporary, engine="netcdf4")
    return found


def _made_from(targets: Targets) -> str:
    """What tells one set of analyses from another."""
    digest = "" if targets.store is None else targets.store.digest
    return f"{targets.path} {digest} {targets.grid} {targets.climatology_period} {len(targets.times)}"


def seeps_climate(targets: Targets, channel: str = "tp06") -> SeepsClimate | None:
    """The climatology of SEEPS from the analyses of the climatology period.

    By hour of day and month; by hour alone where a month holds fewer than 100 analyses at an hour, and None where even
    so there are fewer, or where the analyses have no such period. The threshold of heavy precipitation is the 2/3
    quantile of the wet amounts, from counts in bins 9 % wide and interpolated inside them; where it is never wet, it
    is infinite. Everything is read once; two bytes a point and bin are held.
    """
    times = _learned(targets)
    hours = np.unique(hour_of_day(times))
    strata = _strata(times, hours)
    if min((len(chosen) for chosen in strata.values()), default=0) < FEWEST:
        return None
    dry, heavy = np.zeros(targets.grid.shape), []
    for chosen in progress(strata.values(), len(strata), "hours and months of precipitation"):
        share, limit = _limits(targets, chosen, channel)
        dry += share / len(strata)
        heavy.append(limit)
    months = sorted({month for _, month in strata})
    shape = (len(hours), len(months), *targets.grid.shape)
    return SeepsClimate(
        xr.Dataset(
            {
                "dry_fraction": (("latitude", "longitude"), dry),
                "heavy": (("hour", "month", "latitude", "longitude"), np.stack(heavy).reshape(shape)),
            },
            {"hour": hours, "month": months, "latitude": targets.grid.latitude, "longitude": targets.grid.longitude},
        ),
        DRY_BELOW[channel],
    )


def stored_seeps_climate(climatology: xr.Dataset, grid: Grid, channel: str = "tp06") -> SeepsClimate | None:
    """That of a climatology in WeatherBench 2's layout; None where it has none of this channel.

    Its thresholds by hour and day of the year are read when they are needed. InputError where ``grid`` is another,
    but for a row at the south pole that the grid lacks.
    """
    wanted = [f"{WEATHERBENCH2[channel]}_seeps_{part}" for part in ("dry_fraction", "threshold")]
    if not set(wanted) <= set(climatology):
        return None
    found = climatology[wanted].rename(dict(zip(wanted, ("dry_by_season", "heavy"), strict=True)))
    dims = ("hour", "dayofyear", "latitude", "longitude")
    if set(found.dims) != set(dims):
        raise InputError(
            f"the climatology's {wanted[1]} has dimensions ({', '.join(map(str, found.dims))}), expected "
            f"{', '.join(dims)}; name another climatology, or leave out {channel}"
        )
    found = found.transpose(*dims).sortby("latitude", ascending=False).isel(latitude=slice(grid.shape[0]))
    found = found.assign_coords(longitude=found["longitude"] % 360).sortby("longitude")
    points = Grid(*(found[name].values.astype(np.float64) for name in ("latitude", "longitude")))
    if not points.same_as(grid):
        raise InputError(f"the climatology of precipitation is on {points}, the analyses on {grid}; name one on theirs")
    dry = (("latitude", "longitude"), _mean_over_seasons(found["dry_by_season"]))
    return SeepsClimate(found[["heavy"]].assign(dry_fraction=dry), DRY_BELOW[channel])


def _mean_over_seasons(share: xr.DataArray) -> Float64:
    """The mean over (hour, dayofyear, …), read in pieces."""
    days = max(1, BATCH // (share.sizes["latitude"] * share.sizes["longitude"]))
    total = np.zeros((share.sizes["latitude"], share.sizes["longitude"]))
    for hour in range(share.sizes["hour"]):
        for start in range(0, share.sizes["dayofyear"], days):
            piece = share.isel(hour=hour, dayofyear=slice(start, start + days)).values
            total += piece.sum(axis=0, dtype=np.float64)
    return total / (share.sizes["hour"] * share.sizes["dayofyear"])


def _learned(targets: Targets) -> Times:
    if targets.climatology_period is None:
        return targets.times[:0]
    first, last = targets.climatology_period
    return targets.times[(first <= targets.times) & (targets.times <= last)]


def _strata(times: Times, hours: NDArray[np.int64]) -> dict[tuple[int, int], Times]:
    """Times by hour of day and month, or by hour and 0 where the months hold too few; in this order."""
    month = times.astype("datetime64[M]").astype(np.int64) % 12 + 1
    hour = hour_of_day(times)
    by_month = {(int(h), m): times[(hour == h) & (month == m)] for h in hours for m in range(1, 13)}
    if all(len(chosen) >= FEWEST for chosen in by_month.values()):
        return by_month
    return {(int(h), 0): times[hour == h] for h in hours}


def _limits(targets: Targets, times: Times, channel: str) -> tuple[Float64, Float32]:
    """The share of dry analyses [H, W] and the threshold of heavy ones [H, W]."""
    points = int(np.prod(targets.grid.shape))
    assert len(times) < 2**16, len(times)
    dry_N, counts_BN = np.zeros(points, dtype=np.int32), np.zeros((BINS, points), dtype=np.uint16)
    batch = max(1, BATCH // points)
    for start in range(0, len(times), batch):
        fields = targets.read(times[start : start + batch], (channel,)).reshape(-1, points)
        for amount_N in fields:
            dry_N += amount_N < np.float32(DRY_BELOW[channel])
            _count(amount_N, DRY_BELOW[channel], counts_BN)
    wet_N = counts_BN.sum(axis=0, dtype=np.int32)
    with np.errstate(invalid="ignore"):
        dry_share = dry_N / (dry_N + wet_N)
    heavy = _quantile(counts_BN, wet_N * 2 / 3) * DRY_BELOW[channel]
    return dry_share.reshape(targets.grid.shape), heavy.astype(np.float32).reshape(targets.grid.shape)


def _count(amount_N: Float32, dry_below: float, counts_BN: NDArray[np.uint16]) -> None:
    """Count every wet amount in its bin, in place."""
    wet = np.flatnonzero(amount_N >= np.float32(dry_below))
    bins = BINS_PER_DOUBLING * np.log2(amount_N[wet] / np.float32(dry_below))
    counts_BN[bins.astype(np.int32).clip(0, BINS - 1), wet] += 1


def _quantile(counts_BN: NDArray[np.uint16], wanted_N: Float64) -> Float64:
    """The amount, in units of the lowest edge, below which ``wanted_N`` of the counts lie; inf where there are none.

    Inside a bin amounts are spread evenly in their logarithm.
    """
    found, below = np.full(len(wanted_N), np.inf), np.zeros(len(wanted_N))
    for place, count_N in enumerate(counts_BN):
        here = (below < wanted_N) & (wanted_N <= below + count_N)
        inside = (wanted_N[here] - below[here]) / count_N[here]
        found[here] = 2 ** ((place + inside) / BINS_PER_DOUBLING)
        below += count_N
    return found
