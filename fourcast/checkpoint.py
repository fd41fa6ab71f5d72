"""Checkpoints: enough to forecast with nothing else, written whole or not at all, read without running code.

    checkpoint.json   the card: model configuration, channels, grid, statistics, where it came from
    tensors/          model.* and, of a training, average.* (weights averaged over its steps) and optimizer.*
    position.json     where a training stood

A training run holds them as RUN/checkpoints/step_NNNNNNNN, and RUN/best.json names the best of them.
"""

import pickle
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from fourcast import sharded
from fourcast.config import ModelConfig
from fourcast.errors import InputError
from fourcast.files import read_json, whole_directory, write_json
from fourcast.grid import Grid
from fourcast.mixer_config import MIXERS
from fourcast.models.build import build_model, build_network
from fourcast.models.precipitation import PrecipitationNet

FORMAT = 3
"""Format 1 knew no mixer but AFNO; it and format 2 kept the model in weights.pt. Both are read, too."""
TENSORS = "tensors"
MODEL, AVERAGE, OPTIMIZER = "model.", "average.", "optimizer."
"""How the names of tensors begin, by what they belong to."""


@dataclass(frozen=True)
class Card:
    """What a checkpoint says of its model.

    kind: forecast (state → next state) or precipitation (state → log-precipitation). channels: names in the order
    of the input, or None where the weights came without names. mean, std: [C] normalisation in physical units;
    step_scale: [C] typical change over a step in units of std, for a residual target.
    """

    kind: str
    model: ModelConfig
    in_channels: int
    out_channels: int
    latitude: list[float]
    longitude: list[float]
    step_hours: int
    channels: list[str] | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    step_scale: list[float] | None = None
    synthetic: bool = False
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def grid(self) -> Grid:
        """The grid the model was built for."""
        return Grid(np.array(self.latitude), np.array(self.longitude))


def build(card: Card) -> nn.Module:
    """The model of a card, freshly initialised."""
    shape = len(card.latitude), len(card.longitude)
    if card.kind == "precipitation":
        return PrecipitationNet(build_network(card.model, (card.in_channels, card.out_channels), shape))
    scale = None if card.step_scale is None else torch.tensor(card.step_scale)
    return build_model(card.model, (card.in_channels, card.out_channels), shape, scale)


def save_checkpoint(path: Path, model: nn.Module, card: Card) -> None:
    """Write a checkpoint to forecast with; ``path`` exists only once all of it is on disk."""
    with whole_directory(path) as directory:
        sharded.write(directory / TENSORS, {MODEL + name: tensor for name, tensor in model.state_dict().items()})
        write_card(directory, card)


def write_card(directory: Path, card: Card) -> None:
    """Write checkpoint.json, which makes a directory a checkpoint."""
    write_json(directory / "checkpoint.json", {"fourcast_checkpoint": FORMAT, **asdict(card)})


def load_model(path: str | Path, device: str | torch.device = "cpu") -> nn.Module:
    """The trained model of a checkpoint or training run, in evaluation mode; averaged weights where it has them.

    It maps normalised x_BCHW to the normalised next state (a precipitation model: to log(1 + tp/1e-5)).
    """
    directory = find_checkpoint(path)
    model = build(load_card(directory))
    load_weights(model, directory, "its checkpoint.json")
    return model.to(device).eval()


def load_weights(model: nn.Module, directory: Path, described_by: str) -> None:
    """Fill ``model`` with the weights of the checkpoint in ``directory``, its averaged ones where it has them.

    InputError where they do not fit, with what the model is ``described_by``.
    """
    own = model.state_dict()
    try:
        if (directory / TENSORS).is_dir():
            held = sharded.names(directory / TENSORS)
            unknown = [name for name in held if name.startswith(MODEL) and name.removeprefix(MODEL) not in own]
            if unknown:
                raise InputError(f"the model has no {', '.join(sorted(unknown)[:5])}")
            best = {name: AVERAGE if AVERAGE + name in held else MODEL for name in own}
            sharded.read(directory / TENSORS, {best[name] + name: tensor for name, tensor in own.items()})
        else:
            model.load_state_dict(load_tensors(directory / "weights.pt"))
    except (InputError, RuntimeError) as error:
        raise InputError(f"the weights in {directory} do not fit {described_by}: {error}") from error


def weights_files(path: str | Path) -> list[Path]:
    """The files that hold a checkpoint's tensors, in order."""
    directory = find_checkpoint(path)
    return sorted(file for file in (directory / TENSORS).glob("*.distcp")) or [directory / "weights.pt"]


def load_card(path: str | Path) -> Card:
    """Read the card of a checkpoint or training run."""
    file = find_checkpoint(path) / "checkpoint.json"
    record = read_json(file)
    form = record.pop("fourcast_checkpoint", None) if isinstance(record, dict) else None
    if form not in range(1, FORMAT + 1):
        raise InputError(f"{file} is no fourcast checkpoint of format 1 to {FORMAT}; train again or import the weights")
    try:
        model = record.pop("model")
        return Card(model=_model_config(_of_format_1(model) if form == 1 else model), **record)
    except (KeyError, TypeError, AttributeError, OmegaConfBaseException) as error:
        raise InputError(f"{file} does not describe a model: {error}; it is damaged or of another version") from error


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint directory meant by ``path``: itself, or a training run's best, else newest, one."""
    path = Path(path)
    if (path / "checkpoint.json").is_file():
        return path
    best = path / "best.json"
    if best.is_file():
        return find_checkpoint(path / "checkpoints" / str(read_json(best)["checkpoint"]))
    steps = training_checkpoints(path)
    if not steps:
        raise InputError(
            f"there is no checkpoint in {path}: expected checkpoint.json, or a training run's checkpoints/; "
            "train one with fourcast train or import one with fourcast import-weights"
        )
    return steps[-1]


def training_checkpoints(run: Path) -> list[Path]:
    """The finished checkpoints of a training run, oldest first."""
    found = (run / "checkpoints").glob("step_*/checkpoint.json")
    return sorted(file.parent for file in found if not file.parent.name.endswith(".partial"))


def load_tensors(path: Path) -> dict[str, Any]:
    """Read a file of tensors and plain values; anything else in it is refused, unexecuted."""
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        found = f"it names {named[1]}" if named else "it is no file of torch.save"
        raise InputError(f"{path} holds more than tensors and plain values and is refused: {found}") from error
    except Exception as error:  # on bytes that are no torch file its reader raises almost anything
        raise InputError(f"{path} is not a readable torch file: {_first_line(error)}") from error
    if not isinstance(loaded, dict):
        raise InputError(f"{path} holds a {type(loaded).__name__}, expected a dictionary of tensors")
    return loaded


def _model_config(record: dict[str, Any]) -> ModelConfig:
    """The configuration of a card, its mixer by name."""
    name = record["mixer"].get("name")
    if name not in MIXERS:
        raise InputError(f"model.mixer.name must be one of {', '.join(MIXERS)}, found {name!r}")
    schema = OmegaConf.structured(ModelConfig(mixer=MIXERS[name]()))
    config = OmegaConf.to_object(OmegaConf.merge(schema, record))
    assert isinstance(config, ModelConfig)
    return config


def _of_format_1(model: dict[str, Any]) -> dict[str, Any]:
    """A model of format 1 as one of format 2: AFNO's keys stood among the model's."""
    of_mixer = ("num_blocks", "sparsity_threshold", "modes")
    mixer = {key: model[key] for key in of_mixer if key in model}
    return {key: model[key] for key in model if key not in of_mixer} | {"mixer": {"name": "afno", **mixer}}


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
