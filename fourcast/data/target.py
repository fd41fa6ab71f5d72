"""From a source's grid to that of the store: regridded where that is asked for, else without the south pole's row."""

import logging
from collections.abc import Mapping

from fourcast.data.regrid import Regridder, preset
from fourcast.data.sources.pieces import Float32
from fourcast.data.sources.source import Source
from fourcast.data_config import IngestConfig
from fourcast.errors import InputError
from fourcast.grid import Grid, south_pole_rows

log = logging.getLogger(__name__)


def target_grid(given: Grid, config: IngestConfig) -> Grid:
    """The store's grid: the one asked for, or that of the source without the south pole's row where it is dropped."""
    if not given.is_global and not config.region:
        raise InputError(f"the source covers a region only, {given}; pass region=true if that is meant")
    if config.grid is not None and not given.is_global:
        raise InputError(f"grid={config.grid} covers the globe and the source a region only, {given}; leave grid out")
    if config.grid is not None:
        grid = preset(config.grid)
        Regridder(given, grid, config.regrid)
        return grid
    rows = len(given.latitude) - (south_pole_rows(given.latitude) if config.south_pole == "drop" else 0)
    return Grid(given.latitude[:rows], given.longitude)


def regridder(given: Grid, config: IngestConfig) -> Regridder | None:
    """From the source's grid to the one asked for, before rows are dropped; None where they are the same."""
    if config.grid is None or preset(config.grid).same_as(given):
        return None
    return Regridder(given, preset(config.grid), config.regrid)


def on_store_grid(fields: Float32, regrid: Regridder | None, grid: Grid) -> Float32:
    """Fields [..., H, W] of the source on the store's ``grid``."""
    return (fields if regrid is None else regrid(fields))[..., : grid.shape[0], :]


def static_fields(source: Source, given: Grid, grid: Grid, config: IngestConfig) -> Mapping[str, Float32]:
    """Static fields of the source, whose grid is ``given``, on the store's; those that cannot be used are said."""
    static, unusable = source.static(given)
    for reason in unusable.values():
        log.info("left out: %s", reason)
    regrid = regridder(given, config)
    return {name: on_store_grid(values, regrid, grid) for name, values in static.items()}
