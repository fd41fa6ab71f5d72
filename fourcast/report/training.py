"""The curves of a training from its log, and the card of its model."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fourcast.files import read_json

MOST_POINTS = 1500
"""Of a curve; longer ones are thinned out."""


@dataclass(frozen=True)
class Training:
    """curves: by name {x: steps, y: values}. config: the configuration as it was saved, empty where it was not."""

    curves: dict[str, dict[str, list[float | None]]]
    config: dict[str, Any]


def read_training(run: Path) -> Training:
    """The log and the configuration of a training run; a last line that was cut by a kill does not count."""
    curves: dict[str, dict[str, list[float | None]]] = {}
    for entry in _entries(run / "log.jsonl"):
        step = entry.pop("step")
        for name, value in entry.items():
            curve = curves.setdefault(name, {"x": [], "y": []})
            curve["x"].append(step)
            curve["y"].append(value)
    return Training({name: _thinned(curve) for name, curve in curves.items()}, _config(run))


def _entries(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    whole = lines if lines and _is_json(lines[-1]) else lines[:-1]
    return [json.loads(line) for line in whole]


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except json.JSONDecodeError:
        return False
    return True


def _thinned(curve: dict[str, list[float | None]]) -> dict[str, list[float | None]]:
    every = -(-len(curve["x"]) // MOST_POINTS)
    return {axis: values[::every] for axis, values in curve.items()}


def _config(run: Path) -> dict[str, Any]:
    file = run / "config.json"
    return dict(read_json(file)["config"]) if file.exists() else {}


def read_card(run: Path, named: str | None) -> dict[str, Any] | None:
    """What the checkpoint of a training run says of itself: the one ``named``, else the best, else the newest.

    Nothing of its weights is read; None where there is none.
    """
    held = {file.parent.name: file for file in sorted((run / "checkpoints").glob("step_*/checkpoint.json"))}
    best = read_json(run / "best.json")["checkpoint"] if (run / "best.json").exists() else None
    chosen = next((name for name in (named, best, *reversed(held)) if name in held), None)
    return None if chosen is None else {"checkpoint": chosen, **read_json(held[chosen])}
