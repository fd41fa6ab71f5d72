"""Product files: which there are, what they hold and say, and which requests are refused."""

import subprocess
import sys
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

from fourcast.errors import InputError
from fourcast.forecast.events import parse_events
from fourcast.forecast.netcdf import Header
from fourcast.forecast.products import ProductPlan, Products, make_products, product_files
from fourcast.forecast.writer import BackgroundWriter
from fourcast.forecast_config import ProductsConfig

OUTPUTS = ("t2m", "u10m", "v10m", "msl", "tp06", "z500", "t850", "t500", "r850")
CHANNELS = ("t2m", "tp06", "z500", "t850", "t500", "r850")
MEMBERS = (0, 1, 2, 3, 5, 8, 9)
LEADS = (6, 12, 24)
CONFIG = ProductsConfig(
    statistics=["mean", "spread", "minimum", "maximum"],
    quantiles=[0.9, 0.1, 0.5],
    probability=["t2m > 281.5", "z500 <= 280", "ws10m > 17.2", "tp06 >= 279", "t2m <= 281.5"],
)
FILES = ("mean", "spread", "minimum", "maximum", "quantile_0.10", "quantile_0.50", "quantile_0.90", "probability")
INIT = np.datetime64("2026-08-10T00", "h")


def make_header(channels: tuple[str, ...] = CHANNELS, keep_bits: int | None = None) -> Header:
    latitude, longitude = np.linspace(90, -90, 7)[:-1], np.arange(8) * 45.0
    return Header(channels, latitude, longitude, INIT, LEADS, {"seed": 7, "synthetic": True}, 3, keep_bits=keep_bits)


def members_of(channel: str, i_lead: int, members: int = len(MEMBERS)) -> np.ndarray:
    """[M, 6, 8], another for every channel and lead time."""
    seed = [i_lead, *channel.encode()]
    return np.random.default_rng(seed).normal(280, 10, (members, 6, 8)).astype(np.float32)


def write(folder: Path, plan: ProductPlan, header: Header) -> Path:
    with BackgroundWriter() as writer:
        products = Products(plan, header, writer, folder)
        for i_lead in range(len(LEADS)):
            for channel in reversed(plan.channels_needed):
                products.add(i_lead, channel, members_of(channel, i_lead))
        products.finish()
    return folder


def make_plan(config: ProductsConfig = CONFIG, channels: tuple[str, ...] = CHANNELS) -> ProductPlan:
    plan = make_products(config, channels, OUTPUTS, MEMBERS)
    assert plan is not None
    return plan


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All products of three lead times; read only."""
    return write(tmp_path_factory.mktemp("products") / "2026-08-10T00", make_plan(), make_header())


def read(path: Path, name: str) -> np.ndarray:
    with netCDF4.Dataset(path) as file:
        file.set_auto_mask(False)
        return np.asarray(file[name][:])


def attributes(path: Path, name: str | None = None) -> dict[str, object]:
    with netCDF4.Dataset(path) as file:
        source = file if name is None else file[name]
        return {key: source.getncattr(key) for key in source.ncattrs()}


def test_every_product_is_a_file(folder: Path) -> None:
    assert product_files(CONFIG) == tuple(f"{name}.nc" for name in FILES)
    assert {path.name for path in folder.iterdir()} == set(product_files(CONFIG))


def test_files_have_the_layout_of_members_without_a_number(folder: Path) -> None:
    for name in FILES[:-1]:
        with netCDF4.Dataset(folder / f"{name}.nc") as file:
            assert file["t"].dimensions == ("time", "level", "latitude", "longitude")
            assert file["t2m"].dimensions == ("time", "latitude", "longitude")
            assert file["level"][:].tolist() == [500, 850]
            assert file["forecast_period"][:].tolist() == list(LEADS)
            assert "number" not in file.variables
            assert file["t2m"].coordinates == "forecast_period forecast_reference_time realization height_2m"
            assert netCDF4.chartostring(file["realization"][...]).item() == "0-3 5 8-9"
            assert file["realization"].standard_name == "realization"


@pytest.mark.parametrize(
    ("name", "statistic"),
    [
        ("mean", lambda x: x.mean(axis=0)),
        ("spread", lambda x: x.std(axis=0, ddof=1)),
        ("minimum", lambda x: x.min(axis=0)),
        ("maximum", lambda x: x.max(axis=0)),
        ("quantile_0.10", lambda x: np.quantile(x, 0.1, axis=0)),
        ("quantile_0.50", lambda x: np.median(x, axis=0)),
        ("quantile_0.90", lambda x: np.quantile(x, 0.9, axis=0)),
    ],
)
def test_every_channel_and_lead_time_has_its_own_statistic(folder: Path, name: str, statistic) -> None:  # type: ignore[no-untyped-def]
    path = folder / f"{name}.nc"
    fields = {"t2m": read(path, "t2m"), "tp06": read(path, "tp06")}
    fields |= {"z500": read(path, "z")[:, 0], "t500": read(path, "t")[:, 0], "t850": read(path, "t")[:, 1]}
    fields |= {"r850": read(path, "r")[:, 1]}
    for channel, values in fields.items():
        for i_lead in range(len(LEADS)):
            expected = statistic(members_of(channel, i_lead).astype(np.float64))
            np.testing.assert_allclose(values[i_lead], expected, rtol=1e-7, err_msg=f"{channel} {i_lead}")


def test_xarray_opens_every_product(folder: Path) -> None:
    for name in FILES:
        with xr.open_dataset(folder / f"{name}.nc") as dataset:
            assert dataset["realization"].item() == b"0-3 5 8-9"
            assert dataset.sizes["time"] == len(LEADS)
            np.testing.assert_array_equal(dataset["time"], INIT + np.array(LEADS))


def test_levels_a_variable_lacks_are_missing(folder: Path) -> None:
    for name in FILES[:-1]:
        assert np.isnan(read(folder / f"{name}.nc", "z")[:, 1]).all()
        assert np.isnan(read(folder / f"{name}.nc", "r")[:, 0]).all()


def test_probabilities_are_those_of_the_events(folder: Path) -> None:
    path = folder / "probability.nc"
    for i_lead in range(len(LEADS)):
        for name, happens in {
            "prob_t2m_gt_281p5": members_of("t2m", i_lead) > 281.5,
            "prob_z500_le_280": members_of("z500", i_lead) <= 280,
            "prob_ws10m_gt_17p2": members_of("ws10m", i_lead) > 17.2,
            "prob_tp06_ge_279": members_of("tp06", i_lead) >= 279,
        }.items():
            expected = happens.sum(axis=0) / np.float32(len(MEMBERS))
            np.testing.assert_array_equal(read(path, name)[i_lead], expected.astype(np.float32), err_msg=name)
    contrary = read(path, "prob_t2m_gt_281p5") + read(path, "prob_t2m_le_281p5")
    np.testing.assert_allclose(contrary, 1, rtol=1e-7)


def test_files_say_of_which_members_they_are_and_how_they_were_made(folder: Path) -> None:
    found = attributes(folder / "quantile_0.10.nc")
    assert found["product"] == "quantile_0.10"
    assert (found["member_count"], found["members"]) == (7, "0-3 5 8-9")
    assert found["title"] == "Weather forecast, quantile 0.10 of 7 members"
    assert str(found["method"]).startswith("linear interpolation between order statistics")
    assert (found["seed"], found["synthetic"]) == (7, 1)
    assert found["channels"] == " ".join(CHANNELS)
    assert "member" not in found
    assert attributes(folder / "spread.nc")["method"] == "standard deviation of members with divisor M - 1, in float64"
    assert str(attributes(folder / "probability.nc")["channels"]).startswith("prob_t2m_gt_281p5 prob_z500_le_280")


@pytest.mark.parametrize(
    ("name", "method"),
    [("mean", "mean"), ("spread", "standard_deviation"), ("minimum", "minimum"), ("maximum", "maximum"),
     ("quantile_0.50", "median")],
)  # fmt: skip
def test_cell_methods_end_with_what_is_done_over_members(folder: Path, name: str, method: str) -> None:
    path = folder / f"{name}.nc"
    assert attributes(path, "t2m")["cell_methods"] == f"time: point realization: {method}"
    assert attributes(path, "tp06")["cell_methods"] == f"time: sum realization: {method}"
    assert attributes(path, "t2m")["standard_name"] == "air_temperature"
    assert attributes(path, "t2m")["units"] == "K"


def test_other_quantiles_are_no_cell_method(folder: Path) -> None:
    found = attributes(folder / "quantile_0.90.nc", "t2m")
    assert found["cell_methods"] == "time: point"
    assert found["quantile"] == 0.9
    assert found["long_name"] == "2m temperature, ensemble quantile 0.90"


def test_the_spread_of_a_temperature_is_a_difference(folder: Path) -> None:
    assert attributes(folder / "spread.nc", "t")["units_metadata"] == "temperature: difference"
    assert attributes(folder / "mean.nc", "t")["units_metadata"] == "temperature: on_scale"
    assert "units_metadata" not in attributes(folder / "spread.nc", "z")


def test_a_probability_tells_its_event(folder: Path) -> None:
    path = folder / "probability.nc"
    found = attributes(path, "prob_z500_le_280")
    assert found["long_name"] == "probability of geopotential at 500 hPa <= 280.0 m2 s-2"
    assert (found["units"], found["threshold"], found["comparison"]) == ("1", 280, "<=")
    assert found["threshold_units"] == "m2 s-2"
    assert "standard_name" not in found
    method = "realization: mean (of 1 where the event happens, else 0)"
    assert attributes(path, "prob_tp06_ge_279")["cell_methods"] == f"time: sum {method}"
    assert attributes(path, "prob_ws10m_gt_17p2")["cell_methods"] == f"time: point {method}"
    assert str(attributes(path, "prob_ws10m_gt_17p2")["coordinates"]).endswith("height_10m")
    with netCDF4.Dataset(path) as file:
        assert file["prob_z500_le_280"].dimensions == ("time", "latitude", "longitude")
        assert "level" not in file.dimensions
        assert (file["time_bnds"][:, 1] - file["time_bnds"][:, 0] == 6).all()


def test_products_are_not_rounded_as_members_may_be(tmp_path: Path, folder: Path) -> None:
    config = ProductsConfig(statistics=["mean"])
    rounded = write(tmp_path, make_plan(config), make_header(keep_bits=4))
    np.testing.assert_array_equal(read(rounded / "mean.nc", "t2m"), read(folder / "mean.nc", "t2m"))


def test_events_alone_need_their_channels_alone(tmp_path: Path) -> None:
    plan = make_plan(ProductsConfig(probability=["ws10m > 280", "t2m > 281.5"]))
    assert plan.channels_needed == ("ws10m", "t2m")
    assert plan.fields == 2
    assert [path.name for path in write(tmp_path, plan, make_header()).iterdir()] == ["probability.nc"]
    assert read(tmp_path / "probability.nc", "prob_t2m_gt_281p5").max() > 0


def test_channels_that_only_events_look_at_are_needed_but_not_described(folder: Path) -> None:
    assert make_plan().channels_needed == (*CHANNELS, "ws10m")
    assert make_plan().fields == 7 * len(CHANNELS) + 5
    with netCDF4.Dataset(folder / "mean.nc") as file:
        assert "ws10m" not in file.variables


def test_what_is_asked_for_twice_is_made_once() -> None:
    config = ProductsConfig(["mean", "mean"], [0.5, 0.50], ["t2m > 3", "t2m>3.0"])
    assert product_files(config) == ("mean.nc", "quantile_0.50.nc", "probability.nc")
    assert make_plan(config).events == parse_events(["t2m > 3"], "events")


def test_nothing_asked_for_is_no_plan() -> None:
    assert product_files(ProductsConfig()) == ()
    assert make_products(ProductsConfig(), CHANNELS, OUTPUTS, (0,)) is None


@pytest.mark.parametrize("members", [(), (37,)])
def test_a_spread_takes_two_members(members: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"products.statistics: a spread takes two members or more, found .; raise"):
        make_products(ProductsConfig(["mean", "spread"]), CHANNELS, OUTPUTS, members)


def test_other_statistics_take_one_member() -> None:
    assert make_products(ProductsConfig(["mean"], [0.1]), CHANNELS, OUTPUTS, (37,)) is not None


@pytest.mark.parametrize("event", ["tcwv > 30", "ws100m > 20", "rain > 1", "t501 > 280", "t2n < 273"])
def test_events_of_channels_that_there_are_not_are_refused(event: str) -> None:
    with pytest.raises(InputError, match=event.split()[0]):
        make_products(ProductsConfig(probability=["t2m > 280", event]), CHANNELS, OUTPUTS, MEMBERS)


def test_unfinished_products_leave_no_file(tmp_path: Path) -> None:
    def interrupted() -> None:
        with BackgroundWriter() as writer:
            products = Products(make_plan(), make_header(), writer, tmp_path)
            for channel in make_plan().channels_needed:
                products.add(0, channel, members_of(channel, 0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_lead_times_come_in_order_and_whole(tmp_path: Path) -> None:
    plan = make_plan(ProductsConfig(["mean"]), ("t2m", "msl"))

    def given(*fields: tuple[int, str]) -> None:
        with BackgroundWriter() as writer:
            products = Products(plan, make_header(("t2m", "msl")), writer, tmp_path)
            for i_lead, channel in fields:
                products.add(i_lead, channel, members_of(channel, i_lead))
            products.finish()

    with pytest.raises(AssertionError, match="after 1 of 3 lead times"):
        given((0, "t2m"), (0, "msl"))
    with pytest.raises(AssertionError, match="after 0 of 3 lead times"):
        given((0, "t2m"))
    with pytest.raises(AssertionError):
        given((1, "t2m"))
    with pytest.raises(AssertionError):
        given((0, "t2m"), (1, "msl"))
    for twice_or_foreign in ("t2m", "sp"):
        with pytest.raises(KeyError, match=twice_or_foreign):
            given((0, "t2m"), (0, twice_or_foreign))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_product_can_be_open_several_times(folder: Path) -> None:
    """In one process, as xarray and notebooks do it, with a second product beside it."""
    first, second = folder / "mean.nc", folder / "spread.nc"
    code = f"""
import netCDF4
for _ in range(200):
    files = [netCDF4.Dataset(path) for path in ({str(first)!r}, {str(first)!r}, {str(second)!r})]
    files[0]["t2m"][0]
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
