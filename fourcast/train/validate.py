"""Validation during training: the loss on held-out windows, beside that of persistence."""

import numpy as np
import torch
from torch import nn

from fourcast.config import TrainConfig
from fourcast.data.dataset import Normalisation, Windows
from fourcast.data.loader import Loading, load
from fourcast.distributed import Process
from fourcast.train.loss import Loss


@torch.no_grad()
def validate(
    model: nn.Module, data: tuple[Windows, Normalisation], loss: Loss, config: TrainConfig, process: Process
) -> dict[str, float]:
    """Mean loss of the model and of persistence over evenly spaced held-out windows, shared among ranks."""
    windows, normalise = data
    count = min(config.validation_samples, len(windows))
    mine = np.linspace(0, len(windows) - 1, count).round().astype(int)[process.rank :: process.world_size]
    size = max(config.batch_size // process.world_size, 1)
    chunks = [mine[i : i + size].tolist() for i in range(0, len(mine), size)]
    sums = torch.zeros(3, dtype=torch.float64, device=process.device)
    model.eval()
    workers = 0 if windows.memory is not None else config.data.workers
    for chunk in load(windows, chunks, Loading("threads", workers, config.data.prefetch)):
        window = normalise(chunk.to(process.device, non_blocking=True))
        state = window[:, 0]
        for step in range(1, window.shape[1]):
            with torch.autocast(process.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
                state = model(state)
            values = [loss(state.float(), window[:, step]), loss(window[:, 0], window[:, step])]
            sums += torch.tensor([*values, 1.0], dtype=torch.float64, device=process.device) * len(window)
    model.train()
    model_sum, persistence_sum, weight = process.sum(sums).tolist()
    return {"validation_loss": model_sum / weight, "persistence_loss": persistence_sum / weight}
