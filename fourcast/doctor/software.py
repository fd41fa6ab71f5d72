"""Python, torch and triton: whether they fit each other and this machine. Pure functions over plain facts."""

import os
import platform
import re
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fourcast.doctor import packages
from fourcast.doctor.finding import ABSENT, FAILED, OK, POOR, Finding
from fourcast.doctor.nvidia import Nvidia

OLDEST_TORCH = (2, 11)
TRITON_CAPABILITY = (8, 0)
"""The oldest GPUs for which the Triton kernels are made."""
DRIVERS = {11: "450", 12: "525", 13: "580"}
"""The first driver for each generation of CUDA: docs.nvidia.com/deploy/cuda-compatibility."""
WHEELS = "https://download.pytorch.org/whl"
BUILDS = {13: "cu130", 12: "cu126"}
"""The builds of torch for each generation of CUDA."""
IMAGES = {13: "--build-arg TORCH=cuda", 12: "--build-arg TORCH=base, of a BASE_IMAGE with a torch for CUDA 12"}
"""How images come by them."""
COMPATIBLE = "with a data-centre GPU export LD_LIBRARY_PATH=/usr/local/cuda/compat"
"""CUDA's package that lets it run on older drivers; images on the usual base have it."""


@dataclass(frozen=True)
class Torch:
    """What torch says of itself, or, where it was not loaded, what its metadata say.

    cuda: the CUDA it was built with, None for a build without, "" where it is not known. archs: the architectures it
    has code for, as sm_90; none where not known. gpus: name and compute capability of those it sees. complaint: why it
    sees none, or not all.
    """

    version: str
    cuda: str | None = ""
    hip: str | None = None
    archs: tuple[str, ...] = ()
    gpus: tuple[tuple[str, tuple[int, int]], ...] = ()
    complaint: str = ""
    libraries: str = ""


def python_finding() -> Finding:
    """The interpreter, the system, and this package."""
    from fourcast import __version__

    system = f"{platform.system()} {platform.machine()}"
    return Finding("python", OK, f"{platform.python_version()}, fourcast {__version__}, {system}, in {sys.prefix}")


def torch_by_metadata(version: str, requires: Sequence[str]) -> Torch:
    """What the metadata of torch tell of its build: the tag of its version, or the CUDA libraries it needs."""
    tag = version.partition("+")[2]
    if tag == "cpu":
        return Torch(version, None)
    if tagged := re.fullmatch(r"cu(\d+)(\d)", tag):
        return Torch(version, f"{tagged[1]}.{tagged[2]}")
    needed = re.search(r"(?:cuda-toolkit|nvidia-cuda-runtime(?:-cu\d+)?)\S*==(\d+\.\d+)", " ".join(requires))
    return Torch(version, needed[1] if needed else "")


def torch_finding(torch: Torch, here: Nvidia, device: str) -> Finding:
    """Whether this build of torch is the one for this machine; ``device`` as asked for."""
    if numbers(torch.version)[:2] < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        return _failed(f"{torch.version} is too old: fourcast needs {oldest}", packages.install(f"'torch>={oldest}'"))
    if torch.hip is not None:
        found = f"{torch.version} is a build for ROCm, on which the Triton kernels do not run"
        return Finding("torch", POOR, found, "the kernels are made for NVIDIA GPUs; plain torch takes their place")
    if device == "cpu" or not (here.gpus and here.cuda):
        return _without_gpu(torch, device)
    return _build(torch, here) or _support(torch, here)


def _without_gpu(torch: Torch, device: str) -> Finding:
    if device.startswith("cuda") and torch.cuda is None:
        return _failed(f"{torch.version} is a build for CPUs, and device=cuda asked for", install(torch.version, 13))
    build = {None: ", a build for CPUs", "": ""}.get(torch.cuda, f", built for CUDA {torch.cuda}")
    return Finding("torch", OK, torch.version + build + torch.libraries)


def _build(torch: Torch, here: Nvidia) -> Finding | None:
    """What is wrong with the build for GPUs that are here; None where nothing is."""
    assert here.cuda is not None
    generation = min(here.cuda[0], max(BUILDS))
    if torch.cuda is None:
        return _failed(
            f"{torch.version} is a build for CPUs, and this machine has {len(here.gpus)} × {here.gpus[0].name}",
            install(torch.version, generation),
        )
    if torch.cuda and numbers(torch.cuda)[0] > here.cuda[0]:
        found = f"{torch.version} is built for CUDA {torch.cuda}, and driver {here.driver} runs {_dotted(here.cuda)}"
        driver = DRIVERS.get(numbers(torch.cuda)[0], "a newer one")
        remedy = f"update the driver to {driver} or later; {COMPATIBLE}; or {install(torch.version, generation)}"
        return _failed(found, remedy)
    capabilities = [seen for _, seen in torch.gpus] or [gpu.capability for gpu in here.gpus if gpu.capability]
    for capability in capabilities:
        if torch.archs and not fits(torch.archs, capability):
            found = f"{torch.version} has code for {', '.join(torch.archs)} and none for compute {_dotted(capability)}"
            old = capability < min(numbers_of_archs(torch.archs))
            newer = packages.install("--upgrade torch", "a newer torch")
            return _failed(found, install(torch.version, 12) if old else newer)
    return None


def _support(torch: Torch, here: Nvidia) -> Finding:
    """What remains to be said of a build that fits."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = f"{len(torch.gpus)} of {len(here.gpus)} GPUs" if torch.gpus else "no GPU"
    if torch.complaint:
        return _failed(f"{torch.version} sees {seen}: {torch.complaint}", _of_complaint(torch.complaint, hidden))
    old = [name for name, capability in torch.gpus if capability < TRITON_CAPABILITY]
    found = f"{torch.version}, built for CUDA {torch.cuda or 'of an unknown version'}{torch.libraries}"
    if old:
        remedy = "plain torch takes the place of the Triton kernels; GPUs from the A100 on run them"
        return Finding("torch", POOR, f"{found}; {old[0]} is older than compute 8.0", remedy)
    if torch.gpus and hidden is None and len(torch.gpus) < len(here.gpus):
        remedy = "dmesg | grep -i xid; nvidia-smi -q -d ECC; of slices (MIG) name one in CUDA_VISIBLE_DEVICES"
        return Finding("torch", POOR, f"{found}; it sees {seen}", remedy)
    return Finding("torch", OK, found + (f"; it sees {seen}" if torch.gpus else ""))


def _of_complaint(complaint: str, hidden: str | None) -> str:
    """What to do about a torch that sees no GPU, or not all; ``hidden``: CUDA_VISIBLE_DEVICES."""
    if hidden is not None:
        return f"CUDA_VISIBLE_DEVICES={hidden!r} is set: unset it, or name GPUs that are here"
    if "ECC" in complaint:
        return "nvidia-smi -q -d ECC names the GPU: leave it out with CUDA_VISIBLE_DEVICES, and have it reset"
    remedy = "nvidia-smi should run without an error; docker run --gpus all; else reboot after a driver's update"
    if "system not yet initialized" in complaint:
        return f"error 802: systemctl restart nvidia-fabricmanager, of the driver's version; {remedy}"
    return remedy


def _failed(found: str, remedy: str) -> Finding:
    return Finding("torch", FAILED, found, remedy)


def install(version: str, generation: int) -> str:
    """How the build of this torch for a generation of CUDA is put in the place of the one that is here."""
    wanted = max(numbers(version)[:2], OLDEST_TORCH)
    generation = generation if generation in BUILDS else 12
    build = f"'torch=={_dotted(wanted)}.*' --index-url {WHEELS}/{BUILDS[generation]}"
    return packages.install(f"--force-reinstall {build}", IMAGES[generation])


def again(version: str) -> str:
    """How the same build of torch is put in the place of a damaged one."""
    tag = version.partition("+")[2]
    index = f" --index-url {WHEELS}/{tag}" if re.fullmatch(r"cpu|cu\d+", tag) else ""
    return packages.install(f"--force-reinstall --no-deps 'torch=={version}'{index}", f"'torch=={version}'")


def numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: ``"2.13.0+cpu"`` → ``(2, 13, 0)``."""
    return tuple(int(number) for number in re.findall(r"\d+", re.match(r"[\d.]*", version)[0]))  # type: ignore[index]


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def fits(archs: Sequence[str], capability: tuple[int, int]) -> bool:
    """Whether code for one of ``archs`` runs on a GPU.

    Machine code (sm_86) runs on GPUs of its generation that are no older, with the letter a on its own only; PTX
    (compute_90) is compiled on the machine for what is newer.
    """
    for kind, number, letter in (found for arch in archs if (found := _parts(arch))):
        made_for = divmod(int(number), 10)
        same = made_for == capability if letter == "a" else made_for[0] == capability[0] and made_for <= capability
        if same or (kind == "compute" and not letter and made_for <= capability):
            return True
    return False


def _parts(arch: str) -> tuple[str, ...] | None:
    found = re.fullmatch(r"(sm|compute)_(\d+)([a-z]?)", arch)
    return found.groups() if found else None


def numbers_of_archs(archs: Sequence[str]) -> list[tuple[int, int]]:
    """The compute capabilities of ``archs``."""
    return [divmod(int(found[1]), 10) for arch in archs if (found := _parts(arch))]


def triton_finding(found: str | None, torch_requires: Sequence[str], on_gpu: bool) -> Finding:
    """Whether triton is here, and the one that torch pins."""
    pins = [match[1] for text in torch_requires if (match := re.match(r"triton\s*\(?==\s*([\w.]+)", text))]
    pinned = pins[0] if pins else None
    wanted = packages.install(f"'triton=={pinned}'" if pinned else "triton, of the version that belongs to torch")
    if found is None:
        status = FAILED if on_gpu else ABSENT
        return Finding("triton", status, "not installed: plain torch takes the place of the kernels", wanted)
    if pinned is not None and numbers(found)[:3] != numbers(pinned)[:3]:
        return Finding("triton", FAILED if on_gpu else POOR, f"{found} is not {pinned}, which torch pins", wanted)
    return Finding("triton", OK, found + (", as torch pins it" if pinned else "; this torch pins none"))


def compiler_finding(on_gpu: bool) -> Finding:
    """The C compiler and Python's headers, with which Triton makes a launcher for every kernel."""
    compiler = os.environ.get("CC") or next((name for name in ("gcc", "clang") if shutil.which(name)), None)
    header = Path(sysconfig.get_path("include")) / "Python.h"
    missing = [] if compiler and shutil.which(compiler) else [f"C compiler {compiler}" if compiler else "C compiler"]
    missing += [] if header.exists() else [f"header {header}"]
    if not missing:
        return Finding("compiler", OK, f"{shutil.which(compiler or '')}, with Python's headers")
    remedy = "apt-get install gcc libc6-dev python3-dev (of this Python), or set CC; Triton compiles with them on a GPU"
    return Finding("compiler", FAILED if on_gpu else ABSENT, f"no {' and no '.join(missing)}", remedy)
