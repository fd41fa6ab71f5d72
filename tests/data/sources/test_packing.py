"""Integers that overflowed when somebody packed them."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from era5_like import analyses

from fourcast.data.sources.openers import SourceOptions
from fourcast.data.sources.packing import overflow
from fourcast.data.sources.source import open_source
from fourcast.errors import InputError


def packed(tmp_path: Path, data: xr.Dataset, low: float, high: float, clip: bool) -> list[str]:
    """Write ``data`` as 16-bit integers whose range is ``low`` to ``high``: what lies outside is cut off, or wraps."""
    scale, offset = (high - low) / 65534, (high + low) / 2
    integers = np.rint((data.astype("f8") - offset) / scale)
    integers = integers.clip(-32767, 32767) if clip else (integers + 32768) % 65536 - 32768
    stored = integers.astype("i2")
    for name, array in stored.data_vars.items():
        array.attrs = data[name].attrs | {"scale_factor": scale, "add_offset": offset}
    stored.to_netcdf(tmp_path / "a.nc")
    return [str(tmp_path / "a.nc")]


@pytest.mark.parametrize(("clip", "message"), [(True, "integers were cut off"), (False, "integers wrapped around")])
def test_overflow_is_refused_unless_allowed(tmp_path: Path, clip: bool, message: str) -> None:
    data = analyses(("t2m",))
    paths = packed(tmp_path, data, 262.0, 300.0, clip)
    with open_source(paths) as source, pytest.raises(InputError, match=f"t2m has .*{message}.*allow=.packing."):
        source.read(data.time.values, ("t2m",))
    with open_source(paths, options=SourceOptions(allow=("packing",))) as source:
        assert np.isfinite(source.read(data.time.values, ("t2m",))).all()


def test_packing_that_fits_is_read_to_its_resolution(tmp_path: Path) -> None:
    data = analyses(("t", "t2m"))
    with open_source(packed(tmp_path, data, 200.0, 320.0, clip=True)) as source:
        fields = source.read(data.time.values, ("t2m", "t850"))
    np.testing.assert_allclose(fields[:, 0], data.t2m, atol=120 / 65534)


def test_a_range_that_fits_exactly_is_no_overflow(tmp_path: Path) -> None:
    data = analyses(("t2m",), seed=4)
    low, high = float(data.t2m.min()), float(data.t2m.max())
    with open_source(packed(tmp_path, data, low, high, clip=True)) as source:
        np.testing.assert_allclose(source.read(data.time.values, ("t2m",))[:, 0], data.t2m, atol=(high - low) / 65534)


def test_bounded_variables_and_unpacked_ones_are_left_alone() -> None:
    encoding = {"dtype": np.dtype("i2"), "scale_factor": 1e-3, "add_offset": 0.0}
    at_zero = np.full((9, 16), -32.768)
    assert overflow("t2m", at_zero, encoding) is not None
    assert overflow("tcwv", at_zero, encoding) is None
    assert overflow("t2m", at_zero, {"dtype": np.dtype("f4")}) is None
    assert overflow("t2m", at_zero, {"dtype": np.dtype("i2")}) is None


def test_unsigned_integers_have_other_ends() -> None:
    encoding = {"dtype": np.dtype("i2"), "scale_factor": 1e-3, "_Unsigned": "true"}
    assert overflow("t2m", np.full((9, 16), 65.535), encoding) is not None
    assert overflow("t2m", np.full((9, 16), 32.767), encoding) is None


def test_a_pole_repeats_one_value() -> None:
    encoding = {"dtype": np.dtype("i2"), "scale_factor": 1e-3}
    field = np.zeros((181, 360))
    field[0] = 32.767
    assert overflow("t2m", field, encoding) is None
