"""A climatology from files in WeatherBench 2's layout.

    2m_temperature(hour, dayofyear, latitude, longitude), temperature(hour, dayofyear, level, latitude, longitude), …

``hour`` is the hour of day, ``dayofyear`` counts from 1 to 366; the dimensions come in any order. Without ``hour`` all
hours are alike, and without ``dayofyear`` all days. A variable may be called by its name and ``_mean``.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fourcast.errors import InputError
from fourcast.grid import Grid
from fourcast.verify.inputs.align import common_grid
from fourcast.verify.inputs.case_axes import CaseAxes
from fourcast.verify.inputs.case_fields import CaseFields, fields_of
from fourcast.verify.inputs.case_reader import CasesReader
from fourcast.verify.inputs.climate import Climate
from fourcast.verify.inputs.headers import Header, open_headers, with_usual_units
from fourcast.verify.inputs.recent import Recent

Float32 = NDArray[np.float32]
HOUR, DAY = "hour", "dayofyear"
MEAN = "_mean"


def open_foreign(path: str, grid: Grid) -> Climate:
    """The climatology at ``path``, a zarr, a URL or netCDF files, on ``grid``; nothing but headers is read.

    InputError where there is none, it holds no variable of ours, or it is on another grid than the analyses.
    """
    resources, recent = ExitStack(), Recent()
    try:
        headers = open_headers(path, resources)
    except InputError as error:
        raise InputError(f"climatology: {error}; or go without: climatology=none") from error
    found = [field for header in headers for field in _fields(header, recent)]
    # Other days are seldom needed soon: none is read for a neighbour's sake.
    parts = tuple(replace(field, together_bytes=0) for field in found if isinstance(field, CaseFields))
    if not parts:
        reasons = "; ".join(field for field in found if isinstance(field, str)) or "no variable of ours"
        raise InputError(f"{path} holds no climatology that can be used: {reasons}")
    cases = CasesReader(parts, resources)
    shared = common_grid(cases.grid, grid)
    if shared is None or not shared.same_as(grid):
        raise InputError(
            f"{path} is on the grid {cases.grid}, the analyses are on {grid}; name a climatology on their grid, or go "
            "without: climatology=none"
        )
    reader = _ForeignClimate(cases, cases.init_hours, cases.lead_hours)
    hours = tuple(range(24)) if cases.init_hours == (-1,) else cases.init_hours
    return Climate(path, cases.channels, grid, cases.lead_hours != (-1,), hours, reader)


@dataclass(frozen=True, eq=False)
class _ForeignClimate:
    """Files whose cases are (hour of day, day of year), each -1 alone where it is not told apart."""

    cases: CasesReader
    hours: tuple[int, ...]
    days: tuple[int, ...]

    def at(self, hour: int, day: int, time: np.datetime64, channel: str) -> Float32:
        case = (-1 if self.hours == (-1,) else hour, -1 if self.days == (-1,) else day)
        return self.cases.read(case, (channel,))[0, 0]

    def static(self, channel: str) -> Float32:
        total = np.zeros(self.cases.grid.shape)
        for case in ((hour, day) for hour in self.hours for day in self.days):
            total += self.cases.read(case, (channel,))[0, 0]
        return (total / (len(self.hours) * len(self.days))).astype(np.float32)


def _fields(header: Header, recent: Recent) -> Iterator[CaseFields | str]:
    dataset = with_usual_units(_without_suffix(header.dataset))
    _require_no_dates(header.path, dataset)
    try:
        hours, days = _whole(dataset, HOUR, 0, 23), _whole(dataset, DAY, 1, 366)
        if len(days) not in (1, 366):
            raise InputError(f"has {len(days)} days of the year, expected 366: every day from 1 to 366 once")
    except InputError as error:
        raise InputError(f"{header.path} {error}") from error
    dims = tuple(name for name in (HOUR, DAY) if name in dataset.dims)
    places = {
        (hour, day): tuple(p for p, name in ((i, HOUR), (j, DAY)) if name in dims)
        for i, hour in enumerate(hours)
        for j, day in enumerate(days)
    }
    axes = CaseAxes(dims, places, None, (0,), tuple(n for n in (HOUR, DAY, "time") if n in dataset.coords), False)
    yield from fields_of(replace(header, dataset=dataset), axes, recent)


def _require_no_dates(path: str, dataset: xr.Dataset) -> None:
    dated = [str(name) for name in dataset.dims if name == "time" or dataset[name].dtype.kind in "mM"]
    if dated:
        raise InputError(
            f"climatology: {path} is none, for it goes along {', '.join(dated)}; expected hour and dayofyear in place "
            "of dates, as in WeatherBench 2's; name one of these, or go without: climatology=none"
        )


def _without_suffix(dataset: xr.Dataset) -> xr.Dataset:
    names = {str(name): str(name).removesuffix(MEAN) for name in dataset.data_vars if str(name).endswith(MEAN)}
    return dataset.rename({name: plain for name, plain in names.items() if plain not in dataset})


def _whole(dataset: xr.Dataset, name: str, first: int, last: int) -> list[int]:
    """The values of a dimension, each once from ``first`` to ``last``; [-1] where the files have it not."""
    if name not in dataset.dims:
        return [-1]
    values = dataset[name].values.tolist() if name in dataset.coords else []
    if not values or len(set(values)) < len(values) or not all(v in range(first, last + 1) for v in values):
        raise InputError(f"has {name} {values[:5]} …, expected each once from {first} to {last}")
    return [int(value) for value in values]


def open_dataset(path: str) -> xr.Dataset:
    """The climatology at ``path`` as it is on file, lazily: for what is in it beside means; InputError as above."""
    return open_headers(path, ExitStack())[0].dataset
