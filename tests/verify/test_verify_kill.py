"""kill −9 at any moment of a verification loses no finished part, and a rerun ends as if undisturbed."""

import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from killing import DEADLINE, finish, ready, start
from known_planet import TIMES, config, make_run, make_store

from fourcast.files import PARTIAL
from fourcast.verify.evaluate import verify
from fourcast.verify_config import VerifyConfig

INITS = TIMES[:8]
DRAWN = np.random.default_rng(11).uniform(0, 1, 20)
"""When a verification is killed, as shares of the time that it takes undisturbed."""


@pytest.fixture(scope="module")
def planet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with RUN of eight initial times, and store.zarr."""
    folder = tmp_path_factory.mktemp("killed")
    make_store(folder / "store.zarr")
    make_run(folder / "RUN", inits=INITS)
    return folder


def contents(output: Path) -> dict[str, xr.Dataset]:
    """The results by name, without when they were made."""
    return {path.name: xr.load_dataset(path, decode_timedelta=True) for path in sorted(output.glob("*.nc"))}


def assert_undisturbed(output: Path, expected: dict[str, xr.Dataset]) -> None:
    found = contents(output)
    assert found.keys() == expected.keys()
    for name in expected:
        xr.testing.assert_equal(found[name], expected[name])
    left = {path.name for path in output.parent.glob(f"{output.name}*")} | {path.name for path in output.glob("*")}
    assert not [name for name in left if name.endswith((PARTIAL, ".parts"))]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("workers", [1, 2])
def test_verifications(planet: Path, tmp_path: Path, workers: int) -> None:
    given = {"forecast": str(planet / "RUN"), "store": str(planet / "store.zarr"), "workers": workers}
    ready()
    begun = time.monotonic()
    finish(verify, config(tmp_path, "undisturbed", **given))
    took, expected = time.monotonic() - begun, contents(tmp_path / "undisturbed")
    for number, share in enumerate(DRAWN):
        asked = config(tmp_path, f"killed{number}", **given)
        process = start(verify, asked)
        process.join(share * took)
        process.kill()
        process.join()
        finish(verify, asked)
        assert_undisturbed(Path(asked.output), expected)


def test_finished_parts_are_kept(planet: Path, tmp_path: Path) -> None:
    asked = config(tmp_path, "kept", forecast=str(planet / "RUN"), store=str(planet / "store.zarr"), part="1/1")
    kept = killed_after_parts(asked, 2)
    finish(verify, config(tmp_path, "kept", forecast=str(planet / "RUN"), store=str(planet / "store.zarr"), part="1/4"))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    finish(verify, asked)
    assert not (tmp_path / "kept.parts").exists()


def killed_after_parts(asked: VerifyConfig, count: int) -> dict[Path, int]:
    """Kill a verification once so many parts are there; their paths and when they were written."""
    process, limit = start(verify, asked), time.monotonic() + DEADLINE
    parts = Path(f"{asked.output}.parts")
    while len(list(parts.glob("*/part_*.nc"))) < count:
        assert process.is_alive()
        assert time.monotonic() < limit
        time.sleep(0.002)
    process.kill()
    process.join()
    return {path: path.stat().st_mtime_ns for path in parts.glob("*/part_*.nc")}
