"""Optimizer and learning-rate schedule."""

import math

import torch
from torch import nn

from fourcast.config import OptimConfig

UNDECAYED = {"pos_embed", "b1", "b2", "kernel"}
"""Names of parameters of several dimensions that are no matrices: position embeddings, biases, and the long
convolution's kernel, which its squash already draws to zero."""


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW; weight decay on what multiplies channels or modes, not on norms, biases and ``UNDECAYED``."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        matrix = parameter.ndim > 1 and name.rpartition(".")[2] not in UNDECAYED
        (decayed if matrix else plain).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), fused=True)


def learning_rate(config: OptimConfig, step: int, steps: int) -> float:
    """Linear warm-up to the peak, then a cosine to zero at ``steps`` (Loshchilov & Hutter 2017)."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(steps - config.warmup_steps, 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
