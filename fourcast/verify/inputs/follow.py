"""Channels that follow from others, where a forecast or the analyses hold those alone.

Wind speed and vorticity follow from the components of the wind, relative humidity from specific humidity and
temperature by ECMWF's formula. What is held is never derived.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fourcast.data.humidity import relative_humidity
from fourcast.forecast import derived
from fourcast.forecast.derived import WINDS
from fourcast.grid import Grid
from fourcast.variables import parse_channel

Float32 = NDArray[np.float32]


def inputs(name: str) -> tuple[str, ...]:
    """The channels that one can follow from: ws850 → u850, v850; r500 → q500, t500; () where there are none."""
    channel = parse_channel(name)
    if channel.variable.name in WINDS:
        return derived.inputs(name)
    return (f"q{channel.level}", f"t{channel.level}") if channel.variable.name == "r" else ()


def can_read(name: str, held: Collection[str]) -> bool:
    """Whether a channel is among ``held`` or follows from channels that are."""
    return name in held or (bool(inputs(name)) and set(inputs(name)) <= set(held))


def parts_needed(channels: tuple[str, ...], held: Collection[str]) -> tuple[str, ...]:
    """What has to be read for ``channels``: themselves where they are ``held``, what they follow from otherwise."""
    return tuple(dict.fromkeys(part for name in channels for part in ((name,) if name in held else inputs(name))))


def read_with_derived(
    channels: tuple[str, ...], held: Collection[str], grid: Grid, read: Callable[[tuple[str, ...]], Float32]
) -> Float32:
    """``channels`` [C, ..., H, W], of which those not in ``held`` are derived from what ``read`` gives of the others.

    ``read`` returns [C', ..., H', W] for names in ``held``; of its rows the first H, those of ``grid``, are kept.
    """
    needed = parts_needed(channels, held)
    found = read(needed)[..., : len(grid.latitude), :]
    if needed == channels:
        return found
    by_name = dict(zip(needed, found, strict=True))
    return np.stack([by_name[name] if name in held else _derive(name, by_name, grid) for name in channels])


def lacking_channels(path: str, missing: Sequence[str], held: Sequence[str], refused: Sequence[str]) -> str:
    """What to say of channels that are not there; ``refused``: what is there and cannot be used."""
    return (
        f"{path} has no channel {', '.join(missing)}; it holds {', '.join(held)}{''.join(f'; {r}' for r in refused)}. "
        "Ask for others with channels="
    )


def _derive(name: str, fields: Mapping[str, Float32], grid: Grid) -> Float32:
    level = parse_channel(name).level
    if parse_channel(name).variable.name != "r":
        return derived.derive(name, fields, grid)
    assert level is not None, name
    humidity, temperature = (fields[part] for part in inputs(name))
    return relative_humidity(humidity, temperature, float(level))
