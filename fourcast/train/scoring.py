"""Scores of held-out forecasts while training, by the formulas of ``fourcast verify``, in sums that add.

statistic → area mean → sum over samples and processes → metric: only metrics hold square roots and ratios. All sums
are float64 on the device of the fields.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourcast.data.store import Times
from fourcast.distributed import Process
from fourcast.grid import wave_copies

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]
SYSTEMS = ("model", "persistence", "climatology")
"""What is scored; climatology has no anomaly to correlate."""


@dataclass(frozen=True, eq=False)
class Forecasts:
    """The forecasts of one sample for one time and its analysis, [C, H, W] each, in physical units.

    member: one that stands for itself, where ``model`` is the mean of several.
    """

    model: Tensor
    member: Tensor
    persistence: Tensor
    climatology: Tensor
    analysis: Tensor


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over samples, in place. L lead times, C channels, K zonal wavenumbers from 0 on.

    losses_3: of the model, of persistence, and of how many. samples_1: how many. squared_error_SLC: of ``SYSTEMS``;
    correlation_SLC: of all but climatology. power_2LCK: of the model and of the analysis.
    """

    losses_3: Tensor
    samples_1: Tensor
    squared_error_SLC: Tensor
    correlation_SLC: Tensor
    power_2LCK: Tensor

    @classmethod
    def zero(cls, leads: int, channels: int, longitudes: int, device: torch.device) -> "Sums":
        """The sums over nothing."""
        table = (leads, channels)
        shapes = ((3,), (1,), (3, *table), (2, *table), (2, *table, longitudes // 2 + 1))
        return cls(*(torch.zeros(shape, dtype=torch.float64, device=device) for shape in shapes))

    def add(self, lead: int, found: Forecasts, weights_H: Tensor) -> None:
        """Add one sample's forecasts for lead time number ``lead``; weights_H: of the rows, mean 1, float64."""
        analysis, climatology = found.analysis.double(), found.climatology.double()
        anomaly = analysis - climatology
        for system, field in enumerate((found.model, found.persistence, found.climatology)):
            self.squared_error_SLC[system, lead] += area_mean((field.double() - analysis) ** 2, weights_H)
        for system, field in enumerate((found.model, found.persistence)):
            self.correlation_SLC[system, lead] += correlation(field.double() - climatology, anomaly, weights_H)
        for place, field in enumerate((found.member, found.analysis)):
            self.power_2LCK[place, lead] += zonal_power(field, weights_H)

    def over(self, process: Process) -> "Sums":
        """These sums over all processes."""
        parts = [getattr(self, field.name) for field in fields(self)]
        total = process.sum(torch.cat([part.flatten() for part in parts]))
        pieces = total.split([part.numel() for part in parts])
        return Sums(*(piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)))


def area_mean(fields_CHW: Tensor, weights_H: Tensor) -> Tensor:
    """Mean over rows of weights with mean 1 and over columns: [..., H, W] → [...]."""
    return (fields_CHW.mean(dim=-1) * weights_H).mean(dim=-1)


def correlation(p_CHW: Tensor, t_CHW: Tensor, weights_H: Tensor) -> Tensor:
    """Uncentred correlation Σ w p t / √(Σ w p² · Σ w t²) of anomalies [C]; NaN where either vanishes everywhere."""
    norm = (area_mean(p_CHW**2, weights_H) * area_mean(t_CHW**2, weights_H)).sqrt()
    return area_mean(p_CHW * t_CHW, weights_H) / norm


def zonal_power(field_CHW: Tensor, weights_H: Tensor) -> Tensor:
    """Power of the zonal waves [C, W // 2 + 1], averaged over area; over all wavenumbers it sums to the mean square."""
    power = torch.fft.rfft(field_CHW, norm="forward").abs().double() ** 2
    power *= torch.as_tensor(wave_copies(field_CHW.shape[-1]), device=power.device)
    return (power * weights_H[:, None]).mean(dim=-2)


@dataclass(frozen=True, eq=False)
class Example:
    """One forecast to look at, its analysis, and the initial one: [C, H, W] in physical units."""

    init_time: np.datetime64
    valid_time: np.datetime64
    initial: Float32
    forecast: Float32
    analysis: Float32


@dataclass(frozen=True, eq=False)
class Validation:
    """What a validation found; the same in all processes, but for the example, which the first has.

    rmse, acc: by system [L, C], in units of the channel and of 1. power: of the model's and the analyses' zonal waves
    [2, L, C, K], squared units.
    """

    losses: dict[str, float]
    samples: int
    channels: tuple[str, ...]
    lead_hours: tuple[int, ...]
    rmse: dict[str, Float64]
    acc: dict[str, Float64]
    power: Float64
    example: Example | None

    @property
    def scores(self) -> dict[str, float]:
        """For the log: validation_loss, persistence_loss, and by channel the model's scores at the last lead time."""
        last = f"{self.lead_hours[-1]}h"
        tables = (("rmse", self.rmse["model"]), ("acc", self.acc["model"]))
        by_channel = {
            f"{score}/{name}/{last}": float(table[-1, place])
            for score, table in tables
            for place, name in enumerate(self.channels)
        }
        return self.losses | by_channel


def metrics(
    sums: Sums, channels: tuple[str, ...], lead_hours: tuple[int, ...], example: Example | None = None
) -> Validation:
    """What sums over all processes come to."""
    model, persistence, weight = sums.losses_3.tolist()
    count = sums.samples_1.item()
    rmse, acc, power = (
        (table / count).cpu().numpy() for table in (sums.squared_error_SLC, sums.correlation_SLC, sums.power_2LCK)
    )
    return Validation(
        losses={"validation_loss": model / weight, "persistence_loss": persistence / weight},
        samples=round(count),
        channels=channels,
        lead_hours=lead_hours,
        rmse=dict(zip(SYSTEMS, np.sqrt(rmse), strict=True)),
        acc=dict(zip(SYSTEMS, acc, strict=False)),
        power=power,
        example=example,
    )


def example(found: Forecasts, times: Times) -> Example:
    """A sample's forecast at the last of its ``times``, on the host; the first is its initial time."""
    fields_CHW = (found.persistence, found.member, found.analysis)
    return Example(times[0], times[-1], *(field.float().cpu().numpy() for field in fields_CHW))
