"""Files to start a forecast from: analyses as ``fourcast ingest`` reads them, and forecasts by their valid times."""

import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import xarray as xr

from fourcast.data.sources.axes import MEMBERS, STEPS
from fourcast.data.sources.openers import SourceOptions, list_sources, open_datasets
from fourcast.data.sources.pieces import Piece, Unusable, pieces_of
from fourcast.data.sources.source import Source
from fourcast.errors import InputError
from fourcast.forecast.contents import ENSEMBLE_FILE, MANIFEST

MEMBER_FILES = "member_*.nc"
SHOWN = 12
OF_MEMBERS = re.compile(r"(?:realization|number): (\w+)")
"""In cell_methods: what was taken over the members of an ensemble."""

Opened = list[tuple[str, xr.Dataset]]
"""Datasets and the paths that they come from."""


def list_files(paths: Iterable[str], number: int | None) -> list[str]:
    """The files behind ``paths``, as ``list_sources`` gives them, but of a forecast's folder its members' alone.

    Of those the file of member ``number`` is taken; without member files, the folder's ensemble.nc. Raises InputError
    where a folder holds several members and ``number`` is None, and for a run with a folder for each initial time.
    """
    return list(dict.fromkeys(file for path in paths for file in _files_of(path, number)))


def _files_of(path: str, number: int | None) -> list[str]:
    folder = Path(path)
    if "://" in path or not folder.is_dir():
        return list_sources([path])
    if (folder / MANIFEST).is_file():
        held = _some(sorted(each.name for each in folder.iterdir() if each.is_dir()))
        raise InputError(f"{path} is a forecast run from {held}; name the folder of one initial time, or files")
    members = sorted(folder.glob(MEMBER_FILES))
    if not members:
        return [str(folder / ENSEMBLE_FILE)] if (folder / ENSEMBLE_FILE).is_file() else list_sources([path])
    if number is None and len(members) > 1:
        raise InputError(f"{path} holds {_some([each.name for each in members])}; choose one with initial_number=0")
    if number is None:
        return [str(members[0])]
    chosen = folder / MEMBER_FILES.replace("*", f"{number:03d}")
    if chosen not in members:
        raise InputError(f"{path} has no {chosen.name} (initial_number={number}); it holds {_some(_names(members))}")
    return [str(chosen)]


@contextmanager
def open_states(files: list[str], number: int | None, allow: tuple[str, ...]) -> Iterator[Source]:
    """``files`` as one source of states at their valid times, whatever the lead; it stays open in the ``with`` block.

    number: the ensemble member to take where there are several. allow: as of SourceOptions. Raises InputError where a
    file cannot be read or holds nothing that can be used, and where the member is open or is not there.
    """
    options = SourceOptions(allow=allow)
    with ExitStack() as resources:
        opened = [(path, each) for path in files for each in open_datasets(path, resources, options)]
        chosen = _of_member(opened, number)
        _refuse_statistics(chosen)
        found = [
            each
            for path, dataset in chosen
            for state, hours in _by_step(dataset)
            for each in pieces_of(state, path, _only_number(state, number), hours, options)
        ]
        pieces = tuple(each for each in found if isinstance(each, Piece))
        skipped = tuple(each for each in found if isinstance(each, Unusable))
        if not any(not piece.variable.static for piece in pieces):
            reasons = "; ".join(dict.fromkeys(each.reason for each in skipped[:SHOWN])) or "no array on a grid"
            raise InputError(f"{_some(files)}: nothing in here can be used as initial states: {reasons}")
        synthetic = any(str(each.attrs.get("synthetic", "")).lower() in ("true", "1") for _, each in chosen)
        yield Source(tuple(dict.fromkeys(path for path, _ in chosen)), pieces, skipped, synthetic, {})


def _of_member(opened: Opened, number: int | None) -> Opened:
    """The datasets that hold member ``number``, and those that know of no members.

    InputError where there are several members and none is named, or the one that is named is not there.
    """
    numbers = [_numbers(dataset) for _, dataset in opened]
    held = sorted({each for its in numbers for each in its})
    if number is None and len(held) > 1:
        raise InputError(f"initial holds members {_some(map(str, held))}; choose one with initial_number={held[0]}")
    if number is not None and number not in held:
        found = f"members {_some(map(str, held))}" if held else "no members: leave it out"
        raise InputError(f"initial has no member {number} (initial_number); it holds {found}")
    return [each for each, its in zip(opened, numbers, strict=True) if not its or number is None or number in its]


def _numbers(dataset: xr.Dataset) -> list[int]:
    """The members of a dataset; none where it knows of none."""
    name = next((each for each in MEMBERS if each in dataset.variables or each in dataset.dims), None)
    if name is None:
        return []
    values = dataset[name].values
    return [int(each) for each in np.atleast_1d(values)] if np.issubdtype(values.dtype, np.integer) else []


def _only_number(dataset: xr.Dataset, number: int | None) -> int | None:
    return number if _numbers(dataset) else None


def _by_step(dataset: xr.Dataset) -> Iterator[tuple[xr.Dataset, int | None]]:
    """A dataset for each forecast step in it, and the step in hours where valid times do not contain it yet.

    In CF files ``time`` is the valid time wherever forecast_reference_time stands beside it.
    """
    name = next((each for each in STEPS if each in dataset.variables), None)
    if name is None:
        yield dataset, None
        return
    is_valid = "forecast_reference_time" in dataset.variables
    steps = range(dataset.sizes[name]) if name in dataset.dims else [None]
    for i in steps:
        each = dataset if i is None else dataset.isel({name: i})
        if is_valid or each[name].ndim:
            yield each.drop_vars(name), None
            continue
        if not np.issubdtype(each[name].dtype, np.timedelta64):
            raise InputError(f"{name} has the units {each[name].attrs.get('units')!r}, expected hours or another time")
        hours = each[name].values / np.timedelta64(1, "h")
        if hours != int(hours):
            raise InputError(f"the forecast step of {hours:g} hours in {name} is no whole number of hours")
        yield each, int(hours)


def _refuse_statistics(opened: Opened) -> None:
    """Raise InputError for spreads, extremes and the like, which are no states, and for a mean among other states."""
    found = {path: _statistic(dataset) for path, dataset in opened}
    for path, statistic in found.items():
        if statistic not in (None, "mean"):
            raise InputError(
                f"{path} holds no states but a statistic of an ensemble ({statistic}); name files of members or of the "
                "ensemble mean"
            )
    if len(set(found.values())) > 1:
        raise InputError(f"initial names an ensemble mean together with other states: {_some(found)}; name either")


def _statistic(dataset: xr.Dataset) -> str | None:
    """What a dataset holds of an ensemble's members together, as our files and CF's cell methods say it."""
    if "product" in dataset.attrs:
        return str(dataset.attrs["product"])
    methods = (OF_MEMBERS.search(str(each.attrs.get("cell_methods", ""))) for each in dataset.data_vars.values())
    return next((method[1] for method in methods if method), None)


def _names(paths: Iterable[Path]) -> list[str]:
    return [path.name for path in paths]


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:SHOWN]) + (f", … ({len(listed)} in all)" if len(listed) > SHOWN else "")
