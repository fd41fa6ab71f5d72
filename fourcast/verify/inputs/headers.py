"""Files of forecasts, analyses and climatologies as lazy datasets, opened as the ingestion opens them."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass

import xarray as xr

from fourcast.data.sources.openers import list_sources, open_datasets
from fourcast.forecast.netcdf import LOCK
from fourcast.variables import BY_NAME, VARIABLES

FOURCAST = "fourcast "
"""How the attribute ``source`` of our own forecast files begins."""
LONG_NAMES = {variable.long_name: variable for variable in VARIABLES}


@dataclass(frozen=True, eq=False)
class Header:
    """One lazily opened dataset. guard: to hold while reading from it, as not every library is thread-safe."""

    path: str
    dataset: xr.Dataset
    guard: AbstractContextManager[object]


def open_headers(path: str, resources: ExitStack) -> list[Header]:
    """Every dataset behind a file, folder, glob, zarr or URL; ``resources`` closes them.

    InputError where there is none, or one cannot be read.
    """
    found = []
    for file in list_sources([path]):
        with LOCK:
            datasets = open_datasets(file, resources)
        found += [Header(file, with_usual_units(dataset), guard_of(dataset)) for dataset in datasets]
    return found


def guard_of(dataset: xr.Dataset) -> AbstractContextManager[object]:
    """What to hold while reading: nothing for zarr, which is thread-safe, the netCDF library's lock otherwise."""
    source = str(dataset.encoding.get("source", ""))
    return nullcontext() if source.endswith(".zarr") or "://" in source else LOCK


def with_usual_units(dataset: xr.Dataset) -> xr.Dataset:
    """The same with units for arrays without any under their names in WeatherBench 2, whose tools drop them."""
    names = [str(name) for name, array in dataset.data_vars.items() if not array.attrs.get("units")]
    usual = {name: _usual_units(name) for name in names}
    return dataset.assign({name: dataset[name].assign_attrs(units=text) for name, text in usual.items() if text})


def _usual_units(name: str) -> str | None:
    """Ours, but for relative humidity, which WeatherBench 2 holds as a fraction."""
    if name == BY_NAME["r"].long_name:
        return "1"
    return LONG_NAMES[name].units if name in LONG_NAMES else None


def is_synthetic(datasets: Iterable[xr.Dataset]) -> bool:
    """Whether any of them says that its data come from a simulated planet."""
    return any(str(dataset.attrs.get("synthetic", "")).lower() in ("true", "1") for dataset in datasets)


def is_ours(dataset: xr.Dataset) -> bool:
    """Whether a forecast file was written by fourcast."""
    return str(dataset.attrs.get("source", "")).startswith(FOURCAST) and "channels" in dataset.attrs


def stated_channels(dataset: xr.Dataset) -> tuple[str, ...]:
    """What a forecast file of ours says it holds, other levels of its variables being empty; () for others' files."""
    stated = dataset.attrs["channels"] if is_ours(dataset) else ()
    return tuple(stated.split()) if isinstance(stated, str) else tuple(stated)
