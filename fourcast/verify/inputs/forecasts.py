"""Forecasts to verify, of whatever origin: headers in memory, one case at a time from disk.

A run of ours, a forecast zarr in WeatherBench 2's layout, and CF netCDF with the usual names become the same thing, in
the names, units and orientation of fourcast.variables and fourcast.grid.
"""

from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fourcast.errors import InputError
from fourcast.forecast.contents import ENSEMBLE_FILE, MANIFEST
from fourcast.forecast.reader import open_ensemble
from fourcast.grid import Grid
from fourcast.verify.inputs.case_axes import Case
from fourcast.verify.inputs.case_reader import CasesReader, parts_of
from fourcast.verify.inputs.follow import can_read, lacking_channels, parts_needed, read_with_derived
from fourcast.verify.inputs.headers import Header, is_synthetic, open_headers, stated_channels

Float32 = NDArray[np.float32]
Times = NDArray[np.datetime64]


class CaseReader(Protocol):
    """Reads cases; the order of members and the grid are those of the forecast it belongs to."""

    def read(self, case: Case, channels: tuple[str, ...]) -> Float32:
        """Fields [C, M, H, W] of one case."""

    def holds(self, case: Case, channels: tuple[str, ...]) -> bool:
        """Whether all ``channels`` of all members are there."""

    def groups(self, channels: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """``channels`` in groups that share what has to be read and decoded together."""


@dataclass(frozen=True, eq=False)
class Forecast:
    """A forecast to verify; ``read`` touches the disk, everything else is in memory.

    name: what it is called beside others; "" for one alone. channels: those it holds. grid: in the house's
    orientation. init_times: [I], increasing, in hours. lead_hours: increasing. members: numbers, (0,) where the files
    know of none; members without numbers count from 1, as none of them is the control. attributes: what its files say
    of themselves. formulas: variable → how its values came about, where that is not as in ERA5. refused: variables of
    ours that cannot be used, and why. notes: what was assumed.
    """

    name: str
    path: str
    channels: tuple[str, ...]
    grid: Grid
    init_times: Times
    lead_hours: tuple[int, ...]
    members: tuple[int, ...]
    synthetic: bool
    attributes: Mapping[str, Any]
    reader: CaseReader
    formulas: Mapping[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def read(self, i_init: int, i_lead: int, channels: tuple[str, ...]) -> Float32:
        """Fields [C, M, H, W] of ``channels``, those that follow from winds among them, at one case.

        InputError names channels that are not there, or a file that cannot be read.
        """
        self.require(channels)
        case = self._case(i_init, i_lead)
        return read_with_derived(channels, self.channels, self.grid, lambda needed: self.reader.read(case, needed))

    def held(self, channels: tuple[str, ...]) -> NDArray[np.bool_]:
        """[I, L]: which cases are there with all ``channels`` of all members."""
        parts = parts_needed(channels, self.channels)
        cases = [
            [self.reader.holds(self._case(i, j), parts) for j in range(len(self.lead_hours))]
            for i in range(len(self.init_times))
        ]
        return np.array(cases, dtype=np.bool_)

    def groups(self, channels: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """``channels`` in groups that are best read together; each of those that follow from winds is one alone."""
        held = tuple(name for name in channels if name in self.channels)
        return (*self.reader.groups(held), *((name,) for name in channels if name not in self.channels))

    def can_read(self, channel: str) -> bool:
        """Whether ``read`` gives this channel."""
        return can_read(channel, self.channels)

    def require(self, channels: tuple[str, ...]) -> None:
        """InputError names those of ``channels`` that ``read`` cannot give."""
        missing = [name for name in channels if not self.can_read(name)]
        if missing:
            raise InputError(lacking_channels(self.path, missing, self.channels, self.refused))

    def select(self, init_times: Times, lead_hours: tuple[int, ...]) -> "Forecast":
        """The same forecast with these of its initial and lead times alone."""
        assert np.isin(init_times, self.init_times).all(), init_times
        assert set(lead_hours) <= set(self.lead_hours), lead_hours
        return replace(self, init_times=init_times.astype("datetime64[h]"), lead_hours=tuple(lead_hours))

    def _case(self, i_init: int, i_lead: int) -> Case:
        return int(self.init_times[i_init].astype(np.int64)), self.lead_hours[i_lead]


def open_forecast(path: str | Path, name: str = "") -> Forecast:
    """Open a forecast of whatever form lazily; nothing but headers is read.

    path: a run of ours or the folder of one of its initial times, a zarr in WeatherBench 2's layout (a folder or a
    URL), or CF netCDF: a file, a folder or a glob. ``name``: what to call it. InputError where there is none, where it
    holds no variable of ours, or where its times, members or grids do not make one forecast.
    """
    path, resources = str(path), ExitStack()
    if is_own_run(path):
        headers = [Header(path, open_ensemble(path), nullcontext())]
    else:
        headers = open_headers(path, resources)
    parts, refused = parts_of(headers)
    if not parts:
        reasons = "; ".join(refused) or "no array on a grid with times of a forecast"
        raise InputError(f"{path} holds no forecast that can be used: {reasons}")
    return _forecast(path, name, headers, CasesReader(parts, resources), refused)


def is_own_run(path: str) -> bool:
    """Whether a path is a run of ours, or the folder of one of its initial times."""
    folder = Path(path)
    if "://" in path or not folder.is_dir():
        return False
    if (folder / MANIFEST).exists() or (folder.parent / MANIFEST).exists():
        return True
    return any(next(folder.glob(pattern), None) is not None for pattern in ("*/member_*.nc", f"*/{ENSEMBLE_FILE}"))


def _forecast(path: str, name: str, headers: list[Header], reader: CasesReader, refused: tuple[str, ...]) -> Forecast:
    inits, stated = reader.init_hours, stated_channels(headers[0].dataset)
    return Forecast(
        name=name,
        path=path,
        channels=stated if set(stated) == set(reader.channels) else reader.channels,
        grid=reader.grid,
        init_times=np.array(inits, dtype=np.int64).astype("datetime64[h]"),
        lead_hours=reader.lead_hours,
        members=reader.members,
        synthetic=is_synthetic(header.dataset for header in headers),
        attributes=dict(headers[0].dataset.attrs),
        reader=reader,
        formulas=reader.formulas,
        refused=refused,
        notes=reader.notes,
    )
