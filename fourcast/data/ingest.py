"""``fourcast ingest``: analyses in, training store out, in parts that any number of processes share.

The store takes its place at once, unfinished, and no reader opens it. Whoever runs the same configuration again, after
a failure or beside the first, goes on with what is not yet done. Where later times have come, a finished store is
extended, and stays readable meanwhile.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from fourcast.data.describe import summarise_store
from fourcast.data.extend import can_be_replaced, is_finished, is_unchanged, kept_plan, next_plan, root_attributes
from fourcast.data.manifest import manifest_attributes, read_record, read_records, write_manifest
from fourcast.data.plan import Plan, make_plan, opened, read_plan, write_plan
from fourcast.data.sources.pieces import Float32
from fourcast.data.statistics import Statistics
from fourcast.data.summaries import Summaries
from fourcast.data.target import static_fields
from fourcast.data.tasks import Outcome, attend
from fourcast.data.workers import affordable, do_summaries, work
from fourcast.data.writer import INGEST, create_store, publish, put_static
from fourcast.data_config import IngestConfig
from fourcast.errors import InputError
from fourcast.files import partial_path, remove_abandoned, remove_directory
from fourcast.periods import parse_part
from fourcast.progress import progress


def ingest(config: IngestConfig) -> Path:
    """Write the training store ``config.output`` from ``config.source`` and return its path.

    A finished store of the same configuration and sources is left as it is. Raises InputError where the source cannot
    be used as it is, and leaves nothing; where only parts of it are refused, the others stay in the unfinished store,
    and the message says what to change. Raises OSError where the system fails, as when the disk is full.
    """
    output = Path(config.output)
    plan = _prepare(config, output)
    if plan is None:
        _tidy(output)
        print(f"{output} already holds this ingestion: nothing to do")
        return output
    shutil.rmtree(output / INGEST / "failures", ignore_errors=True)
    chosen = _share(config, plan)
    total = len(chosen) + len(plan.channels)
    outcomes = list(progress(work(config, plan, chosen), total, "ingesting, tasks"))
    failed = any(outcome.error for outcome in outcomes)
    if failed and config.part is None and output.exists() and can_be_replaced(output):
        remove_directory(output)
    _raise_failures(outcomes, output)
    missing = [part for part in range(plan.parts) if read_record(output, plan, part) is None]
    if missing and not set(missing) & set(chosen):
        print(f"{output}: this share is done; {len(missing)} of {plan.parts} parts are left to the others")
        return output
    if not missing and len(outcomes) == len(chosen):  # other shares did the last parts after this one had looked
        outcomes += do_summaries(config, range(len(plan.channels)))
        _raise_failures(outcomes, output)
    _raise_unfinished(output, total - len(outcomes))
    _raise_failures(list(attend([Publication(output, plan)], output / INGEST)), output)
    _tidy(output)
    print(summarise_store(output))
    return output


def _prepare(config: IngestConfig, output: Path) -> Plan | None:
    """The plan to carry out, kept in the unfinished store at ``output``; None where all is done."""
    standing, kept = output.exists(), kept_plan(output, config)
    if kept is not None and is_unchanged(kept, config):
        return None if is_finished(output, kept) else kept
    if kept is not None and root_attributes(output).get("publishing"):
        Publication(output, kept).run()
    with opened(config) as source:
        plan = make_plan(source, config)
        affordable(config, plan)
        static = static_fields(source, source.grid(plan.channels), plan.grid, config)
        if kept is None:
            return _create(output, plan, static, standing)
        try:
            longer = next_plan(output, kept, plan, source, config)
        except InputError:
            if config.part is not None or not can_be_replaced(output):
                raise
            return _create(output, plan, static, standing)
    if longer is not None:
        write_plan(output, longer)
    return longer


def _create(output: Path, plan: Plan, static: Mapping[str, Float32], standing: bool) -> Plan:
    """Put an empty store at ``output``, in place of what is ``standing`` there; the first of several processes wins."""
    remove_abandoned(output)
    temporary = partial_path(output)
    try:
        group = create_store(temporary, plan.channels, plan.grid, plan.shard_times, len(plan.times))
        put_static(group, static)
        write_plan(temporary, plan)
        if standing:
            remove_directory(output)
        try:
            temporary.rename(output)
        except OSError:
            if not output.exists():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    first = read_plan(output)
    if first.settings != plan.settings:
        raise InputError(f"another process has just begun to fill {output} with something else; choose another output")
    return first


def _share(config: IngestConfig, plan: Plan) -> list[int]:
    """The parts that this run is to do, without those that are done."""
    place, count = parse_part(config.part)
    new = np.arange(plan.published // plan.part_times, plan.parts)
    share = [int(part) for part in np.array_split(new, count)[place]]
    return [part for part in share if read_record(Path(config.output), plan, part) is None]


def _tidy(output: Path) -> None:
    """Remove what a finished store has no more use for."""
    for folder in ("claims", "failures", "summaries", "publish", "replaced"):
        shutil.rmtree(output / INGEST / folder, ignore_errors=True)


def _raise_failures(outcomes: Sequence[Outcome], store: Path) -> None:
    """Raise InputError where tasks failed for reasons that the user can mend, OSError where the system failed."""
    errors = [outcome for outcome in outcomes if outcome.error is not None]
    if not errors:
        return
    more = f" (and {len(errors) - 1} more like it)" if len(errors) > 1 else ""
    rest = f"; the other parts stay in {store}, and the same command goes on with them" if store.exists() else ""
    text = f"{errors[0].error}{more}{rest}"
    raise InputError(text) if all(outcome.input for outcome in errors) else OSError(text)


def _raise_unfinished(store: Path, missing: int) -> None:
    """Raise OSError where tasks came to no end at all."""
    if missing:
        raise OSError(
            f"{missing} tasks came to no end: a process died, perhaps for want of memory (then lower workers), or they "
            f"failed elsewhere (see {store / INGEST / 'failures'}); the same command goes on with them"
        )


@dataclass(frozen=True)
class Publication:
    """The last task: everything that makes the parts and summaries of ``plan`` a store that opens."""

    store: Path
    plan: Plan
    name: str = "publication"
    words: str = "publication"

    def is_done(self) -> bool:
        """See Task."""
        return is_finished(self.store, self.plan)

    def run(self) -> None:
        """See Task."""
        records = read_records(self.store, self.plan)
        summaries = Summaries(self.store, self.plan, records)
        each = [summaries.statistics(name) for name in self.plan.channels]
        statistics = Statistics(*(np.concatenate([getattr(one, f.name) for one in each]) for f in fields(Statistics)))
        climatology = (summaries.climatology(name) for name in self.plan.channels)
        attributes = {**self.plan.attributes, **manifest_attributes(self.plan, records)}
        write_manifest(self.store, self.plan, records)
        publish(self.store, self.plan.times, statistics, climatology, attributes)
