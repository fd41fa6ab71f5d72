"""What the benchmarks of data share: fields that compress as analyses do, and the words about the machine."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourcast.data.plausible import plausible
from fourcast.data.reader import processors
from fourcast.grid import Grid
from fourcast.variables import CHANNEL_SETS, parse_channel

Float32 = NDArray[np.float32]
CHANNELS = CHANNEL_SETS["fourcastnet20"]
GRID = Grid(np.linspace(90, -90, 721), np.arange(1440) / 4)
NOISE = 0.003
"""Of a field, in its standard deviations: blosc-lz4 then saves about as much as it does on ERA5."""


class Weather:
    """Analyses of plausible means and spreads: smooth waves that travel east, with noise; each time the same."""

    def __init__(self, channels: tuple[str, ...] = CHANNELS, grid: Grid = GRID) -> None:
        rng = np.random.default_rng(0)
        self.bounds = [plausible(parse_channel(name)) for name in channels]
        self.patterns = [_waves(rng, grid.shape) for _ in channels]

    def at(self, time: int) -> Float32:
        """Fields [C, H, W] of one time."""
        return np.stack([self.field(time, i) for i in range(len(self.patterns))])

    def field(self, time: int, channel: int) -> Float32:
        """Field [H, W] of one time and channel, in the channel's unit."""
        bounds, pattern = self.bounds[channel], self.patterns[channel]
        assert bounds is not None
        noise = np.random.default_rng([time, channel]).standard_normal(pattern.shape, dtype=np.float32)
        spread = 0.5 * (bounds.least_spread * bounds.most_spread) ** 0.5
        values = np.float32(bounds.mean) + np.float32(spread) * (np.roll(pattern, 5 * time, 1) + NOISE * noise)
        return values.clip(max(bounds.low, 0) if bounds.mean > 0 and bounds.low > -50 else bounds.low, bounds.high)


def _waves(rng: np.random.Generator, shape: tuple[int, int]) -> Float32:
    """A field [H, W] of mean 0 and spread 1 whose power falls with the cube of the wavenumber."""
    height, width = shape
    wavenumber = np.hypot(np.fft.fftfreq(height, 1 / height)[:, None], np.fft.rfftfreq(width, 1 / width))
    wavenumber[0, 0] = np.inf
    spectrum = (rng.standard_normal(wavenumber.shape) + 1j * rng.standard_normal(wavenumber.shape)) / wavenumber**2
    field = np.fft.irfft2(spectrum, s=shape)
    return (field / field.std()).astype(np.float32)


def machine(*packages: str) -> str:
    """Processor, versions and commit, in a sentence."""
    lines = Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    versions = ", ".join(f"{name} {_version(name)}" for name in packages)
    found = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return (
        f"{model}, {processors()} processors. Python {platform.python_version()}, {versions}. "
        f"Commit {found.stdout.strip() or 'none'}."
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def write_report(lines: list[str], output: Path | None) -> None:
    """Print a table, and write it to ``output`` if that is named."""
    text = "\n".join(lines) + "\n"
    print(text, end="", flush=True)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
