"""Regridding: by hand, by what it must keep, against a loop over cells, against CDO and a published pair of files."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from fourcast.data.regrid import METHODS, PRESETS, Regridder, preset
from fourcast.errors import InputError
from fourcast.grid import Grid, area_weights, latitude_edges, longitude_edges

RNG = np.random.default_rng(0)


def gaussian(rows: int) -> Grid:
    latitude = np.degrees(np.arcsin(np.polynomial.legendre.leggauss(rows)[0][::-1]))
    return Grid(latitude, np.arange(2 * rows) * 180 / rows)


def shifted(name: str, east: float) -> Grid:
    grid = preset(name)
    return Grid(grid.latitude, grid.longitude + east)


PAIRS = {
    "poles to centred": (preset("19x36"), preset("8x16")),
    "centred to poles": (preset("8x16"), preset("19x36")),
    "Gaussian to centred": (gaussian(32), preset("5.625deg")),
    "centred to Gaussian": (preset("18x36"), gaussian(8)),
    "no common divisor": (preset("31x47"), preset("7x13")),
    "other meridian": (shifted("18x36", 5.0), preset("9x12")),
    "nearly the same": (shifted("18x36", 1e-7), preset("18x36")),
    "1.5 degrees": (preset("1.5deg"), preset("5.625deg")),
}
GLOBAL_PAIRS = pytest.mark.parametrize(("source", "target"), PAIRS.values(), ids=PAIRS.keys())


def noise(*shape: int) -> np.ndarray:
    return RNG.normal(10, 3, shape).astype(np.float32)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found.astype(np.float64) - expected) / np.linalg.norm(expected))


def cell_areas(grid: Grid) -> np.ndarray:
    """Areas on the unit sphere [H, W]."""
    sines = np.sin(np.deg2rad(latitude_edges(grid.latitude)))
    return (sines[:-1] - sines[1:])[:, None] * np.deg2rad(np.diff(longitude_edges(grid.longitude)))


def test_averages_by_hand() -> None:
    """4×8 onto 2×4, both centred in latitude: edges 90, 45, 0, -45, -90, whose sines are 1, √½, 0, -√½, -1.

    A northern target row is (1 - √½) of the first and √½ of the second source row. Source columns are 45° wide around
    0, 45, …, target columns 90° wide around 0, 90, …: a half of the column before, all of the own, half of the next.
    """
    source, target = preset("4x8"), preset("2x4")
    field = np.zeros((4, 8), dtype=np.float32)
    field[0, 0] = 1.0
    expected = np.zeros((2, 4))
    expected[0, 0] = (1 - np.sqrt(0.5)) * 0.5
    np.testing.assert_allclose(Regridder(source, target)(field), expected, rtol=1e-6)

    field[:] = 0.0
    field[2, 7] = 1.0
    expected[:] = 0.0
    expected[1, 0] = expected[1, 3] = np.sqrt(0.5) * 0.25
    np.testing.assert_allclose(Regridder(source, target)(field), expected, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@GLOBAL_PAIRS
def test_constants_stay(source: Grid, target: Grid, method: str) -> None:
    field = np.full(source.shape, 101325.7, dtype=np.float32)
    np.testing.assert_array_equal(Regridder(source, target, method)(field), np.full(target.shape, field[0, 0]))


@GLOBAL_PAIRS
def test_the_integral_over_the_sphere_stays(source: Grid, target: Grid) -> None:
    field = noise(*source.shape) - 10
    before, after = (field * cell_areas(source)).sum(), (Regridder(source, target)(field) * cell_areas(target)).sum()
    assert abs(after - before) < 1e-6 * (abs(field) * cell_areas(source)).sum()


@pytest.mark.parametrize("method", METHODS)
@GLOBAL_PAIRS
def test_no_new_extremes(source: Grid, target: Grid, method: str) -> None:
    field = noise(*source.shape)
    found = Regridder(source, target, method)(field)
    assert field.min() <= found.min() < found.max() <= field.max()


def test_every_cell_against_a_loop() -> None:
    source, target = preset("5x8"), preset("4x6")
    field = noise(5, 8)

    def sines(grid: Grid) -> np.ndarray:
        return np.sin(np.deg2rad(latitude_edges(grid.latitude)))[::-1]

    def common(a: np.ndarray, i: int, b: np.ndarray, j: int) -> float:
        return max(0.0, min(a[i + 1], b[j + 1]) - max(a[i], b[j]))

    near, far = sines(source), sines(target)
    here, there = longitude_edges(source.longitude), longitude_edges(target.longitude)
    total, area = np.zeros((4, 6)), np.zeros((4, 6))
    for i, j, k, m in np.ndindex(5, 8, 4, 6):
        turns = sum(common(here + turn, j, there, m) for turn in (-360, 0, 360))
        overlap = common(near, i, far, k) * turns
        total[3 - k, m] += overlap * field[4 - i, j]
        area[3 - k, m] += overlap
    assert relative(Regridder(source, target)(field), total / area) < 1e-7


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("grid", [preset("19x36"), preset("5.625deg"), gaussian(16), shifted("18x36", 5.0)], ids=str)
def test_onto_itself_changes_no_bit(grid: Grid, method: str) -> None:
    field = noise(*grid.shape)
    np.testing.assert_array_equal(Regridder(grid, grid, method)(field), field)


@pytest.mark.parametrize("method", METHODS)
def test_turning_the_source_turns_the_target(method: str) -> None:
    regrid = Regridder(preset("18x36"), preset("7x12"), method)
    field = noise(18, 36)
    np.testing.assert_allclose(regrid(np.roll(field, 3, axis=1)), np.roll(regrid(field), 1, axis=1), rtol=1e-6)


def test_leading_dimensions_are_kept() -> None:
    regrid = Regridder(preset("8x16"), preset("4x8"))
    fields = noise(2, 3, 8, 16)
    found = regrid(fields)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[1, 2], regrid(fields[1, 2]))
    assert found.shape == (2, 3, 4, 8)
    assert regrid(fields[:0]).shape == (0, 3, 4, 8)


def test_bilinear_is_exact_where_the_field_is_linear() -> None:
    source, target = preset("19x72"), shifted("32x64", 1.0)
    regrid = Regridder(source, target, "bilinear")
    north = np.broadcast_to(source.latitude[:, None], source.shape).astype(np.float32)
    assert relative(regrid(north), np.broadcast_to(target.latitude[:, None], target.shape)) < 1e-7
    # The distance from Greenwich rises and falls linearly between columns at 0 and at 180 degrees.
    distance = np.minimum(source.longitude, 360 - source.longitude)
    field = np.broadcast_to(distance, source.shape).astype(np.float32)
    expected = np.broadcast_to(np.minimum(target.longitude, 360 - target.longitude), target.shape)
    assert target.longitude[-1] > source.longitude[-1]
    assert relative(regrid(field), expected) < 1e-7


def test_bilinear_beyond_the_outermost_rows_takes_their_values() -> None:
    source, target = preset("4x8"), preset("5x8")
    field = noise(4, 8)
    found = Regridder(source, target, "bilinear")(field)
    np.testing.assert_array_equal(found[[0, -1]], field[[0, -1]])
    np.testing.assert_allclose(found[2], (field[1] + field[2]) / 2, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_missing_values_carry_no_weight(method: str) -> None:
    """Twice as many columns in the source, edges in common: the two source columns of a target cell weigh the same.

    Bilinear takes a mean of the same pairs here, because the target's columns lie half-way between the source's.
    """
    source, target = preset("4x8"), Grid(preset("4x8").latitude, np.arange(4) * 90 + 22.5)
    field = noise(4, 8)
    field[0, 0] = field[1, 2] = field[1, 3] = np.nan
    found = Regridder(source, target, method)(field)
    assert found[0, 0] == field[0, 1]
    assert np.isnan(found[1, 1])
    assert np.isnan(found).sum() == 1
    np.testing.assert_allclose(found[2:], (field[2:, ::2] + field[2:, 1::2]) / 2, rtol=1e-6)


def test_less_than_half_of_a_cell_is_missing() -> None:
    """Three source columns of equal width in a target cell: two of them are enough, one is not."""
    source, target = preset("4x12"), Grid(preset("4x12").latitude, np.arange(4) * 90 + 30.0)
    field = noise(4, 12)
    field[0, 0] = field[1, 0] = field[1, 1] = np.nan
    found = Regridder(source, target)(field)
    np.testing.assert_allclose(found[0, 0], field[0, 1:3].mean(), rtol=1e-6)
    assert np.isnan(found[1, 0])
    assert np.isnan(found).sum() == 1


def test_presets() -> None:
    for name, shape in PRESETS.items():
        grid = preset(name)
        assert grid.shape == shape
        assert grid.is_global
        assert grid.longitude[0] == 0
        assert grid.longitude[1] == (float(name.removesuffix("deg")))
    assert preset("0.25deg").latitude[[0, -1]].tolist() == [90, -89.75]
    assert preset("1.5deg").latitude[[0, 1, -1]].tolist() == [90, 88.5, -90]
    assert preset("2.8125deg").latitude[[0, -1]].tolist() == [88.59375, -88.59375]
    assert preset("5.625deg").latitude[[0, 1, -1]].tolist() == [87.1875, 81.5625, -87.1875]
    assert preset("721x1440").same_as(Grid(np.linspace(90, -90, 721), np.arange(1440) / 4))
    assert preset("720x1440").same_as(preset("0.25deg"))
    assert preset("180x360").latitude[0] == 89.5


@pytest.mark.parametrize("name", ["", "1deg", "0.25", "721", "1x8", "0x0", "12x", "8X16", "-3x8", "axb"])
def test_unknown_grids_are_named(name: str) -> None:
    with pytest.raises(InputError, match="unknown grid"):
        preset(name)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_invented_at_the_south_pole(method: str) -> None:
    """720 rows hold no cell there: a row at the pole would be made up, a coarse cell around it is mostly known."""
    published = preset("0.25deg")
    with pytest.raises(InputError, match="reaches beyond 720×1440"):
        Regridder(published, preset("721x1440"), method)
    target = preset("5.625deg")
    field = np.broadcast_to(published.latitude[:, None], published.shape).astype(np.float32)
    found = Regridder(published, target, method)(field)
    assert np.isfinite(found).all()
    assert np.all(np.diff(found[:, 0]) < 0)


def test_dropping_the_row_at_the_pole_changes_no_other_value() -> None:
    whole, published = preset("721x1440"), preset("0.25deg")
    field = noise(*whole.shape)
    np.testing.assert_array_equal(Regridder(whole, published)(field), field[:720])


@pytest.mark.parametrize("method", METHODS)
def test_regions(method: str) -> None:
    """A region is filled from the globe as the globe would be; the globe cannot be filled from a region."""
    whole, globe = preset("37x72"), preset("18x36")
    region = Grid(globe.latitude[3:7], globe.longitude[30:35])
    field = noise(*whole.shape)
    found = Regridder(whole, region, method)(field)
    np.testing.assert_allclose(found, Regridder(whole, globe, method)(field)[3:7, 30:35], rtol=1e-6)
    with pytest.raises(InputError, match="reaches beyond 4×5"):
        Regridder(region, globe, method)
    with pytest.raises(InputError, match="reaches beyond 4×5"):
        Regridder(region, Grid(region.latitude, globe.longitude[:5]), method)


def test_a_target_cell_outside_by_less_than_half_takes_what_is_inside() -> None:
    """Source cells end at 10° and 30° east; the target's first cell, 4° wide, reaches out by 1.6° or by 2.4°."""
    latitude = np.array([50.0, 49.0])
    source = Grid(latitude, np.arange(10.5, 30.0))
    field = np.broadcast_to(np.arange(20, dtype=np.float32), (2, 20))
    found = Regridder(source, Grid(latitude, np.array([10.4, 14.4])))(field)
    # From 10 to 12.4: all of 0 and of 1, and 0.4 of 2.
    np.testing.assert_allclose(found[0, 0], (0 + 1 + 0.4 * 2) / 2.4, rtol=1e-6)
    with pytest.raises(InputError, match=r"cells end at 50\.5° and 48\.5° north, 10° and 30° east"):
        Regridder(source, Grid(latitude, np.array([9.6, 13.6])))


def test_a_region_across_greenwich_and_an_unknown_method_are_refused() -> None:
    across = Grid(np.array([50.0, 45.0]), np.array([0.0, 5.0, 350.0, 355.0]))
    for method in METHODS:
        with pytest.raises(InputError, match="evenly spaced longitudes"):
            Regridder(across, Grid(np.array([48.0, 47.0]), np.array([1.0, 2.0])), method)
    with pytest.raises(InputError, match="one of conservative, bilinear, found 'nearest'"):
        Regridder(preset("4x8"), preset("4x8"), "nearest")


@pytest.mark.parametrize("name", ["5.625deg", "2.8125deg"])
def test_published_analyses_averaged_by_others(samples: Path, name: str) -> None:
    """Wind of the Global Forecast System, packed to 0.1 m s-1 at 1° and to 0.01 m s-1 where others averaged it.

    At two times the original was itself in steps of 0.1 m s-1, so that nothing but the coarse packing is left.
    """
    fine = xr.open_dataset(samples / "gfs_10mwind_6h_1deg_2026-03_05.nc")
    coarse = xr.open_dataset(samples / f"gfs_10mwind_6h_{name}_2026.nc").sortby("lat", ascending=False)
    regrid = Regridder(Grid(fine["latitude"].values, fine["longitude"].values), preset(name))
    assert regrid.target.same_as(Grid(coarse["lat"].values, coarse["lon"].values))
    times = np.intersect1d(fine["time"].values, coarse["time"].values)[::10]
    for wind in ("u10", "v10"):
        found = regrid(fine[wind].sel(time=times).values.astype(np.float32))
        assert relative(found, coarse[wind].sel(time=times).values) < 4e-3
    exact = np.array(["2026-04-08T12", "2026-04-12T12"], dtype="datetime64[ns]")
    found = regrid(fine["u10"].sel(time=exact).values.astype(np.float32))
    np.testing.assert_allclose(found, coarse["u10"].sel(time=exact).values, rtol=0, atol=0.00501)


@pytest.mark.skipif(shutil.which("cdo") is None, reason="needs the command cdo")
@pytest.mark.parametrize(("method", "operator"), [("conservative", "remapcon"), ("bilinear", "remapbil")])
@pytest.mark.parametrize(("source", "target"), [("19x36", "8x16"), ("18x36", "7x13"), ("7x13", "18x36")])
def test_agrees_with_cdo(tmp_path: Path, source: str, target: str, method: str, operator: str) -> None:
    """Between the outermost rows: beyond them CDO extrapolates bilinear values in a way of its own."""
    here, there = preset(source), preset(target)
    field = noise(*here.shape)
    attributes = {"standard_name": "latitude", "units": "degrees_north"}
    east = {"standard_name": "longitude", "units": "degrees_east"}
    coordinates = {"lat": ("lat", here.latitude, attributes), "lon": ("lon", here.longitude, east)}
    xr.Dataset({"x": (("lat", "lon"), field)}, coordinates).to_netcdf(tmp_path / "in.nc")
    values = [f"{axis} = {' '.join(map(str, points))}" for axis, points in
              (("xvals", there.longitude), ("yvals", there.latitude))]  # fmt: skip
    sizes = [f"ysize = {there.shape[0]}", f"xsize = {there.shape[1]}"]
    (tmp_path / "grid").write_text("\n".join(["gridtype = lonlat", *sizes, *values]) + "\n")
    subprocess.run(["cdo", "-s", f"{operator},grid", "in.nc", "out.nc"], cwd=tmp_path, check=True)
    expected = xr.open_dataset(tmp_path / "out.nc")["x"].values
    inside = np.abs(there.latitude) <= (90 if method == "conservative" else abs(here.latitude).max())
    assert relative(Regridder(here, there, method)(field)[inside], expected[inside]) < 1e-6


def test_weights_of_scores_are_the_cells_of_regridding() -> None:
    for grid in (preset("1.5deg"), preset("5.625deg"), gaussian(16)):
        areas = cell_areas(grid)
        assert areas.sum() == pytest.approx(4 * np.pi, rel=1e-12)
        np.testing.assert_allclose(area_weights(grid.latitude), areas[:, 0] / areas[:, 0].mean(), rtol=1e-12)
