"""How many members a process rolls forward together where nobody says: enough for speed, no more than fit."""

from math import prod

import torch

from fourcast.errors import InputError
from fourcast.forecast.batching import exact_size
from fourcast.forecast.forecaster import Forecaster
from fourcast.forecast.stepper import computed
from fourcast.memory import free_bytes, resident_bytes
from fourcast.progress import gigabytes

HELD_STATES = 4
"""States of a member at once: its own, the fields of two steps, and what files wait for."""
PINNED_STATES = 6
"""The same on the host of a GPU: pinned memory comes in powers of two."""
CPU_CALLS = 8
"""Members for every core, where they share one call."""
FILE_BYTES = 2 << 20
"""What the netCDF library and our block of fields hold for an open file."""
SHARE = 0.8
"""Of what is free, the rest being for what is not counted."""


def members_at_once(forecaster: Forecaster, members: int, exact: bool | None = None, processes: int = 1) -> int:
    """How many of ``members`` share the memory of one of ``processes`` on this machine, at least one.

    On a GPU: as many as its free memory holds beside one call in exact mode. On a CPU: as many as give every
    core a call, or as keep all cores busy in one, and no more than its free memory holds.
    """
    if forecaster.device.type == "cuda":
        on_host = SHARE * (free_bytes(torch.device("cpu")) - resident_bytes()) / processes
        of_host = int(on_host // (PINNED_STATES * state_bytes(forecaster) + FILE_BYTES))
        return max(1, min(of_host, _of_gpu(forecaster, members, exact is not False)))
    size, cores = exact_size(forecaster), torch.get_num_threads()
    held, in_call = HELD_STATES * state_bytes(forecaster) + FILE_BYTES, call_bytes(forecaster)
    free = SHARE * (free_bytes(forecaster.device) - resident_bytes()) / processes
    if exact is False:
        wanted, fitting = CPU_CALLS * cores, free // (held + in_call)
    else:
        wanted, fitting = size * cores, (free - cores * size * in_call) // held
    return max(1, int(min(members, wanted, fitting)))


def require_memory(forecaster: Forecaster, members: int, processes: int) -> None:
    """Raise InputError where ``members`` that go in lock-step do not fit into the memory of each of ``processes``."""
    needed = (HELD_STATES * state_bytes(forecaster) + FILE_BYTES) * members
    free = (free_bytes(torch.device("cpu")) - resident_bytes()) / processes
    if needed > free:
        raise InputError(
            f"products hold the states of all members of an initial time: {gigabytes(needed)} for {members} in a "
            f"process, and {gigabytes(free)} are free; use more processes, fewer members, or store members "
            "(files.layout=member) without products"
        )


def home_of_states(forecaster: Forecaster, members: int) -> torch.device:
    """Where states of members that run together stay: on the model's device, or on the host where they do not fit."""
    if forecaster.device.type != "cuda":
        return torch.device("cpu")
    free, _ = torch.cuda.mem_get_info(forecaster.device)
    unused = torch.cuda.memory_reserved(forecaster.device) - torch.cuda.memory_allocated(forecaster.device)
    fit = members * HELD_STATES * state_bytes(forecaster) < SHARE * (free + unused)
    return forecaster.device if fit else torch.device("cpu")


def state_bytes(forecaster: Forecaster) -> int:
    """Of one member's fields in float32."""
    return 4 * len(forecaster.outputs) * prod(forecaster.card.grid.shape)


def call_bytes(forecaster: Forecaster) -> int:
    """Of what a call holds for one member on the way from state to state, at most: some copies of its widest layer."""
    model = forecaster.card.model
    tokens = prod(forecaster.card.grid.shape) // model.patch_size**2
    return int(4 * tokens * model.embed_dim * (2 * model.mlp_ratio + 6)) + 2 * state_bytes(forecaster)


def _of_gpu(forecaster: Forecaster, members: int, exact: bool) -> int:
    """From the peak of one call, measured; a captured call needs it once more."""
    size = exact_size(forecaster)
    with torch.cuda.device(forecaster.device):
        call = _peak_of_call(forecaster, size)
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info()
    held = HELD_STATES * state_bytes(forecaster)
    fitting = (SHARE * free - 2 * call) // held if exact else SHARE * free // (held + 2 * call / size)
    return max(1, min(members, max(size, int(fitting) // size * size)))


def _peak_of_call(forecaster: Forecaster, size: int) -> int:
    """Bytes that a call of ``size`` members needs beyond what is held before it."""
    card = forecaster.card
    channels = card.in_channels + card.model.noise_channels
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch.inference_mode():
        x = torch.zeros(size, channels, *card.grid.shape, device=forecaster.device)
        computed(forecaster.model, forecaster.precision, x)
    return torch.cuda.max_memory_allocated() - before
