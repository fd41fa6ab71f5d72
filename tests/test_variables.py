"""The table of variables, and channel names."""

import pytest

from fourcast.errors import InputError
from fourcast.variables import CHANNEL_SETS, VARIABLES, parse_channel, parse_channels


def test_names_are_unique_over_every_vocabulary() -> None:
    names = [n for v in VARIABLES for n in {v.name, v.long_name, *v.aliases}]
    assert len(names) == len(set(names))


def test_a_grib_number_means_one_variable_but_for_geopotential() -> None:
    numbers = [(n, v.levels) for v in VARIABLES for n in v.grib_ids]
    assert len(numbers) == len(set(numbers))
    assert [v.name for v in VARIABLES if 129 in v.grib_ids] == ["z", "z_sfc"]


@pytest.mark.parametrize(
    ("name", "variable", "level"),
    [("t850", "t", 850), ("t2m", "t2m", None), ("u100", "u", 100), ("u100m", "u100m", None), ("z50", "z", 50),
     ("u10", "u", 10), ("u10m", "u10m", None), ("lsm", "lsm", None)],
)  # fmt: skip
def test_channels(name: str, variable: str, level: int | None) -> None:
    channel = parse_channel(name)
    assert (channel.variable.name, channel.level, channel.name) == (variable, level, name)


@pytest.mark.parametrize("name", ["", "t", "850", "x500", "t0", "t1101", "t850hPa", "T850", "msl500", "t-5"])
def test_unknown_channels_are_named(name: str) -> None:
    with pytest.raises(InputError, match="unknown channel"):
        parse_channel(name)


def test_published_sets() -> None:
    assert [len(CHANNEL_SETS[f"fourcastnet{n}"]) for n in (20, 26, 34)] == [20, 26, 34]
    assert [c.name for c in parse_channels(["fourcastnet20"])][:6] == ["u10m", "v10m", "t2m", "sp", "msl", "t850"]
    assert all(len(set(names)) == len(names) for names in CHANNEL_SETS.values())
    with pytest.raises(InputError, match="listed twice: t850"):
        parse_channels(["t850", "z500", "t850"])
