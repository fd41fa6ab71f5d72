"""``fourcast forecast``: members × initial times, split over ranks and batches, streamed to netCDF."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fourcast.checkpoint import find_checkpoint, weights_files
from fourcast.config import ForecastConfig, last_hour, parse_time
from fourcast.data.store import Store, open_store
from fourcast.distributed import process_group
from fourcast.errors import InputError
from fourcast.files import read_json, remove_directory, sha256, write_json
from fourcast.forecast.netcdf import ForecastHeader, MemberWriter, is_finished, member_path
from fourcast.forecast.perturb import model_noise, perturbed
from fourcast.forecast.reader import MANIFEST
from fourcast.forecast.rollout import Forecaster, Noise, load_forecaster, rollout
from fourcast.progress import progress
from fourcast.variables import parse_channel

LONGEST_WAIT = timedelta(days=30)
"""How long a process without work waits for the others at the end."""


@dataclass(frozen=True)
class Plan:
    """What a run consists of, decided before the first step."""

    run: Path
    init_times: tuple[np.datetime64, ...]
    members: tuple[int, ...]
    lead_hours: tuple[int, ...]
    channels: tuple[str, ...]
    attributes: dict[str, str | int | float]


@dataclass(frozen=True)
class Task:
    """Members that are rolled forward together from one initial time, and those of them whose files are missing.

    What is computed together does not depend on what is finished, so that a run that was interrupted ends with the
    same bits as one that was not.
    """

    init_time: np.datetime64
    members: tuple[int, ...]
    missing: tuple[int, ...]


def forecast(config: ForecastConfig) -> Path:
    """Run the forecasts that are not finished yet; return the run directory.

    Files are RUN/<init_time>/member_NNN.nc beside RUN/forecast.json. Every request is checked before the first
    step: InputError for a lead time that is no multiple of the model's step, a channel or grid that the store
    does not have, a date it lacks, or a run of another configuration in the same place.
    """
    with process_group(config.device, LONGEST_WAIT) as process:
        forecaster = load_forecaster(config.checkpoint, process.device, config.precision, config.precipitation)
        store = open_store(config.store)
        plan = make_plan(config, forecaster, store)
        if process.is_first:
            _claim(plan, config.overwrite)
        process.barrier()
        tasks = unfinished_tasks(plan, forecaster, config.ensemble.batch_size)
        process.barrier()  # nobody writes before everybody has looked
        mine = tasks[process.rank :: process.world_size]
        if tasks and len(tasks) < process.world_size:
            process.say(f"  only {len(tasks)} of {process.world_size} processes have work; lower ensemble.batch_size")
        states = len(plan.lead_hours)
        total, left = len(plan.members) * len(plan.init_times), sum(len(task.missing) for task in tasks)
        process.say(
            f"forecasting {len(plan.members)} members from {len(plan.init_times)} initial times to "
            f"{plan.lead_hours[-1]} h ({left} of {total} still to do) on {process.world_size} × {process.device.type}"
        )
        steps = (step for task in mine for step in run_task(config, plan, task, forecaster, store))
        for _ in progress(steps, len(mine) * states, "states") if process.is_first else steps:
            pass
        process.barrier()
        if process.is_first:
            print(f"{total} members in {plan.run}/<init_time>/member_NNN.nc")
    return plan.run


def make_plan(config: ForecastConfig, forecaster: Forecaster, store: Store) -> Plan:
    """Check the request against model and store."""
    step = forecaster.card.step_hours
    if config.lead_hours % step:
        raise InputError(f"lead_hours={config.lead_hours} is no multiple of the model's step of {step} h")
    store.channel_positions(forecaster.channels)
    if not store.grid.same_as(forecaster.card.grid):
        raise InputError(f"{store.path} has the grid {store.grid}, the model was trained on {forecaster.card.grid}")
    init_times = _init_times(config)
    store.time_positions(np.array(init_times))
    members = tuple(range(config.ensemble.size)) if config.ensemble.members is None else config.ensemble.members
    return Plan(
        run=Path(config.output),
        init_times=tuple(init_times),
        members=tuple(sorted(set(members))),
        lead_hours=tuple(range(0, config.lead_hours + 1, step)),
        channels=_selected(config.variables, forecaster.outputs),
        attributes=_attributes(config, forecaster, store),
    )


def unfinished_tasks(plan: Plan, forecaster: Forecaster, batch_size: int) -> list[Task]:
    """Batches of members with a file that is not there yet."""
    tasks = []
    for init_time in plan.init_times:
        for first in range(0, len(plan.members), batch_size):
            batch = plan.members[first : first + batch_size]
            missing = tuple(m for m in batch if not is_finished(*_destination(plan, forecaster, init_time, m)))
            tasks += [Task(init_time, batch, missing)] if missing else []
    return tasks


def run_task(
    config: ForecastConfig, plan: Plan, task: Task, forecaster: Forecaster, store: Store
) -> Iterator[np.datetime64]:
    """Roll one batch of members forward and write it, yielding each valid time once it is written."""
    position = store.time_positions(np.array([task.init_time]))
    analysis = forecaster.normalise(store.read(position, forecaster.channels)[0])
    ensemble = config.ensemble
    start = np.stack([perturbed(analysis, ensemble.amplitude, ensemble.seed, task.init_time, m) for m in task.members])
    kept = [forecaster.outputs.index(name) for name in plan.channels]
    with ExitStack() as stack:
        writers = [
            (task.members.index(member),
             stack.enter_context(MemberWriter(*_destination(plan, forecaster, task.init_time, member))))
            for member in task.missing
        ]  # fmt: skip
        noise = _noise(task, forecaster, ensemble.seed)
        states = rollout(forecaster, start, task.init_time, len(plan.lead_hours) - 1, noise)
        for i_lead, (valid_time, fields) in enumerate(states):
            for i_member, writer in writers:
                writer.write(i_lead, fields[i_member, kept])
            yield valid_time


def _noise(task: Task, forecaster: Forecaster, seed: int) -> Noise | None:
    """What the members of a task see beside their states; None for a model without noise channels."""
    channels = forecaster.card.model.noise_channels
    shape = (channels, *forecaster.card.grid.shape)
    return partial(model_noise, shape, seed, task.init_time, task.members) if channels else None


def _destination(
    plan: Plan, forecaster: Forecaster, init_time: np.datetime64, member: int
) -> tuple[Path, ForecastHeader]:
    header = ForecastHeader(
        plan.channels, forecaster.card.grid, init_time, member, plan.lead_hours, plan.attributes
    )
    return member_path(plan.run, init_time, member), header


def _init_times(config: ForecastConfig) -> list[np.datetime64]:
    if config.init_times is not None:
        return sorted({parse_time("init_times", text) for text in config.init_times})
    first = parse_time("init_start", config.init_start)
    last = last_hour("init_end", str(config.init_end))
    return list(np.arange(first, last + 1, np.timedelta64(config.init_every_hours, "h")))


def _selected(wanted: list[str] | None, channels: tuple[str, ...]) -> tuple[str, ...]:
    """The channels to write: those named, or all levels of a variable that is named."""
    if wanted is None:
        return channels
    unknown = [name for name in wanted if not any(_matches(name, channel) for channel in channels)]
    if unknown:
        raise InputError(f"variables: the model has no {', '.join(unknown)}; it forecasts {', '.join(channels)}")
    return tuple(channel for channel in channels if any(_matches(name, channel) for name in wanted))


def _matches(name: str, channel: str) -> bool:
    return name in (channel, parse_channel(channel).variable.name)


def _attributes(config: ForecastConfig, forecaster: Forecaster, store: Store) -> dict[str, str | int | float]:
    """Provenance: everything that decides a member's numbers, and where they came from."""
    checkpoint = find_checkpoint(config.checkpoint)
    ensemble = config.ensemble
    perturbation = f"gaussian, amplitude {ensemble.amplitude} standard deviations, member 0 unperturbed"
    if forecaster.card.model.noise_channels:
        perturbation += "; every member draws noise of its own at every step"
    described = json.dumps(dict(store.attributes), sort_keys=True).encode()
    rain = {} if config.precipitation is None else _identity("precipitation", find_checkpoint(config.precipitation))
    return {
        **_identity("checkpoint", checkpoint),
        **rain,
        "initial_states": store.path.name,
        "initial_states_sha256": hashlib.sha256(described).hexdigest(),
        "seed": ensemble.seed,
        "perturbation": perturbation,
        "precision": config.precision,
        "synthetic": int(forecaster.card.synthetic),
    }


def _identity(name: str, checkpoint: Path) -> dict[str, str]:
    """Which checkpoint it was, by its name and its weights."""
    return {name: checkpoint.name, f"{name}_sha256": sha256(*weights_files(checkpoint))}


def _claim(plan: Plan, overwrite: bool) -> None:
    """Write the manifest, or find the same one; another run's files are replaced only when asked to."""
    record: dict[str, Any] = asdict(plan)
    record |= {"run": plan.run.name, "init_times": [str(time) for time in plan.init_times]}
    record = json.loads(json.dumps(record))
    manifest = plan.run / MANIFEST
    if manifest.exists() and (overwrite or read_json(manifest) != record):
        if not overwrite:
            raise InputError(f"{plan.run} holds another forecast; choose another output= or pass overwrite=true")
        remove_directory(plan.run)
    elif plan.run.exists() and not manifest.exists() and not (plan.run.is_dir() and not any(plan.run.iterdir())):
        raise InputError(f"{plan.run} is there, is no empty folder and holds no forecast; choose another output=")
    write_json(manifest, record)
