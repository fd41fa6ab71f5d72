"""``fourcast doctor``: what is here, what works, what is slow, and what to do."""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial

from fourcast.doctor import exchange, hardware, packages, software
from fourcast.doctor.apart import apart, orderly_end
from fourcast.doctor.cache import MOST, cache_folder, elsewhere, way_out
from fourcast.doctor.finding import ABSENT, FAILED, OK, POOR, UNEXPECTED, BreakdownError, Finding, isolated, learned
from fourcast.doctor.nvidia import Nvidia, gpu_finding, nvidia
from fourcast.doctor.places import OTHERWISE
from fourcast.doctor.screen import Grouped, document, lines, verdict, works
from fourcast.doctor.software import Torch
from fourcast.doctor.surroundings import variables_finding
from fourcast.doctor_config import DoctorConfig

SECONDS = {
    "output": 30.0, "temporary": 30.0, "speeds": 120.0, "store": 60.0, "cache": 60.0,
    "libraries": 120.0, "torch": 120.0, "compiled": 180.0, "kernels": 400.0, "training": 400.0,
}  # fmt: skip
"""After which a check in a process of its own is given up; a slow network disk takes its time to load torch."""
LOOK = "FOURCAST_TRACEBACK=1 fourcast doctor tells more; see torch and kernels above first"
MORE = "FOURCAST_TRACEBACK=1 fourcast doctor tells more; a damaged installation:"


def doctor(config: DoctorConfig) -> None:
    """Print findings as they are made, or one JSON document; exit with status 1 where something needed fails.

    Needs no GPU, no network and no writable home, and leaves nothing behind but a compiled kernel in Triton's cache.
    InputError for an extra that there is not.
    """
    packages.require_known(config.needs)
    began, found = time.monotonic(), list[Grouped]()
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    with orderly_end():
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
    torch, complaints = learned("torch", partial(_torch, config.quick), None, _reload_torch())
    if torch is None:
        yield from (Grouped("software", one) for one in complaints or [_without_torch()])
    else:
        yield from _of("software", "torch", partial(software.torch_finding, torch, here, config.device))
    yield from _packages(config, on_gpu)
    output = list(_output(config))
    usable = output[0].finding.status == OK
    yield from output
    yield from _disk(config, on_gpu, usable)
    yield from _kernels(config, on_gpu, torch)
    if not config.quick:
        yield from _training(config, torch, usable)


def _of(
    group: str, name: str, check: Callable[[], Finding | list[Finding]], remedy: str = UNEXPECTED, worst: str = FAILED
) -> Iterator[Grouped]:
    """What a check finds, one thing or several, as a part of ``group``; ``worst``: what becomes of failed."""

    def found() -> list[Finding]:
        one = check()
        return one if isinstance(one, list) else [one]

    for one in isolated(name, found, remedy):
        yield Grouped(group, replace(one, status=worst) if one.status == FAILED else one)


def _torch(quick: bool) -> Torch | None:
    """What torch tells of itself, or where it is quick its metadata; None where it is not installed."""
    version = packages.version_of("torch")
    if quick or version is None:
        return None if version is None else software.torch_by_metadata(version, packages.requires_of("torch"))
    told = apart("torch", seconds=SECONDS["torch"])
    gpus = tuple((name, (major, minor)) for name, (major, minor) in told["gpus"])
    return Torch(**{**told, "archs": tuple(told["archs"]), "gpus": gpus})


def _reload_torch() -> str:
    version = packages.version_of("torch")
    return MORE if version is None else f"{MORE} {software.again(version)}"


def _without_torch() -> Finding:
    oldest = ".".join(map(str, software.OLDEST_TORCH))
    wanted = f"'torch>={oldest}', for CPUs alone with --index-url {software.WHEELS}/cpu"
    return Finding("torch", FAILED, "not installed", packages.install(wanted, "torch"))


def _packages(config: DoctorConfig, on_gpu: bool) -> Iterator[Grouped]:
    version, requires = packages.version_of("triton"), packages.requires_of("torch")
    yield from _of("software", "triton", partial(software.triton_finding, version, requires, on_gpu))
    yield from _of("software", "compiler", partial(software.compiler_finding, on_gpu))
    load = packages.libraries_finding if config.quick else _loaded
    yield from _of("software", "libraries", load, f"{MORE} {packages.again()}")
    yield from _of("software", "extras", partial(packages.extras_findings, config.needs))


def _loaded() -> Finding:
    """The finding of the libraries, which are loaded where they are what they should be."""
    found = packages.libraries_finding()
    if found.status != OK:
        return found
    versions = apart("libraries", seconds=SECONDS["libraries"])
    return Finding(found.name, OK, ", ".join(f"{name} {version}" for name, version in versions.items()))


def _output(config: DoctorConfig) -> Iterator[Grouped]:
    """The first finding says whether anything can be written there."""
    remedy = _of_disk(config.output, OTHERWISE)
    yield from _of("disk", "output", partial(_apart, "output", config.output), remedy)


def _disk(config: DoctorConfig, on_gpu: bool, usable: bool) -> Iterator[Grouped]:
    temporary = _of_disk("the temporary files", "export TMPDIR=DIR")
    yield from _of("disk", "temporary", partial(_apart, "temporary", on_gpu), temporary)
    if not config.quick and usable:
        yield from _of("disk", "speed", partial(_apart, "speeds", config.output), _of_disk(config.output, OTHERWISE))
    if not config.quick:
        remedy = _of_disk(config.store, "pass store=STORE on another disk")
        yield from _of("disk", "store", partial(_apart, "store", config.store), remedy)


def _of_disk(folder: str, otherwise: str) -> str:
    return f"see what mount and dmesg say of the disk of {folder}, which may no longer answer, or {otherwise}"


def _kernels(config: DoctorConfig, on_gpu: bool, torch: Torch | None) -> Iterator[Grouped]:
    cache, worst = cache_folder(os.environ), FAILED if on_gpu else POOR
    where, most = None if cache is None else str(cache), 0 if config.quick else MOST
    remedy = _of_disk(f"Triton's cache, {where}", elsewhere(cache))
    yield from _of("kernels", "kernel cache", partial(_apart, "cache", where, on_gpu, most), remedy, worst)
    if config.quick:
        return
    remedy = way_out(cache)
    if not on_gpu and packages.version_of("triton") is not None:
        yield from _of("kernels", "triton compiler", partial(_compiled, where), remedy, worst)
    yield from _with_torch("kernels", "kernels", torch, partial(_apart, "kernels", config.device), remedy)


def _compiled(cache: str | None) -> list[Finding]:
    """A kernel compiled for a GPU that is not here, through the cache where that can be used."""
    with tempfile.TemporaryDirectory() as otherwise:
        return _apart("compiled", cache, otherwise)


def _training(config: DoctorConfig, torch: Torch | None, usable: bool) -> Iterator[Grouped]:
    yield from _with_torch("training", "training", torch, partial(_trained, config, usable), LOOK)
    if torch is not None:
        gpus = 0 if config.device == "cpu" else len(torch.gpus)
        together, worst = (("cuda", gpus), FAILED) if gpus > 1 else (("cpu", 2), POOR)
        sums = partial(exchange.exchange_findings, *together)
        yield from _of("training", exchange.NAME, sums, exchange.REMEDY, worst)


def _trained(config: DoctorConfig, usable: bool) -> list[Finding]:
    """A training on the disk of ``output`` where that is usable, else where temporary files are."""
    if not usable:
        with tempfile.TemporaryDirectory() as other:
            return _apart("training", other, config.device)
    try:
        return _apart("training", config.output, config.device)
    except BaseException:
        with suppress(BreakdownError):
            _apart("output", config.output)  # it removes what a training that was killed left there
        raise


def _with_torch(
    group: str, name: str, torch: Torch | None, check: Callable[[], list[Finding]], remedy: str
) -> Iterator[Grouped]:
    """What a check finds that needs torch; it is not tried where torch cannot be loaded."""
    if torch is None:
        yield Grouped(group, Finding(name, ABSENT, "not tried: torch cannot be loaded"))
    else:
        yield from _of(group, name, check, remedy)


def _apart(name: str, *arguments: str | bool | int | None) -> list[Finding]:
    return [Finding(**one) for one in apart(name, *arguments, seconds=SECONDS[name])]
