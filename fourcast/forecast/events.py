"""Events whose probability an ensemble gives: a channel above or below a threshold, as in ``ws10m > 17.2``."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourcast.errors import InputError

Float32 = NDArray[np.float32]
COMPARISONS: dict[str, tuple[str, Callable[[Float32, np.float32], NDArray[np.bool_]]]] = {
    ">": ("gt", np.greater),
    ">=": ("ge", np.greater_equal),
    "<": ("lt", np.less),
    "<=": ("le", np.less_equal),
}
"""Each with its name in netCDF files and its function."""
LARGEST = float(np.finfo(np.float32).max)
_EVENT = re.compile(r"\s*([a-z]\w*)\s*([<>]=?)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True)
class Event:
    """``channel`` compared with ``threshold``, in the channel's units on file.

    Values are compared in float32, as files hold them, with the threshold rounded to the nearest float32: whoever
    compares members' files in numpy or xarray finds the same, and a value written as 0.01 is >= 0.01.
    """

    channel: str
    comparison: str
    threshold: float

    @property
    def name(self) -> str:
        """The variable on file: ``prob_ws10m_gt_17p2``, for -5 ``m5``; letters, digits and _ only."""
        number = np.format_float_positional(self.threshold, trim="-").replace("-", "m").replace(".", "p")
        return f"prob_{self.channel}_{COMPARISONS[self.comparison][0]}_{number}"

    @property
    def condition(self) -> str:
        """``> 17.2``."""
        return f"{self.comparison} {self.threshold!r}"

    def probability(self, field_MN: Float32) -> Float32:
        """The fraction [N] of members [M, N] in which it happens; NaN where a member is NaN."""
        happens = COMPARISONS[self.comparison][1](field_MN, np.float32(self.threshold))
        fraction = (happens.sum(axis=0, dtype=np.int32) / len(field_MN)).astype(np.float32)
        fraction[np.isnan(field_MN).any(axis=0)] = np.nan
        return fraction


def parse_events(texts: list[str] | tuple[str, ...], key: str) -> tuple[Event, ...]:
    """Events in order, each once; InputError for what is no channel, comparison and finite number.

    key: of the configuration that names them, for the message.
    """
    return tuple(dict.fromkeys(_event(text, key) for text in texts))


def _event(text: str, key: str) -> Event:
    match = _EVENT.fullmatch(text)
    if match is None or not abs(float(match[3])) <= LARGEST:
        raise InputError(
            f"{key}: {text!r} is no event; write a channel, one of {', '.join(COMPARISONS)}, and a "
            "number in the units of the files, as in 'ws10m > 17.2' or 'tp06 >= 0.01'"
        )
    return Event(match[1], match[2], float(match[3]) + 0.0)
