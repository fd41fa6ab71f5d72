"""Numbers of a page come back as they were, to the rounding it states."""

import base64
import zlib

import numpy as np
import pytest

from fourcast.report.packing import COARSE, FINE, MISSING, pack_fields, pack_numbers


def unpack(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text), -15)


def integers(text: str, shape: tuple[int, ...]) -> np.ndarray:
    planes = np.frombuffer(unpack(text), np.uint8).reshape(2, *shape).astype(np.int64)
    return np.cumsum(planes[0] * 256 + planes[1], axis=-1) % 65536


@pytest.mark.parametrize("steps", [FINE, COARSE])
def test_fields_are_off_by_half_a_step_at_most(steps: int) -> None:
    fields = np.random.default_rng(0).normal(50000, 900, (3, 5, 7)).astype(np.float32)
    fields[1] *= 1e-6
    fields[2, 4, 6] = np.nan
    packed = pack_fields(fields, steps)
    found = integers(packed.text, fields.shape)
    assert found[2, 4, 6] == MISSING
    assert found.max(where=np.isfinite(fields), initial=0) == steps
    for field, values, scale, offset in zip(fields, found, packed.scale, packed.offset, strict=True):
        width = np.nanmax(field.astype(float)) - np.nanmin(field)
        assert scale == pytest.approx(width / steps)
        off = np.abs(offset + scale * values - field)[np.isfinite(field)]
        assert off.max() <= packed.rounding * (1 + 1e-6)
        assert off.max() <= scale / 2 * (1 + 1e-6)
    assert (packed.low, packed.high) == (np.nanmin(fields), np.nanmax(fields))


def test_constant_and_empty_fields() -> None:
    fields = np.stack([np.full((2, 2), 3.5), np.full((2, 2), np.nan)]).astype(np.float32)
    packed = pack_fields(fields, FINE)
    assert (packed.scale, packed.offset, packed.rounding) == ([0.0, None], [3.5, None], 0.0)
    assert (integers(packed.text, fields.shape)[1] == MISSING).all()


def test_floats_keep_four_digits() -> None:
    values = np.concatenate([np.random.default_rng(1).normal(size=100) * 10.0 ** np.arange(-25, 25, 0.5), [0, np.nan]])
    planes = np.frombuffer(unpack(pack_numbers(values)), np.uint8).reshape(4, -1)
    found = np.ascontiguousarray(planes.T).view(">f4").ravel()
    np.testing.assert_allclose(found, values, rtol=2.0**-15)
