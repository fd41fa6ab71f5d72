"""Product files beside what the field's own programs make of the members' files."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import netCDF4
import numpy as np
import pytest
from test_products import CHANNELS, FILES, LEADS, MEMBERS, OUTPUTS, make_header, make_plan, members_of, read, write

from fourcast.forecast.netcdf import FileWriter, columns_of, member_path
from fourcast.forecast.products import make_products, product_files
from fourcast.forecast_config import ProductsConfig

NAMES = ("t2m", "tp06", "z", "t", "r")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RUN/2026-08-10T00 with all products and the members that they are of; read only."""
    root = tmp_path_factory.mktemp("run")
    for i_member, number in enumerate(MEMBERS):
        header = replace(make_header(), number=number)
        with FileWriter(member_path(root, header.init_time, number), header, columns_of(CHANNELS)) as file:
            for i_lead in range(len(LEADS)):
                file.write(i_lead, np.stack([members_of(channel, i_lead)[i_member] for channel in CHANNELS]))
    return write(root / "2026-08-10T00", make_plan(), make_header())


def tool(name: str, *arguments: object) -> str:
    """Run one of the programs that forecasters use; skip where it is not installed."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run([name, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("operator", "product"),
    [("ensmean", "mean"), ("ensstd1", "spread"), ("ensmin", "minimum"), ("ensmax", "maximum"),
     ("enspctl,50", "quantile_0.50"), ("enspctl,90", "quantile_0.90")],
)  # fmt: skip
def test_cdo_makes_the_same_of_the_members(run: Path, tmp_path: Path, operator: str, product: str) -> None:
    """Of seven members, cdo 2.1 gives the lowest one for all percentiles below 1/6: no comparison for quantile_0.10."""
    made = tmp_path / "made.nc"
    tool("cdo", "-s", "--percentile", "numpy", operator, *sorted(run.glob("member_*.nc")), made)
    for name in NAMES:
        ours = read(run / f"{product}.nc", name)
        np.testing.assert_allclose(read(made, name), ours, rtol=2e-7, err_msg=name)


def test_cdo_counts_the_same_events(run: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.nc"
    members = sorted(run.glob("member_*.nc"))
    tool("cdo", "-s", "ensmean", "[", "-gtc,281.5", "-selname,t2m", ":", *members, "]", made)
    np.testing.assert_allclose(read(made, "t2m"), read(run / "probability.nc", "prob_t2m_gt_281p5"), rtol=2e-7)


def test_nco_makes_the_same_mean_of_the_members(run: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.nc"
    tool("nces", "-O", *sorted(run.glob("member_*.nc")), made)
    for name in NAMES:
        np.testing.assert_allclose(read(made, name), read(run / "mean.nc", name), rtol=2e-7, err_msg=name)


def test_cdo_reads_every_product(run: Path) -> None:
    for name in FILES:
        seen = tool("cdo", "-s", "sinfon", run / f"{name}.nc")
        assert "ForecastRefTime =  2026-08-10T00:00:00" in seen
        assert "500 to 850 hPa" in seen or name == "probability"
    assert "prob_ws10m_gt_17p2" in seen


def test_stored_members_give_the_products(run: Path) -> None:
    """Mean and spread to float32 rounding, quantiles and probabilities exactly."""
    files = [run / f"member_{number:03d}.nc" for number in MEMBERS]
    for name in NAMES:
        wide = np.stack([read(path, name) for path in files]).astype(np.float64)
        np.testing.assert_allclose(read(run / "mean.nc", name), wide.mean(axis=0), rtol=1e-7)
        np.testing.assert_allclose(read(run / "spread.nc", name), wide.std(axis=0, ddof=1), rtol=1e-7)
        for product, q in (("minimum", 0), ("quantile_0.10", 0.1), ("quantile_0.90", 0.9), ("maximum", 1)):
            exact = np.quantile(wide, q, axis=0).astype(np.float32)
            np.testing.assert_array_equal(read(run / f"{product}.nc", name), exact)
    warm = (np.stack([read(path, "t2m") for path in files]) > 281.5).mean(axis=0).astype(np.float32)
    np.testing.assert_array_equal(read(run / "probability.nc", "prob_t2m_gt_281p5"), warm)


def check(paths: list[Path]) -> None:
    """compliance-checker for CF 1.11, strict: no finding in any file."""
    pytest.importorskip("compliance_checker")
    checker = Path(sys.executable).with_name("compliance-checker")
    command = [checker, "-t", "cf:1.11", "-c", "strict", *paths]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("All tests passed!") == len(paths)


def test_compliance_checker_has_no_finding(run: Path) -> None:
    check([run / f"{name}.nc" for name in ("mean", "spread", "quantile_0.10", "probability")])


@pytest.mark.slow
def test_compliance_checker_has_no_finding_in_any_product(run: Path, tmp_path: Path) -> None:
    config = ProductsConfig(["mean", "spread"], [0.0, 0.1, 1.0], ["ws850 > 30", "t2m < -5e-3"])
    plan = make_products(config, ("t2m", "tp06"), (*OUTPUTS, "u850", "v850"), MEMBERS)
    assert plan is not None
    surface = write(tmp_path, plan, make_header(("t2m", "tp06")))
    check([*(run / f"{name}.nc" for name in FILES), *(surface / name for name in product_files(config))])


def test_ncdump_shows_a_probability(run: Path) -> None:
    header = tool("ncdump", "-h", run / "probability.nc")
    assert "float prob_ws10m_gt_17p2(time, latitude, longitude)" in header
    with netCDF4.Dataset(run / "probability.nc") as file:
        assert file["prob_ws10m_gt_17p2"].units == "1"
