"""The wheel, built and installed as a user does: in fresh environments of every Python here, outside the repository."""

import csv
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from test_pipeline import COMMANDS

ROOT = Path(__file__).parent.parent
PRUNED = {"PYTHONPATH", "FOURCAST_CONF", "VIRTUAL_ENV"}
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in PRUNED} | {"OMP_NUM_THREADS": "1"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def run(folder: Path, *command: object) -> str:
    """What ``command`` says in ``folder``, which must succeed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution and the wheel made of it, and in tree/ the wheel of the checkout."""
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENVIRONMENT, "PIP_QUIET", "2")  # what pip says of its own indexes is no warning of the build
        said = run(folder, sys.executable, "-m", "build", "--outdir", folder, ROOT)
        said += run(folder, sys.executable, "-m", "build", "--wheel", "--outdir", folder / "tree", ROOT)
    assert "warn" not in said.lower(), said
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("fourcast-*.whl")
    return found


def contents(archive: Path) -> dict[str, bytes]:
    """Bytes by name of a wheel."""
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_the_wheel_holds_the_package_and_its_configuration(wheel: Path) -> None:
    names = set(contents(wheel))
    expected = {f"fourcast/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    expected |= {str(path.relative_to(ROOT)) for path in (ROOT / "fourcast").rglob("*.py")}
    expected |= {str(path.relative_to(ROOT)) for path in (ROOT / "fourcast/report/page").iterdir()}
    assert expected - names == set()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"fourcast"}
    assert not [name for name in names if "__pycache__" in name]


def test_the_wheel_of_the_source_distribution_is_that_of_the_checkout(built: Path, wheel: Path) -> None:
    assert contents(wheel) == contents(built / "tree" / wheel.name)


def test_the_source_distribution_holds_what_tests_and_container_need(built: Path) -> None:
    (archive,) = built.glob("fourcast-*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    needed = ["README.md", "LICENSE", "constraints.txt", "pyproject.toml"]
    for folder in ("conf", "docker", "docs", "locks", "scripts", "tests"):
        needed += [str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*") if path.is_file()]
    assert {name for name in needed if "__pycache__" not in name} - names == set()


def test_its_metadata_say_what_an_index_wants_to_know(wheel: Path) -> None:
    (name,) = (name for name in contents(wheel) if name.endswith(".dist-info/METADATA"))
    metadata = message_from_bytes(contents(wheel)[name])
    assert (metadata["Name"], metadata["License-Expression"]) == ("fourcast", "Apache-2.0")
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert str(metadata.get_payload()).startswith("# fourcast")
    assert metadata["Summary"]
    assert "\n" not in metadata["Summary"]
    extras = set(metadata.get_all("Provides-Extra", []))
    assert extras == {"cloud", "dask", "dev", "grib", "mlflow", "planet", "report", "slurm", "trackers", "wandb"}
    assert not [text for text in metadata.get_all("Requires-Dist", []) if " @ " in text]


def environment(folder: Path, python: str) -> Path:
    """The bin/ of a new virtual environment of ``python``."""
    run(folder, python, "-m", "venv", folder / "venv")
    return folder / "venv/bin"


@pytest.fixture(scope="module")
def quickstart(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the installed wheel ran the quickstart in small, verb by verb; venv/bin/ beside it."""
    folder = tmp_path_factory.mktemp("installed")
    commands = environment(folder, sys.executable)
    pip = (commands / "pip", "install", "--quiet", "--no-compile", "-c", ROOT / "constraints.txt")
    run(folder, *pip, f"{wheel}[report,trackers]")
    run(folder, commands / "pip", "check")
    work = folder / "work"
    work.mkdir()
    for verb, *overrides in COMMANDS:
        run(work, commands / "fourcast", verb, "experiment=quickstart", *overrides)
    run(work, commands / "fourcast", "report", "runs/quickstart")
    return work


def test_the_installed_wheel_runs_the_quickstart_outside_the_repository(quickstart: Path) -> None:
    assert {path.name for path in quickstart.iterdir()} == {"data", "runs"}
    made = {str(path.relative_to(quickstart)) for path in quickstart.glob("*/quickstart/*")}
    assert made >= {"data/quickstart/planet.nc", "data/quickstart/store.zarr", "runs/quickstart/report.html"}
    members = sorted(path.name for path in (quickstart / "runs/quickstart/forecast/2001-01-11T00").iterdir())
    assert [name for name in members if name.endswith(".nc")] == [f"member_00{m}.nc" for m in range(3)]
    where = run(quickstart, quickstart.parent / "venv/bin/python", "-c", "import fourcast; print(fourcast.__file__)")
    assert where.startswith(str(quickstart.parent))


def interpreter(version: str) -> str:
    """A Python of ``version``, as in 3.12, that makes virtual environments; skips where there is none."""
    candidates = [
        shutil.which(f"python{version}"),
        *Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"),
    ]
    for found in candidates:
        asked = [str(found), "-c", "import venv, ensurepip"]
        if found and subprocess.run(asked, capture_output=True).returncode == 0:
            return str(found)
    pytest.skip(f"no Python {version} here")


def without_triton(folder: Path) -> Path:
    """The lock of all but torch and triton, which without torch has no use."""
    blocks = (ROOT / "locks/run.txt").read_text().replace("\\\n", "\\\0").splitlines(keepends=True)
    lock = folder / "run.txt"
    lock.write_text("".join(b for b in blocks if not b.startswith("triton==")).replace("\\\0", "\\\n"))
    return lock


def scores(folder: Path) -> list[list[str]]:
    """The rows of a folder's table of scores."""
    with (folder / "scores.csv").open() as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_other_pythons_install_the_lock_and_need_torch_for_models_alone(
    version: str, wheel: Path, quickstart: Path, tmp_path: Path
) -> None:
    commands = environment(tmp_path, interpreter(version))
    install = (commands / "python", "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps")
    run(tmp_path, *install, "--require-hashes", "-r", without_triton(tmp_path))
    run(tmp_path, *install, wheel)
    fourcast = commands / "fourcast"
    assert "usage: fourcast" in run(tmp_path, fourcast, "--help")
    assert run(tmp_path, fourcast, "--version").startswith("fourcast ")
    assert "learning_rate" in run(tmp_path, fourcast, "train", "--cfg", "job", "experiment=quickstart")
    assert "learning_rate" in run(tmp_path, fourcast, "train", "--help")
    simulate, ingest, *_ = COMMANDS
    for verb, *overrides in (simulate, ingest):
        run(tmp_path, fourcast, verb, "experiment=quickstart", *overrides)
    assert "training store" in run(tmp_path, fourcast, "inspect", "data/quickstart/store.zarr")
    forecast = "runs/quickstart/forecast"
    shutil.copytree(quickstart / forecast, tmp_path / forecast)
    run(tmp_path, fourcast, "verify", "experiment=quickstart", "plots=false")
    run(tmp_path, fourcast, "report", "runs/quickstart", "output=page.html")
    mine, theirs = (scores(folder / "runs/quickstart/scores") for folder in (tmp_path, quickstart))
    assert mine[0] == theirs[0]
    assert len(mine) == len(theirs)
    assert (tmp_path / "page.html").stat().st_size > 100_000
