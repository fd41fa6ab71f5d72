"""What is installed, as the metadata of distributions tell it; nothing is imported."""

import importlib.metadata
import re
from collections.abc import Callable, Iterator

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fourcast.doctor.finding import FAILED, OK, Finding
from fourcast.errors import InputError

NAME = "fourcast"
PRIVATE = ("dev",)
"""Extras for those who work on fourcast."""
NAMED = ("numpy", "xarray", "zarr", "netCDF4", "hydra-core")
"""Libraries whose versions are shown."""

Versions = Callable[[str], str | None]
Requires = Callable[[str], list[str]]


def version_of(name: str) -> str | None:
    """The installed version of a distribution, None where it is not there."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def requires_of(name: str) -> list[str]:
    """What a distribution says it needs; nothing where it is not there."""
    try:
        return importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []


def extras_of(requires: list[str]) -> list[str]:
    """The extras for users that a distribution with these requirements has, in alphabetical order."""
    markers = " ".join(str(Requirement(text).marker) for text in requires)
    return sorted(set(re.findall(r'extra == "([\w-]+)"', markers)) - set(PRIVATE))


def require_known(needs: list[str], requires: Requires = requires_of) -> None:
    """Raise InputError for an extra that fourcast does not have."""
    known = extras_of(requires(NAME))
    for name in needs:
        if name not in known:
            raise InputError(f"needs must name extras of fourcast, {', '.join(known)}; found {name!r}")


def lacking(
    name: str, extra: str = "", versions: Versions = version_of, requires: Requires = requires_of
) -> Iterator[Requirement]:
    """What ``name`` with ``extra`` needs, alone or through extras of others, and does not find here."""
    for text in requires(name):
        need = Requirement(text)
        if not _applies(need, extra):
            continue
        found = versions(need.name)
        if found is None or not need.specifier.contains(found, prereleases=True):
            yield need
            continue
        for further in sorted(need.extras):
            yield from lacking(need.name, further, versions, requires)


def _applies(need: Requirement, extra: str) -> bool:
    """Whether a requirement is one of ``extra``, or with none of the distribution itself."""
    if need.marker is None:
        return extra == ""
    itself = need.marker.evaluate({"extra": ""})
    return itself if extra == "" else need.marker.evaluate({"extra": extra}) and not itself


def libraries_finding(versions: Versions = version_of, requires: Requires = requires_of) -> Finding:
    """Whether all that fourcast cannot be without is here, in versions it works with; torch is another finding."""
    if versions(NAME) is None:
        remedy = "pip install . in the checkout, or the wheel: only then are requirements known and checked"
        return Finding("libraries", FAILED, f"{NAME} is not installed as a package", remedy)
    wrong = [need for need in lacking(NAME, "", versions, requires) if canonicalize_name(need.name) != "torch"]
    if not wrong:
        shown = ", ".join(f"{name} {versions(name)}" for name in NAMED if versions(name))
        return Finding("libraries", OK, shown)
    found = ", ".join(f"{need.name} {versions(need.name) or 'is missing'}" for need in wrong)
    wanted = " ".join(f"'{need.name}{need.specifier}'" for need in wrong)
    return Finding("libraries", FAILED, found, install(wanted))


def again() -> str:
    """How the libraries that are NAMED are installed again, in the versions that are here."""
    wanted = " ".join(f"{name}=={version}" for name in NAMED if (version := version_of(name)))
    return install(f"--force-reinstall --no-deps {wanted}", wanted)


def has_pip() -> bool:
    """Whether anything can be installed here; images come without pip."""
    return version_of("pip") is not None  # looking for the module would switch setuptools' distutils off


def install(wanted: str, image: str = "") -> str:
    """How ``wanted`` is installed; without pip, also what an image is built anew with: ``image``, or the same."""
    if has_pip():
        return f"pip install {wanted}"
    return f"build the image anew with {image or wanted} (docker/README.md); outside of it, uv pip install {wanted}"


def extras_findings(
    needs: list[str], versions: Versions = version_of, requires: Requires = requires_of
) -> list[Finding]:
    """One finding of the extras that are here, and a failed one for each of ``needs`` that is not."""
    known = extras_of(requires(NAME))
    absent = {name: list(lacking(NAME, name, versions, requires)) for name in known}
    here = ", ".join(name for name in known if not absent[name]) or "none"
    others = [name for name in known if absent[name] and name not in needs]
    remedy = f"for what you use: pip install 'fourcast[{','.join(others)}]'" if others and has_pip() else ""
    findings = [Finding("extras", OK, here + (f"; not here: {', '.join(others)}" if others else ""), remedy)]
    for name in needs:
        if absent[name]:
            found = f"needs {', '.join(need.name for need in absent[name])}, not here or of another version"
            findings.append(Finding(f"extra {name}", FAILED, found, install(f"'fourcast[{name}]'")))
    return findings
