import sys

import numpy as np
import pytest
import xarray as xr

from fourcast.data.planets.speedy import SURFACE, fields, speedy
from fourcast.data_config import PlanetConfig
from fourcast.errors import InputError

LEVEL_NAMES = ("u_wind", "v_wind", "temperature", "specific_humidity", "geopotential")
SURFACE_NAMES = (
    "normalized_surface_pressure",
    "surface_flux.t0",
    "surface_flux.u0",
    "surface_flux.v0",
    "surface_exchange.precipitation",
)


@pytest.fixture
def output() -> xr.Dataset:
    """One time of a library-like output: two sigma levels, three longitudes, latitudes -30 and 60."""
    level = xr.DataArray([0.2, 0.8], dims="level", coords={"level": [0.2, 0.8]})
    lat = xr.DataArray([-30.0, 60.0], dims="lat", coords={"lat": [-30.0, 60.0]})
    lon = xr.DataArray([0.0, 120.0, 240.0], dims="lon", coords={"lon": [0.0, 120.0, 240.0]})
    time = xr.DataArray([0], dims="time")
    column, surface = 0 * (time + level + lon + lat), 0 * (time + lon + lat)
    data = dict.fromkeys(LEVEL_NAMES, column + 1.0) | dict.fromkeys(SURFACE_NAMES, surface + 1.0)
    data["u_wind"] = column + lat + lon / 1000
    data["temperature"] = column + 250.0
    data["surface_exchange.precipitation"] = surface + 1e-4
    return xr.Dataset(data).transpose("time", "level", "lon", "lat")


def test_orientation_units_and_shapes(output: xr.Dataset) -> None:
    result = fields(output, (200, 500, 800))
    assert set(result) | {"sst"} == {*"uvtzq", *SURFACE}
    assert result["u"].shape == (1, 3, 2, 3)
    np.testing.assert_allclose(result["u"][0, 1], [[60.0, 60.12, 60.24], [-30.0, -29.88, -29.76]], rtol=1e-6)
    np.testing.assert_allclose(result["sp"], 1e5)
    np.testing.assert_allclose(result["tp06"], 1e-4 * 21_600 / 1000, rtol=1e-6)
    assert all(values.dtype == np.float32 for values in result.values())


def test_the_order_of_the_librarys_levels_does_not_matter(output: xr.Dataset) -> None:
    output["temperature"] = output["temperature"] + 50 * output["level"]
    expected = fields(output, (300, 1000))
    for name, values in fields(output.sortby("level", ascending=False), (300, 1000)).items():
        np.testing.assert_array_equal(values, expected[name])


def test_without_the_library_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jcm", None)
    with pytest.raises(InputError, match=r"pip install fourcast\[planet\]"):
        speedy(PlanetConfig(name="speedy"))


@pytest.mark.parametrize("levels", [[], [500, 250], [500, 500], [10, 500]])
def test_wrong_levels_are_refused(levels: list[int]) -> None:
    with pytest.raises(InputError, match=r"planet\.levels must be pressures of 50 hPa and more"):
        speedy(PlanetConfig(name="speedy", levels=levels))


def test_wrong_truncation_is_refused() -> None:
    with pytest.raises(InputError, match=r"planet\.truncation must be one of \(21, 31, 42\)"):
        speedy(PlanetConfig(name="speedy", truncation=22))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_real_model_runs() -> None:
    """Half a day from rest: times, and global means that the initial state and the library's ground imply."""
    pytest.importorskip("jcm", reason="needs pip install fourcast[planet]")
    planet = speedy(PlanetConfig(name="speedy", days=0.5, spinup_days=0.25, start="2001-03-01"))
    (states,) = planet.states
    assert list(states.times.astype(str)) == ["2001-03-01T00", "2001-03-01T06"]
    assert planet.grid.shape == (32, 64)
    weights = np.cos(np.deg2rad(planet.grid.latitude))[:, None] * np.ones(64)

    def mean(field_HW: np.ndarray) -> float:
        return float(np.average(field_HW, weights=weights))

    assert states.fields["u"].shape == (2, 5, 32, 64)
    assert all(np.isfinite(values).all() for values in states.fields.values())
    assert 0.25 < mean(planet.static["lsm"]) < 0.32
    assert 97_000 < mean(states.fields["sp"][-1]) < 103_000
    assert 270 < mean(states.fields["t2m"][-1]) < 300
    assert states.fields["sst"][-1, 16].mean() > states.fields["sst"][-1, 4].mean() + 10
    highest = np.unravel_index(planet.static["z_sfc"].argmax(), (32, 64))
    assert 25 < planet.grid.latitude[highest[0]] < 40
    assert 70 < planet.grid.longitude[highest[1]] < 105
