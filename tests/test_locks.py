"""constraints.txt and locks/ pin what pyproject.toml asks for, on every Python and both kinds of processor."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
IN_THE_IMAGE = ("cloud", "dask", "grib", "report", "trackers")
PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")

Pins = dict[str, str]
"""Version by name."""


def lines(name: str) -> list[str]:
    """The requirements of a file, each on one line with its hashes."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def pins(name: str, python: str, machine: str) -> Pins:
    """What ``name`` pins on Linux; a package that is pinned twice fails."""
    where = {"python_version": python, "python_full_version": f"{python}.9", "platform_machine": machine}
    where |= {"sys_platform": "linux", "os_name": "posix", "platform_system": "Linux", "implementation_name": "cpython"}
    found: Pins = {}
    for line in lines(name):
        wanted = Requirement(re.split(r"\s--hash", line)[0])
        if wanted.marker is None or wanted.marker.evaluate(where):
            (specifier,) = wanted.specifier
            assert specifier.operator == "=="
            assert found.setdefault(canonicalize_name(wanted.name), specifier.version) == specifier.version
    return found


def wanted(extras: tuple[str, ...]) -> list[Requirement]:
    """What pyproject.toml asks for directly with ``extras`` on Linux, those that are sets of other extras left out."""
    texts = PROJECT["dependencies"] + [text for extra in extras for text in EXTRAS[extra]]
    return [r for r in map(Requirement, texts) if r.name != "fourcast" and (not r.marker or r.marker.evaluate())]


def missing(asked: list[Requirement], found: Pins) -> list[str]:
    """Those of ``asked`` that no pin satisfies."""
    versions = [(r, found.get(canonicalize_name(r.name))) for r in asked]
    return [str(r) for r, version in versions if version is None or version not in r.specifier]


everywhere = pytest.mark.parametrize("machine", MACHINES)
every_python = pytest.mark.parametrize("python", PYTHONS)


def test_the_pythons_are_those_of_the_project() -> None:
    assert PROJECT["requires-python"] == f">={PYTHONS[0]},<3.{int(PYTHONS[-1].split('.')[1]) + 1}"
    assert [c.split(":: ")[-1] for c in PROJECT["classifiers"] if ":: Python ::" in c] == list(PYTHONS)


def test_a_pin_that_is_absent_or_outside_its_range_is_found() -> None:
    asked = [Requirement("zarr>=3.1.5,<4"), Requirement("netCDF4>=1.7.2,!=1.7.4"), Requirement("fsspec[http]>=1")]
    assert missing(asked, {"zarr": "3.1.6", "netcdf4": "1.7.5", "fsspec": "2"}) == []
    assert missing(asked, {"zarr": "4.0", "netcdf4": "1.7.4"}) == [str(r) for r in asked]


@everywhere
@every_python
def test_constraints_pin_every_extra(python: str, machine: str) -> None:
    assert missing(wanted(tuple(EXTRAS)), pins("constraints.txt", python, machine)) == []


@everywhere
@every_python
def test_locks_hold_what_the_image_installs_at_the_versions_of_the_constraints(python: str, machine: str) -> None:
    torch, run = (pins(f"locks/{name}.txt", python, machine) for name in ("torch", "run"))
    assert missing(wanted(IN_THE_IMAGE), torch | run) == []
    assert torch.keys().isdisjoint(run)
    assert not any(name.startswith(("torch", "nvidia-", "cuda-")) for name in run)
    assert (torch | run).items() <= pins("constraints.txt", python, machine).items()


@every_python
def test_the_build_lock_builds_the_project(python: str) -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    asked = [Requirement(text) for text in [*build, "setuptools"]]
    assert missing(asked, pins("locks/build.txt", python, "x86_64")) == []


@pytest.mark.parametrize("name", ["torch", "run", "build"])
def test_every_locked_package_has_a_hash_and_none_a_place(name: str) -> None:
    locked = lines(f"locks/{name}.txt")
    assert locked
    assert [line for line in locked if not re.search(r"(\s+--hash=sha256:[0-9a-f]{64})+\s*$", line)] == []
    assert re.search(r"://|@|^-", "\n".join(line.split(" --hash")[0] for line in locked), re.M) is None


def test_constraints_name_no_place() -> None:
    assert re.search(r"://|@|\+|^-", (ROOT / "constraints.txt").read_text(), re.M) is None
