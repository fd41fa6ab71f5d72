"""The directory of a training run: which configuration it belongs to, its checkpoints, and the best of them."""

import hashlib
import json
import math
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fourcast import sharded
from fourcast.checkpoint import TENSORS, Card, training_checkpoints
from fourcast.config import TrainConfig
from fourcast.distributed import Process
from fourcast.errors import InputError
from fourcast.files import PARTIAL, read_json, remove_abandoned, remove_directory, write_json
from fourcast.train.learner import Learner

FREE = {
    "output", "device", "resume", "log_every", "keep_checkpoints", "checkpoint_every", "async_checkpoints", "trackers",
    "pictures", "profile_steps", "predict", "skip_limit", "parallel",
}  # fmt: skip
FREE_OF_DATA = {"memory_gb", "loader", "workers", "prefetch"}
"""Keys that may change when a run goes on: they shape no result, or, as ``parallel``, none beyond rounding."""


def fingerprint(config: TrainConfig, card: Card) -> str:
    """A digest of all that shapes the result; a run may be resumed only under the same one.

    The card brings in what the store holds: channels, grid, statistics, the files it was made of; and which weights it
    builds on; but not the versions of fourcast and torch, which may be newer when a run goes on.
    """
    origin = {key: card.provenance.get(key, {}).get("sha256") for key in ("start_from", "backbone")}
    relevant = {key: value for key, value in asdict(config).items() if key not in FREE}
    relevant["data"] = {key: value for key, value in relevant["data"].items() if key not in FREE_OF_DATA}
    relevant["card"] = asdict(card) | {"provenance": card.provenance.get("data"), "origin": origin}
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def claim(run: Path, config: TrainConfig, card: Card, process: Process) -> Path | None:
    """Make ``run`` this training's own; return the newest checkpoint in it, if any, to go on from.

    InputError where it holds a training of another configuration, or one and resume=false.
    """
    if run.exists() and not run.is_dir():
        raise InputError(f"{run} is a file; choose another output=")
    # Nodes that share a file system may see its folders change at different times.
    names = process.broadcast([path.name for path in training_checkpoints(run)])
    found = [run / "checkpoints" / name for name in names]
    record, own = run / "config.json", fingerprint(config, card)
    if found and not config.resume:
        raise InputError(f"{run} already holds a training; resume=true goes on with it, another output= starts anew")
    if found:
        _require_same(read_json(record), own, config, record)
    process.barrier()
    if process.is_first:
        _sweep(run)
        write_json(record, {"fingerprint": own, "config": asdict(config)})
    process.barrier()
    return found[-1] if found else None


def _require_same(previous: dict[str, Any], own: str, config: TrainConfig, record: Path) -> None:
    if previous["fingerprint"] == own:
        return
    if previous["config"] == json.loads(json.dumps(asdict(config))):
        raise InputError(
            f"{record.parent} was begun on other data or from other weights, though by the same names: the store, "
            "start_from or backbone has changed since; name a checkpoint itself (…/checkpoints/step_…), or choose "
            "another output="
        )
    raise InputError(
        f"{record.parent} holds a training of another configuration (see {record}); choose another output= or delete it"
    )


def steps_done(run: Path) -> int:
    """How many steps of a training the newest checkpoint in ``run`` holds."""
    found = training_checkpoints(run)
    return int(found[-1].name.removeprefix("step_")) if found else 0


def resume(checkpoint: Path, learner: Learner) -> None:
    """Bring ``learner`` to where it stood when ``checkpoint`` was saved; all processes at once."""
    if not (checkpoint / TENSORS).is_dir():
        raise InputError(
            f"{checkpoint} is of an older fourcast, which can be forecast with but not gone on from; begin a new run "
            f"with start_from={checkpoint}"
        )
    sharded.read(checkpoint / TENSORS, learner.tensors(), together=True)
    learner.restore(read_json(checkpoint / "position.json"))


def _sweep(run: Path) -> None:
    """Delete what killed processes left half-made."""
    for name in ("config.json", "log.jsonl", "best.json"):
        remove_abandoned(run / name)
    for abandoned in (run / "checkpoints").glob(f"*{PARTIAL}"):
        remove_abandoned(abandoned.with_name(_step_name(abandoned)))
    _remove_overtaken(run)


def _remove_overtaken(run: Path) -> None:
    """Delete what was left half-made, on whichever host, of a step up to the newest checkpoint: nobody needs it now."""
    finished = training_checkpoints(run)
    for abandoned in (run / "checkpoints").glob(f"*{PARTIAL}"):
        if finished and _step_name(abandoned) <= finished[-1].name:
            shutil.rmtree(abandoned, ignore_errors=True)  # a part of it may be gone already


def _step_name(partial: Path) -> str:
    return partial.name.split(".")[0]


def remember_best(checkpoint: Path, scores: dict[str, float]) -> None:
    """Name ``checkpoint`` in best.json where its validation_loss is the lowest yet."""
    file, loss = checkpoint.parent.parent / "best.json", scores.get("validation_loss")
    if loss is not None and math.isfinite(loss) and (not file.exists() or loss < read_json(file)["validation_loss"]):
        write_json(file, {"checkpoint": checkpoint.name, "validation_loss": loss})


def rate_newest(checkpoint: Path) -> None:
    """Note whether ``checkpoint`` is the best: a kill may have come between its writing and that."""
    scores: dict[str, Any] = read_json(checkpoint / "position.json")["scores"]
    remember_best(checkpoint, scores)


def prune(run: Path, keep: int) -> None:
    """Delete all but the newest ``keep`` checkpoints and the best, and what was never finished and is now overtaken."""
    best = run / "best.json"
    kept = {read_json(best)["checkpoint"]} if best.exists() else set()
    for path in training_checkpoints(run)[:-keep]:
        if path.name not in kept:
            remove_directory(path)
    _remove_overtaken(run)
