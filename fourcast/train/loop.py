"""``fourcast train``: one loop, top to bottom."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fourcast.config import TrainConfig
from fourcast.data.dataset import Batches, Normalisation
from fourcast.data.loader import Loading, load
from fourcast.distributed import Process, process_group
from fourcast.errors import InputError
from fourcast.train.learner import Learner, make_learner
from fourcast.train.log import TrainingLog
from fourcast.train.objective import Draw, make_objective
from fourcast.train.optim import learning_rate
from fourcast.train.parallel import average_buffers
from fourcast.train.pictures import Scene, keep, scene
from fourcast.train.precision import set_matmul_precision
from fourcast.train.prepare import Task, loss_steps, prepare
from fourcast.train.profiler import profiled
from fourcast.train.prospect import Prospect
from fourcast.train.run import claim, rate_newest, resume, steps_done
from fourcast.train.saver import Saver
from fourcast.train.signals import EXIT_INTERRUPTED, StopRequest, stop_requests
from fourcast.train.step import Batch, Outcome, Stepper
from fourcast.train.trackers import require_trackers
from fourcast.train.validate import HeldOut, held_out, validate


def train(config: TrainConfig) -> Path:
    """Train, or go on training, in ``config.output``; return that run directory.

    The run holds config.json, log.jsonl, checkpoints/step_NNNNNNNN, best.json and validation/. Processes started
    together by torchrun, srun or mpirun share the work. SIGTERM, SIGUSR1 and SIGUSR2 save a checkpoint and exit with
    status 75; the same command goes on. Raises InputError for a store, period or grid that does not fit, and for a run
    of another configuration in the same place.
    """
    require_trackers(config)
    task = prepare(config)
    with ExitStack() as to_the_end, process_group(config.device) as process:
        request = to_the_end.enter_context(stop_requests())  # heeded until the processes have parted
        set_matmul_precision(config.precision)
        run = Path(config.output)
        prospect = Prospect(task, process, steps_done(run)) if config.predict and process.is_first else None
        learner = make_learner(task, process)
        found = claim(run, config, task.card, process)
        if found is not None:
            resume(found, learner)
            if process.is_first:
                rate_newest(found)
        _announce(task, learner, process)
        if learner.position.step < config.steps:
            _loop(_session(task, learner, process, prospect), learner, request)
    return run


@dataclass(frozen=True)
class Session:
    """What stays the same from the first step to the last."""

    task: Task
    process: Process
    stepper: Stepper
    normalise: Normalisation
    held_out: HeldOut
    scene: Scene
    saver: Saver
    log: TrainingLog | None
    prospect: Prospect | None


def _session(task: Task, learner: Learner, process: Process, prospect: Prospect | None) -> Session:
    config, run = task.config, Path(task.config.output)
    objective = make_objective(task, process.device)
    return Session(
        task=task,
        process=process,
        stepper=Stepper(objective, process, config.parallel.accumulate, config.optim.gradient_clip),
        normalise=task.normalisation(process.device),
        held_out=held_out(task, objective, process.device),
        scene=scene(task, objective.channels),
        saver=Saver(run, task.card, process, config.keep_checkpoints, config.async_checkpoints),
        log=TrainingLog(run, learner.position.step, config) if process.is_first else None,
        prospect=prospect,
    )


def _loop(session: Session, learner: Learner, request: StopRequest) -> None:
    """All steps from where ``learner`` stands to the last, or until a signal asks to stop."""
    task, process, position = session.task, session.process, learner.position
    config = task.config
    profiles = profiled(Path(config.output) / "profile", config.profile_steps if process.is_first else 0)
    logging = closing(session.log) if session.log else nullcontext()
    with logging, closing(session.saver), profiles as profile:
        for places, window in _batches(task, process, position.step):
            # Random layers draw from a stream of their own at every step, so that resuming needs no saved state.
            torch.manual_seed(_stream(config.seed, position.step, process.rank))
            states = session.normalise(window.to(process.device, non_blocking=True))
            batch = Batch(states, Draw(config.seed, position.step, places))
            rate = learning_rate(config.optim, position.step, config.steps) * learner.plateau.factor
            skipped = position.skipped
            outcome = session.stepper.step(learner, batch, rate, request.name is not None)
            if position.skipped > skipped:  # else fp16 may have overflowed, and the loss scale is lower now
                _skip(session, learner, batch, outcome)
            _report(session, learner, outcome, rate)
            validating = _due(config.validate_every, position.step, config.steps)
            if validating or outcome.stop or position.step % config.checkpoint_every == 0:
                average_buffers(learner.model, process)
                scores = _validate(session, learner) if validating else {}
                session.saver.save(learner.tensors(), learner.state(), scores)
            profile()
            if session.prospect is not None:
                session.prospect.step()
            if outcome.stop:
                break
        session.saver.finish()
    if position.step < config.steps:
        process.say(f"stopped after step {position.step} as asked; the same command goes on from there")
        sys.exit(EXIT_INTERRUPTED)


def _stream(*key: int) -> int:
    """A seed that follows from ``key`` and from nothing else."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])


def _due(every: int, step: int, last: int) -> bool:
    return step % every == 0 or step == last


def _batches(task: Task, process: Process, start: int) -> Iterator[tuple[range, Tensor]]:
    """(places in the whole batch, window [B, S, C, H, W]) of this process for every step from ``start`` on.

    The windows of a stage are as long as its rollout; every stage draws from a sequence of samples of its own.
    """
    config, share = task.config, (process.rank, process.world_size)
    for first, end, steps in config.rollout.spans(config.steps):
        begin = max(first, start)
        if begin >= end:
            continue
        windows = task.windows(steps)
        batches = Batches(len(windows), config.batch_size, config.seed, share)
        places = range(batches.mine.start, batches.mine.stop)
        workers = 0 if windows.memory is not None else config.data.workers
        loading = Loading(config.data.loader, workers, config.data.prefetch)
        for window in load(windows, batches.between(begin, end), loading):
            yield places, window


def _report(session: Session, learner: Learner, outcome: Outcome, rate: float) -> None:
    """Show the step; every so often write down the mean of the steps since."""
    config, position = session.task.config, learner.position
    if session.log is not None:
        session.log.progress(position.step, outcome.loss)
    if _due(config.log_every, position.step, config.steps):
        if session.log is not None and position.recent:
            loss, norm = np.mean(position.recent, axis=0).tolist()
            session.log.scalars(position.step, {"loss": loss, "gradient_norm": norm, "learning_rate": rate})
        position.recent.clear()


def _skip(session: Session, learner: Learner, batch: Batch, outcome: Outcome) -> None:
    """Say which channel made a step unusable; InputError after too many in a row."""
    position, limit = learner.position, session.task.config.skip_limit
    culprit = session.stepper.culprits(learner, batch)
    what = f"loss {outcome.loss}, gradient norm {outcome.gradient_norm}: {culprit} is not finite"
    if session.log is not None:
        session.log.say(position.step, f"skipped, {what}")
        session.log.scalars(position.step, {"skipped_in_a_row": float(position.skipped)})
    if position.skipped >= limit:
        session.saver.finish()
        raise InputError(
            f"{position.skipped} steps in a row could not be used, up to step {position.step} ({what}); lower "
            "optim.learning_rate, set optim.gradient_clip=1 or use precision=fp32, and leave out channels with missing "
            f"values; the checkpoints in {session.task.config.output} are from before or hold unharmed weights"
        )


def _validate(session: Session, learner: Learner) -> dict[str, float]:
    """Score the model, averaged where the training keeps an average, and let a plateau lower the learning rate."""
    task, step = session.task, learner.position.step
    with learner.average.applied(learner.model) if learner.average else nullcontext():
        validation = validate(learner.model, session.held_out, loss_steps(task.config), session.process)
    loss, persistence = (validation.losses[name] for name in ("validation_loss", "persistence_loss"))
    if session.log is not None:
        session.log.scalars(step, validation.scores)
        session.log.pictures(step, keep(validation, session.scene, Path(task.config.output), step))
        session.log.say(step, f"validation {loss:.4g}, persistence {persistence:.4g}")
    if task.config.optim.schedule == "plateau":
        learner.plateau.update(loss, task.config.optim)
    return validation.losses


def _announce(task: Task, learner: Learner, process: Process) -> None:
    count = sum(parameter.numel() for parameter in learner.model.parameters())
    step, (h, w) = learner.position.step, task.card.grid.shape
    process.say(
        f"training {count:,} parameters on {task.card.in_channels} channels, {h}×{w}, on {process.world_size} × "
        f"{process.device.type}" + (f", from step {step}" if step else "")
    )
