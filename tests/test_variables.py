"""The table of variables, and channel names."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from fourcast.errors import InputError
from fourcast.variables import BY_NAME, CHANNEL_SETS, VARIABLES, Variable, parse_channel, parse_channels

ECMWF_UNITS = {"m s**-1": "m s-1", "Pa s**-1": "Pa s-1", "m**2 s**-2": "m2 s-2", "kg kg**-1": "kg kg-1",
               "kg m**-2": "kg m-2", "s**-1": "s-1", "(0 - 1)": "1"}  # fmt: skip
NUMBERED = [(variable, number) for variable in VARIABLES for number in variable.grib_ids]


def test_names_are_unique_over_every_vocabulary() -> None:
    names = [n for v in VARIABLES for n in (*dict.fromkeys((v.name, v.long_name)), *v.aliases)]
    assert len(names) == len(set(names))


def test_a_grib_number_means_one_variable_but_for_geopotential() -> None:
    numbers = [(n, v.levels) for v in VARIABLES for n in v.grib_ids]
    assert len(numbers) == len(set(numbers))
    assert [v.name for v in VARIABLES if 129 in v.grib_ids] == ["z", "z_sfc"]


@pytest.mark.parametrize(("variable", "number"), NUMBERED, ids=lambda value: getattr(value, "name", value))
def test_a_grib_number_has_our_names_and_units_in_ecmwfs_table(variable: Variable, number: int) -> None:
    eccodes = pytest.importorskip("eccodes")
    kind = "pl" if variable.levels else "sfc"
    message = eccodes.codes_grib_new_from_samples(f"regular_ll_{kind}_grib2")
    eccodes.codes_set(message, "paramId", number)
    short, netcdf, units = (eccodes.codes_get(message, key) for key in ("shortName", "cfVarName", "units"))
    eccodes.codes_release(message)
    ours = {"z"} if variable.name == "z_sfc" else {variable.name, *variable.aliases}
    assert {short, netcdf} <= ours
    assert ECMWF_UNITS.get(units, units) == variable.units


def test_standard_names_and_units_are_cfs() -> None:
    """The table that compliance-checker brings along; per cent and kg kg-1 are among CF's units of 1."""
    checker = pytest.importorskip("compliance_checker")
    tree = ElementTree.parse(Path(checker.__file__).parent / "data" / "cf-standard-name-table.xml")
    canonical = {entry.get("id"): entry.findtext("canonical_units") for entry in tree.getroot().iter("entry")}
    ours = {v.standard_name: {"%": "1", "kg kg-1": "1"}.get(v.units, v.units) for v in VARIABLES}
    assert ours == {name: canonical.get(name) for name in ours}


def test_a_standard_name_and_height_mean_one_variable() -> None:
    found = [(v.standard_name, v.levels, v.height) for v in VARIABLES]
    assert len(found) == len(set(found))


def test_each_height_and_accumulation_is_stated() -> None:
    assert {v.name: v.height for v in VARIABLES if v.height} == {
        "u10m": 10, "v10m": 10, "u100m": 100, "v100m": 100, "ws10m": 10, "ws100m": 100, "t2m": 2, "d2m": 2,
    }  # fmt: skip
    assert [v.name for v in VARIABLES if v.cell_methods] == ["tp06"]
    assert [v.name for v in VARIABLES if v.static] == ["z_sfc", "lsm"]
    assert all(v.positive for v in VARIABLES if v.units in ("K", "Pa"))
    assert not BY_NAME["tp06"].grib_ids


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


def test_a_set_stands_for_its_channels_among_others() -> None:
    found = [channel.name for channel in parse_channels(["fourcastnet20", "tp06"])]
    assert found == [*CHANNEL_SETS["fourcastnet20"], "tp06"]
    with pytest.raises(InputError, match="listed twice: t850"):
        parse_channels(["fourcastnet20", "t850"])
    with pytest.raises(InputError, match="unknown channel 'fourcastnet21'"):
        parse_channels(["fourcastnet21"])


def test_the_published_sets_extend_one_another() -> None:
    """earth2studio's FCN has 26 channels; Makani's and PhysicsNeMo's configurations for AFNO 34."""
    twenty, twenty_six, thirty_four = (CHANNEL_SETS[f"fourcastnet{n}"] for n in (20, 26, 34))
    assert twenty_six[:20] == twenty
    assert thirty_four[:26] == twenty_six
    assert twenty_six[20:] == ("u100m", "v100m", "u250", "v250", "z250", "t250")
    assert thirty_four[26:] == ("u100", "v100", "z100", "t100", "u900", "v900", "z900", "t900")
