"""Means over regions: worked out by hand, then against plain sums over random regions."""

import numpy as np
import pytest

from fourcast.verify.area_means import AreaMeans, Region, whole

WEIGHTS = np.array([0.75, 1.5, 0.75])
RNG = np.random.default_rng(0)


def region(name: str, rows: str, columns: str, mask: np.ndarray | None = None) -> Region:
    """Rows and columns as in "110": inside, inside, outside."""
    return Region(name, np.array(list(rows)) == "1", np.array(list(columns)) == "1", mask)


def random_means(shape: tuple[int, int], count: int) -> AreaMeans:
    """Regions of scattered rows and columns, a third of them with each of two masks."""
    masks = [None, RNG.random(shape), RNG.random(shape).round()]
    regions = tuple(
        Region(str(r), RNG.random(shape[0]) < 0.6, RNG.random(shape[1]) < 0.5, masks[r % 3]) for r in range(count)
    )
    return AreaMeans(regions, RNG.random(shape[0]) + 0.1)


def weights_of(means: AreaMeans) -> np.ndarray:
    """[R, H, W], the plain way."""
    return np.stack(
        [
            means.weights_H[:, None] * np.outer(r.rows_H, r.columns_W) * (1 if r.mask_HW is None else r.mask_HW)
            for r in means.regions
        ]
    )


def test_rows_count_by_their_weight() -> None:
    field = np.array([[4.0, 4.0], [1.0, 3.0], [0.0, 8.0]])
    # Row means 4, 2, 4 → (0.75 · 4 + 1.5 · 2 + 0.75 · 4) / 3 = 3.
    assert whole(WEIGHTS, 2).means(field[None]) == pytest.approx(3.0)


def test_boxes_masks_and_gaps_by_hand() -> None:
    field = np.array([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]], np.ones((3, 3))])
    mask = np.array([[1.0, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    means = AreaMeans((region("box", "110", "101"), region("land", "111", "111", mask)), WEIGHTS)
    # Box: (0.75 · (1 + 3) + 1.5 · (4 + 6)) / (0.75 · 2 + 1.5 · 2) = 18 / 4.5.
    # Land: (0.75 · (1 + 0.5 · 2) + 1.5 · 4) / (0.75 · 1.5 + 1.5) = 7.5 / 2.625.
    np.testing.assert_allclose(means.means(field), [[4.0, 7.5 / 2.625], [1.0, 1.0]])
    np.testing.assert_allclose(means.totals(), [4.5, 2.625])
    np.testing.assert_array_equal(means.coverage(), [1, 1])
    valid = np.ones((3, 3), dtype=bool)
    valid[1, 0] = False
    # Box: (3 + 9) / (1.5 + 1.5); land: 1.5 / 1.125. Left of the box: 3 / 4.5, of land 1.125 / 2.625.
    field[:, 1, 0] = np.nan
    np.testing.assert_allclose(means.means(field, valid), [[4.0, 1.5 / 1.125], [1.0, 1.0]])
    np.testing.assert_allclose(means.coverage(valid), [3 / 4.5, 1.125 / 2.625])


def test_a_field_means_the_same_whatever_stands_beside_it() -> None:
    means, fields = random_means((7, 9), 6), RNG.normal(size=(2, 5, 7, 9))
    bins = RNG.integers(0, 4, size=(5, 7, 9))
    together, counts = means.means(fields), means.histogram(bins, None, 4)
    for n in range(5):
        np.testing.assert_array_equal(together[:, n], means.means(fields[:, n]))
        np.testing.assert_array_equal(counts[n], means.histogram(bins[n], None, 4))


def test_a_region_without_a_valid_point_has_no_mean() -> None:
    means = AreaMeans((region("one", "100", "10"), region("all", "111", "11")), WEIGHTS)
    valid = np.ones((3, 2), dtype=bool)
    valid[0, 0] = False
    found = means.means(np.full((1, 3, 2), 2.0), valid)
    np.testing.assert_array_equal(found, [[np.nan, 2.0]])
    np.testing.assert_allclose(means.coverage(valid), [0.0, 5.25 / 6])


@pytest.mark.parametrize(("shape", "count"), [((7, 13), 9), ((1, 5), 3), ((16, 1), 4), ((5, 31), 1)])
def test_any_regions_together_are_what_they_are_alone(shape: tuple[int, int], count: int) -> None:
    means = random_means(shape, count)
    fields, valid = RNG.normal(size=(3, *shape)), RNG.random(shape) < 0.8
    weights = weights_of(means) * valid
    totals = weights.sum(axis=(1, 2))
    expected = np.einsum("khw,rhw->kr", fields, weights) / np.where(totals > 0, totals, np.nan)
    np.testing.assert_allclose(means.means(fields, valid), expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(means.sums(fields), np.einsum("khw,rhw->kr", fields, weights_of(means)), atol=1e-12)


@pytest.mark.parametrize("shared", [False, True])
def test_histograms_weigh_bins_like_means(shared: bool) -> None:
    means = random_means((7, 13), 6)
    bins, shares = RNG.integers(0, 4, (7, 13)).astype(np.uint8), RNG.random((7, 13)) if shared else None
    plain = np.ones((7, 13)) if shares is None else shares
    expected = np.stack([means.sums((plain * (bins == k))[None])[0] for k in range(5)], axis=1)
    np.testing.assert_allclose(means.histogram(bins, shares, 5), expected, rtol=1e-12, atol=1e-13)


def test_pieces_add_up_to_their_regions() -> None:
    means = random_means((7, 13), 6)
    weights = np.zeros((6, 7, 13))
    for rows, columns, weights_hw, of_R in means.pieces():
        for r in of_R:
            weights[r][np.ix_(rows, columns)] += weights_hw
    np.testing.assert_array_equal(weights, weights_of(means))


def test_float32_fields_are_averaged_in_float64() -> None:
    field = (1e6 + RNG.random((1, 3, 4000))).astype(np.float32)
    expected = np.average(field[0].astype(np.float64).mean(axis=1), weights=WEIGHTS)
    np.testing.assert_allclose(whole(WEIGHTS, 4000).means(field), expected, rtol=1e-14)
