"""How fast is ingestion beside reading and copying the same bytes?

    python benchmarks/ingest.py --output benchmarks/results/ingest_cpu.md
    python benchmarks/ingest.py --quick

The source is netCDF with names of ARCO-ERA5, a file for each variable, of 20 channels at 721×1440. Ingestion
reads, checks and compresses it, and sums statistics and climatology; the copy reads the same files and writes them
again, to disk, one after the other in blocks. Both take turns, the page cache warm with the source. Needs about 4 GB
under --folder.
"""

import argparse
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from statistics import median

import netCDF4
import numpy as np
from common import CHANNELS, GRID, Weather, machine, write_report

from fourcast.data.ingest import ingest
from fourcast.data_config import IngestConfig
from fourcast.variables import Channel, parse_channels

BLOCK = 2**24
START = "2020-01-01"


def write_source(folder: Path, times: int) -> list[Path]:
    """A contiguous float32 file for each variable, with just the levels of the channels."""
    weather, paths = Weather(), []
    channels = parse_channels(list(CHANNELS))
    for variable in dict.fromkeys(channel.variable for channel in channels):
        held = [(i, channel) for i, channel in enumerate(channels) if channel.variable == variable]
        path = folder / f"{variable.long_name}.nc"
        with netCDF4.Dataset(path, "w") as file:
            array = define(file, held[0][1], [channel.level for _, channel in held], times)
            for index in range(times):
                for place, (i, _) in enumerate(held):
                    array[(index, place) if variable.levels else index] = weather.field(index, i)
        paths.append(path)
    return paths


def define(file: netCDF4.Dataset, channel: Channel, levels: list[int | None], times: int) -> netCDF4.Variable:
    """Dimensions and coordinates, and the empty variable of ``channel``."""
    coordinates = {
        "valid_time": (6 * np.arange(times), f"hours since {START}"),
        **({"pressure_level": (np.array(levels, float), "hPa")} if channel.variable.levels else {}),
        "latitude": (GRID.latitude, "degrees_north"),
        "longitude": (GRID.longitude, "degrees_east"),
    }
    for name, (values, units) in coordinates.items():
        file.createDimension(name, len(values))
        coordinate = file.createVariable(name, values.dtype, (name,))
        coordinate.units = units
        coordinate[:] = values
    array = file.createVariable(channel.variable.long_name, "f4", tuple(coordinates), contiguous=True)
    array.units = channel.variable.units
    return array


def copy(paths: list[Path], folder: Path) -> None:
    """Read every file in blocks and write it again, until it is on disk."""
    folder.mkdir()
    block = memoryview(bytearray(BLOCK))
    for path in paths:
        with path.open("rb", buffering=0) as source, (folder / path.name).open("wb", buffering=0) as target:
            while count := source.readinto(block):
                target.write(block[:count])
            os.fsync(target.fileno())


def ingest_quietly(paths: list[Path], folder: Path, workers: int | None) -> None:
    with redirect_stdout(io.StringIO()):
        ingest(IngestConfig(source=[str(path) for path in paths], output=str(folder), workers=workers))


def seconds(work: Callable[[Path], None], folder: Path) -> float:
    """Time of ``work`` into ``folder``, which is removed afterwards."""
    os.sync()
    start = time.perf_counter()
    work(folder)
    elapsed = time.perf_counter() - start
    shutil.rmtree(folder)
    return elapsed


def report(folder: Path, arguments: argparse.Namespace) -> list[str]:
    (folder / "source").mkdir()
    paths = write_source(folder / "source", arguments.times)
    size = sum(path.stat().st_size for path in paths)
    ways: dict[str, Callable[[Path], None]] = {"read and copy": lambda target: copy(paths, target)}
    for workers in arguments.workers:
        ways[f"ingest, {workers} worker{'s' * (workers > 1)}"] = lambda target, n=workers: ingest_quietly(
            paths, target, n
        )
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.repeats):
        for name, work in ways.items():
            found[name].append(seconds(work, folder / "target"))
    reference = median(found["read and copy"])
    rows = [
        f"| {name} | {median(values):.2f} | {size / median(values) / 1e6:.0f} | {reference / median(values):.2f} |"
        for name, values in found.items()
    ]
    return [
        "# Ingestion", "",
        machine("zarr", "numcodecs", "numpy", "netCDF4", "xarray"),
        f"{arguments.times} analyses of {len(CHANNELS)} channels at {GRID.shape[0]}×{GRID.shape[1]}, "
        f"{size / 1e9:.2f} GB in {len(paths)} netCDF files in a warm page cache; medians of {arguments.repeats} runs "
        "in turns.",
        "", "| what | s | MB/s of the source | of the copy |", "|---|---:|---:|---:|", *rows,
    ]  # fmt: skip


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=24, help="six hours apart")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    parser.add_argument("--quick", action="store_true", help="little data, once: to try it out")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.times, arguments.repeats = 8, 1
    return arguments


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        write_report(report(Path(folder), arguments), arguments.output)


if __name__ == "__main__":
    main()
