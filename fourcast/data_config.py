"""The parts of the schema that are about data: simulated, fetched, ingested, looked at."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from fourcast.checks import as_list, not_negative, one_of, positive
from fourcast.errors import InputError
from fourcast.files import STORE
from fourcast.periods import check_period, parse_part, parse_time


@dataclass
class PlanetConfig:
    """A simulated planet: qg3 (three-level quasi-geostrophic, NumPy) or speedy (the SPEEDY climate model)."""

    name: str = "qg3"
    days: float = 1000.0
    spinup_days: float = 90.0
    truncation: int = 21
    start: str = "2001-01-01"
    seed: int = 0
    levels: list[int] = field(default_factory=lambda: [250, 500, 700, 850, 1000])

    def __post_init__(self) -> None:
        one_of("planet.name", self.name, ("qg3", "speedy"))
        positive("planet.days", self.days)
        parse_time("planet.start", self.start)


@dataclass
class SimulateConfig:
    """``fourcast simulate``: run a simulated planet into an ERA5-like netCDF file."""

    planet: PlanetConfig = field(default_factory=PlanetConfig)
    output: str = "data/planet.nc"
    overwrite: bool = False


@dataclass
class FetchConfig:
    """``fourcast fetch``: download ERA5 from the Climate Data Store, a file for each month and stream.

    channels: names or a published set. start, end: first and last day, inclusive; the time to the hour is not needed.
    step_hours: between analyses. grid: degrees to which the Climate Data Store interpolates; null: its own 0.25.
    area: [north, west, south, east] in degrees; null: the globe. static: orography and land–sea mask, too. parallel:
    requests that wait in its queue together. attempts: how often a request is tried. replace_preliminary: ask again
    for files that hold preliminary ERA5, which final ERA5 replaces after two to three months.
    """

    channels: Any = MISSING
    start: str = MISSING
    end: str = MISSING
    output: str = "data/era5"
    step_hours: int = 6
    grid: float | None = None
    area: list[float] | None = None
    static: bool = True
    parallel: int = 2
    attempts: int = 8
    replace_preliminary: bool = False

    def __post_init__(self) -> None:
        self.channels = as_list("channels", self.channels)
        for key in ("step_hours", "parallel", "attempts"):
            positive(key, getattr(self, key))
        if 24 % self.step_hours:
            raise InputError(f"step_hours must divide 24, found {self.step_hours}")
        if self.grid is not None:
            positive("grid", self.grid)
        if self.area is not None:
            _check_area(self.area)
        if MISSING not in (self.start, self.end):
            check_period("", self.start, self.end)


def _check_area(area: list[float]) -> None:
    """Raise InputError unless ``area`` is [north, west, south, east] with north above south."""
    if len(area) != 4 or not 90 >= area[0] > area[2] >= -90:
        raise InputError(f"area must be [north, west, south, east] in degrees, found {area}")


@dataclass
class IngestConfig:
    """``fourcast ingest``: read analyses in the forms people have, write a training store.

    source: file, folder, glob or zarr, or several. channels: names, a published set, or null for all the source
    holds. start, end: first and last time, inclusive. statistics_start, statistics_end: the period from which
    statistics and climatology come; keep it apart from the dates to verify on. number, forecast_step: which
    ensemble member and which step in hours to take where a source holds several. hdf5_channels: names of the
    channels of FourCastNet HDF5 files where they are not the published ones. storage_options: of the fsspec
    filesystem of a URL; null: anonymous. region: accept a source that does not cover the globe. grid: regrid to
    this preset, or to rows x columns as in 721x1440, by the method ``regrid``. south_pole: without grid, "drop"
    its row where their number is odd, or "keep" it. allow: faults to accept, each by its kind or for one channel as
    in t850:missing.

    workers: processes on this machine (null: one for each core), as many as fit into memory_gb together. part: "k/N",
    the k-th share of N where several machines share the work, as in a Slurm array. dask: the address of a scheduler.
    part_times: how many times, in whole shards, are done and recorded at once (null: about half a gigabyte).
    """

    source: Any = MISSING
    output: str = STORE
    channels: Any = None
    start: str | None = None
    end: str | None = None
    statistics_start: str | None = None
    statistics_end: str | None = None
    step_hours: int = 6
    climatology_harmonics: int = 2
    number: int | None = None
    forecast_step: int | None = None
    hdf5_channels: Any = None
    storage_options: dict[str, Any] | None = None
    region: bool = False
    grid: str | None = None
    regrid: str = "conservative"
    south_pole: str = "drop"
    allow: Any = None
    shard_times: int = 8
    part_times: int | None = None
    memory_gb: float = 8.0
    workers: int | None = None
    part: str | None = None
    dask: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        for key in ("source", "channels", "hdf5_channels", "allow"):
            setattr(self, key, as_list(key, getattr(self, key)))
        one_of("south_pole", self.south_pole, ("drop", "keep"))
        one_of("regrid", self.regrid, ("conservative", "bilinear"))
        positive("step_hours", self.step_hours)
        positive("shard_times", self.shard_times)
        positive("memory_gb", self.memory_gb)
        positive("workers", 1 if self.workers is None else self.workers)
        not_negative("climatology_harmonics", self.climatology_harmonics)
        check_period("", self.start, self.end)
        check_period("statistics_", self.statistics_start, self.statistics_end)
        if self.part_times is not None and (self.part_times < 1 or self.part_times % self.shard_times):
            raise InputError(
                f"part_times must be a multiple of shard_times={self.shard_times}, found {self.part_times}"
            )
        parse_part(self.part)
        if self.overwrite and self.part is not None:
            raise InputError("overwrite=true with part=… would delete what other shares did; remove the store first")


@dataclass
class InspectConfig:
    """``fourcast inspect``: say what a source, store, checkpoint or forecast run holds.

    Of a store: plot draws a map of every channel into this folder; checksums compares its shards with what was written.
    """

    path: str = MISSING
    plot: str | None = None
    checksums: bool = False
