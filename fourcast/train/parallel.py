"""Parallelism and its trades, applied to a model from outside: what a process keeps, recomputes, compiles and shares.

The model's own names and numbers stay as they are; strategies differ in memory and speed, not in results.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard
from torch.nn.parallel import DistributedDataParallel

from fourcast.distributed import Process
from fourcast.errors import InputError
from fourcast.models.fourcastnet import Block
from fourcast.train.precision import AUTOCAST
from fourcast.train_config import ParallelConfig

warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)  # its heir is newer than 2.11
warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")  # nothing here is changed in place


def parallelize(model: nn.Module, process: Process, config: ParallelConfig, precision: str) -> nn.Module:
    """Spread ``model`` over all processes; return what is called in its place, with gradients averaged over processes.

    Every process must hold the same weights. fsdp and hybrid turn the model's own parameters into shards, so build
    optimizers afterwards, and call the model in every process equally often, in validation too. One process alone
    has nothing to share: the model comes back as it is, but for recomputing and compiling.
    """
    blocks = blocks_of(model)
    for block in blocks[: round(config.recompute * len(blocks))]:
        block.recompute = True
    sharded = config.strategy != "ddp" and process.world_size > 1
    if config.compile is not None:
        _compile(blocks, config.compile, sharded)
    if process.world_size == 1:
        return model
    if sharded:
        return _shard(model, blocks, _mesh(process, config), AUTOCAST.get(precision))
    return DistributedDataParallel(
        model,
        device_ids=[process.device] if process.device.type == "cuda" else None,
        broadcast_buffers=False,
        gradient_as_bucket_view=True,
    )


def blocks_of(model: nn.Module) -> list[Block]:
    """The blocks of a model, in order."""
    return [module for module in model.modules() if isinstance(module, Block)]


def _compile(blocks: list[Block], mode: str, sharded: bool) -> None:
    """Compile every block where it stands. Blocks that differ in a number, such as drop_path_rate, are compiled apart.

    CUDA graphs, which two of the modes record, need parameters that stay where they are; shards do not.
    """
    if sharded and mode == "reduce-overhead":
        raise InputError(
            "parallel.compile=reduce-overhead needs parameters that stay in place, and those of fsdp and hybrid do "
            "not; choose parallel.compile=default or max-autotune, or parallel.strategy=ddp"
        )
    if sharded and mode == "max-autotune":
        mode = "max-autotune-no-cudagraphs"
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 8 * len(blocks))
    for block in blocks:
        block.compile(mode=mode, dynamic=False)


def _mesh(process: Process, config: ParallelConfig) -> DeviceMesh:
    """All processes in a row, or, for hybrid, [replicas, shards] with the shards of a replica next to each other."""
    kind, world = process.device.type, process.world_size
    if config.strategy == "fsdp":
        return init_device_mesh(kind, (world,), mesh_dim_names=("shard",))
    shards = process.broadcast(config.shard_processes or process.local_world_size)
    if world % shards:
        raise InputError(
            f"parallel.shard_processes={shards} does not divide the {world} processes of this training; choose a "
            "divisor, or parallel.strategy=fsdp"
        )
    return init_device_mesh(kind, (world // shards, shards), mesh_dim_names=("replicate", "shard"))


def _shard(model: nn.Module, blocks: list[Block], mesh: DeviceMesh, half: torch.dtype | None) -> nn.Module:
    """Shard every block apart, so that one at a time is whole, and what is left of the model together.

    With ``half``, the MLPs, most of a block, are gathered in the type in which autocast multiplies with them anyway;
    their gradients are summed in fp32. All else, and the state that goes through the model, is never rounded.
    """
    in_half = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32, cast_forward_inputs=False)
    whole = MixedPrecisionPolicy(cast_forward_inputs=False)
    shards = mesh.size(mesh.ndim - 1)

    def place(parameter: nn.Parameter) -> Shard:
        return Shard(shard_dim(parameter.shape, shards))

    for block in blocks:
        if half is not None:
            fully_shard(block.mlp, mesh=mesh, mp_policy=in_half, shard_placement_fn=place)
        fully_shard(block, mesh=mesh, mp_policy=whole, shard_placement_fn=place)
    # The whole parameters of the root, too, go after every pass: what the model lists are always its shards.
    fully_shard(model, mesh=mesh, mp_policy=whole, shard_placement_fn=place, reshard_after_forward=True)
    return model


def shard_dim(shape: torch.Size, shards: int) -> int:
    """The first dimension that can be cut into equal shards, else 0, which may be cut unevenly."""
    return next((dim for dim, size in enumerate(shape) if size % shards == 0), 0)


@contextmanager
def synchronising(parallel: nn.Module, on: bool) -> Iterator[None]:
    """Forward and backward within this; without ``on``, gradients stay with the process until a pass that has it.

    Sharded gradients are shared within a replica in every pass, for the whole would not fit; hybrid then adds up
    replicas in the last alone.
    """
    if isinstance(parallel, FSDPModule):
        parallel.set_requires_all_reduce(on)
    if isinstance(parallel, DistributedDataParallel) and not on:
        with parallel.no_sync():
            yield
    else:
        yield


def clip_gradients(model: nn.Module, limit: float | None) -> Tensor:
    """Scale all gradients so that their norm is at most ``limit``; return the norm there was, of the whole model."""
    parameters = list(model.parameters())
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
    if limit is not None:
        nn.utils.clip_grads_with_norm_(parameters, limit, whole)
    return whole


def average_buffers(model: nn.Module, process: Process) -> None:
    """Give every process the mean of the running statistics that each has gathered, where a mixer has any.

    To be called before the model is validated or saved.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            for statistic in (module.running_mean, module.running_var):
                assert statistic is not None
                process.sum(statistic).div_(process.world_size)
