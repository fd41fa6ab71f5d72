"""The energy score: by hand, against all pairs, and what it sees that the CRPS does not."""

from statistics import NormalDist

import numpy as np
import pytest

from fourcast.verify import energy
from fourcast.verify.area_means import AreaMeans, Region, whole
from fourcast.verify.energy import energy_score

RNG = np.random.default_rng(0)


def plain(members: np.ndarray, target: np.ndarray, weights: np.ndarray) -> float:
    """By its definition: members [M, N], weights [N]."""
    size, share = len(members), weights / weights.sum()
    to_analysis = np.sqrt(((members - target) ** 2 * share).sum(axis=-1)).mean()
    pairs = np.sqrt(((members[:, None] - members[None]) ** 2 * share).sum(axis=-1))
    return float(to_analysis - pairs.sum() / (2 * size * (size - 1)))


def test_two_members_at_two_points_by_hand() -> None:
    members = np.array([[[3.0], [4.0]], [[0.0], [0.0]]])
    target = np.zeros((2, 1))
    # Norms √((9 + 16) / 2) and 0 to the analysis, √(25 / 2) apart: 5 / √2 · (1/2 − 1/2) = 0.
    assert energy_score(members, target, whole(np.ones(2), 1), None) == pytest.approx(0.0)
    # Weights 3/2 and 1/2: √((27 + 16) / 4) = √10.75 apart; from (0, 4): √(16 / 4) = 2 and √(27 / 4).
    found = energy_score(members, np.array([[0.0], [4.0]]), whole(np.array([1.5, 0.5]), 1), None)
    assert found == pytest.approx((np.sqrt(6.75) + 2 - np.sqrt(10.75)) / 2)


@pytest.mark.parametrize("block", [1, 262144])
@pytest.mark.parametrize(("size", "shape"), [(2, (3, 5)), (7, (7, 13)), (20, (5, 1))])
def test_regions_masks_and_gaps_agree_with_all_pairs(
    monkeypatch: pytest.MonkeyPatch, block: int, size: int, shape: tuple[int, int]
) -> None:
    monkeypatch.setattr(energy, "BLOCK", block)
    members, target = RNG.normal(250, 9, (size, *shape)).astype(np.float32), RNG.normal(250, 9, shape)
    mask, valid = RNG.random(shape).round(1), RNG.random(shape) < 0.7
    valid[0, 0] = True
    members[0][~valid] = np.nan
    rows = [np.ones(shape[0], bool), np.arange(shape[0]) % 2 == 0, np.arange(shape[0]) < 2]
    columns = [np.ones(shape[1], bool), np.arange(shape[1]) != 2, np.arange(shape[1]) < 3]
    regions = tuple(Region(str(r), rows[r % 3], columns[r // 2], mask if r == 4 else None) for r in range(5))
    means = AreaMeans(regions, RNG.random(shape[0]) + 0.1)
    found = energy_score(members, target, means, valid)
    for r, region in enumerate(regions):
        weights = means.weights_H[:, None] * np.outer(region.rows_H, region.columns_W) * valid * (mask if r == 4 else 1)
        inside = weights > 0
        expected = plain(members[:, inside].astype(np.float64), target[inside], weights[inside])
        assert found[r] == pytest.approx(expected, rel=1e-10)


def test_a_common_error_does_not_drown_small_distances() -> None:
    small = RNG.normal(0, 1e-3, (4, 3, 5))
    small -= small.mean(axis=(1, 2), keepdims=True)
    members, target = 1e5 + small, np.zeros((3, 5))
    apart = np.sqrt(((small[:, None] - small[None]) ** 2).mean(axis=(2, 3))).sum() / (2 * 4 * 3)
    # √(mean of (1e5 + d)²) is 1e5 to 1e-11 where d has no mean.
    assert 1e5 - energy_score(members, target, whole(np.ones(3), 5), None) == pytest.approx(apart, rel=1e-6)


def test_members_that_vary_together_as_the_analysis_does_score_better() -> None:
    rng = np.random.default_rng(3)
    means = whole(np.ones(2), 8)
    found = []
    for share in (np.arange(500) + 0.5) / 500:
        target, together = np.full((2, 8), NormalDist().inv_cdf(share)), rng.normal(size=(6, 1, 1)) * np.ones((2, 8))
        apart = rng.normal(size=(6, 2, 8))  # the same distribution at every point
        found.append([energy_score(members, target, means, None)[0] for members in (together, apart)])
    with_them, without = np.mean(found, axis=0)
    # Of fields that are the same everywhere it is the CRPS, 1/√π of standard normals.
    assert with_them == pytest.approx(1 / np.sqrt(np.pi), abs=0.04)
    assert without > with_them + 0.05
