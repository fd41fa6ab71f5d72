"""``fourcast train``: one loop, top to bottom."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fourcast import __version__
from fourcast.checkpoint import Card, build
from fourcast.config import DataConfig, TrainConfig, within
from fourcast.data.dataset import Batches, Period, Windows, fits_in_memory, loader
from fourcast.data.store import Store, open_store
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
    store = open_store(config.data.store)
    channels = store.channels if config.data.channels is None else _names(config.data.channels)
    card = describe(config, store, channels)
    with process_group(config.device) as process:
        windows, held_out = (_windows(config, store, channels, period) for period in periods(config.data, store))
        _require_apart(windows, held_out)
        torch.manual_seed(config.seed)
        model = build(card).to(process.device)
        optimizer = build_optimizer(model, config.optim)
        start = resume(run, config, card, (model, optimizer), process)
        loss = build_loss(config.loss, store.grid, _step_scale(store, channels).to(process.device))
        process.say(
            f"training {sum(p.numel() for p in model.parameters()):,} parameters on {len(windows)} samples of "
            f"{len(channels)} channels, {store.grid.shape[0]}×{store.grid.shape[1]}, on {process.world_size} × "
            f"{process.device.type}" + (f", from step {start}" if start else "")
        )
        if start < config.steps:
            _loop(config, Session(run, card, process, loss), (windows, held_out), (model, optimizer), start)
    return run


@dataclass(frozen=True)
class Session:
    """What stays the same from the first step to the last."""

    run: Path
    card: Card
    process: Process
    loss: Loss


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
    recent: list[Tensor] = []
    for step, window in enumerate(loader(windows, batches.between(start, config.steps), workers), start):
        rate = learning_rate(config.optim, step, config.steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        # Random layers draw from a stream of their own at every step, so that resuming needs no saved state.
        torch.manual_seed(int(np.random.SeedSequence([config.seed, step, process.rank]).generate_state(1)[0]))
        recent.append(train_step(parallel, optimizer, session.loss, window.to(process.device), config))
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
        scores = validate(model, held_out, session.loss, config, process) if validating else {}
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


def periods(data: DataConfig, store: Store) -> tuple[Period, Period]:
    """Training and validation period; where none is named, validation takes the last tenth of the training period."""
    if data.validation_start is not None or data.validation_end is not None:
        return (data.train_start, data.train_end), (data.validation_start, data.validation_end)
    times = store.times[within(store.times, data.train_start, data.train_end)]
    if len(times) < 2:
        raise InputError(
            f"{store.path} holds {len(times)} analyses in data.train_start to data.train_end, too few to train on; it "
            f"has {len(store.times)} from {store.times[0]} to {store.times[-1]}"
        )
    first_held_out = max(len(times) * 9 // 10, 1)
    return (data.train_start, str(times[first_held_out - 1])), (str(times[first_held_out]), data.train_end)


def _require_apart(windows: Windows, held_out: Windows) -> None:
    shared = len(np.intersect1d(windows.starts, held_out.starts))
    if shared:
        raise InputError(
            f"{shared} of {len(held_out)} validation samples are trained on: end data.train_end before "
            "data.validation_start, or name no validation period"
        )


def describe(config: TrainConfig, store: Store, channels: tuple[str, ...]) -> Card:
    """The card of the model that this training makes."""
    chosen = store.channel_positions(channels)
    mean, std = store.statistics.mean[chosen], store.statistics.std[chosen]
    constant = (store.statistics.tendency_std[chosen] == 0) | ~(std > 1e-7 * np.abs(mean))  # float32 resolves no less
    if constant.any():
        dead = ", ".join(name for name, never in zip(channels, constant, strict=True) if never)
        raise InputError(f"{store.path}: {dead} never changes; leave it out of data.channels")
    residual = config.model.target == "residual"
    return Card(
        kind="forecast",
        model=config.model,
        in_channels=len(channels),
        out_channels=len(channels),
        latitude=store.grid.latitude.tolist(),
        longitude=store.grid.longitude.tolist(),
        step_hours=store.step_hours,
        channels=list(channels),
        mean=mean.tolist(),
        std=std.tolist(),
        step_scale=_step_scale(store, channels).tolist() if residual else None,
        synthetic=store.synthetic,
        provenance={
            "fourcast": __version__,
            "torch": torch.__version__,
            "data": store.attributes.get("source_paths", []),
            "train": [config.data.train_start, config.data.train_end],
        },
    )


def _names(channels: list[str]) -> tuple[str, ...]:
    return tuple(channel.name for channel in parse_channels(channels))


def _windows(config: TrainConfig, store: Store, channels: tuple[str, ...], period: Period) -> Windows:
    in_memory = fits_in_memory(store, len(channels), len(store.times), config.data.memory_gb)
    return Windows(store, channels, period, 1 + config.rollout_steps, in_memory)


def _step_scale(store: Store, channels: tuple[str, ...]) -> Tensor:
    chosen = store.channel_positions(channels)
    scale = store.statistics.tendency_std[chosen] / store.statistics.std[chosen]
    if not np.all(scale > 0):
        raise InputError(f"{store.path} has no two analyses {store.step_hours} h apart in its statistics period")
    return torch.tensor(scale, dtype=torch.float32)
