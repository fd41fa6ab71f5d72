"""The process group, and parallelism applied to a model from outside."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fourcast.errors import InputError


@dataclass(frozen=True)
class Process:
    """This process among its peers, and the device it owns."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def say(self, message: str) -> None:
        """Print on standard error, from the first process only."""
        if self.is_first:
            print(message, file=sys.stderr, flush=True)

    def barrier(self) -> None:
        """Wait for every process."""
        if self.world_size > 1:
            dist.barrier()

    def sum(self, value: Tensor) -> Tensor:
        """The sum of ``value`` over all processes; in place where there are several."""
        if self.world_size > 1:
            dist.all_reduce(value)
        return value


@contextmanager
def process_group(device: str) -> Iterator[Process]:
    """Join the group that torchrun describes in the environment, or stand alone; leave it at the end."""
    rank = int(os.environ.get("RANK", "0"))
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    own = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if own.type == "cuda":
        torch.cuda.set_device(own)
    if world_size > 1:
        dist.init_process_group("nccl" if own.type == "cuda" else "gloo")
    try:
        yield Process(rank, world_size, own)
    finally:
        if world_size > 1:
            dist.destroy_process_group()


def choose_device(name: str, local_rank: int) -> torch.device:
    """``auto`` is this rank's GPU where there is one, else the CPU; any other name is torch's own."""
    if name == "auto":
        return torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device must be auto, cpu or cuda, found {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device={name} asked for, but torch {torch.__version__} sees no GPU; use device=cpu or auto")
    return torch.device("cuda", local_rank) if name == "cuda" else device


def parallelize(model: nn.Module, process: Process) -> nn.Module:
    """Wrap ``model`` so that gradients are averaged over all processes; alone, return it as it is."""
    if process.world_size == 1:
        return model
    return DistributedDataParallel(model, device_ids=[process.device] if process.device.type == "cuda" else None)
