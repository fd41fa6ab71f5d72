"""What a calibration found: its rounds, the best of them, and its scores beside those of the first guess."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fourcast.calibrate.search import TOLERANCE, Round, best, sought
from fourcast.calibrate.tally import EnsembleScores
from fourcast.calibrate.trial import Trial
from fourcast.config import CalibrateConfig
from fourcast.forecast.netcdf import SYNTHETIC
from fourcast.variables import parse_channel
from fourcast.verify.ranks import flatness, outside


@dataclass(frozen=True, eq=False)
class Calibration:
    """Rounds and their scores, the first of the amplitudes that were given. warning: of the initial times, if any."""

    config: CalibrateConfig
    trial: Trial
    rounds: tuple[Round, ...]
    scores: tuple[EnsembleScores, ...]
    warning: str = ""

    @property
    def channels(self) -> tuple[str, ...]:
        """Of the model."""
        return self.trial.forecaster.channels

    @property
    def key(self) -> str:
        """The key whose amplitude was sought."""
        return f"ensemble.{self.config.perturbation}.amplitude"

    @property
    def by_channel(self) -> bool:
        """Whether every channel has a factor of its own."""
        return one_each(self.config)

    @property
    def best(self) -> int:
        """The round that came nearest."""
        return best(self.rounds, self.by_channel)

    @property
    def amplitudes(self) -> dict[str, float]:
        """The best amplitudes by channel."""
        return dict(zip(self.channels, self.rounds[self.best].amplitude_C.tolist(), strict=True))

    @property
    def missed(self) -> NDArray[np.bool_]:
        """Channels [C] whose spread does not match the error; with one factor for all of them, all or none."""
        return np.asarray(np.abs(sought(self.rounds[self.best], self.by_channel)) >= TOLERANCE)

    def dataset(self) -> xr.Dataset:
        """Scores (amplitudes, lead_time, channel), amplitudes "before" and "after", and shares of ranks (…, rank)."""
        found = {"before": self.scores[0], "after": self.scores[self.best]}
        ranks = np.stack([each.ranks_LCR for each in found.values()])
        amplitude = np.stack([self.rounds[0].amplitude_C, self.rounds[self.best].amplitude_C])
        table, leads = ("amplitudes", "lead_time", "channel"), np.arange(self.trial.steps + 1) * self.trial.step_hours
        return xr.Dataset(
            {
                "amplitude": (("amplitudes", "channel"), amplitude),
                "spread": (table, np.stack([each.spread_LC for each in found.values()])),
                "rmse": (table, np.stack([each.error_LC for each in found.values()])),
                "spread_skill_ratio": (table, np.stack([each.ratio_LC for each in found.values()])),
                "crps": (table, np.stack([each.crps_LC for each in found.values()])),
                "rank_flatness": (table, flatness(ranks)),
                "rank_outside": (table, outside(ranks)),
                "rank_share": ((*table, "rank"), ranks),
            },
            {
                "amplitudes": list(found),
                "lead_time": leads.astype("timedelta64[h]").astype("timedelta64[ns]"),
                "channel": list(self.channels),
                "units": ("channel", [parse_channel(name).variable.units for name in self.channels]),
            },
            {"comment": SYNTHETIC} if self.synthetic else {},
        )

    @property
    def synthetic(self) -> bool:
        """Whether a simulated planet is in it."""
        return self.trial.analyses.synthetic or self.trial.forecaster.card.synthetic


def one_each(config: CalibrateConfig) -> bool:
    """Whether every channel has a factor of its own: not where bred vectors have their shape from the model."""
    return config.by_channel and config.perturbation != "bred"
