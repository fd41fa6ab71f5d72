"""The directory of a training run: which configuration it belongs to, its checkpoints, and the best of them."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from fourcast.checkpoint import Card, load_tensors, save_checkpoint, training_checkpoints
from fourcast.config import TrainConfig
from fourcast.distributed import Process
from fourcast.errors import InputError
from fourcast.files import read_json, remove_directory, write_json


def fingerprint(config: TrainConfig, card: Card) -> str:
    """A digest of all that shapes the result; a run may be resumed only under the same one.

    The card brings in what the store holds: channels, grid, statistics, the files it was made of; but not the
    versions of fourcast and torch, which may be newer when a run goes on.
    """
    relevant = asdict(config) | {"card": asdict(card) | {"provenance": card.provenance.get("data")}}
    for key in ("output", "device", "log_every", "keep_checkpoints", "tensorboard", "resume", "checkpoint_every"):
        relevant.pop(key)
    for key in ("memory_gb", "loader", "workers", "prefetch"):
        relevant["data"].pop(key)
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def resume(
    run: Path, config: TrainConfig, card: Card, learner: tuple[nn.Module, Optimizer], process: Process
) -> int:
    """Load the newest checkpoint of the run, if any; return the step to go on from."""
    if run.exists() and not run.is_dir():
        raise InputError(f"{run} is a file; choose another output=")
    found = training_checkpoints(run)
    record, own = run / "config.json", fingerprint(config, card)
    if found and not config.resume:
        raise InputError(f"{run} already holds a training; resume=true goes on with it, another output= starts anew")
    if found and read_json(record)["fingerprint"] != own:
        raise InputError(
            f"{run} holds a training of another configuration (see {record}); choose another output= or delete it"
        )
    process.barrier()
    if process.is_first:
        write_json(record, {"fingerprint": own, "config": asdict(config)})
    if not found:
        return 0
    model, optimizer = learner
    newest = found[-1]
    model.load_state_dict(load_tensors(newest / "weights.pt"))
    state = load_tensors(newest / "training.pt")
    optimizer.load_state_dict(state["optimizer"])
    if process.is_first:
        _remember_best(newest, state["position"])  # a kill may have come between the checkpoint and this
    return int(state["position"]["step"])


def save(run: Path, card: Card, model: nn.Module, optimizer: Optimizer, position: dict[str, Any]) -> None:
    """Write the checkpoint of ``position["step"]``; best.json names it where its validation_loss is the lowest yet."""
    path = run / "checkpoints" / f"step_{position['step']:08d}"
    save_checkpoint(path, model, card, {"optimizer": optimizer.state_dict(), "position": position})
    _remember_best(path, position)


def _remember_best(checkpoint: Path, position: dict[str, Any]) -> None:
    file, loss = checkpoint.parent.parent / "best.json", position.get("validation_loss")
    if loss is not None and (not file.exists() or loss < read_json(file)["validation_loss"]):
        write_json(file, {"checkpoint": checkpoint.name, "validation_loss": loss})


def prune(run: Path, keep: int) -> None:
    """Delete all but the newest ``keep`` checkpoints and the best."""
    best = run / "best.json"
    kept = {read_json(best)["checkpoint"]} if best.exists() else set()
    for path in training_checkpoints(run)[:-keep]:
        if path.name not in kept:
            remove_directory(path)
