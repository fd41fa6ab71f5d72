"""FourCastNet's own HDF5 files, written here with h5py as its users do."""

from pathlib import Path

import numpy as np
import pytest

from fourcast.data.sources.openers import SourceOptions
from fourcast.data.sources.source import open_source
from fourcast.errors import InputError
from fourcast.variables import CHANNEL_SETS

h5py = pytest.importorskip("h5py")

SHAPE = (9, 16)


def write(path: Path, count: int, channels: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """``fields`` of which every value tells its time and channel; returns what [time, channel] holds."""
    values = np.arange(count)[:, None] + 10_000.0 * np.arange(channels)
    with h5py.File(path, "w") as file:
        fields = file.create_dataset("fields", (count, channels, *shape), "f4", chunks=(count, 1, *shape))
        for i in range(channels):
            fields[:, i] = values[:, i, None, None] + np.linspace(0, 0.5, shape[0])[:, None]
    return values.astype("f4")


@pytest.mark.parametrize("channels", [20, 26, 34])
def test_channels_times_and_grid_are_the_published_ones(tmp_path: Path, channels: int) -> None:
    values = write(tmp_path / "2019.h5", 365, channels)
    names = CHANNEL_SETS[f"fourcastnet{channels}"]
    with open_source([str(tmp_path / "2019.h5")]) as source:
        assert set(source.channels) == set(names)
        when, _ = source.times(names)
        grid = source.grid(names)
        chosen = (names[-1], "u500", "msl", "z50", names[12])
        fields = source.read(when[[3, 200]], chosen)
    assert (str(when[0]), str(when[1]), len(when)) == ("2019-01-01T00:00:00", "2019-01-02T00:00:00", 365)
    assert (grid.latitude[0], grid.latitude[-1], grid.longitude[1]) == (90.0, -90.0, 22.5)
    for i, name in enumerate(chosen):
        np.testing.assert_array_equal(fields[:, i, 0, 0], values[[3, 200], names.index(name)])
    assert (np.diff(fields[0, 0, :, 0]) >= 0).all()


def test_two_years_with_a_leap_year_in_six_hour_steps(tmp_path: Path) -> None:
    for year, count in (("2019", 1460), ("2020", 1464)):
        write(tmp_path / f"{year}.h5", count, 20)
    with open_source([str(tmp_path)]) as source:
        when, _ = source.times(("t2m",))
        assert (np.diff(when) == np.timedelta64(6, "h")).all()
        assert (str(when[0]), str(when[-1])) == ("2019-01-01T00:00:00", "2020-12-31T18:00:00")
        fields = source.read(when[1458:1462], ("t2m",))
    np.testing.assert_array_equal(fields[:, 0, 0, 0], np.array([21458, 21459, 20000, 20001], "f4"))


def test_seven_hundred_and_twenty_rows_lack_the_south_pole(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "2018.h5", "w") as file:
        file.create_dataset("fields", (1460, 21, 720, 1440), "f4", chunks=(1, 1, 720, 1440))
    with open_source([str(tmp_path / "2018.h5")]) as source:
        grid = source.grid(("t2m",))
        assert grid.shape == (720, 1440)
        assert (grid.latitude[0], grid.latitude[-1], grid.longitude[-1]) == (90.0, -89.75, 359.75)
        assert set(source.channels) == set(CHANNEL_SETS["fourcastnet20"])


def test_channels_by_name(tmp_path: Path) -> None:
    values = write(tmp_path / "2019.h5", 365, 3)
    options = SourceOptions(hdf5_channels=("t850", "sst", "u100"))
    with open_source([str(tmp_path / "2019.h5")], options=options) as source:
        assert source.channels == ("sst", "u100", "t850")
        when, _ = source.times(source.channels)
        fields = source.read(when[:2], ("u100", "t850"))
    np.testing.assert_array_equal(fields[:, :, 0, 0], values[:2, [2, 0]])


def written(channels: int = 20, count: int = 365, shape: tuple[int, int] = SHAPE, name: str = "2019.h5") -> tuple:
    return name, count, channels, shape


REFUSED = {
    "number of channels": (written(channels=19), "holds 19 channels, published are 20, 21, 26, 34"),
    "year": (written(name="train.h5"), "its name no single year"),
    "two years": (written(name="2018_2019.h5"), "its name no single year"),
    "part of a year": (written(count=52), "holds 52 times, expected 1460 six-hourly"),
    "a leap year without a day": (written(count=1460, name="2020.h5"), "holds 1460 times, expected 1464 six-hourly"),
    "a crop": (written(shape=(8, 16)), "8 rows × 16 columns do not imply one"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_ambiguous_is_refused(tmp_path: Path, name: str) -> None:
    (file, count, channels, shape), message = REFUSED[name]
    write(tmp_path / file, count, channels, shape)
    with pytest.raises(InputError, match=message), open_source([str(tmp_path / file)]):
        pass


def test_as_many_names_as_channels(tmp_path: Path) -> None:
    write(tmp_path / "2019.h5", 365, 3)
    options = SourceOptions(hdf5_channels=("t850", "sst"))
    with pytest.raises(InputError, match="holds 3 channels, but hdf5_channels names 2"):
        open_source([str(tmp_path / "2019.h5")], options=options).__enter__()


def test_foreign_hdf5_says_what_it_holds(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file["weights"] = np.ones((3, 3))
    with pytest.raises(InputError, match=r"neither netCDF-4 nor FourCastNet's .* holds weights\[3, 3\]"):
        open_source([str(tmp_path / "model.h5")]).__enter__()


def test_compression_that_netcdf_does_not_know_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "2019.h5", "w") as file:
        file.create_dataset("fields", data=np.ones((365, 20, *SHAPE), "f4"), chunks=(1, 1, *SHAPE), compression="lzf")
    with open_source([str(tmp_path / "2019.h5")]) as source, pytest.raises(InputError, match="h5repack"):
        source.read(source.times(("t2m",))[0][:1], ("t2m",))
