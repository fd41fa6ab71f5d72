"""Many files as one forecast: which cases, members and channels there are, and the fields of a case put together."""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fourcast.errors import InputError
from fourcast.grid import Grid
from fourcast.variables import VARIABLES, parse_channel
from fourcast.verify.inputs.case_axes import Case
from fourcast.verify.inputs.case_fields import CaseFields, case_fields
from fourcast.verify.inputs.headers import Header
from fourcast.verify.inputs.recent import Recent

Float32 = NDArray[np.float32]
ORDER = {variable.name: place for place, variable in enumerate(VARIABLES)}


def parts_of(headers: Sequence[Header]) -> tuple[tuple[CaseFields, ...], tuple[str, ...]]:
    """The variables of all files, and why others of ours cannot be used; InputError as of ``case_fields``."""
    recent = Recent()
    found = [part for header in headers for part in case_fields(header, recent)]
    parts = tuple(part for part in found if isinstance(part, CaseFields))
    return parts, tuple(part for part in found if isinstance(part, str))


def _channel_order(name: str) -> tuple[bool, int, int]:
    channel = parse_channel(name)
    return channel.variable.levels, ORDER[channel.variable.name], channel.level or 0


def _most_files(parts: Sequence[CaseFields], together: tuple[int, ...]) -> int:
    """How many of the parts at these places are of one variable."""
    return max(Counter(parts[i].piece.variable.name for i in together).values())


class CasesReader:
    """Reads cases from the variables of any number of files; holds open what ``resources`` would close.

    InputError where two files are on different grids, or hold the same field.
    """

    def __init__(self, parts: tuple[CaseFields, ...], resources: ExitStack) -> None:
        self.resources = resources
        self._at: dict[Case, tuple[int, ...]] = {}
        self._known: dict[tuple[tuple[int, ...], tuple[str, ...]], bool] = {}
        for i, part in enumerate(parts):
            for case in part.axes.places:
                self._at[case] = (*self._at.get(case, ()), i)
        sharing = max(_most_files(parts, together) for together in set(self._at.values()))
        self.parts = tuple(replace(part, together_bytes=part.together_bytes // sharing) for part in parts)
        self._refuse_other_grids()
        for together in set(self._at.values()):
            self._refuse_repeats(together)

    @property
    def grid(self) -> Grid:
        """The grid of all files."""
        return self.parts[0].piece.axes.grid

    @cached_property
    def channels(self) -> tuple[str, ...]:
        """All channels: surface ones in the table's order, then the others by variable, with pressure rising."""
        return tuple(sorted({name for part in self.parts for name in part.channels}, key=_channel_order))

    @cached_property
    def members(self) -> tuple[int, ...]:
        """The numbers of all members, rising."""
        return tuple(sorted({member for part in self.parts for member in part.axes.members}))

    @property
    def init_hours(self) -> tuple[int, ...]:
        """All initial times in hours since 1970, rising."""
        return tuple(sorted({init for init, _ in self._at}))

    @property
    def lead_hours(self) -> tuple[int, ...]:
        """All lead times, rising."""
        return tuple(sorted({lead for _, lead in self._at}))

    @property
    def formulas(self) -> dict[str, str]:
        """Variable → how its values came about, where that is not as in ERA5."""
        return {part.piece.variable.name: part.formula for part in self.parts if part.formula}

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed of the files."""
        paths = tuple(dict.fromkeys(part.path for part in self.parts if part.axes.assumed))
        others = f" and {len(paths) - 1} more files" if len(paths) > 1 else ""
        text = f"no initial time in {paths[0]}{others}: the first valid time is taken for it" if paths else ""
        return (text,) if paths else ()

    def groups(self, channels: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """``channels`` by variable, whose levels are often one chunk."""
        by_variable: dict[str, tuple[str, ...]] = {}
        for name in channels:
            variable = parse_channel(name).variable.name
            by_variable[variable] = (*by_variable.get(variable, ()), name)
        return tuple(by_variable.values())

    def holds(self, case: Case, channels: tuple[str, ...]) -> bool:
        """Whether all ``channels`` of all members are there."""
        key = self._at.get(case, ()), channels
        if key not in self._known:
            parts = [self.parts[i] for i in key[0]]
            held = {(name, member) for part in parts for name in part.channels for member in part.axes.members}
            self._known[key] = held.issuperset((name, member) for name in channels for member in self.members)
        return self._known[key]

    def read(self, case: Case, channels: tuple[str, ...]) -> Float32:
        """Fields [C, M, H, W] of one case; InputError where one is not there or cannot be read."""
        fields = np.empty((len(channels), len(self.members), *self.grid.shape), dtype=np.float32)
        filled = np.zeros(fields.shape[:2], dtype=np.bool_)
        for part in (self.parts[i] for i in self._at.get(case, ())):
            wanted = tuple(name for name in channels if name in part.channels)
            if not wanted:
                continue
            block = part.read(case, wanted)
            if block.shape == fields.shape and wanted == channels and part.axes.members == self.members:
                return block
            here = np.ix_([channels.index(n) for n in wanted], [self.members.index(m) for m in part.axes.members])
            fields[here], filled[here] = block, True
        if not filled.all():
            self._refuse_missing(case, channels, filled)
        return fields

    def _refuse_other_grids(self) -> None:
        first = self.parts[0]
        for part in self.parts:
            if not part.piece.axes.grid.same_as(first.piece.axes.grid):
                raise InputError(
                    f"{part.path} and {first.path} are on different grids, {part.piece.axes.grid} and "
                    f"{first.piece.axes.grid}; verify them apart or interpolate one"
                )

    def _refuse_repeats(self, together: tuple[int, ...]) -> None:
        seen: dict[tuple[str, int], str] = {}
        for part in (self.parts[i] for i in together):
            for key in ((name, member) for name in part.channels for member in part.axes.members):
                if key in seen:
                    raise InputError(
                        f"{seen[key]} and {part.path} both hold {key[0]} of member {key[1]} at the same initial and "
                        "lead time; name one of them"
                    )
                seen[key] = part.path

    def _refuse_missing(self, case: Case, channels: tuple[str, ...], filled: NDArray[np.bool_]) -> None:
        channel, member = np.argwhere(~filled)[0]
        raise InputError(
            f"{self.parts[0].path} and the files beside it lack {channels[channel]} of member {self.members[member]} "
            f"at {np.datetime64(case[0], 'h')} + {case[1]} h; fetch it, or leave that initial time out"
        )
