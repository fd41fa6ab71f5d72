"""SEEPS, the stable equitable error in probability space, for precipitation.

Rodwell et al. 2010 (https://doi.org/10.1002/qj.656), in the form of WeatherBench 2. Precipitation is dry, light or
heavy; among wet analyses of the climatology two thirds are light and one third is heavy. With p the climatological
share of dry analyses, the error of a forecast category (rows) where another one was analysed (columns) is

              dry                          light            heavy
    dry       0                            1 / 2(1 − p)     4 / 2(1 − p)
    light     1 / 2p                       0                3 / 2(1 − p)
    heavy     1 / 2p + 3 / 2(2 + p)        3 / 2(2 + p)     0

A perfect forecast scores 0, and one that always says the same scores 1 on average over the climatology.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fourcast.verify.area_means import AreaMeans
from fourcast.verify.inputs.targets import Targets
from fourcast.verify.seeps_climate import DRY_BELOW, SeepsClimate, kept_climate

Float = NDArray[np.float32] | NDArray[np.float64]
Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Seeps:
    """Scores precipitation, channel by channel."""

    climates: Mapping[str, SeepsClimate]

    @property
    def channels(self) -> tuple[str, ...]:
        """Those that can be scored."""
        return tuple(self.climates)

    def statistics(
        self,
        channel: str,
        valid: np.datetime64,
        predictions: Mapping[str, Float],
        target_HW: Float,
        means: AreaMeans,
        valid_HW: NDArray[np.bool_] | None = None,
    ) -> dict[str, Float64]:
        """Means over regions [R] of the errors of fields [H, W] by system; NaN in a region without a scored point.

        valid_HW: where both analysis and forecasts have numbers; None where they have them everywhere.
        """
        climate = self.climates[channel]
        predictions_KHW: Float64 = np.stack([np.asarray(field, np.float64) for field in predictions.values()])
        errors_KHW = seeps(predictions_KHW, target_HW, climate, valid)
        scored_HW = climate.scored if valid_HW is None else climate.scored & valid_HW
        return dict(zip(predictions, means.means(errors_KHW, scored_HW), strict=True))


def make_seeps(targets: Targets, stored: xr.Dataset | None, channels: tuple[str, ...], folder: Path) -> Seeps | None:
    """What scores the precipitation among ``channels``; None where there is none, or no climatology of it.

    stored: a climatology in WeatherBench 2's layout, whose thresholds are used where it has them. Otherwise analyses
    are counted, once: what was found is kept in ``folder``, where later calls for the same analyses find it.
    """
    climates = {name: kept_climate(targets, stored, name, folder) for name in channels if name in DRY_BELOW}
    found = {name: climate for name, climate in climates.items() if climate is not None}
    return Seeps(found) if found else None


def seeps(prediction: Float, target_HW: Float, climate: SeepsClimate, valid: np.datetime64) -> Float64:
    """The error at every point of precipitation in metres valid at ``valid``: [..., H, W] → [..., H, W].

    NaN where the climatology leaves a point out (``climate.scored``) and where a value is missing. An amount at a
    limit counts as the wetter category.
    """
    dry, heavy_HW = np.float32(climate.dry_below), climate.heavy_at(valid)
    p = np.where(climate.scored, climate.dry_fraction, np.nan)
    p_dry, p_heavy = prediction < dry, prediction >= heavy_HW
    t_dry, t_heavy = target_HW < dry, target_HW >= heavy_HW
    error = 0.5 / (1 - p) * (p_dry & ~t_dry) + 1.5 / (1 - p) * (~p_heavy & t_heavy)
    error += 0.5 / p * (~p_dry & t_dry) + 1.5 / (2 + p) * (p_heavy & ~t_heavy)
    error[np.isnan(prediction) | np.isnan(target_HW)] = np.nan
    return np.asarray(error)
