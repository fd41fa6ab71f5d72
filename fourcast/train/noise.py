"""The noise that a model sees in training, drawn anew for every sample, member and step."""

import torch
from torch import Tensor

from fourcast.noise import normal_fields


def training_noise(
    key: tuple[int, int, int], positions: range, members: int, shape_NHW: tuple[int, int, int], device: torch.device
) -> Tensor:
    """Standard normal noise [B·M, N, H, W] for B samples of M members each, the members of a sample adjacent.

    key: (seed, training step, step of the rollout). positions: the samples' places in the global batch. A member's
    noise is keyed by all of these and by nothing else, so it is the same however a batch is split over processes and
    parts. Append it behind the channels of the state.
    """
    seed, step, rollout_step = key
    keys = [(seed, step, position, member, rollout_step) for position in positions for member in range(members)]
    noise = torch.from_numpy(normal_fields(keys, shape_NHW))
    if device.type == "cuda":
        noise = noise.pin_memory()
    return noise.to(device, non_blocking=True)
