"""Scores for the page: every number that is not of a single initial time, packed by variable."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fourcast.forecast.netcdf import SYNTHETIC
from fourcast.report.choice import HEADLINE_LEADS, first_channels
from fourcast.report.packing import pack_numbers
from fourcast.variables import parse_channel

SHARE = 0.3
"""Of the page that scores may take before some are left out."""
LEFT_ALONE = ("init_time", "latitude", "longitude", "map_lead")
"""Variables along these dimensions are no part of tables and charts."""
HOURS = np.timedelta64(1, "h")


@dataclass(frozen=True, eq=False)
class Scores:
    """JSON of a scores file for the page, its packs by name, and its initial times."""

    content: dict[str, Any]
    packs: dict[str, str]
    init_times: list[str]

    @property
    def events(self) -> list[str]:
        """The events that were scored."""
        return list(self.content["coordinates"].get("event", []))

    @property
    def synthetic(self) -> bool:
        """Whether they are of a simulated planet."""
        return SYNTHETIC in str(self.content["attributes"].get("comment", ""))


def read_scores(path: Path, megabytes: float) -> Scores:
    """Everything of a scores file that a page shows.

    Variables have their dimensions by name, coordinates their values, lead times in hours. Where all of it would take
    more than its share of ``megabytes``, lead times and channels are left out, of which ``left_out`` tells.
    """
    with xr.open_dataset(path) as stored:
        scores = stored.load()
    for kept in _lesser(scores):
        packs = {f"scores {name}": pack_numbers(kept[name].values.astype(np.float64)) for name in _shown(kept)}
        if sum(map(len, packs.values())) <= SHARE * megabytes * 1e6:
            break
    content = {
        "attributes": {str(name): _plain(value) for name, value in kept.attrs.items()},
        "coordinates": _coordinates(kept),
        "variables": {name: _describe(kept[name]) for name in _shown(kept)},
        "init_times": len(_init_times(scores)),
        "left_out": _left_out(scores, kept),
    }
    return Scores(content, packs, _init_times(scores))


def _lesser(scores: xr.Dataset) -> Iterator[xr.Dataset]:
    yield scores
    if "lead_time" in scores.dims:
        hours = _values(scores["lead_time"])
        held = [place for place, hour in enumerate(hours) if hour % 24 == 0 or hour in HEADLINE_LEADS]
        scores = scores.isel(lead_time=held or slice(None))
        yield scores
    for count in (24, 12, 6) if "channel" in scores.dims else ():
        names = first_channels(tuple(_values(scores["channel"])), count)
        scores = scores.sel(channel=list(names))
        yield scores


def _coordinates(scores: xr.Dataset) -> dict[str, list[Any]]:
    """Values by name, and what the channels' variables are called."""
    found = {str(name): _values(scores[name]) for name in scores.coords if name not in LEFT_ALONE}
    return found | {"long_name": [parse_channel(name).variable.long_name for name in found.get("channel", [])]}


def _shown(scores: xr.Dataset) -> list[str]:
    return [
        str(name)
        for name, values in scores.data_vars.items()
        if values.dtype.kind in "fiu" and not set(values.dims) & set(LEFT_ALONE)
    ]


def _describe(values: xr.DataArray) -> dict[str, Any]:
    attributes = {str(name): _plain(value) for name, value in values.attrs.items()}
    place = {"pack": f"scores {values.name}", "dims": list(map(str, values.dims)), "shape": list(values.shape)}
    return {**place, "attributes": attributes}


def _values(coordinate: xr.DataArray) -> list[Any]:
    """The values of a coordinate: hours of lead times, text of times, and None for what is no number."""
    values = coordinate.values
    if values.dtype.kind == "m":
        return (values / HOURS).astype(int).ravel().tolist()
    if values.dtype.kind == "M":
        return [str(time) for time in values.astype("datetime64[h]").ravel()]
    return [None if isinstance(v, float) and not np.isfinite(v) else v for v in values.ravel().tolist()]


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _init_times(scores: xr.Dataset) -> list[str]:
    return _values(scores["init_time"]) if "init_time" in scores.coords else []


def _left_out(scores: xr.Dataset, kept: xr.Dataset) -> list[str]:
    words = {"lead_time": "lead times", "channel": "channels"}
    return [
        f"{kept.sizes[dim]} of {scores.sizes[dim]} {word} are here; all are in scores.nc and scores.csv."
        for dim, word in words.items()
        if dim in scores.dims and kept.sizes[dim] < scores.sizes[dim]
    ]
