import dataclasses
import json
import logging
import sys
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

from fourcast.data import simulate as module
from fourcast.data.planets.qg3 import qg3
from fourcast.data.simulate import simulate
from fourcast.data_config import PlanetConfig, SimulateConfig
from fourcast.errors import InputError


@pytest.fixture
def config(tmp_path: Path) -> SimulateConfig:
    """A coarse planet of 42 states: one block of ten days and a short one."""
    planet = PlanetConfig(days=10.5, spinup_days=1.0, truncation=7, start="2001-03-01", seed=4)
    return SimulateConfig(planet=planet, output=str(tmp_path / "new" / "planet.nc"))


def test_the_file_holds_the_states(config: SimulateConfig) -> None:
    path = simulate(config)
    assert path == Path(config.output)
    with xr.open_dataset(path) as file:
        times = file["time"].values
        assert times[0] == np.datetime64("2001-03-01")
        np.testing.assert_array_equal(np.diff(times), np.timedelta64(6, "h"))
        assert file["u"].dims == ("time", "level", "latitude", "longitude")
        assert file["t"].dims == ("time", "level_t", "latitude", "longitude")
        assert list(file["level"].values) == [200, 500, 800]
        assert list(file["level_t"].values) == [316, 632]
        states = list(qg3(config.planet).states)
        for name in "uvzt":
            expected = np.concatenate([block.fields[name] for block in states])
            np.testing.assert_array_equal(file[name].values, expected)


def test_metadata_say_what_it_is(config: SimulateConfig) -> None:
    with netCDF4.Dataset(simulate(config)) as file:
        assert file.Conventions == "CF-1.11"
        assert "SYNTHETIC" in file.title
        assert file.synthetic == "true"
        assert file.seed == 4
        assert json.loads(file.fourcast_config) == dataclasses.asdict(config)
        for name, standard_name, units in (
            ("u", "eastward_wind", "m s-1"),
            ("z", "geopotential", "m2 s-2"),
            ("t", "air_temperature", "K"),
            ("z_sfc", "surface_geopotential", "m2 s-2"),
            ("lsm", "land_area_fraction", "1"),
        ):
            assert (file[name].standard_name, file[name].units) == (standard_name, units)
        for name in ("level", "level_t"):
            assert (file[name].standard_name, file[name].units, file[name].positive) == ("air_pressure", "hPa", "down")
        assert file["u"].chunking() == [1, 3, 12, 24]
        filters = file["u"].filters()
        assert filters["zlib"]
        assert filters["shuffle"]
        assert filters["complevel"] == 1
        assert file["u"].dtype == np.float32
        assert file["z_sfc"][:].max() > 30_000
        assert 0 <= file["lsm"][:].min() < file["lsm"][:].max() == 1


def test_the_same_planet_is_not_simulated_twice(
    config: SimulateConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = simulate(config).read_bytes()
    monkeypatch.setattr(module, "qg3", lambda config: pytest.fail("simulated again"))
    with caplog.at_level(logging.INFO):
        assert simulate(config).read_bytes() == before
    assert "nothing to do" in caplog.text


def test_another_planet_is_not_overwritten_unless_told(config: SimulateConfig) -> None:
    path = simulate(config)
    other = dataclasses.replace(config, planet=dataclasses.replace(config.planet, seed=5))
    with pytest.raises(InputError, match="already exists; pass overwrite=true"):
        simulate(other)
    simulate(dataclasses.replace(other, overwrite=True))
    with netCDF4.Dataset(path) as file:
        assert file.seed == 5


def test_a_strange_file_is_not_overwritten(config: SimulateConfig) -> None:
    path = Path(config.output)
    path.parent.mkdir()
    path.write_text("notes")
    with pytest.raises(InputError, match="already exists"):
        simulate(config)
    assert path.read_text() == "notes"


def test_an_interrupted_simulation_leaves_no_file(config: SimulateConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(planet_config: PlanetConfig) -> object:
        planet = qg3(planet_config)

        def states() -> object:
            yield next(planet.states)
            raise KeyboardInterrupt

        return dataclasses.replace(planet, states=states())

    monkeypatch.setattr(module, "qg3", broken)
    with pytest.raises(KeyboardInterrupt):
        simulate(config)
    assert list(Path(config.output).parent.iterdir()) == []


def test_a_blown_up_simulation_is_loud(config: SimulateConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def blown_up(planet_config: PlanetConfig) -> object:
        planet = qg3(planet_config)
        block = next(planet.states)
        block.fields["v"][3, 0, 0, 0] = np.nan
        return dataclasses.replace(planet, states=iter([block]))

    monkeypatch.setattr(module, "qg3", blown_up)
    with pytest.raises(FloatingPointError, match="v is not finite"):
        simulate(config)
    assert not Path(config.output).exists()


def test_wrong_settings_fail_before_anything_is_written(config: SimulateConfig) -> None:
    config.planet.days = 1.1
    with pytest.raises(InputError, match=r"planet\.days must be a multiple of 0\.25"):
        simulate(config)
    assert not Path(config.output).parent.exists()


def test_speedy_needs_its_extra(config: SimulateConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jcm", None)
    speedy = dataclasses.replace(config, planet=PlanetConfig(name="speedy"))
    with pytest.raises(InputError, match=r"pip install fourcast\[planet\]"):
        simulate(speedy)
