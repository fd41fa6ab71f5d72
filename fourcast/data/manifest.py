"""The records of an ingestion, one file for every part, and the manifest that a finished store keeps of them.

    ingest/plan.json               what is to be done (see plan.py)
    ingest/parts/part_00000.json   written when the part's shards are on disk: then, and only then, it is done
    ingest/claims/, failures/      who is at which piece of work, and why some were refused (see tasks.py)
    ingest/sums/, summaries/       of the statistics and climatology of each channel (see summaries.py)
    ingest/manifest.json           all records together, missing times, ERA5 versions; written with the store

Nothing in them is volatile: the same sources and configuration give the same bytes, but for the time of planning.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from fourcast.data.plan import Plan
from fourcast.data.sources.axes import Times
from fourcast.data.writer import INGEST, shard_file
from fourcast.errors import InputError
from fourcast.files import read_json, sha256, write_json

Span = tuple[str, str, str]
"""(first time, last time, ERA5 version)"""


@dataclass(frozen=True)
class Record:
    """What a finished part holds.

    times: first, last, and the digest of all of them. sources: the files it was read from, as the plan knows them;
    held: those of its times that were in the store before. shards: number of the shard → SHA-256 of its file.
    values: how many there are; missing: how many of them are not finite, for each channel that lacks any. allowed:
    faults that were found and allowed by name. versions: of ERA5, over runs of times.
    """

    part: int
    times: tuple[str, str, str]
    sources: list[dict[str, Any]]
    held: list[dict[str, Any]]
    shards: dict[str, str]
    values: int
    missing: dict[str, int]
    allowed: list[str]
    versions: list[Span]
    state: str = field(default="done")


def record_path(store: Path, part: int) -> Path:
    """Where the record of a part lies."""
    return store / INGEST / "parts" / f"part_{part:05d}.json"


def write_record(store: Path, record: Record) -> None:
    """Mark a part as done."""
    write_json(record_path(store, record.part), asdict(record))


def read_record(store: Path, plan: Plan, part: int) -> Record | None:
    """The record of a part; None where there is none, or where it is of other times, changed files or lost shards.

    Parts that a finished store already held stay as they are, whatever became of their sources.
    """
    if not record_path(store, part).exists():
        return None
    record = Record(**read_json(record_path(store, part)))
    start, stop = plan.span(part)
    if list(record.times) != list(times_mark(plan.times[start:stop])):
        return None
    if stop > plan.published and any(source not in plan.files for source in record.sources):
        return None
    if stop > plan.published and not all(shard_file(store, int(shard)).exists() for shard in record.shards):
        return None
    return record


def held_record(store: Path, plan: Plan, part: int) -> Record | None:
    """The record, from before the plan, of a part that a finished store holds in part; else None.

    It may be that of a longer plan that was given up: what it says of later times is left out.
    """
    start, stop = plan.span(part)
    if not start < plan.published < stop or not record_path(store, part).exists():
        return None
    record, last = Record(**read_json(record_path(store, part))), str(plan.times[plan.published - 1])
    versions = [(first, min(end, last), name) for first, end, name in record.versions if first <= last]
    return replace(record, versions=versions)


def read_records(store: Path, plan: Plan) -> list[Record]:
    """All records in the order of the parts; InputError where one is absent."""
    records = []
    for part in range(plan.parts):
        record = read_record(store, plan, part)
        if record is None:
            raise InputError(f"part {part} of {store} is not there; run fourcast ingest again")
        records.append(record)
    return records


def times_mark(times: Times) -> tuple[str, str, str]:
    """First, last, and digest of all ``times``."""
    hours = times.astype("datetime64[h]")
    digest = hashlib.sha256(hours.astype(np.int64).tobytes()).hexdigest()
    return str(hours[0]), str(hours[-1]), digest


def version_spans(times: Times, versions: Iterable[str]) -> list[Span]:
    """Runs of times of one ERA5 version; times without a version are left out."""
    named = zip(times.astype("datetime64[h]").astype(str), versions, strict=True)
    runs = ((version, [time for time, _ in run]) for version, run in groupby(named, key=lambda pair: pair[1]))
    return [(str(run[0]), str(run[-1]), version) for version, run in runs if version]


def missing_times(times: Times, step_hours: int) -> list[tuple[str, str, int]]:
    """Where the series is interrupted: the first and last missing time of every gap, and how many are missing."""
    hours = times.astype("datetime64[h]")
    steps = np.diff(hours).astype(np.int64) // step_hours
    return [
        (str(hours[i] + step_hours), str(hours[i + 1] - step_hours), int(steps[i]) - 1)
        for i in np.flatnonzero(steps > 1)
    ]


def manifest_path(store: Path) -> Path:
    """Where the manifest of a finished store lies."""
    return store / INGEST / "manifest.json"


def write_manifest(store: Path, plan: Plan, records: list[Record]) -> None:
    """Collect the records of all parts in one file."""
    manifest = {
        "times": [str(plan.times[0]), str(plan.times[-1]), len(plan.times)],
        "missing_times": missing_times(plan.times, int(plan.settings["step_hours"])),
        "versions": joined([span for record in records for span in record.versions]),
        "parts": [asdict(record) for record in records],
    }
    write_json(manifest_path(store), manifest)


def manifest_attributes(plan: Plan, records: list[Record]) -> dict[str, Any]:
    """What the records say about the whole store, for its attributes.

    expver_times: how many times are of each ERA5 version, of those of which the sources say it. missing_values: how
    many values are not finite, by channel. allowed_faults: what was let in by name.
    """
    hours = plan.times.astype("datetime64[h]")
    expver_times: Counter[str] = Counter()
    missing_values: Counter[str] = Counter()
    for record in records:
        missing_values.update(record.missing)
        for first, last, version in record.versions:
            inside = (hours >= np.datetime64(first, "h")) & (hours <= np.datetime64(last, "h"))
            expver_times[version] += int(inside.sum())
    allowed = dict.fromkeys(fault for record in records for fault in record.allowed)
    return {
        "expver_times": dict(sorted(expver_times.items())),
        "missing_times": sum(count for _, _, count in missing_times(hours, int(plan.settings["step_hours"]))),
        "missing_values": dict(missing_values),
        "allowed_faults": list(allowed),
    }


def joined(spans: list[Span]) -> list[Span]:
    """Neighbouring spans of one version as one."""
    joined: list[Span] = []
    for first, last, version in spans:
        if joined and joined[-1][2] == version:
            joined[-1] = (joined[-1][0], last, version)
        else:
            joined.append((first, last, version))
    return joined


def damaged_shards(store: Path) -> list[str]:
    """Shards whose bytes are not those that the manifest says were written."""
    written = {i: digest for part in read_json(manifest_path(store))["parts"] for i, digest in part["shards"].items()}
    files = {i: shard_file(store, int(i)) for i in written}
    return [f"shard {i}" for i, file in files.items() if not file.exists() or sha256(file) != written[i]]
