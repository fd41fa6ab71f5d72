"""How fast are random training samples read from the store, beside memory-mapped files, HDF5 and other zarr layouts?

    python benchmarks/loading.py --output benchmarks/results/loading_cpu.md
    python benchmarks/loading.py --quick

A sample is one analysis of 20 channels at 721×1440, 83 MB of float32. Every way reads the same times in the same order
from a warm page cache into the same memory, one after the other, so that a busy machine slows all alike. Then loaders
read ahead with threads and with processes. Needs about 12 GB under --folder, which are removed at the end.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import zarr
from common import CHANNELS, GRID, Float32, Weather, machine, write_report
from zarr.codecs import BloscCodec, ZstdCodec

from fourcast.data.loader import Loading, load
from fourcast.data.reader import open_fields, processors
from fourcast.data.writer import append, create_store

FUSED = "zarr.core.codec_pipeline.FusedCodecPipeline"
LZ4 = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle")
SHAPE = (len(CHANNELS), *GRID.shape)
SAMPLE = 4 * int(np.prod(SHAPE))


@dataclass
class Way:
    """Samples from one file by one reader, opened where it is first used: in each process once."""

    layout: str
    reader: str
    path: Path
    open: Callable[[Path], Callable[[int, Float32, int | None], None]]
    shape: tuple[int, ...] = SHAPE
    opened: dict[str, Any] = field(default_factory=dict)

    def fill(self, index: int, out: Float32, threads: int | None = None) -> None:
        """Read time ``index`` [C, H, W]."""
        if "fill" not in self.opened:
            self.opened["fill"] = self.open(self.path)
        self.opened["fill"](index, out, threads)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "opened": {}}


def open_memmap(path: Path) -> Callable[[int, Float32, int | None], None]:
    array = np.load(path, mmap_mode="r")

    def fill(index: int, out: Float32, threads: int | None) -> None:
        np.copyto(out, array[index])

    return fill


def open_hdf5(path: Path) -> Callable[[int, Float32, int | None], None]:
    import h5py

    dataset = h5py.File(path)["fields"]

    def fill(index: int, out: Float32, threads: int | None) -> None:
        dataset.read_direct(out, np.s_[index])

    return fill


def open_zarr(path: Path) -> Callable[[int, Float32, int | None], None]:
    array = zarr.open_array(path, mode="r")

    def fill(index: int, out: Float32, threads: int | None) -> None:
        out[:] = array[index]

    return fill


def open_fused(path: Path) -> Callable[[int, Float32, int | None], None]:
    with zarr.config.set({"codec_pipeline.path": FUSED}):
        return open_zarr(path)


def open_direct(path: Path) -> Callable[[int, Float32, int | None], None]:
    reader = open_fields(path, zarr.open_array(path, mode="r"))
    channels = list(range(len(CHANNELS)))

    def fill(index: int, out: Float32, threads: int | None) -> None:
        reader.read([index], channels, out[None], threads)

    return fill


def open_direct_alone(path: Path) -> Callable[[int, Float32, int | None], None]:
    fill = open_direct(path)
    return lambda index, out, threads: fill(index, out, 1)


def prepare(folder: Path, times: int) -> list[Way]:
    """Write ``times`` analyses in every layout; the ways to read them, the memory map first."""
    weather = Weather()
    fields = np.lib.format.open_memmap(folder / "raw.npy", "w+", np.float32, (times, *SHAPE))
    for index in range(times):
        fields[index] = weather.at(index)
    ways = [Way("raw float32", "memory map", folder / "raw.npy", open_memmap)]
    ways += write_hdf5(folder, fields)
    readers: dict[str, Callable[..., Any]] = {"zarr": open_zarr}
    if has_fused():
        readers["zarr, fused"] = open_fused
    for layout, path in write_zarr(folder, fields).items():
        ways += [Way(layout, name, path, way) for name, way in readers.items()]
        if "shards" in layout:
            ways.append(Way(layout, "fourcast, one thread", path, open_direct_alone))
            ways.append(Way(layout, "fourcast", path, open_direct))
    return ways


def has_fused() -> bool:
    try:
        from zarr.core.codec_pipeline import FusedCodecPipeline  # noqa: F401
    except ImportError:
        return False
    return True


def write_hdf5(folder: Path, fields: Float32) -> list[Way]:
    """The published layout, one dataset fields[time, channel, 721, 1440], where h5py is installed."""
    try:
        import h5py
    except ImportError:
        print("h5py is not installed: nothing is said about HDF5")
        return []
    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "lzf": {"compression": "lzf", "shuffle": True},
        "gzip": {"compression": "gzip", "compression_opts": 1, "shuffle": True},
    }
    for name, options in kinds.items():
        chunks = (1, 1, *SHAPE[1:]) if options else None
        with h5py.File(folder / f"{name}.h5", "w") as file:
            dataset = file.create_dataset("fields", fields.shape, np.float32, chunks=chunks, **options)
            for index in range(len(fields)):
                dataset[index] = fields[index]
    return [Way(f"HDF5 {name}", "h5py", folder / f"{name}.h5", open_hdf5) for name in kinds]


def write_zarr(folder: Path, fields: Float32) -> dict[str, Path]:
    """Chunks of one channel as files of their own, and in shards; the last is the store as fourcast writes it."""
    paths = {}
    shards = (8, *SHAPE)
    layouts: dict[str, tuple[Any, Any]] = {
        "zarr chunks, plain": (None, None),
        "zarr chunks, blosc-lz4": (LZ4, None),
        "zarr chunks, zstd": (ZstdCodec(level=1), None),
        "zarr shards, plain": (None, shards),
    }
    for name, (compressors, shard) in layouts.items():
        paths[name] = folder / name.replace(", ", "_").replace(" ", "_")
        array = zarr.create_array(
            paths[name], shape=fields.shape, dtype="float32", chunks=(1, 1, *SHAPE[1:]), shards=shard,
            compressors=compressors,
        )  # fmt: skip
        for start in range(0, len(fields), 8):
            array[start : start + 8] = fields[start : start + 8]
    group = create_store(folder / "store", CHANNELS, GRID, shard_times=8)
    hours = np.datetime64("2020-01-01T00", "h") + 6 * np.arange(len(fields))
    for start in range(0, len(fields), 8):
        append(group, hours[start : start + 8], fields[start : start + 8])
    return {**paths, "store: zarr shards, blosc-lz4": folder / "store/fields"}


def read_alone(ways: list[Way], order: list[int]) -> dict[int, float]:
    """Median seconds for a sample of every way, which take turns; the first round warms up and is checked."""
    out, expected = np.empty(SHAPE, np.float32), np.empty(SHAPE, np.float32)
    seconds: dict[int, list[float]] = {i: [] for i in range(len(ways))}
    for turn, index in enumerate([order[0], *order]):
        for i, way in enumerate(ways):
            start = time.perf_counter()
            way.fill(index, out)
            elapsed = time.perf_counter() - start
            if turn:
                seconds[i].append(elapsed)
                continue
            ways[0].fill(index, expected)
            assert np.array_equal(out, expected), f"{way.layout} by {way.reader} holds other values"
    return {i: median(values) for i, values in seconds.items()}


def read_ahead(way: Way, loading: Loading, order: list[int], repeats: int) -> float:
    """Median seconds for a sample of batches of one, over runs of len(order) of them once the loader is under way."""
    warm = 2 * (loading.workers + loading.prefetch)
    stream = load(way, ([order[i % len(order)]] for i in range(warm + repeats * len(order))), loading)
    for _ in range(warm):
        next(stream)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in order:
            next(stream)
        seconds.append((time.perf_counter() - start) / len(order))
    return median(seconds)


def rows_alone(ways: list[Way], order: list[int]) -> Iterator[str]:
    found = read_alone(ways, order)
    reference = {way.layout: found[i] for i, way in enumerate(ways)}
    yield "| layout | size | reader | ms a sample | MB/s | of the memory map | × HDF5 lzf | × HDF5 gzip |"
    yield "|---|" + "---:|" * 7
    for i, way in enumerate(ways):
        against = [
            f"{reference[name] / found[i]:.1f}" if name in reference else "" for name in ("HDF5 lzf", "HDF5 gzip")
        ]
        cells = (
            way.layout, f"{stored_bytes(way.path) / stored_bytes(ways[0].path):.2f}", way.reader,
            f"{found[i] * 1e3:.1f}", f"{SAMPLE / found[i] / 1e6:.0f}", f"{found[0] / found[i]:.2f}", *against,
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"


def rows_ahead(ways: list[Way], workers: list[int], order: list[int], repeats: int) -> Iterator[str]:
    yield "| layout | reader | loader | " + " | ".join(f"{n} worker{'s' * (n > 1)}" for n in workers) + " |"
    yield "|---|---|---|" + "---:|" * len(workers)
    for kind in ("threads", "processes"):
        for way in ways:
            seconds = [read_ahead(way, Loading(kind, n, prefetch=n), order, repeats) for n in workers]
            cells = [f"{SAMPLE / s / 1e6:.0f} ({seconds[0] / s:.2f})" for s in seconds]
            yield f"| {way.layout} | {way.reader} | {kind} | {' | '.join(cells)} |"


def stored_bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def report(ways: list[Way], arguments: argparse.Namespace) -> list[str]:
    order = np.random.default_rng(1).integers(0, arguments.times, arguments.samples).tolist()
    most = processors()
    workers = sorted({1, 2, *(n for n in (4, 8, 16) if n <= most)})
    loaded = [ways[0], *(way for way in ways if way.layout in ("HDF5 lzf",) or way.reader == "fourcast")]
    return [
        "# Random training samples", "",
        machine("zarr", "numcodecs", "numpy", "h5py", "torch"),
        f"{arguments.times} analyses of {SHAPE[0]}×{SHAPE[1]}×{SHAPE[2]} float32 in a warm page cache; medians of "
        f"{arguments.samples} samples in random order, all ways in turns; size: on disk, relative to float32.",
        "", "## One process", "", *rows_alone(ways, order),
        "", "## Loaders", "",
        "MB/s of batches of one sample, in brackets relative to one worker; medians of "
        f"{arguments.repeats} runs of {len(order)} samples.",
        "", *rows_ahead(loaded, workers, order, arguments.repeats),
    ]  # fmt: skip


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=16, help="a multiple of 8")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3, help="of the loaders")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    parser.add_argument("--quick", action="store_true", help="few samples of little data: to try it out")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.times, arguments.samples, arguments.repeats = 8, 4, 1
    return arguments


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        write_report(report(prepare(Path(folder), arguments.times), arguments), arguments.output)


if __name__ == "__main__":
    main()
