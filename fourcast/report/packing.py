"""Numbers inside a page: integers or floats, filtered, deflated and in base64, as the page's script undoes them.

A pack is one block of text. Fields [N, H, W] are quantised to 16 bits each with an offset and a scale of its own:
value = offset + scale · integer, where the integer 65535 stands for no number. So a value is off by half a scale at
most. Neighbours along a row are subtracted from each other, modulo 65536, and all high bytes come before all low ones,
which halves what the compression leaves.
"""

import base64
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
MISSING = 65535
FINE, COARSE = 65534, 4094
"""The largest integer of a field: as fine as 16 bits allow, or as an eye needs."""
KEPT_BITS = 14
"""Of a float's fraction: four significant digits are right."""


@dataclass(frozen=True, eq=False)
class Packed:
    """A pack and how its N fields are decoded; scale and offset are None where a field has no number at all."""

    text: str
    scale: list[float | None]
    offset: list[float | None]
    low: float
    high: float

    @property
    def rounding(self) -> float:
        """The largest difference between a value and what the page shows of it, in the field's units."""
        return max((scale for scale in self.scale if scale is not None), default=0.0) / 2


def pack_fields(fields_NHW: Float32, steps: int) -> Packed:
    """Quantise each field over its own range into ``steps`` steps; what is not finite is missing.

    low, high: the range of all values, NaN where there is none.
    """
    integers = np.full(fields_NHW.shape, MISSING, np.uint16)
    scales: list[float | None] = []
    offsets: list[float | None] = []
    lows, highs = [], []
    for place, field in enumerate(fields_NHW):
        finite = np.isfinite(field)
        if not finite.any():
            scales.append(None)
            offsets.append(None)
            continue
        values = field.astype(np.float64)
        low, high = float(values[finite].min()), float(values[finite].max())
        scale = (high - low) / steps if high > low else 1.0
        integers[place][finite] = np.rint((values[finite] - low) / scale).astype(np.uint16)
        scales.append(scale if high > low else 0.0)
        offsets.append(low)
        lows.append(low)
        highs.append(high)
    return Packed(deflate(filtered(integers)), scales, offsets, min(lows, default=np.nan), max(highs, default=np.nan))


def filtered(integers: NDArray[np.uint16]) -> bytes:
    """Differences along the last axis modulo 65536, high bytes first."""
    differences = np.diff(integers, axis=-1, prepend=np.uint16(0))
    return (differences >> 8).astype(np.uint8).tobytes() + (differences & 255).astype(np.uint8).tobytes()


def pack_numbers(values: Float64) -> str:
    """Little-endian float32 with KEPT_BITS of the fraction, as four planes of bytes, the highest first.

    What is beyond float32 is infinite.
    """
    with np.errstate(over="ignore"):
        floats = values.astype("<f4").ravel()
    bits, finite = floats.view(np.uint32), np.isfinite(floats)
    drop = np.uint32(23 - KEPT_BITS)
    half = np.uint32(1) << (drop - np.uint32(1))
    rounded = np.where(finite, ((bits + half) >> drop) << drop, bits).astype("<u4")
    planes = rounded.view(np.uint8).reshape(-1, 4)[:, ::-1].T
    return deflate(np.ascontiguousarray(planes).tobytes())


def deflate(content: bytes) -> str:
    """Raw deflate (RFC 1951) in base64."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return base64.b64encode(compressor.compress(content) + compressor.flush()).decode("ascii")
