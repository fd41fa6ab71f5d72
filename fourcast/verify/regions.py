"""The regions that are scored: named boxes, further boxes, masks, and the land and sea of any of them.

The named boxes are those of WeatherBench 2's evaluation (Rasp et al. 2024, https://arxiv.org/abs/2308.15560, its
scripts/evaluate.py), bounds inclusive.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fourcast.errors import InputError
from fourcast.grid import Grid
from fourcast.verify.area_means import Region
from fourcast.verify_config import REGIONS, VerifyConfig

Float64 = NDArray[np.float64]
Box = tuple[float, float, float, float]
"""North, west, south, east in degrees; from west eastwards to east, across Greenwich where that lies between."""
EVERYWHERE: Box = (90.0, 0.0, -90.0, 360.0)
TOLERANCE = 1e-4
"""In degrees, at the borders of a box."""

BOXES: dict[str, tuple[Box, ...]] = {
    "global": (EVERYWHERE,),
    "tropics": ((20.0, 0.0, -20.0, 360.0),),
    "extratropics": ((90.0, 0.0, 20.0, 360.0), (-20.0, 0.0, -90.0, 360.0)),
    "northern_extratropics": ((90.0, 0.0, 20.0, 360.0),),
    "southern_extratropics": ((-20.0, 0.0, -90.0, 360.0),),
    "europe": ((75.0, -12.5, 35.0, 42.5),),
    "north_america": ((60.0, -120.0, 25.0, -75.0),),
    "north_atlantic": ((65.0, -70.0, 25.0, -10.0),),
    "north_pacific": ((60.0, 145.0, 25.0, -130.0),),
    "east_asia": ((60.0, 102.5, 25.0, 150.0),),
    "australia_new_zealand": ((-12.5, 120.0, -45.0, 175.0),),
    "arctic": ((90.0, 0.0, 60.0, 360.0),),
    "antarctic": ((-60.0, 0.0, -90.0, 360.0),),
}
"""The regions with a name; several boxes of one region span the same longitudes."""


def make_regions(config: VerifyConfig, grid: Grid, land_HW: NDArray[np.floating] | None) -> tuple[Region, ...]:
    """The regions to score: those named in ``config.regions``, then the other boxes and masks of ``config``.

    Where none are named, those of REGIONS of which the grid has a point.
    land_HW: the share of land in every cell, None where the analyses have no land–sea mask. InputError for an unknown
    name, a name given twice, a box without a point, a mask of another grid or of values outside 0 to 1, and land or
    sea without a land–sea mask.
    """
    known = _known(config, grid)
    land = None if land_HW is None else np.asarray(land_HW, dtype=np.float64)
    surfaces = {} if land is None else {"land": land, "sea": 1.0 - land}
    chosen = [name for name in REGIONS if _has_points(known[name])] if config.regions is None else config.regions
    names = dict.fromkeys([*chosen, *config.boxes, *config.masks])
    if not names:
        raise InputError(f"regions, boxes and masks name no region; name one of {', '.join(BOXES)}")
    regions = tuple(_region(name, known, surfaces) for name in names)
    for region in regions:
        _require_points(region, grid)
    return regions


def _known(config: VerifyConfig, grid: Grid) -> dict[str, Region]:
    """Every region that has a name of its own."""
    own = [*config.boxes, *config.masks]
    taken = [name for name in own if name in BOXES or name in ("land", "sea") or own.count(name) > 1]
    if taken:
        raise InputError(f"boxes and masks give the name {taken[0]!r}, which another region has; choose another name")
    boxes = {name: (_checked(name, numbers),) for name, numbers in config.boxes.items()}
    known = {name: _boxed(name, parts, grid) for name, parts in {**BOXES, **boxes}.items()}
    masks = {name: read_mask(name, Path(path), grid) for name, path in config.masks.items()}
    return known | {name: replace(known["global"], name=name, mask_HW=mask) for name, mask in masks.items()}


def _region(name: str, known: Mapping[str, Region], surfaces: Mapping[str, Float64]) -> Region:
    whole = {"land": "global_land", "sea": "global_sea"}.get(name, name)
    base, _, surface = whole.rpartition("_")
    if name in known:
        return known[name]
    if base in known and surface in ("land", "sea"):
        return _on(surface, replace(known[base], name=name), surfaces)
    listed = ", ".join(["land", "sea", *known])
    raise InputError(f"regions: {name!r} is not one of {listed}, nor one of these with _land or _sea; name one of them")


def _on(surface: str, region: Region, surfaces: Mapping[str, Float64]) -> Region:
    """The land or sea of a region: weights by the mask, or by 1 − mask."""
    if not surfaces:
        raise InputError(
            f"regions: {region.name!r} needs a land–sea mask, and the analyses have none; leave it out, or ingest the "
            "static field lsm into the store"
        )
    mask = surfaces[surface]
    return replace(region, mask_HW=mask if region.mask_HW is None else mask * region.mask_HW)


def _has_points(region: Region) -> bool:
    return bool(region.rows_H.any() and region.columns_W.any())


def _require_points(region: Region, grid: Grid) -> None:
    inside = np.outer(region.rows_H, region.columns_W)
    if not _has_points(region):
        raise InputError(f"regions: {region.name!r} has no point of the grid, {grid}; leave it out, or widen its box")
    if region.mask_HW is not None and not region.mask_HW[inside].any():
        raise InputError(f"regions: the mask of {region.name!r} is 0 at all of its {inside.sum()} points; leave it out")


def _checked(name: str, numbers: Sequence[float]) -> Box:
    if len(numbers) != 4:
        raise InputError(f"boxes.{name} must be north, west, south, east, found {list(numbers)}")
    north, west, south, east = map(float, numbers)
    if not -90 <= south <= north <= 90 or not (abs(west) <= 360 and abs(east) <= 360):
        raise InputError(
            f"boxes.{name} must be north, west, south, east in degrees, with north above south, found {list(numbers)}"
        )
    return north, west, south, east


def _boxed(name: str, boxes: Sequence[Box], grid: Grid) -> Region:
    rows_H = np.zeros(grid.shape[0], dtype=bool)
    for north, _, south, _ in boxes:
        rows_H |= (grid.latitude <= north + TOLERANCE) & (grid.latitude >= south - TOLERANCE)
    _, west, _, east = boxes[0]
    width = 360.0 if east - west >= 360 - TOLERANCE else (east - west) % 360
    eastward_W = (grid.longitude - west + TOLERANCE) % 360
    return Region(name, rows_H, eastward_W <= width + 2 * TOLERANCE)


def read_mask(name: str, path: Path, grid: Grid) -> Float64:
    """The one field of a netCDF file, from 0 to 1 on ``grid``, whichever way its axes run: [H, W]."""
    if not path.is_file():
        raise InputError(f"masks.{name}: there is no file {path}; name a netCDF file with a field from 0 to 1")
    try:
        dataset = xr.load_dataset(path, decode_times=False)
    except (OSError, ValueError) as error:
        raise InputError(f"masks.{name}: {path} is no netCDF file that can be read ({error}); write one") from error
    fields = [field for field in dataset.data_vars.values() if field.ndim >= 2]
    if len(fields) != 1:
        held = ", ".join(map(str, dataset.data_vars)) or "none"
        raise InputError(f"masks.{name}: {path} must hold one field of latitude and longitude, found {held}")
    mask = _oriented(name, path, fields[0].squeeze(drop=True), grid)
    if not ((mask >= 0) & (mask <= 1)).all():
        raise InputError(f"masks.{name}: {path} must hold values from 0 to 1 everywhere, found others or missing ones")
    return mask


def _oriented(name: str, path: Path, field: xr.DataArray, grid: Grid) -> Float64:
    short = {"lat": "latitude", "lon": "longitude"}
    field = field.rename({key: value for key, value in short.items() if key in field.dims})
    if set(field.dims) != {"latitude", "longitude"}:
        raise InputError(
            f"masks.{name}: {path} must have latitude and longitude, found {', '.join(map(str, field.dims))}"
        )
    field = (
        field.assign_coords(longitude=field["longitude"] % 360).sortby("longitude").sortby("latitude", ascending=False)
    )
    found = Grid(*(field[axis].values.astype(np.float64) for axis in ("latitude", "longitude")))
    if not found.same_as(grid):
        raise InputError(f"masks.{name}: {path} is on {found}, the analyses on {grid}; regrid the mask")
    return field.transpose("latitude", "longitude").values.astype(np.float64)
