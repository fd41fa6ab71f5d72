"""The books of a program that runs on tensors without data: what memory it would hold, and what it would compute."""

import ctypes
import math
import platform
import sys
import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fourcast.train.operators import cost

ALIGNMENT = 64
"""Of tensors on the CPU, in bytes."""


class Heap:
    """The C library's own memory, taken for every tensor of a rehearsal and never touched, so that it costs nothing.

    Tensors below 32 MiB come from one heap, which between allocations of all sizes falls into pieces and gives little
    of them back: a training on the CPU occupies up to twice what its tensors add up to. How much so follows from the
    order of allocations, the small ones of autograd among them, and it is measured here by making them.
    """

    def __init__(self) -> None:
        self.library = ctypes.CDLL(None)
        self.library.mallinfo2.restype = _Mallinfo2
        self.library.free.argtypes = [ctypes.c_void_p]
        self.before = self._bytes()

    @classmethod
    def of_this_system(cls) -> "Heap | None":
        """Where the C library is glibc from 2.33 on, which says what it holds; None elsewhere."""
        name, version = platform.libc_ver()
        known = name == "glibc" and tuple(int(part) for part in version.split(".")[:2]) >= (2, 33)
        return cls() if known and sys.platform == "linux" else None

    def take(self, size: int) -> int:
        """Address of ``size`` bytes; 0 where there are not so many, as a real tensor would find out."""
        address = ctypes.c_void_p()
        self.library.posix_memalign(ctypes.byref(address), ALIGNMENT, max(size, 1))
        return address.value or 0

    def give_back(self, address: int) -> None:
        """Free what ``take`` gave."""
        self.library.free(address)

    @property
    def held(self) -> int:
        """Bytes taken from the system since this object was made."""
        return self._bytes() - self.before

    def _bytes(self) -> int:
        found = self.library.mallinfo2()
        return int(found.arena + found.hblkhd)


class _Mallinfo2(ctypes.Structure):
    """See mallinfo(3): arena is the heap, hblkhd what is mapped piece by piece."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks",
                     "keepcost")
    ]  # fmt: skip


class Ledger(TorchDispatchMode):
    """Notes every tensor that is made within, until it is gone, and every operation.

    held, peak: bytes of tensors now and at most, temporaries included. occupied: likewise at most what the C library
    holds, where a ``heap`` is given, else ``peak``. fused: whether the GPU kernels of fourcast do the work.
    """

    def __init__(self, heap: Heap | None, fused: bool) -> None:
        super().__init__()
        self.heap, self.fused = heap, fused
        self.held = self.peak = self.occupied = self.flops = 0
        self.known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.note(leaf)
        temporaries, flops = cost(func, args, self.fused, result)
        self.flops += flops
        self._pass_through(temporaries)
        return result

    def note(self, tensor: Tensor) -> None:
        """Enter a tensor, unless another one of the same memory is."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        address = 0 if self.heap is None else self.heap.take(size)
        self.known[key] = weakref.ref(storage, partial(self._forget, key, size, address))
        self.held += size
        self._mark(0)

    def _forget(self, key: int, size: int, address: int, _: Any) -> None:
        del self.known[key]
        self.held -= size
        if self.heap is not None:
            self.heap.give_back(address)

    def _pass_through(self, sizes: Sequence[int]) -> None:
        """Hold ``sizes`` for a moment, all at once."""
        if not sizes:
            return
        addresses = [] if self.heap is None else [self.heap.take(size) for size in sizes]
        self._mark(sum(sizes))
        for address in addresses:
            assert self.heap is not None
            self.heap.give_back(address)

    def _mark(self, moment: int) -> None:
        self.peak = max(self.peak, self.held + moment)
        self.occupied = max(self.occupied, self.peak if self.heap is None else self.heap.held)


def bytes_of(tensors: Sequence[Tensor]) -> int:
    """Bytes of the numbers in ``tensors``."""
    return sum(math.prod(tensor.shape) * tensor.element_size() for tensor in tensors)
