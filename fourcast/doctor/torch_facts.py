"""Loads torch, in a process that may crash, and lets it tell of itself."""

from typing import Any

Seen = list[tuple[str, tuple[int, int]]]


def torch() -> dict[str, Any]:
    """The fields of fourcast.doctor.software.Torch."""
    import torch
    from torch.backends import cudnn

    gpus, complaint = _gpus() if torch.version.cuda is not None or torch.cuda.is_available() else ([], "")
    words = [f"cuDNN {cudnn.version()}"] if gpus and cudnn.is_available() else []
    if torch.distributed.is_available() and torch.distributed.is_nccl_available() and gpus:
        words.append("NCCL " + ".".join(map(str, torch.cuda.nccl.version())))
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "archs": torch.cuda.get_arch_list(),
        "gpus": gpus,
        "complaint": complaint,
        "libraries": "".join(f", {word}" for word in words),
    }


def _gpus() -> tuple[Seen, str]:
    """Names and compute capabilities of the GPUs up to the first that does not answer, and what is wrong with that."""
    import torch

    found: Seen = []
    try:
        torch.cuda.init()
        for i in range(torch.cuda.device_count()):
            found.append((torch.cuda.get_device_name(i), torch.cuda.get_device_capability(i)))
    except (RuntimeError, AssertionError) as error:
        return found, " ".join(str(error).split())
    return found, ""
