"""Signs that packed integers overflowed: values that wrapped around, or piled up at an end of the integer range."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMOOTH = frozenset({"u", "v", "w", "t", "z", "u10m", "v10m", "u100m", "v100m", "t2m", "d2m", "msl"})
"""Variables without a physical bound that many points share, as precipitation has at zero, and without the cliffs that
surface pressure has at mountains."""
NEAR = 0.1
"""How close to an end of the range, in ranges, a value counts as near it."""
WRAPPED_PAIRS = 3
"""Fewest neighbours near opposite ends in one field that are no weather."""
PILED_SHARE, PILED_POINTS = 0.01, 8
"""Smallest share and number of points of a field exactly at an end that are no extremum."""


def overflow(name: str, values: NDArray[np.floating], encoding: Mapping[str, Any]) -> str | None:
    """What shows that the packed integers of the variable ``name`` overflowed; None where nothing does.

    values: decoded fields [..., H, W]. encoding: their dtype, scale_factor and add_offset. The first and last rows do
    not count: at a pole they repeat one value.
    """
    ends = _ends(encoding)
    if name not in SMOOTH or ends is None or values.shape[-2] < 3:
        return None
    low, high = ends
    resolution, near, inner = abs(float(encoding["scale_factor"])), NEAR * (high - low), values[..., 1:-1, :]
    below, above = inner <= low + near, inner >= high - near
    if below.any() and above.any() and _wrapped(below, above) >= WRAPPED_PAIRS:
        return f"neighbouring points near both ends of the packed range {low:g} … {high:g}: the integers wrapped around"
    for end, close in ((low, below), (high, above)):
        if close.any():
            piled = (np.abs(inner - end) < 2.5 * resolution).sum(axis=(-2, -1)).max()
            if piled >= max(PILED_POINTS, PILED_SHARE * inner.shape[-2] * inner.shape[-1]):
                return f"{piled} points of a field at the end {end:g} of the packed range: the integers were cut off"
    return None


def _ends(encoding: Mapping[str, Any]) -> tuple[float, float] | None:
    """The decoded ends of the integer range, the lower first; None where values are not packed."""
    dtype = np.dtype(encoding.get("dtype", np.float32))
    if dtype.kind not in "iu" or "scale_factor" not in encoding:
        return None
    kind = np.iinfo(np.dtype(f"u{dtype.itemsize}") if encoding.get("_Unsigned") == "true" else dtype)
    scale, offset = float(encoding["scale_factor"]), float(encoding.get("add_offset", 0.0))
    low, high = sorted((kind.min * scale + offset, kind.max * scale + offset))
    return low, high


def _wrapped(below: NDArray[np.bool_], above: NDArray[np.bool_]) -> int:
    """The most pairs of neighbours near opposite ends in one field [H, W]."""
    eastward = (below[..., 1:] & above[..., :-1]) | (above[..., 1:] & below[..., :-1])
    southward = (below[..., 1:, :] & above[..., :-1, :]) | (above[..., 1:, :] & below[..., :-1, :])
    return int((eastward.sum(axis=(-2, -1)) + southward.sum(axis=(-2, -1))).max())
