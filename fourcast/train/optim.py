"""Optimizers, the learning rate of every step, and when a plateau lowers it."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.distributed.tensor import DTensor, Shard
from torch.optim import AdamW, Muon, Optimizer

from fourcast.errors import InputError
from fourcast.train_config import OptimConfig

UNDECAYED = {"pos_embed", "b1", "b2", "kernel"}
"""Names of parameters of several dimensions that are no matrices: position embeddings, biases, and the long
convolution's kernel, which its squash already draws to zero."""

RISE = 0.3
START = 1 / 25
"""A one-cycle schedule rises over the first so much of the training, from so much of the peak."""


def build_optimizers(model: nn.Module, config: OptimConfig) -> list[Optimizer]:
    """What trains the parameters of ``model`` that ask for gradients: [AdamW], or [Muon, AdamW].

    AdamW has two groups: weight decay acts on what multiplies channels or modes, and not on norms, biases and
    ``UNDECAYED``. Muon (Jordan et al. 2024) takes the matrices of linear layers inside the blocks, with steps as large
    as AdamW's (0.2 of the learning rate in root mean square, Liu et al. 2025), so that one learning rate and one
    weight decay suit both. InputError where Muon finds no matrix, or one with fewer rows than processes
    that share them.
    """
    matrices = _hidden_matrices(model) if config.name == "muon" else {}
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and name not in matrices:
            multiplies = parameter.ndim > 1 and name.rpartition(".")[2] not in UNDECAYED
            (decayed if multiplies else plain).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    adamw = AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), fused=True)
    return [_muon(matrices, config), adamw] if config.name == "muon" else [adamw]


def _hidden_matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    inside = {f"{name}.weight" for name in linear if "blocks" in name.split(".")}
    return {name: own for name, own in model.named_parameters() if name in inside and own.requires_grad}


def _muon(matrices: dict[str, nn.Parameter], config: OptimConfig) -> Muon:
    if not matrices:
        raise InputError(
            "optim.name=muon trains linear layers inside a model's blocks, and this model has none that train; use "
            "optim.name=adamw"
        )
    for name, matrix in matrices.items():
        _require_shards(name, matrix)
    return Muon(
        matrices.values(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )


def _require_shards(name: str, matrix: torch.Tensor) -> None:
    """Every process needs a part of a matrix that is spread: torch cannot multiply it otherwise."""
    if not isinstance(matrix, DTensor):
        return
    for placement, processes in zip(matrix.placements, matrix.device_mesh.shape, strict=True):
        if isinstance(placement, Shard) and matrix.shape[placement.dim] < processes:
            raise InputError(
                f"optim.name=muon cannot spread {name}, a matrix of {' × '.join(map(str, matrix.shape))}, over "
                f"{processes} processes; use optim.name=adamw, parallel.strategy=ddp, or parallel.strategy=hybrid "
                f"with parallel.shard_processes={matrix.shape[placement.dim]} or fewer"
            )


def learning_rate(config: OptimConfig, step: int, steps: int) -> float:
    """The learning rate of ``step``, counted from 0, in a training of ``steps``; ``final`` is final_fraction · peak.

    one_cycle (Smith & Topin 2018; the cosines are those of torch's OneCycleLR): from a 25th of the peak up to it over
    the first three tenths, then down to ``final`` at ``steps``; it is its own warm-up. All others rise linearly over
    warmup_steps, to be at the peak when those are done. Then cosine goes down to ``final`` at ``steps`` (Loshchilov &
    Hutter 2017), constant stays, and plateau stays too: ``Plateau.factor`` is for its caller to multiply with.
    """
    return config.learning_rate * _fraction_of_peak(config, step, steps)


def _fraction_of_peak(config: OptimConfig, step: int, steps: int) -> float:
    if config.schedule == "one_cycle":
        top = RISE * steps
        if step < top:
            return _cosine(START, 1.0, step / top)
        return _cosine(1.0, config.final_fraction, (step - top) / (steps - top))
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "cosine":
        done = (step - config.warmup_steps) / max(steps - config.warmup_steps, 1)
        return _cosine(1.0, config.final_fraction, done)
    return 1.0


def _cosine(start: float, end: float, done: float) -> float:
    """From ``start`` at 0 to ``end`` at 1, level at both."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * done))


@dataclass
class Plateau:
    """How far validations without progress have lowered the learning rate; plain numbers.

    best: the lowest validation loss so far. waited: how many validations since brought none lower. factor: what to
    multiply the learning rate with.
    """

    best: float | None = None
    waited: int = 0
    factor: float = 1.0

    def update(self, validation_loss: float, config: OptimConfig) -> None:
        """Take note of a validation; the last of plateau_patience in a row in vain multiplies by plateau_factor.

        torch's ReduceLROnPlateau with threshold 0 does the same; it counts one less as its patience.
        """
        if validation_loss < (math.inf if self.best is None else self.best):
            self.best, self.waited = validation_loss, 0
        else:
            self.waited += 1
        if self.waited == config.plateau_patience:
            self.factor, self.waited = self.factor * config.plateau_factor, 0
