"""Which precipitation model goes with which forecast model: they must mean the same by every number of a state."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from fourcast.checkpoint import Card, load_card, load_model
from fourcast.errors import InputError
from fourcast.models.precipitation import PRECIPITATION


def load_precipitation(path: str | Path, device: torch.device, beside: tuple[str | Path, Card]) -> nn.Module:
    """The precipitation model of checkpoint ``path``, to go with the forecast model ``beside``: its path and card.

    It maps a normalised state to log(1 + tp / 1e-5) of the six hours that end at the state's time. InputError where
    the two do not fit.
    """
    card = load_card(path)
    if card.kind != "precipitation":
        raise InputError(
            f"precipitation={path} is a {card.kind} model; name a checkpoint that fourcast train made with backbone=…, "
            "or imported weights of a precipitation model"
        )
    require_statistics(path, card)
    require_fit(path, card, beside)
    return load_model(path, device)


def require_statistics(path: str | Path, card: Card) -> None:
    """Raise InputError where a checkpoint knows no channel names or statistics."""
    if card.channels is None or card.mean is None or card.std is None:
        raise InputError(
            f"{path} knows no channel names or statistics; import the weights again with channels=, means= and stds="
        )


def require_fit(path: str | Path, card: Card, beside: tuple[str | Path, Card]) -> None:
    """Raise InputError where a precipitation model and the forecast model ``beside`` it differ in their states.

    Both cards have statistics. Those of states are compared to 1e-5 of their size: they decide what a number means.
    """
    other_path, other = beside
    if PRECIPITATION in (other.channels or []):
        raise InputError(f"{other_path} forecasts {PRECIPITATION} itself and needs no precipitation model")
    differences = _differences(card, other)
    if differences:
        raise InputError(
            f"{path} does not fit {other_path}: {'; '.join(differences)}. Use a precipitation model that was trained "
            f"with backbone={other_path}"
        )


def _differences(card: Card, other: Card) -> list[str]:
    """In what two models' states differ, in words: the first's, then the second's."""
    found = []
    if card.channels != other.channels:
        found.append(f"channels {', '.join(card.channels or [])} against {', '.join(other.channels or [])}")
    if not card.grid.same_as(other.grid):
        found.append(f"grid {card.grid} against {other.grid}")
    if card.step_hours != other.step_hours:
        found.append(f"step of {card.step_hours} h against {other.step_hours} h")
    return found or [words for name in ("mean", "std") if (words := _unlike(name, card, other))]


def _unlike(name: str, card: Card, other: Card) -> str:
    """Which channels have another mean or std, in words; empty where none has."""
    own, theirs, std = (np.array(numbers) for numbers in (getattr(card, name), getattr(other, name), other.std))
    far = np.abs(own - theirs) > 1e-5 * np.maximum(std, np.abs(theirs))
    rows = zip(card.channels or [], own, theirs, far, strict=True)
    unlike = [f"{channel} ({a:g} against {b:g})" for channel, a, b, differs in rows if differs]
    return f"{name} of {', '.join(unlike)}" if unlike else ""
