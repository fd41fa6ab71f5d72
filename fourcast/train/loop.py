"""``fourcast train``: one loop, top to bottom."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fourcast import __version__
from fourcast.checkpoint import Card, build
from fourcast.config import DataConfig, Period, TrainConfig, within
from fourcast.data.dataset import Batches, Normalisation, Span, Windows, fits_in_memory, normalisation
from fourcast.data.loader import Loading, load
from fourcast.data.series import Series, open_series
from fourcast.distributed import Process, parallelize, process_group
from fourcast.errors import InputError
from fourcast.train.log import TrainingLog
from fourcast.train.loss import Loss, build_loss
from fourcast.train.optim import build_optimizer, learning_rate
from fourcast.train.run import prune, resume, save
from fourcast.train.validate import validate
from fourcast.variables import parse_channels


def train(config: TrainConfig) -> Path:
    """Train, or go on training, in ``config.output``; return that run directory.

    The run holds config.json, log.jsonl, checkpoints/step_NNNNNNNN and best.json. Ranks of a torchrun job share
    the work. Raises InputError for a store, period or grid that does not fit, and for a run of another
    configuration in the same place.
    """
    run = Path(config.output)
    series = open_series(config.data.store)
    channels = series.first.channels if config.data.channels is None else _names(config.data.channels)
    windows, held_out = (_windows(config, series, channels, chosen) for chosen in periods(config.data, series))
    _require_apart(windows, held_out)
    step_scale = _step_scale(series, channels, windows, config.data.stride)
    card = describe(config, series, channels, step_scale)
    with process_group(config.device) as process:
        torch.manual_seed(config.seed)
        model = build(card).to(process.device)
        optimizer = build_optimizer(model, config.optim)
        start = resume(run, config, card, (model, optimizer), process)
        loss = build_loss(config.loss, card.grid, step_scale.to(process.device))
        normalise = normalisation(series.first, channels, process.device)
        process.say(
            f"training {sum(p.numel() for p in model.parameters()):,} parameters on {len(windows)} samples of "
            f"{len(channels)} channels, {card.grid.shape[0]}×{card.grid.shape[1]}, on {process.world_size} × "
            f"{process.device.type}" + (f", from step {start}" if start else "")
        )
        if start < config.steps:
            _loop(config, Session(run, card, process, loss, normalise), (windows, held_out), (model, optimizer), start)
    return run


@dataclass(frozen=True)
class Session:
    """What stays the same from the first step to the last."""

    run: Path
    card: Card
    process: Process
    loss: Loss
    normalise: Normalisation


def _loop(
    config: TrainConfig,
    session: Session,
    data: tuple[Windows, Windows],
    learner: tuple[nn.Module, torch.optim.Optimizer],
    start: int,
) -> None:
    (windows, held_out), (model, optimizer) = data, learner
    process = session.process
    parallel = parallelize(model, process)
    batches = Batches(len(windows), config.batch_size, config.seed, (process.rank, process.world_size))
    log = TrainingLog(session.run, start, config.steps, config.tensorboard) if process.is_first else None
    workers = 0 if windows.memory is not None else config.data.workers
    loading = Loading(config.data.loader, workers, config.data.prefetch)
    recent: list[Tensor] = []
    for step, window in enumerate(load(windows, batches.between(start, config.steps), loading), start):
        rate = learning_rate(config.optim, step, config.steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        # Random layers draw from a stream of their own at every step, so that resuming needs no saved state.
        torch.manual_seed(int(np.random.SeedSequence([config.seed, step, process.rank]).generate_state(1)[0]))
        states = session.normalise(window.to(process.device, non_blocking=True))
        recent.append(train_step(parallel, optimizer, session.loss, states, config))
        done = step + 1
        validating = done % config.validate_every == 0 or done == config.steps
        saving = validating or done % config.checkpoint_every == 0
        if saving or done % config.log_every == 0:
            mean, gradient = (process.sum(torch.stack(recent).mean(0)) / process.world_size).tolist()
            recent.clear()
            _require_finite("loss", mean, done, session.run)
            _require_finite("gradient norm", gradient, done, session.run)
            if log is not None:
                log.scalars(done, {"loss": mean, "gradient_norm": gradient, "learning_rate": rate})
        scores = validate(model, (held_out, session.normalise), session.loss, config, process) if validating else {}
        if validating:
            _require_finite("validation loss", scores["validation_loss"], done, session.run)
        if log is not None and validating:
            log.scalars(done, scores)
            log.say(done, f"loss {mean:.4g}  validation {scores['validation_loss']:.4g} "
                    f"(persistence {scores['persistence_loss']:.4g})")  # fmt: skip
        if process.is_first and saving:
            save(session.run, session.card, model, optimizer, {"step": done, **scores})
            prune(session.run, config.keep_checkpoints)
    process.barrier()
    if log is not None:
        log.close()


def _require_finite(name: str, value: float, step: int, run: Path) -> None:
    if not np.isfinite(value):
        raise InputError(
            f"the {name} is {value} at step {step}: training has diverged; lower optim.learning_rate, set "
            "optim.gradient_clip=1 or use precision=fp32, and leave out channels with missing values; checkpoints "
            f"before it are kept in {run}"
        )


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss: Loss, window_BSCHW: Tensor, config: TrainConfig
) -> Tensor:
    """One optimizer step on windows of 1 + rollout_steps states; return [loss over the rollout, gradient norm]."""
    state, total = window_BSCHW[:, 0], torch.zeros((), device=window_BSCHW.device)
    with torch.autocast(window_BSCHW.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        for step in range(1, window_BSCHW.shape[1]):
            state = model(state)
            total = total + loss(state.float(), window_BSCHW[:, step])
    value = total / config.rollout_steps
    optimizer.zero_grad(set_to_none=True)
    value.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), config.optim.gradient_clip or torch.inf)
    optimizer.step()
    return torch.stack([value.detach(), norm])


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


def describe(config: TrainConfig, series: Series, channels: tuple[str, ...], step_scale: Tensor) -> Card:
    """The card of the model that this training makes."""
    store = series.first
    chosen = store.channel_positions(channels)
    residual = config.model.target == "residual"
    return Card(
        kind="forecast",
        model=config.model,
        in_channels=len(channels),
        out_channels=len(channels),
        latitude=store.grid.latitude.tolist(),
        longitude=store.grid.longitude.tolist(),
        step_hours=store.step_hours * config.data.stride,
        channels=list(channels),
        mean=store.statistics.mean[chosen].tolist(),
        std=store.statistics.std[chosen].tolist(),
        step_scale=step_scale.tolist() if residual else None,
        synthetic=store.synthetic,
        provenance={
            "fourcast": __version__,
            "torch": torch.__version__,
            "data": [path for part in series.stores for path in part.attributes.get("source_paths", [])],
            "train": [config.data.train_start, config.data.train_end],
        },
    )


def _names(channels: list[str]) -> tuple[str, ...]:
    return tuple(channel.name for channel in parse_channels(channels))


def _windows(config: TrainConfig, series: Series, channels: tuple[str, ...], chosen: list[Period]) -> Windows:
    in_memory = fits_in_memory(series, len(channels), config.data.memory_gb)
    return Windows(series, channels, chosen, Span(1, config.rollout_steps, config.data.stride), in_memory)


def _step_scale(series: Series, channels: tuple[str, ...], windows: Windows, stride: int) -> Tensor:
    """Typical change from one state to the next [C], in standard deviations; InputError where something is constant."""
    store = series.first
    chosen = store.channel_positions(channels)
    mean, std = store.statistics.mean[chosen], store.statistics.std[chosen]
    change = store.statistics.tendency_std[chosen] if stride == 1 else windows.tendency_std()
    constant = (change == 0) | ~(std > 1e-7 * np.abs(mean))  # float32 resolves no less
    if constant.any():
        dead = ", ".join(name for name, never in zip(channels, constant, strict=True) if never)
        raise InputError(f"{store.path}: {dead} never changes; leave it out of data.channels")
    if not np.all(change > 0):
        raise InputError(f"{store.path} has no two analyses {store.step_hours} h apart in its statistics period")
    return torch.tensor(change / std, dtype=torch.float32)
