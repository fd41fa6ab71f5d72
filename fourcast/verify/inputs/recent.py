"""A bounded memory of arrays that were read lately, for what is read again soon."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from numpy.typing import NDArray

LIMIT_BYTES = 2**28
"""What one memory holds at most; a larger array is not kept."""


class Recent:
    """Arrays by key, of at most ``limit_bytes`` together; those not asked for longest go first."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._arrays: OrderedDict[Hashable, NDArray[Any]] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._arrays

    def get(self, key: Hashable, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The array of ``key``, from ``make`` where it is not remembered; not to be written into."""
        if key in self._arrays:
            self._arrays.move_to_end(key)
            return self._arrays[key]
        array = make()
        if array.nbytes <= self.limit_bytes:
            self._arrays[key] = array
            self.held_bytes += array.nbytes
            while self.held_bytes > self.limit_bytes:
                _, dropped = self._arrays.popitem(last=False)
                self.held_bytes -= dropped.nbytes
        return array
