"""Area means over regions: boxes in latitude and longitude, and masks such as land, all at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]
Places = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Region:
    """Rows [H] and columns [W] of a grid, and how much of each cell [H, W] counts, from 0 to 1; None for all of it."""

    name: str
    rows_H: Mask
    columns_W: Mask
    mask_HW: Float64 | None = None


@dataclass(frozen=True, eq=False)
class AreaMeans:
    """Weighted means over R regions of one grid.

    weights_H: of the rows, mean 1. Rows that belong to the same regions make a band, columns that do make a sector;
    fields are summed over each band and sector once, and regions are put together from these sums, so that a further
    box costs next to nothing. Each distinct mask costs one more pass.
    """

    regions: tuple[Region, ...]
    weights_H: Float64

    @property
    def names(self) -> tuple[str, ...]:
        """Of the regions, in their order."""
        return tuple(region.name for region in self.regions)

    def means(self, values_KHW: NDArray[Any], valid_HW: Mask | None = None) -> Float64:
        """Means of fields over the valid points of every region, all points where None: [..., H, W] → [..., R].

        NaN where a region has no valid point. What invalid points hold does not matter.
        """
        if valid_HW is not None:
            values_KHW = np.where(valid_HW, values_KHW, 0.0)
        return divide(self.sums(values_KHW), self.totals(valid_HW))

    def coverage(self, valid_HW: Mask | None = None) -> Float64:
        """The valid share of every region's area: [R]."""
        return np.ones(len(self.regions)) if valid_HW is None else divide(self.totals(valid_HW), self._totals)

    def totals(self, valid_HW: Mask | None = None) -> Float64:
        """Sums of the weights of the valid points: [R]."""
        return self._totals if valid_HW is None else self.sums(valid_HW[None])[0]

    def sums(self, values_KHW: NDArray[Any]) -> Float64:
        """Weighted sums over regions: [..., H, W] → [..., R]; of a field the same whatever stands beside it."""
        outer = values_KHW.shape[:-2]
        sums_KR = np.empty((*outer, len(self.regions)))
        for mask_HW, of_R, inside_RBS in self._passes:
            values: Float64 = values_KHW.astype(np.float64, copy=False)
            sectors_KHS = (values if mask_HW is None else values * mask_HW) @ self._sectors
            cells_K1N = (self._bands.T @ sectors_KHS).reshape(*outer, 1, -1)
            sums_KR[..., of_R] = (cells_K1N @ inside_RBS.reshape(len(of_R), -1).T)[..., 0, :]
        return sums_KR

    def histogram(self, bins_HW: NDArray[np.integer], shares_HW: NDArray[Any] | None, size: int) -> Float64:
        """Weighted sums of ``shares_HW`` (1 where None) by bin, 0 to ``size`` − 1: [..., H, W] → [..., R, size]."""
        fields, cells = bins_HW.size // self._cells.size, self._bands.shape[1] * self._sectors.shape[1]
        outer = bins_HW.shape[:-2]
        sums_RK = np.empty((*outer, len(self.regions), size))
        firsts = cells * size * np.arange(fields).reshape(*outer, 1, 1)
        places = (firsts + self._cells * size + bins_HW).ravel()
        for mask_HW, of_R, inside_RBS in self._passes:
            weights = np.broadcast_to(self.weights_H[:, None], bins_HW.shape)
            for factor in (mask_HW, shares_HW):
                weights = weights if factor is None else weights * factor
            counts = np.bincount(places, weights.ravel(), minlength=fields * cells * size)
            sums_RK[..., of_R, :] = inside_RBS.reshape(len(of_R), -1) @ counts.reshape(*outer, cells, size)
        return sums_RK

    def pieces(self) -> Iterator[tuple[Places, Places, Float64, Places]]:
        """Rows [h], columns [w], weights [h, w] and regions: what is to be added to which regions' sums.

        Each region is the sum of its pieces, and each piece is in all of its regions.
        """
        for mask_HW, of_R, inside_RBS in self._passes:
            for band, sector in np.argwhere(inside_RBS.any(axis=0)):
                rows = np.flatnonzero(self._band_of_rows == band)
                columns = np.flatnonzero(self._sector_of_columns == sector)
                weights_hw = np.broadcast_to(self.weights_H[rows, None], (len(rows), len(columns)))
                if mask_HW is not None:
                    weights_hw = weights_hw * mask_HW[np.ix_(rows, columns)]
                yield rows, columns, weights_hw, np.array(of_R)[inside_RBS[:, band, sector] > 0]

    @cached_property
    def _totals(self) -> Float64:
        return self.sums(np.ones((1, *self.shape)))[0]

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return len(self.weights_H), len(self.regions[0].columns_W)

    @cached_property
    def _band_of_rows(self) -> Places:
        return _classes([region.rows_H for region in self.regions])

    @cached_property
    def _sector_of_columns(self) -> Places:
        return _classes([region.columns_W for region in self.regions])

    @cached_property
    def _bands(self) -> Float64:
        return np.eye(self._band_of_rows.max() + 1)[self._band_of_rows] * self.weights_H[:, None]

    @cached_property
    def _sectors(self) -> Float64:
        return np.eye(self._sector_of_columns.max() + 1)[self._sector_of_columns]

    @cached_property
    def _cells(self) -> Places:
        return self._band_of_rows[:, None] * self._sectors.shape[1] + self._sector_of_columns

    @cached_property
    def _passes(self) -> list[tuple[Float64 | None, list[int], Float64]]:
        """For each distinct mask: itself, the regions that have it, and the bands and sectors [R, B, S] those hold."""
        of_mask: dict[int, list[int]] = {}
        for r, region in enumerate(self.regions):
            of_mask.setdefault(id(region.mask_HW), []).append(r)
        return [(self.regions[of_R[0]].mask_HW, of_R, self._inside(of_R)) for of_R in of_mask.values()]

    def _inside(self, of_R: list[int]) -> Float64:
        bands = np.unique(self._band_of_rows, return_index=True)[1]
        sectors = np.unique(self._sector_of_columns, return_index=True)[1]
        chosen = [self.regions[r] for r in of_R]
        return np.array([np.outer(region.rows_H[bands], region.columns_W[sectors]) for region in chosen], np.float64)


def whole(weights_H: Float64, columns: int) -> AreaMeans:
    """Means over all of a grid with so many columns."""
    everywhere = Region("global", np.ones(len(weights_H), dtype=bool), np.ones(columns, dtype=bool))
    return AreaMeans((everywhere,), weights_H)


def divide(sums: Float64, totals: Float64) -> Float64:
    """sums / totals, NaN where a total is 0."""
    nothing = np.full(np.broadcast_shapes(sums.shape, totals.shape), np.nan)
    return np.divide(sums, totals, out=nothing, where=totals != 0)


def _classes(members: Sequence[Mask]) -> Places:
    """A number for each place, the same where it belongs to the same regions: masks of [N] → [N]."""
    return np.unique(np.array(members), axis=1, return_inverse=True)[1].reshape(-1)
