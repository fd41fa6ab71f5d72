"""Loads torch, in a process that may crash, and lets it tell of itself."""

from typing import Any


def torch() -> dict[str, Any]:
    """The fields of fourcast.doctor.software.Torch."""
    import torch
    from torch.backends import cudnn

    complaint = ""
    if torch.version.cuda is not None and not torch.cuda.is_available():
        try:
            torch.cuda.init()
        except (RuntimeError, AssertionError) as error:
            complaint = " ".join(str(error).split())
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = [(torch.cuda.get_device_name(i), torch.cuda.get_device_capability(i)) for i in range(count)]
    words = [f"cuDNN {cudnn.version()}"] if count and cudnn.is_available() else []
    if torch.distributed.is_available() and torch.distributed.is_nccl_available() and count:
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
