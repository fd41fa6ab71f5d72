"""The memory of an ingestion is bounded by its setting and does not grow with the number of years."""

import subprocess
import sys
from pathlib import Path

import netCDF4
import numpy as np
import pytest

ROWS, COLUMNS, STEPS = 24, 48, 1460
PROGRAM = """
import resource, sys
from fourcast.data_config import IngestConfig
from fourcast.data.ingest import ingest

source, output, workers = sys.argv[1:]
ingest(IngestConfig(source=[source], output=output, workers=int(workers), memory_gb=1.5, shard_times=16))
children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
# Of this process Linux keeps the peak by name; getrusage would count the one that started it, too.
(own,) = (int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("peak", own, children)
"""


def decades(path: Path, years: int) -> Path:
    """``years`` of 365 days, six-hourly, of msl and t2m; a year's file would be 13 MB."""
    rng = np.random.default_rng(0)
    with netCDF4.Dataset(path, "w") as file:
        axes = {"time": 6.0 * np.arange(years * STEPS), "latitude": 90 - 7.5 * (np.arange(ROWS) + 0.5)}
        for name, values in {**axes, "longitude": 7.5 * np.arange(COLUMNS)}.items():
            file.createDimension(name, len(values))
            file.createVariable(name, "f8", (name,))[:] = values
        file["time"].units = "hours since 1979-01-01"
        for name, low, high, units in (("msl", 99000, 103000, "Pa"), ("t2m", 265, 310, "K")):
            variable = file.createVariable(name, "f4", ("time", "latitude", "longitude"))
            variable.units = units
            for year in range(years):
                block = slice(year * STEPS, (year + 1) * STEPS)
                variable[block] = rng.uniform(low, high, (STEPS, ROWS, COLUMNS))
    return path


def peak_megabytes(source: Path, output: Path, workers: int) -> float:
    """The largest memory of any process of an ingestion."""
    command = [sys.executable, "-c", PROGRAM, str(source), str(output), str(workers)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    words = said[said.index("peak") :].split()
    return max(int(words[1]), int(words[2])) / 1024


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say how much a process held")
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("workers", [1, 2])
def test_forty_years_take_no_more_memory_than_ten(tmp_path: Path, workers: int) -> None:
    """400 MB more of data in at most 96 MB more of memory, records of 43 800 more times; all of it within memory_gb."""
    few = peak_megabytes(decades(tmp_path / "few.nc", 10), tmp_path / "few.zarr", workers)
    many = peak_megabytes(decades(tmp_path / "many.nc", 40), tmp_path / "many.zarr", workers)
    assert many < few + 96
    assert many < 1500 / workers
