"""The channels everybody looks at first."""

from collections.abc import Sequence

FIRST = ("z500", "t850", "u10m", "t2m", "msl", "u200", "u250", "tcwv", "q700", "tp06", "u850", "t500")
MOST = 6
"""Channels that tables and pictures have room for."""


def headline(names: Sequence[str], count: int = MOST) -> tuple[str, ...]:
    """Up to ``count`` of ``names``: those everybody looks at first, by their rank, then the others in their order."""
    first = [name for name in FIRST if name in names]
    return tuple([*first, *(name for name in names if name not in FIRST)][:count])
