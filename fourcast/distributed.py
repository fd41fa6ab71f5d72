"""The process group, and parallelism applied to a model from outside."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

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
def process_group(device: str, patience: timedelta | None = None) -> Iterator[Process]:
    """Join the group that torchrun describes in the environment, or stand alone; leave it at the end.

    With ``patience``, processes that only wait for each other, and exchange nothing large, may wait that long: they
    meet through gloo on the host, which has no watchdog. On GPUs fp32 means fp32, in convolutions too.
    """
    _refuse_separate_processes()
    rank = int(os.environ.get("RANK", "0"))
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    own = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if own.type == "cuda":
        torch.cuda.set_device(own)
        torch.backends.cudnn.allow_tf32 = False
    if world_size > 1:
        on_device = own.type == "cuda" and patience is None
        dist.init_process_group("nccl" if on_device else "gloo", timeout=patience)
    try:
        yield Process(rank, world_size, own)
    finally:
        if world_size > 1:
            dist.destroy_process_group()


def _refuse_separate_processes() -> None:
    """Several tasks of one srun that know nothing of each other would all write the same files."""
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if tasks > 1 and "RANK" not in os.environ:
        raise InputError(
            f"srun started {tasks} separate processes; start one a node that starts the others: "
            "srun --ntasks-per-node=1 torchrun --nproc-per-node=… -m fourcast …"
        )


def choose_device(name: str, local_rank: int) -> torch.device:
    """``auto`` is this rank's GPU where there is one, else the CPU; any other name is torch's own."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device must be auto, cpu or cuda, found {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device={name} asked for, but torch {torch.__version__} sees no GPU; use device=cpu or auto")
    if name != "cuda":
        return device
    if local_rank >= torch.cuda.device_count():
        raise InputError(
            f"process {local_rank} of this node has no GPU: torch sees {torch.cuda.device_count()}; start as many "
            "processes as there are GPUs (torchrun --nproc-per-node), or pass device=cpu"
        )
    return torch.device("cuda", local_rank)


def parallelize(model: nn.Module, process: Process) -> nn.Module:
    """Wrap ``model`` so that gradients are averaged over all processes; alone, return it as it is."""
    if process.world_size == 1:
        return model
    return DistributedDataParallel(model, device_ids=[process.device] if process.device.type == "cuda" else None)
