"""Regions by name, box and mask: which points they hold, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from fourcast.errors import InputError
from fourcast.grid import Grid
from fourcast.verify.area_means import AreaMeans, Region
from fourcast.verify.regions import make_regions
from fourcast.verify_config import REGIONS, VerifyConfig

COARSE = Grid(np.linspace(90, -90, 37), np.arange(0.0, 360.0, 2.5))
LAND = np.broadcast_to(np.linspace(0, 1, 144), COARSE.shape).astype(np.float32)


def made(*names: str, land: np.ndarray | None = None, grid: Grid = COARSE, **config: object) -> dict[str, Region]:
    regions = make_regions(VerifyConfig(regions=list(names), **config), grid, land)  # type: ignore[arg-type]
    return {region.name: region for region in regions}


def latitudes(region: Region) -> list[float]:
    return COARSE.latitude[region.rows_H].tolist()


def longitudes(region: Region) -> list[float]:
    return COARSE.longitude[region.columns_W].tolist()


def test_bounds_are_inclusive_as_in_weatherbench2() -> None:
    found = made("global", "tropics", "northern_extratropics", "southern_extratropics", "extratropics")
    assert found["global"].rows_H.all()
    assert all(region.columns_W.all() and region.mask_HW is None for region in found.values())
    assert latitudes(found["tropics"]) == [20, 15, 10, 5, 0, -5, -10, -15, -20]
    assert latitudes(found["northern_extratropics"])[-1] == 20
    assert latitudes(found["southern_extratropics"])[0] == -20
    both = found["northern_extratropics"].rows_H | found["southern_extratropics"].rows_H
    np.testing.assert_array_equal(found["extratropics"].rows_H, both)
    assert both.sum() == 30


def test_europe_lies_across_greenwich() -> None:
    europe = made("europe")["europe"]
    assert latitudes(europe) == [75, 70, 65, 60, 55, 50, 45, 40, 35]
    assert longitudes(europe) == [*np.arange(0, 42.6, 2.5), *np.arange(347.5, 360, 2.5)]
    assert longitudes(made("north_america")["north_america"]) == np.arange(240, 285.1, 2.5).tolist()
    assert longitudes(made("north_pacific")["north_pacific"]) == np.arange(145, 230.1, 2.5).tolist()
    assert longitudes(made("east_asia")["east_asia"]) == np.arange(102.5, 150.1, 2.5).tolist()


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([10, 350, -10, 5], [0, 2.5, 5, 350, 352.5, 355, 357.5]),
        ([10, -10, -10, 5], [0, 2.5, 5, 350, 352.5, 355, 357.5]),
        ([10, -180, -10, 180], COARSE.longitude.tolist()),
        ([10, 177.4, -10, -177.6], [177.5, 180]),
        ([10, 5, -10, 5], [5]),
    ],
)
def test_boxes_reach_from_west_eastwards_to_east(box: list[float], expected: list[float]) -> None:
    found = made(boxes={"mine": [float(number) for number in box]})["mine"]
    assert longitudes(found) == expected
    assert latitudes(found) == [10, 5, 0, -5, -10]


def test_land_and_sea_weigh_by_the_mask() -> None:
    found = made("land", "sea", "global_land", "tropics_sea", "mine_land", land=LAND, boxes={"mine": [9, 0, 0, 9]})
    assert list(found) == ["land", "sea", "global_land", "tropics_sea", "mine_land", "mine"]
    np.testing.assert_allclose(found["land"].mask_HW, LAND)
    np.testing.assert_allclose(found["sea"].mask_HW, 1 - LAND.astype(np.float64))
    assert found["land"].mask_HW is found["global_land"].mask_HW is found["mine_land"].mask_HW
    assert found["mine"].mask_HW is None
    assert latitudes(found["tropics_sea"])[0] == 20


def test_land_is_weighed_by_hand() -> None:
    grid = Grid(np.array([45.0, -45.0]), np.array([0.0, 180.0]))
    land = np.array([[1.0, 0.25], [0.0, 0.25]])
    regions = tuple(made("land", "sea", land=land, grid=grid).values())
    found = AreaMeans(regions, np.ones(2)).means(np.array([[[6.0, 2.0], [100.0, 4.0]]]))
    # Land: (6 + 0.5 + 1) / 1.5; sea: (1.5 + 100 + 3) / 2.5.
    np.testing.assert_allclose(found, [[5.0, 41.8]])


@pytest.mark.parametrize("flipped", [False, True])
def test_a_mask_is_read_whichever_way_its_axes_run(tmp_path: Path, flipped: bool) -> None:
    mask = xr.DataArray(
        np.random.default_rng(0).random((37, 144)),
        {"latitude": COARSE.latitude, "longitude": COARSE.longitude},
        ("latitude", "longitude"),
        name="basin",
    )
    given = mask
    if flipped:
        given = mask.assign_coords(longitude=(mask["longitude"] + 180) % 360 - 180).sortby("longitude")
        given = given.sortby("latitude").transpose().rename(latitude="lat", longitude="lon").expand_dims("time")
    given.to_netcdf(tmp_path / "basin.nc")
    found = made("basin_land", land=LAND, masks={"basin": str(tmp_path / "basin.nc")})
    np.testing.assert_array_equal(found["basin"].mask_HW, mask)
    np.testing.assert_array_equal(found["basin_land"].mask_HW, mask.values * LAND.astype(np.float64))


def write(path: Path, values: np.ndarray, grid: Grid = COARSE) -> str:
    axes = {"latitude": grid.latitude, "longitude": grid.longitude}
    xr.Dataset({"mask": (tuple(axes), values)}, axes).to_netcdf(path)
    return str(path)


def test_masks_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    ones, other = np.ones(COARSE.shape), Grid(COARSE.latitude[:-1], COARSE.longitude)
    gap = np.where(np.arange(144) == 7, np.nan, ones)
    (tmp_path / "text.nc").write_text("no netCDF")
    xr.Dataset(dict.fromkeys("ab", (("y", "x"), ones))).to_netcdf(tmp_path / "two.nc")
    xr.Dataset({"a": (("y", "x"), ones)}).to_netcdf(tmp_path / "axes.nc")
    cases = {
        str(tmp_path / "none.nc"): "masks.basin: there is no file .*none.nc",
        str(tmp_path / "text.nc"): "masks.basin: .*text.nc is no netCDF file that can be read",
        str(tmp_path / "two.nc"): "must hold one field of latitude and longitude, found a, b",
        str(tmp_path / "axes.nc"): "must have latitude and longitude, found y, x",
        write(tmp_path / "grid.nc", ones[:-1], other): "is on 36×144 .*, the analyses on 37×144",
        write(tmp_path / "two_fold.nc", 2 * ones): "must hold values from 0 to 1 everywhere",
        write(tmp_path / "gap.nc", gap): "must hold values from 0 to 1 everywhere",
        write(tmp_path / "empty.nc", 0 * ones): "the mask of 'basin' is 0 at all of its 5328 points",
    }
    for path, message in cases.items():
        with pytest.raises(InputError, match=message):
            made(masks={"basin": path})


@pytest.mark.parametrize(
    ("names", "config", "message"),
    [
        (["atlantis"], {}, "'atlantis' is not one of land, sea, global, tropics, .*, antarctic, mine, nor"),
        (["atlantis_land"], {}, "'atlantis_land' is not one of"),
        (["europe_sea"], {}, "'europe_sea' needs a land–sea mask, and the analyses have none"),
        ([], {"boxes": {"mine": [1.0, 1.0, 0.9, 2.0]}}, "'mine' has no point of the grid, 37×144 .*; leave it out"),
        ([], {"boxes": {"mine": [10.0, 1.0, 0.0, 2.0]}}, "'mine' has no point of the grid"),
        ([], {"boxes": {"mine": [10.0, 1.0, 0.0]}}, "boxes.mine must be north, west, south, east, found"),
        ([], {"boxes": {"mine": [0.0, 1.0, 10.0, 2.0]}}, "boxes.mine must be .* with north above south"),
        ([], {"boxes": {"mine": [10.0, 1.0, 0.0, 400.0]}}, "boxes.mine must be"),
        ([], {"boxes": {"europe": [10.0, 1.0, 0.0, 40.0]}}, "the name 'europe', which another region has"),
        ([], {"boxes": {}}, "name no region"),
    ],
)
def test_regions_that_cannot_be_used_are_refused(names: list[str], config: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        made(*names, **({"boxes": {"mine": [9.0, 0.0, 0.0, 9.0]}} | config))


def test_regions_that_are_scored_by_default_exist() -> None:
    assert tuple(made(*REGIONS)) == REGIONS


def test_default_regions_are_those_with_points_on_the_grid() -> None:
    alps = Grid(np.linspace(48.0, 44.0, 5), np.linspace(5.0, 16.0, 12))
    names = [region.name for region in make_regions(VerifyConfig(), alps, None)]
    assert names == ["global", "northern_extratropics", "europe"]
    assert [region.name for region in make_regions(VerifyConfig(), COARSE, None)] == list(REGIONS)
    with pytest.raises(InputError, match="'tropics' has no point of the grid"):
        make_regions(VerifyConfig(regions="tropics"), alps, None)


def test_no_region_but_boxes_of_ones_own() -> None:
    found = make_regions(VerifyConfig(regions=[], boxes={"mine": [48.0, 5.0, 44.0, 16.0]}), COARSE, None)
    assert [region.name for region in found] == ["mine"]


def test_one_member_is_no_probabilistic_climatology() -> None:
    with pytest.raises(InputError, match="climatology_members must be 0 or at least 2"):
        VerifyConfig(climatology_members=1)
