"""What a training works on, found and checked before the first step: data, periods, and the card of the model."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fourcast import __version__
from fourcast.checkpoint import Card, find_checkpoint, load_card, weights_files
from fourcast.config import DataConfig, Period, TrainConfig
from fourcast.data.dataset import Normalisation, Span, Windows, fits_in_memory, period_of, window_times
from fourcast.data.series import Series, open_series
from fourcast.errors import InputError
from fourcast.files import sha256
from fourcast.forecast.precipitation import require_fit, require_statistics
from fourcast.models.precipitation import PRECIPITATION
from fourcast.periods import within
from fourcast.variables import parse_channels


@dataclass(frozen=True)
class Task:
    """A training's data and the card of the model it makes.

    channels: what is read, in order: the model's, and the precipitation after them where that is the target. periods,
    held_out_periods: to train and to validate on. step_scale: typical change over a step in standard deviations [C].
    """

    config: TrainConfig
    series: Series
    channels: tuple[str, ...]
    periods: list[Period]
    held_out_periods: list[Period]
    card: Card
    step_scale: Tensor

    def windows(self, steps: int) -> Windows:
        """The windows of one state and ``steps`` more to train on."""
        return self._windows(self.periods, steps)

    def held_out(self) -> Windows:
        """Those to validate on."""
        chosen = self.held_out_periods
        return self._windows(chosen, held_out_steps(self.config, self.series, chosen))

    def _windows(self, periods: list[Period], steps: int) -> Windows:
        in_memory = fits_in_memory(self.series, len(self.channels), self.config.data.memory_gb)
        return Windows(self.series, self.channels, periods, Span(1, steps, self.config.data.stride), in_memory)

    def normalisation(self, device: torch.device) -> Normalisation:
        """By the statistics of the card; precipitation stays in metres."""
        assert self.card.mean is not None
        assert self.card.std is not None
        extra = len(self.channels) - len(self.card.mean)
        center, scale = (
            torch.tensor([*values, *[neutral] * extra], dtype=torch.float32, device=device)[:, None, None]
            for values, neutral in ((self.card.mean, 0.0), (self.card.std, 1.0))
        )
        return Normalisation(center, scale)


def prepare(config: TrainConfig) -> Task:
    """Open the data of a training and decide what its model is.

    InputError for a store, period, channel or grid that does not fit, for validation samples that are trained on, and
    for a checkpoint to start from that is of another model.
    """
    series = open_series(config.data.store)
    origin = _origin(config)
    channels = _channels(config, series, origin)
    training, held_out = periods(config.data, series)
    windows, apart = (
        Windows(series, channels, chosen, Span(1, steps, config.data.stride), in_memory=False)
        for chosen, steps in ((training, loss_steps(config)), (held_out, held_out_steps(config, series, held_out)))
    )
    _require_apart(windows, apart)
    card = _card(config, series, channels, origin)
    step_scale = _step_scale(series, card, windows, config.data.stride)
    if config.model.target == "residual" and card.step_scale is None:
        card = replace(card, step_scale=step_scale.tolist())
    return Task(config, series, channels, training, held_out, card, step_scale)


def loss_steps(config: TrainConfig) -> int:
    """Over how many steps losses are compared from validation to validation: those of the longest rollout."""
    return max(steps for _, steps in config.rollout.stages)


def held_out_steps(config: TrainConfig, series: Series, chosen: list[Period]) -> int:
    """How many steps a window to validate on is long: for losses and scores, as far as the period reaches."""
    least = loss_steps(config)
    most = least if config.backbone is not None else max(least, config.validation_steps)
    step = np.timedelta64(config.data.stride * series.first.step_hours, "h")
    inside = period_of(series.times, chosen)
    fitting = (n for n in range(most, least, -1) if len(window_times(series.times, inside, n + 1, step)))
    return next(fitting, least)


def _origin(config: TrainConfig) -> Card | None:
    """The card of the checkpoint that gives statistics and channels: the one to start from, or the backbone.

    Precipitation begins with a precipitation model, if with any, and its states must be those of the backbone.
    """
    backbone, start = config.backbone, config.start_from
    beside = None if backbone is None else (backbone, _card_of_kind("backbone", backbone, "forecast"))
    if beside is not None:
        _require_backbone(config, *beside)
    if start is None:
        return None if beside is None else beside[1]
    origin = _card_of_kind("start_from", start, "forecast" if beside is None else "precipitation")
    if beside is not None:
        require_fit(start, origin, beside)
    return origin


def _card_of_kind(key: str, path: str, kind: str) -> Card:
    card = load_card(path)
    if card.kind != kind:
        raise InputError(f"{key}={path} is a {card.kind} model, expected a {kind} model")
    require_statistics(path, card)
    return card


def _require_backbone(config: TrainConfig, path: str, card: Card) -> None:
    """Raise InputError where precipitation cannot be trained on the prediction of a checkpoint."""
    if card.model.noise_channels:
        raise InputError(f"backbone={path} sees noise, where precipitation needs one certain state; name another")
    if PRECIPITATION in (card.channels or []):
        raise InputError(f"backbone={path} forecasts {PRECIPITATION} itself; train it with data.channels= without it")
    if loss_steps(config) > 1:
        raise InputError("backbone=… trains on its prediction one step ahead: set rollout.steps=1")


def _channels(config: TrainConfig, series: Series, origin: Card | None) -> tuple[str, ...]:
    """What is read: the channels of the checkpoint that is started from, else those configured, else the store's."""
    wanted = config.data.channels
    configured = None if wanted is None else tuple(channel.name for channel in parse_channels(wanted))
    if origin is not None and origin.channels is not None:
        channels = tuple(origin.channels)
        if configured not in (None, channels):
            raise InputError(f"data.channels must be those of the checkpoint, {', '.join(channels)}, or not be given")
    else:
        channels = configured or series.first.channels
    return (*channels, PRECIPITATION) if config.backbone is not None else channels


def periods(data: DataConfig, series: Series) -> tuple[list[Period], list[Period]]:
    """Training and validation periods; where none is named, validation takes the last tenth of the training period."""
    training = data.train_periods
    if data.validation_periods is not None:
        return training, data.validation_periods
    if len(training) > 1:
        raise InputError("with several training periods name data.validation_start and data.validation_end too")
    (start, end), times = training[0], series.times[within(series.times, *training[0])]
    if len(times) < 2:
        raise InputError(
            f"{series.name} holds {len(times)} analyses in data.train_start to data.train_end, too few to train on; it "
            f"has {len(series.times)} from {series.times[0]} to {series.times[-1]}"
        )
    first_held_out = max(len(times) * 9 // 10, 1)
    return [(start, str(times[first_held_out - 1]))], [(str(times[first_held_out]), end)]


def _require_apart(windows: Windows, held_out: Windows) -> None:
    shared = len(np.intersect1d(windows.times[:, 0], held_out.times[:, 0]))
    if shared:
        raise InputError(
            f"{shared} of {len(held_out)} validation samples are trained on: end data.train_end before "
            "data.validation_start, or name no validation period"
        )


def _card(config: TrainConfig, series: Series, channels: tuple[str, ...], origin: Card | None) -> Card:
    """The card of the model that this training makes; its statistics are the store's, or those of ``origin``."""
    store = series.first
    states = channels if config.backbone is None else channels[:-1]
    source = config.start_from or config.backbone
    if origin is not None and not store.grid.same_as(origin.grid):
        raise InputError(f"{store.path} has the grid {store.grid}, {source} {origin.grid}")
    chosen = store.channel_positions(states)
    step_hours = store.step_hours * config.data.stride
    if origin is not None and origin.step_hours != step_hours:
        raise InputError(f"{source} steps {origin.step_hours} h, the data {step_hours} h")
    return Card(
        kind="forecast" if config.backbone is None else "precipitation",
        model=config.model,
        in_channels=len(states),
        out_channels=len(states) if config.backbone is None else 1,
        latitude=store.grid.latitude.tolist(),
        longitude=store.grid.longitude.tolist(),
        step_hours=step_hours,
        channels=list(states),
        mean=store.statistics.mean[chosen].tolist() if origin is None else origin.mean,
        std=store.statistics.std[chosen].tolist() if origin is None else origin.std,
        step_scale=None if origin is None or config.backbone is not None else origin.step_scale,
        synthetic=store.synthetic,
        provenance=_provenance(config, series),
    )


def _provenance(config: TrainConfig, series: Series) -> dict[str, Any]:
    """Where a model comes from: versions, the files and the digest of the data, the checkpoint it started from."""
    record: dict[str, Any] = {
        "fourcast": __version__,
        "torch": torch.__version__,
        "data": [path for part in series.stores for path in part.attributes.get("source_paths", [])],
        "data_sha256": [part.digest for part in series.stores],
        "train": [config.data.train_start, config.data.train_end],
    }
    for key, path in (("start_from", config.start_from), ("backbone", config.backbone)):
        if path is not None:
            record[key] = {"checkpoint": str(find_checkpoint(path)), "sha256": sha256(*weights_files(path))}
    return record


def _step_scale(series: Series, card: Card, windows: Windows, stride: int) -> Tensor:
    """Typical change from one state to the next [C], in standard deviations; InputError where something is constant."""
    store, names = series.first, tuple(card.channels or ())
    chosen = store.channel_positions(names)
    mean, std = store.statistics.mean[chosen], store.statistics.std[chosen]
    change = store.statistics.tendency_std[chosen] if stride == 1 else windows.tendency_std()[: len(names)]
    constant = (change == 0) | ~(std > 1e-7 * np.abs(mean))  # float32 resolves no less
    if constant.any():
        dead = ", ".join(name for name, never in zip(names, constant, strict=True) if never)
        raise InputError(f"{store.path}: {dead} never changes; leave it out of data.channels")
    if not np.all(change > 0):
        raise InputError(f"{store.path} has no two analyses {store.step_hours} h apart in its statistics period")
    return torch.tensor(change / np.array(card.std), dtype=torch.float32)
