"""The process group: who started this process, who its peers are, and what they say to each other."""

import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from fourcast.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Placement:
    """A process among its peers, as its launcher numbers them in the whole job and on its node.

    meeting: the URL at which they find each other, as torch.distributed takes it.
    """

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    meeting: str


MPI = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
)
"""Rank, world size, local rank, local world size: Open MPI; MPICH and Intel MPI."""


def placement(environ: Mapping[str, str]) -> Placement:
    """What the environment says of this process: torchrun first, then MPI's mpirun, then Slurm's srun, else alone.

    mpirun may start its daemons through srun, so its own variables count before Slurm's. Only srun of several tasks
    counts: the shell of salloc, the script of sbatch and srun of one task each run one process, which is alone.
    MASTER_ADDR and MASTER_PORT, where set, say where to meet. InputError where a variable is missing.
    """
    if "RANK" in environ:
        return _of_torchrun(environ)
    for names in MPI:
        if all(name in environ for name in names):
            return _of_mpi(environ, *(int(environ[name]) for name in names))
    if int(environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return _of_slurm(environ)
    return Placement(0, 1, 0, 1, "")


def _of_torchrun(environ: Mapping[str, str]) -> Placement:
    names = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    rank, world_size, local_rank, local_world_size = (int(environ.get(*pair)) for pair in names.items())
    if world_size > 1:
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            _given(environ, name)
    return Placement(rank, world_size, local_rank, local_world_size, "env://")


def _of_mpi(
    environ: Mapping[str, str], rank: int, world_size: int, local_rank: int, local_world_size: int
) -> Placement:
    address = "127.0.0.1" if local_world_size == world_size else _given(environ, "MASTER_ADDR")
    return Placement(rank, world_size, local_rank, local_world_size, _meeting(environ, address, 29500))


def _of_slurm(environ: Mapping[str, str]) -> Placement:
    names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_JOB_ID", "SLURM_STEP_ID")
    rank, world_size, local_rank, node, job, step = (int(_given(environ, name)) for name in names)
    tasks = tasks_per_node(_given(environ, "SLURM_STEP_TASKS_PER_NODE"))
    address = "127.0.0.1" if len(tasks) == 1 else first_node(_given(environ, "SLURM_STEP_NODELIST"))
    port = 10_000 + (job + 4096 * step) % 20_000  # jobs and steps that share a node meet at ports of their own
    return Placement(rank, world_size, local_rank, tasks[node], _meeting(environ, address, port))


def _given(environ: Mapping[str, str], name: str) -> str:
    if name not in environ:
        raise InputError(f"several processes were started, but the environment lacks {name}: set it, or use torchrun")
    return environ[name]


def _meeting(environ: Mapping[str, str], address: str, port: int) -> str:
    return f"tcp://{environ.get('MASTER_ADDR', address)}:{environ.get('MASTER_PORT', port)}"


def first_node(nodes: str) -> str:
    """The first of a list of nodes as Slurm writes it: ``"gpu[08-11,20],login1"`` → ``"gpu08"``."""
    first = re.split(r",(?![^\[]*\])", nodes)[0]
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first)


def tasks_per_node(counts: str) -> list[int]:
    """The number of tasks on every node, from Slurm's way to write it: ``"4(x2),3"`` → ``[4, 4, 3]``."""
    found = re.findall(r"(\d+)(?:\(x(\d+)\))?", counts)
    return [int(tasks) for tasks, nodes in found for _ in range(int(nodes or 1))]


@dataclass(frozen=True)
class Process:
    """This process among its peers, in the job and on its node, and the device it owns."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
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
        """Wait for every process, on the host: GPUs may still be at work."""
        self.any(False)

    def sum(self, value: Tensor) -> Tensor:
        """The sum of ``value`` over all processes; in place where there are several."""
        if self.world_size > 1:
            dist.all_reduce(value)
        return value

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is true in any process; decided on the host."""
        if self.world_size == 1:
            return flag
        flags = torch.tensor(int(flag))
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags)

    def gather(self, value: Tensor, to: int) -> list[Tensor]:
        """The ``value`` of every process, on the host and of one shape, in the process ``to``; elsewhere nothing."""
        if self.world_size == 1:
            return [value]
        values = [torch.empty_like(value) for _ in range(self.world_size)] if self.rank == to else None
        dist.gather(value, values, dst=to)
        return values or []

    def decide(self, decision: Callable[[], T]) -> T:
        """What the first process decides, in every process; its InputError is raised in every process, too."""
        made, refused = None, ""
        if self.is_first:
            try:
                made = decision()
            except InputError as error:
                refused = str(error)
        made, refused = self.broadcast((made, refused))
        if refused:
            raise InputError(refused)
        return cast(T, made)

    def least(self, value: int) -> int:
        """The smallest ``value`` of any process; decided on the host."""
        if self.world_size == 1:
            return value
        values = torch.tensor(value)
        dist.all_reduce(values, dist.ReduceOp.MIN)
        return int(values)

    def broadcast(self, value: T) -> T:
        """The first process's ``value``, something small that JSON could hold, in every process."""
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]


@contextmanager
def process_group(device: str, patience: timedelta | None = None) -> Iterator[Process]:
    """Join the group that the launcher describes in the environment, or stand alone; leave it at the end.

    Tensors on GPUs are exchanged through NCCL, those on the host through gloo. With ``patience``, processes that only
    wait for each other, and exchange nothing large, may wait that long: they meet through gloo alone, which has no
    watchdog. On GPUs fp32 means fp32, in convolutions too.
    """
    place = placement(os.environ)
    own = choose_device(device, place.local_rank)
    if own.type == "cuda":
        torch.cuda.set_device(own)
        torch.backends.cudnn.allow_tf32 = False
    torch.set_num_threads(torch.get_num_threads())  # else MKL takes fewer where it likes, until the first who sets them
    process = Process(place.rank, place.world_size, place.local_rank, place.local_world_size, own)
    if process.world_size == 1:
        yield process
        return
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if own.type == "cuda" and patience is None else "gloo",
        init_method=place.meeting, rank=place.rank, world_size=place.world_size, timeout=patience,
    )  # fmt: skip
    try:
        if own.type == "cuda":
            require_own_gpus(_named_gpus(own))
        yield process
    finally:
        dist.destroy_process_group()
        time.sleep(0.1)  # gloo's threads, which a sharded model keeps, drop their last tensors now: at exit they crash


def _named_gpus(own: torch.device) -> list[str]:
    names = [""] * dist.get_world_size()
    dist.all_gather_object(names, f"{torch.cuda.get_device_properties(own).uuid} of {socket.gethostname()}")
    return names


def require_own_gpus(gpus: list[str]) -> None:
    """Raise InputError where two processes have the same GPU; ``gpus`` holds every rank's."""
    for rank, gpu in enumerate(gpus):
        if (first := gpus.index(gpu)) < rank:
            raise InputError(
                f"processes {first} and {rank} share the GPU {gpu}; start as many processes as there are GPUs "
                "(torchrun --nproc-per-node, srun --ntasks-per-node), or pass device=cpu"
            )


def choose_device(name: str, local_rank: int) -> torch.device:
    """``auto`` is this rank's GPU where there is one, else the CPU; any other name is torch's own.

    The only GPU that a process can see is its own, whatever its rank: launchers may hide those of the others.
    """
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
    count = torch.cuda.device_count()
    if count > 1 and local_rank >= count:
        raise InputError(
            f"process {local_rank} of this node has no GPU: torch sees {count}; start as many "
            "processes as there are GPUs (torchrun --nproc-per-node), or pass device=cpu"
        )
    return torch.device("cuda", 0 if count == 1 else local_rank)
