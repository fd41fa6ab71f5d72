"""What a climatology can be asked, whatever it comes from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fourcast.data.climatology import hour_of_day
from fourcast.errors import InputError
from fourcast.grid import Grid

Float32 = NDArray[np.float32]


class ClimateReader(Protocol):
    """Reads one channel of a climatology on its own grid."""

    def at(self, hour: int, day: int, time: np.datetime64, channel: str) -> Float32:
        """[H, W] at an hour of day (0 to 23), day of year (1 to 366) and time, which say the same."""

    def static(self, channel: str) -> Float32:
        """[H, W]: the mean over all hours of day and days of year."""


@dataclass(frozen=True, eq=False)
class Climate:
    """A climatology on the grid of the analyses; only ``at`` and ``static`` touch the disk.

    channels: those it holds; of a wind's speed it has to be the mean of the speed itself, which does not follow from
    the components' means. seasonal: whether it depends on the day of year. hours: of day, that it holds.
    """

    path: str
    channels: tuple[str, ...]
    grid: Grid
    seasonal: bool
    hours: tuple[int, ...]
    reader: ClimateReader

    def holds(self, channel: str) -> bool:
        """Whether there is a climatology of this channel."""
        return channel in self.channels

    def at(self, time: np.datetime64, channels: tuple[str, ...]) -> Float32:
        """The climatology [C, H, W] at ``time``; InputError where it lacks the hour of day or a channel."""
        hour = int(hour_of_day(np.array([time]))[0])
        if hour not in self.hours:
            raise InputError(
                f"{self.path} has a climatology of the hours {', '.join(map(str, self.hours))} UTC, not of {time}; "
                "verify at those hours alone, name another with climatology=, or go without: climatology=none"
            )
        date = time.astype("datetime64[D]")
        day = int((date - date.astype("datetime64[Y]")).astype(np.int64)) + 1
        return self._stacked(channels, lambda channel: self.reader.at(hour, day, time, channel))

    def static(self, channels: tuple[str, ...]) -> Float32:
        """The long-term mean [C, H, W]; InputError where it lacks a channel."""
        return self._stacked(channels, self.reader.static)

    def require(self, channels: tuple[str, ...]) -> None:
        """InputError names those of ``channels`` of which there is no climatology."""
        missing = [name for name in channels if not self.holds(name)]
        if missing:
            raise InputError(
                f"{self.path} has no climatology of {', '.join(missing)}; it holds {', '.join(self.channels)}. Name "
                "another with climatology=, leave these channels out, or go without: climatology=none"
            )

    def _stacked(self, channels: tuple[str, ...], read: Callable[[str], Float32]) -> Float32:
        self.require(channels)
        return np.stack([read(channel)[: len(self.grid.latitude)] for channel in channels])
