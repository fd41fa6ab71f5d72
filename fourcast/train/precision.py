"""In which precision a training computes, and the loss scale that float16 needs."""

from dataclasses import dataclass

import torch
from torch import nn

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
FIRST_SCALE = 2.0**16
GROWTH_STEPS = 2000


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context that forward passes run in: mixed precision for bf16 and fp16, else as without it.

    Weights are cast anew at every use, so that the gradients of several uses, as in a rollout, are added in float32.
    """
    return torch.autocast(device.type, AUTOCAST.get(precision), enabled=precision in AUTOCAST, cache_enabled=False)


def set_matmul_precision(precision: str) -> None:
    """Let GPUs round float32 to TF32, 10 bits of mantissa, in matrix products and convolutions; else forbid it.

    One way of saying so rules out the other in torch: after a setting of fp32_precision, what asks for
    get_float32_matmul_precision, as spectral kernels and compilers do, fails.
    """
    rounded = precision == "tf32"
    torch.set_float32_matmul_precision("high" if rounded else "highest")
    torch.backends.cudnn.allow_tf32 = rounded


@dataclass
class LossScale:
    """What a loss is multiplied with before the backward pass, and gradients divided by after it; plain numbers.

    float16 holds nothing below 6e-8: small gradients would vanish. The scale, a power of 2, halves, down to 1, at a
    step whose gradients are not finite, and doubles after ``GROWTH_STEPS`` in a row that are (Micikevicius et al.
    2018; the numbers are those of torch.amp.GradScaler, which looks at one process only). Where it is not
    dynamic, it stays.
    """

    value: float = 1.0
    clean_steps: int = 0
    dynamic: bool = False

    @classmethod
    def of(cls, precision: str) -> "LossScale":
        """The one to start with: dynamic for fp16, 1 for all others."""
        return cls(FIRST_SCALE, dynamic=True) if precision == "fp16" else cls()

    def update(self, finite: bool) -> None:
        """Take note of a step: whether the gradients of all processes were finite."""
        if not self.dynamic:
            return
        self.clean_steps = self.clean_steps + 1 if finite else 0
        if not finite:
            self.value = max(self.value / 2, 1.0)
        elif self.clean_steps == GROWTH_STEPS:
            self.value, self.clean_steps = self.value * 2, 0


def unscale(model: nn.Module, scale: LossScale) -> None:
    """Divide the gradients of ``model`` by the scale, in place, sharded or not."""
    if scale.value == 1:
        return
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.div_(scale.value)
