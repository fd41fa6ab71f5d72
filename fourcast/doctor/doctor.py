"""``fourcast doctor``: what is here, what works, what is slow, and what to do."""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from fourcast.doctor import disk, exchange, hardware, packages, software
from fourcast.doctor.apart import alone, apart
from fourcast.doctor.cache import cache_finding, cache_folder
from fourcast.doctor.finding import ABSENT, FAILED, OK, UNEXPECTED, Finding, isolated, learned
from fourcast.doctor.nvidia import Nvidia, gpu_finding, nvidia
from fourcast.doctor.screen import Grouped, document, lines, verdict, works
from fourcast.doctor.software import Torch
from fourcast.doctor.surroundings import variables_finding
from fourcast.doctor_config import DoctorConfig

SECONDS = {"libraries": 120.0, "torch": 120.0, "compiled": 180.0, "kernels": 400.0, "training": 400.0}
"""After which a check in a process of its own is given up; a slow network disk takes its time to load torch."""
LOOK = "FOURCAST_TRACEBACK=1 fourcast doctor tells more; see torch and kernels above first"
OTHERWISE = "pass output=DIR on another disk"
RELOAD = "pip install --force-reinstall"


def doctor(config: DoctorConfig) -> None:
    """Print findings as they are made, or one JSON document; exit with status 1 where something needed fails.

    Needs no GPU, no network and no writable home, and leaves nothing behind but a compiled kernel in Triton's cache.
    InputError for an extra that there is not.
    """
    packages.require_known(config.needs)
    began, found = time.monotonic(), list[Grouped]()
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for one in examine(config):
        if not config.json:
            print("\n".join(lines(one, not found or found[-1].group != one.group, colour)), flush=True)
        found.append(one)
    seconds = time.monotonic() - began
    print(json.dumps(document(found, seconds), indent=2) if config.json else verdict(found, seconds))
    if not works(found):
        sys.exit(1)


def examine(config: DoctorConfig) -> Iterator[Grouped]:
    """All findings in the order in which one depends on another."""
    here, broken = learned("gpu", partial(nvidia, not config.quick), Nvidia())
    on_gpu = config.device != "cpu" and bool(here.gpus and here.cuda)
    yield from _of("machine", "processor", hardware.processor)
    yield from _of("machine", "memory", hardware.memory)
    yield from _of("machine", "shared memory", hardware.shared_memory)
    yield from (Grouped("machine", one) for one in broken or [gpu_finding(here, config.device)])
    yield from _of("machine", "variables", partial(variables_finding, os.environ))
    yield from _of("software", "python", software.python_finding)
    torch, complaints = learned("torch", partial(_torch, config.quick), None, f"{RELOAD} torch")
    if torch is None:
        yield from (Grouped("software", one) for one in complaints or [_without_torch()])
    else:
        yield from _of("software", "torch", partial(software.torch_finding, torch, here, config.device))
    yield from _packages(config, on_gpu)
    yield from _disk(config, on_gpu)
    yield from _kernels(config, on_gpu, torch)
    if not config.quick:
        yield from _training(config, torch)


def _of(
    group: str, name: str, check: Callable[[], Finding | list[Finding]], remedy: str = UNEXPECTED
) -> Iterator[Grouped]:
    """What a check finds, one thing or several, as a part of ``group``."""

    def found() -> list[Finding]:
        one = check()
        return one if isinstance(one, list) else [one]

    yield from (Grouped(group, one) for one in isolated(name, found, remedy))


def _torch(quick: bool) -> Torch | None:
    """What torch tells of itself, or where it is quick its metadata; None where it is not installed."""
    version = packages.version_of("torch")
    if quick or version is None:
        return None if version is None else software.torch_by_metadata(version, packages.requires_of("torch"))
    told = apart("torch", seconds=SECONDS["torch"])
    gpus = tuple((name, (major, minor)) for name, (major, minor) in told["gpus"])
    return Torch(**{**told, "archs": tuple(told["archs"]), "gpus": gpus})


def _without_torch() -> Finding:
    oldest = ".".join(map(str, software.OLDEST_TORCH))
    remedy = f"pip install 'torch>={oldest}', for CPUs alone with --index-url {software.WHEELS}/cpu"
    return Finding("torch", FAILED, "not installed", remedy)


def _packages(config: DoctorConfig, on_gpu: bool) -> Iterator[Grouped]:
    version, requires = packages.version_of("triton"), packages.requires_of("torch")
    yield from _of("software", "triton", partial(software.triton_finding, version, requires, on_gpu))
    yield from _of("software", "compiler", partial(software.compiler_finding, on_gpu))
    load = packages.libraries_finding if config.quick else _loaded
    yield from _of("software", "libraries", load, f"{RELOAD} numpy xarray zarr netCDF4 hydra-core")
    yield from _of("software", "extras", partial(packages.extras_findings, config.needs))


def _loaded() -> Finding:
    """The finding of the libraries, which are loaded where they are what they should be."""
    found = packages.libraries_finding()
    if found.status != OK:
        return found
    versions = apart("libraries", seconds=SECONDS["libraries"])
    return Finding(found.name, OK, ", ".join(f"{name} {version}" for name, version in versions.items()))


def _disk(config: DoctorConfig, on_gpu: bool) -> Iterator[Grouped]:
    output = Path(config.output)
    yield from _of("disk", "output", partial(disk.writable, "output", output, OTHERWISE))
    yield from _of("disk", "space", partial(disk.space, output))
    yield from _of("disk", "temporary", partial(disk.temporary_finding, on_gpu))
    if not config.quick:
        yield from _of("disk", "speed", partial(disk.speeds, output))
        yield from _of("disk", "store", partial(disk.store_speed, Path(config.store)))


def _kernels(config: DoctorConfig, on_gpu: bool, torch: Torch | None) -> Iterator[Grouped]:
    folder = cache_folder(os.environ)
    looked = partial(cache_finding, folder, on_gpu, 0) if config.quick else partial(cache_finding, folder, on_gpu)
    yield from _of("kernels", "kernel cache", looked)
    if config.quick:
        return
    remedy = f"rm -r {folder}; still so: see triton above, or export FOURCAST_KERNELS=torch"
    if not on_gpu and packages.version_of("triton") is not None:
        yield from _of("kernels", "triton compiler", partial(_compiled, folder), remedy)
    yield from _with_torch("kernels", "kernels", torch, partial(_apart, "kernels", config.device), remedy)


def _compiled(folder: Path) -> list[Finding]:
    """A kernel compiled for a GPU that is not here, through the cache where that can be used."""
    with tempfile.TemporaryDirectory() as other:
        cache = str(folder) if disk.writable("", folder, "").status == OK else other
        environ = alone(os.environ) | {"TRITON_CACHE_DIR": cache}
        return _findings(apart("compiled", seconds=SECONDS["compiled"], environ=environ))


def _training(config: DoctorConfig, torch: Torch | None) -> Iterator[Grouped]:
    yield from _with_torch("training", "training", torch, partial(_trained, config), LOOK)
    if torch is not None:
        gpus = 0 if config.device == "cpu" else len(torch.gpus)
        together = ("cuda", gpus) if gpus > 1 else ("cpu", 2)
        yield from _of("training", exchange.NAME, partial(exchange.exchange_findings, *together), exchange.REMEDY)


def _trained(config: DoctorConfig) -> list[Finding]:
    """A training on the disk of ``output`` where that can be written, else where temporary files are."""
    output = Path(config.output)
    if disk.writable("", output, "").status == OK:
        with disk.trial(disk.folder(output).there) as inside:
            return _apart("training", str(inside), config.device)
    with tempfile.TemporaryDirectory() as other:
        return _apart("training", other, config.device)


def _with_torch(
    group: str, name: str, torch: Torch | None, check: Callable[[], list[Finding]], remedy: str
) -> Iterator[Grouped]:
    """What a check finds that needs torch; it is not tried where torch cannot be loaded."""
    if torch is None:
        yield Grouped(group, Finding(name, ABSENT, "not tried: torch cannot be loaded"))
    else:
        yield from _of(group, name, check, remedy)


def _apart(name: str, *arguments: str) -> list[Finding]:
    return _findings(apart(name, *arguments, seconds=SECONDS[name]))


def _findings(told: list[dict[str, Any]]) -> list[Finding]:
    return [Finding(**one) for one in told]
