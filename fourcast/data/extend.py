"""What stands where a store is to be, and how a new plan goes together with it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from fourcast.data.plan import Plan, describe_plan, fingerprint, plan_path, read_plan, settings_of
from fourcast.data.sources.source import Source
from fourcast.data.store import READABLE, Store, open_store
from fourcast.data.target import on_store_grid, regridder
from fourcast.data.writer import INGEST
from fourcast.data_config import IngestConfig
from fourcast.errors import InputError

EXTENDING = ("source", "end")
"""Keys of the configuration that may change from one run to the next that goes on with its store."""
REMEDY = "pass overwrite=true to replace it"


def root_attributes(store: Path) -> dict[str, Any]:
    """The attributes of a store, finished or not; InputError where something else lies there."""
    try:
        attributes = dict(zarr.open_group(store, mode="r", zarr_format=3).attrs)
    except (FileNotFoundError, NotADirectoryError, KeyError, ValueError) as error:
        raise InputError(f"{store} exists and is no training store ({error}); choose another output") from error
    if attributes.get("fourcast_store") not in READABLE:
        raise InputError(f"{store} exists and is no training store but some other zarr; choose another output")
    return attributes


def kept_plan(store: Path, config: IngestConfig) -> Plan | None:
    """The plan of the store that stands at ``store``; None where there is nothing, or what is to be overwritten."""
    if not store.exists():
        return None
    root_attributes(store)
    if config.overwrite:
        return None
    if not plan_path(store).exists():
        raise InputError(f"{store} holds another store, without the plan of its ingestion; {REMEDY}")
    return read_plan(store)


def is_finished(store: Path, plan: Plan) -> bool:
    """Whether the store is complete with the times of ``plan``."""
    attributes = root_attributes(store)
    return bool(attributes.get("complete")) and attributes.get("times") == len(plan.times)


def is_unchanged(plan: Plan, config: IngestConfig) -> bool:
    """Whether ``plan`` is what ``config`` asks for, as far as can be told without opening its sources."""
    files = fingerprint(config)
    return plan.settings == settings_of(config) and plan.files == files and all("bytes" in file for file in files)


def next_plan(store: Path, kept: Plan, plan: Plan, source: Source, config: IngestConfig) -> Plan | None:
    """How to go on from the ``kept`` plan to the new ``plan``; None where nothing is left to do.

    An unfinished store takes the new plan, and keeps those of its parts that fit it; a finished one is extended by the
    times behind its last. Raises InputError where the store would have to become another one.
    """
    changed = [key for key in plan.settings if key not in EXTENDING and kept.settings.get(key) != plan.settings[key]]
    if changed or kept.channels != plan.channels or not kept.grid.same_as(plan.grid, 0.0):
        raise _otherwise(store, kept, plan)
    if not root_attributes(store).get("complete"):
        return replace(plan, part_times=kept.part_times)
    held = open_store(store)
    later = plan.times[plan.times > held.times[-1]]
    lacking = np.setdiff1d(np.setdiff1d(plan.times, held.times), later)
    if len(lacking):
        raise InputError(
            f"{store} lacks {len(lacking)} times from {lacking[0]} on that its sources now hold, before its last; "
            f"times can be appended at its end only: {REMEDY}"
        )
    if len(later) == 0:
        if kept.settings["end"] == plan.settings["end"] and all(file in kept.files for file in plan.files):
            return None
        raise _otherwise(store, kept, plan)
    _refuse_other_values(held, plan, source, config)
    longer = replace(
        plan, times=np.concatenate([held.times, later]), part_times=kept.part_times, published=len(held.times)
    )
    return _with_history(describe_plan(longer, source), held)


def can_be_replaced(store: Path) -> bool:
    """Whether an unfinished store holds nothing yet that took work, and nobody is at work in it."""
    attributes, folder = root_attributes(store), store / INGEST
    if attributes.get("complete") or attributes.get("publishing"):
        return False
    return not any(folder.glob("parts/*.json")) and not any(folder.glob("claims/*"))


def _otherwise(store: Path, kept: Plan, plan: Plan) -> InputError:
    """What is different now from when ``store`` was ingested."""
    before, now = kept.settings, plan.settings
    changed = [f"{key} was {before.get(key)!r} and is {now[key]!r}" for key in now if before.get(key) != now[key]]
    if kept.channels != plan.channels:
        changed.append(f"the channels were {', '.join(kept.channels)} and are {', '.join(plan.channels)}")
    if not kept.grid.same_as(plan.grid, 0.0):
        changed.append(f"the grid was {kept.grid} and is {plan.grid}")
    if not changed:
        changed = ["the source files have changed since"]
    return InputError(f"{store} was ingested otherwise: {'; '.join(changed)}; {REMEDY}")


def _refuse_other_values(held: Store, plan: Plan, source: Source, config: IngestConfig) -> None:
    """Raise InputError where the source has other fields than the store at the first or last time that both hold."""
    common = np.intersect1d(held.times, plan.times)
    if len(common) == 0:
        return
    regrid = regridder(source.grid(plan.channels), config)
    for time in (common[:1], common[-1:]):
        now = on_store_grid(source.read(time, plan.channels), regrid, plan.grid)
        if not np.array_equal(now, held.read(held.time_positions(time), plan.channels), equal_nan=True):
            raise InputError(f"{held.path} holds other values at {time[0]} than its sources do now; {REMEDY}")


def _with_history(plan: Plan, held: Store) -> Plan:
    """``plan`` with what the store says of itself so far."""
    before, now = held.attributes, plan.attributes
    stated = (before["source_attribution"], now["source_attribution"])
    attribution = {
        key: "; ".join(dict.fromkeys(one[key] for one in stated if key in one)) for key in {**stated[0], **stated[1]}
    }
    attributes = {
        **now,
        "title": before["title"] if before["synthetic"] else now["title"],
        "history": f"{before['history']}\n{now['history']}",
        "source_paths": list(dict.fromkeys([*before["source_paths"], *now["source_paths"]])),
        "source_attribution": attribution,
        "synthetic": before["synthetic"] or now["synthetic"],
    }
    return replace(plan, attributes=attributes)
