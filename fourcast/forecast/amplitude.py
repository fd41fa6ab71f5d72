"""Amplitudes of perturbations, channel by channel, in standard deviations of the training period."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourcast.errors import InputError
from fourcast.files import read_json
from fourcast.variables import parse_channel

Float32 = NDArray[np.float32]
AMPLITUDES = "amplitudes"
"""What a calibration calls them in its JSON file."""


def amplitudes(key: str, amplitude: Any, channels: Sequence[str]) -> Float32:
    """[C] of ``channels``, from what the configuration says under ``key``.

    A number is every channel's. Of numbers by name, a channel's own goes before its variable's, and that before
    "default"; a channel without any has 0. A string is a JSON file of ``fourcast calibrate``, {"amplitudes": {channel:
    number}}, which must have every channel. InputError for names that no channel has, for channels that a file lacks,
    and for what is no finite number of 0 or more.
    """
    if isinstance(amplitude, str):
        return _of_file(key, Path(amplitude), channels)
    if not isinstance(amplitude, dict):
        return np.full(len(channels), _number(key, amplitude), np.float32)
    variables = {channel: parse_channel(channel).variable.name for channel in channels}
    unknown = [str(name) for name in amplitude if name not in {"default", *variables, *variables.values()}]
    if unknown:
        raise InputError(f"{key}: the model has no {', '.join(unknown)}; its channels are {', '.join(channels)}")
    given = {name: _number(f"{key}.{name}", value) for name, value in amplitude.items()}
    default = given.get("default", 0.0)
    return np.array([given.get(c, given.get(variables[c], default)) for c in channels], np.float32)


def _of_file(key: str, path: Path, channels: Sequence[str]) -> Float32:
    if not path.is_file():
        raise InputError(f"{key}: there is no file {path}; make it with fourcast calibrate, or give numbers")
    content = read_json(path)
    held = content.get(AMPLITUDES) if isinstance(content, dict) else None
    if not isinstance(held, dict):
        raise InputError(f"{key}: {path} has no {AMPLITUDES!r}; name the JSON file that fourcast calibrate wrote")
    missing = [channel for channel in channels if channel not in held]
    if missing:
        raise InputError(f"{key}: {path} has no amplitude of {', '.join(missing)}; calibrate the model that forecasts")
    return np.array([_number(f"{key}: {path}: {channel}", held[channel]) for channel in channels], np.float32)


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < np.inf:
        raise InputError(f"{key} must be a number of standard deviations, 0 or more, found {value!r}")
    return float(value)
