"""A running average of a model's weights, which often forecasts better than the weights themselves."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """Exponential moving average of a model's parameters: average ← decay · average + (1 - decay) · weights.

    ``tensors`` holds it by the names of ``model.named_parameters()``, in float32, sharded where the parameters are;
    what is filled in there is loaded. It starts as a copy of the weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: own.detach().clone().float() for name, own in model.named_parameters()}

    def update(self, model: nn.Module, updates: int) -> None:
        """Take in the weights of ``model`` after a step; ``updates``, n, is how many steps it has taken in before.

        The decay is min(decay, (1 + n) / (10 + n)), the ramp of TensorFlow's ExponentialMovingAverage: the average
        reaches back over about a ninth of the steps so far, until that is 1 / (1 - decay) of them, and so forgets the
        random weights it began with.
        """
        decay = min(self.decay, (1 + updates) / (10 + updates))
        own = dict(model.named_parameters())
        weights = [own[name].detach().float() for name in self.tensors]
        get_ema_multi_avg_fn(decay)(list(self.tensors.values()), weights, updates)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Within, ``model`` has the averaged weights; after it, its own again, bit for bit, whatever happened."""
        own = dict(model.named_parameters())
        kept = {name: parameter.detach().clone() for name, parameter in own.items()}
        try:
            _fill(own, self.tensors)
            yield
        finally:
            _fill(own, kept)


@torch.no_grad()
def _fill(parameters: dict[str, nn.Parameter], tensors: dict[str, Tensor]) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(tensors[name])
