"""From a request to a run: everything is loaded and checked before the first step is made."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fourcast.config import ForecastConfig
from fourcast.data.store import Times
from fourcast.distributed import Process
from fourcast.errors import InputError
from fourcast.files import read_json
from fourcast.forecast.batching import Batching, choose_batching
from fourcast.forecast.contents import MANIFEST
from fourcast.forecast.dropout import make_keyed
from fourcast.forecast.forecaster import Forecaster, load_forecaster
from fourcast.forecast.initial import Analyses, initial_times, open_analyses
from fourcast.forecast.memory import members_at_once, require_memory
from fourcast.forecast.perturb import Perturbation, describe, earlier_hours, resolve
from fourcast.forecast.plan import Plan, claim, require_alike, require_space, require_writable, stands
from fourcast.forecast.preflight import preflight
from fourcast.forecast.products import make_products, product_files
from fourcast.forecast.provenance import Attributes, exactness, provenance
from fourcast.forecast.select import make_selection
from fourcast.forecast.tasks import Unfinished, share_of, team_parts
from fourcast.periods import parse_part


@dataclass(frozen=True, eq=False)
class Run:
    """Everything that the tasks of a process need. at_once: how many members share its memory."""

    config: ForecastConfig
    plan: Plan
    process: Process
    forecasters: tuple[Forecaster, ...]
    analyses: Analyses
    perturbation: Perturbation
    batching: Batching
    at_once: int

    @property
    def varies(self) -> bool:
        """Whether members differ by more than their perturbations: by their model, its noise or its dropout."""
        noisy = any(forecaster.card.model.noise_channels for forecaster in self.forecasters)
        return noisy or len(self.forecasters) > 1 or self.config.ensemble.dropout

    @property
    def step_hours(self) -> int:
        """Between two states of the models."""
        return self.forecasters[0].card.step_hours


@contextmanager
def prepared(config: ForecastConfig, process: Process) -> Iterator[tuple[Run, list[Unfinished]]]:
    """Load models and analyses, check the request against them and the disk, and claim the run's directory.

    Yields the run and what it lacks. InputError where anything does not fit, before anything is written.
    """
    process.decide(lambda: require_writable(Path(config.output)))
    forecasters = tuple(
        load_forecaster(path, process.device, config.precision, config.precipitation) for path in config.checkpoint
    )
    require_alike(config.checkpoint, [forecaster.card for forecaster in forecasters])
    with open_analyses(config, forecasters[0].card) as analyses:
        run = _run(config, process, forecasters, analyses)
        unfinished = process.decide(lambda: _claimed(run))
        yield run, unfinished


def _run(config: ForecastConfig, process: Process, forecasters: tuple[Forecaster, ...], analyses: Analyses) -> Run:
    forecaster = forecasters[0]
    step = forecaster.card.step_hours
    if config.lead_hours % step:
        raise InputError(f"lead_hours={config.lead_hours} is no multiple of the model's step of {step} h")
    perturbation = resolve(config.ensemble, forecaster.channels, step, forecaster.card.grid, len(forecasters))
    ensemble = config.ensemble
    if ensemble.dropout:
        for each in forecasters:
            make_keyed(each.model)
    exact = process.decide(lambda: choose_batching(forecaster, _exact(config), ensemble.size).exact)
    batching = choose_batching(forecaster, exact, ensemble.size)
    attributes = provenance(config, analyses, forecasters, describe(perturbation))
    attributes["reproducibility"] = exactness(batching, process.device)
    plan = _plan(config, forecaster, initial_times(config, analyses), batching.exact, attributes)
    at_once = process.least(members_in_memory(config, forecaster, plan, batching, process))
    return Run(config, plan, process, forecasters, analyses, perturbation, batching, at_once)


def members_in_memory(
    config: ForecastConfig, forecaster: Forecaster, plan: Plan, batching: Batching, process: Process
) -> int:
    """How many members share the memory of a process: as many as fit, and not so many that others have no work."""
    if config.ensemble.batch_size is not None:
        return config.ensemble.batch_size
    fitting = members_at_once(forecaster, config.ensemble.size, batching.exact, process.local_world_size)
    _, shares = parse_part(config.part)
    share = -(-len(plan.members) * len(plan.init_times) // (process.world_size * shares))
    call = batching.size if batching.exact else 1
    return min(fitting, -(-share // call) * call)


def _exact(config: ForecastConfig) -> bool | None:
    """Whether members are to be exact; a run that was begun goes on as it began, on whatever machine."""
    manifest = Path(config.output) / MANIFEST
    if config.ensemble.exact is not None or config.overwrite or not manifest.exists():
        return config.ensemble.exact
    held: Any = read_json(manifest)
    return held.get("exact") if isinstance(held, dict) else None


def _plan(
    config: ForecastConfig, forecaster: Forecaster, init_times: list[np.datetime64], exact: bool, attributes: Attributes
) -> Plan:
    card, files, ensemble = forecaster.card, config.files, config.ensemble
    members = tuple(range(ensemble.size) if ensemble.members is None else sorted(set(ensemble.members)))
    selection = make_selection(config, forecaster.outputs, card.grid, card.step_hours)
    return Plan(
        run=Path(config.output),
        init_times=tuple(init_times),
        members=members,
        steps=selection.lead_hours[-1] // card.step_hours,
        selection=selection,
        layout=tuple(files.layout or ()),
        products=make_products(config.products, selection.channels, forecaster.outputs, members),
        product_files=product_files(config.products),
        compression=files.compression,
        keep_bits=files.keep_bits,
        exact=exact,
        attributes=attributes,
    )


def _claimed(run: Run) -> list[Unfinished]:
    """What the run lacks, once initial states and disk are checked and its directory is its own."""
    standing = stands(run.plan, run.config.overwrite)
    unfinished = lacking(run) if standing else _shared(run, run.plan.all())
    times = _needed_times(run, [each.init_time for each in unfinished])
    preflight(run.analyses, times, run.forecasters[0].card, run.config.allow or [])
    require_space(run.plan, unfinished if standing else run.plan.all())  # other shares need room, too
    if run.plan.products is not None:
        together = sum(each.products for each in unfinished)
        ranks = 1 if together >= run.process.world_size else run.process.world_size
        require_memory(run.forecasters[0], -(-len(run.plan.members) // ranks), run.process.local_world_size)
    if not standing:
        claim(run.plan, run.config.overwrite)
    return unfinished


def lacking(run: Run) -> list[Unfinished]:
    """What is not there yet of this run's share."""
    return _shared(run, run.plan.unfinished())


def _shared(run: Run, unfinished: list[Unfinished]) -> list[Unfinished]:
    """What of ``unfinished`` belongs to this run's share: whole initial times where members cannot be made apart."""
    plan, (place, count) = run.plan, parse_part(run.config.part)
    apart = plan.exact and not plan.product_files
    whole = replace(run.batching, size=run.batching.size * len(run.forecasters))  # full calls of all models
    calls = len({member // whole.size for member in plan.members}) if apart else 1
    parts = team_parts(plan.members, whole, calls)
    return share_of(unfinished, [(time, part) for time in plan.init_times for part in parts], place, count)


def _needed_times(run: Run, init_times: list[np.datetime64]) -> Times:
    """The analyses from which ``init_times`` start, earlier ones included, in order."""
    hours = np.array(earlier_hours(run.perturbation))
    return np.unique(np.array(init_times, "datetime64[h]")[:, None] - hours)
