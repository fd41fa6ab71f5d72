"""A model's call as one CUDA graph: a single launch, whatever the number of kernels."""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UPS = 3
"""Calls before the capture, in which kernels are compiled and tables and workspaces made."""


class Captured:
    """``function`` of tensors like ``x`` on a GPU, captured once and replayed.

    It must be pure and ask the GPU for nothing on its way. beside: another one that never runs at the same time, with
    which it shares memory for what lies between input and result. A result is overwritten by the next call.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], x: Tensor, beside: "Captured | None" = None) -> None:
        with torch.cuda.device(x.device), torch.inference_mode():
            self.x = x.clone()
            self.graph = torch.cuda.CUDAGraph()
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UPS):
                    function(self.x)
            torch.cuda.current_stream().wait_stream(stream)
            pool = None if beside is None else beside.graph.pool()
            with torch.cuda.graph(self.graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                self.y = function(self.x)

    def __call__(self, x: Tensor) -> Tensor:
        """The function's result, in a place that the next call overwrites."""
        with torch.cuda.device(x.device), torch.inference_mode():
            self.x.copy_(x)
            self.graph.replay()
        return self.y
