"""Random streams keyed by numbers, so that what is drawn depends on its key and nothing else."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


def stream(*key: int) -> np.random.Generator:
    """The random stream of ``key``, not negative: Philox, a counter-based generator (Salmon et al. 2011).

    The same key gives the same bits in any process, in any order, drawn alone or again after a restart. Keys shorter
    than four numbers are filled up with zeros: (7, 1) and (7, 1, 0) are one stream.
    """
    words = np.random.SeedSequence(list(key)).generate_state(2, np.uint64)
    return np.random.Generator(np.random.Philox(key=words))


def normal_fields(keys: Sequence[tuple[int, ...]], shape: tuple[int, ...]) -> Float32:
    """Standard normal fields [len(keys), *shape], each from the stream of its key, drawn in threads side by side."""
    fields = np.empty((len(keys), *shape), np.float32)

    def draw(place: int) -> None:
        stream(*keys[place]).standard_normal(dtype=np.float32, out=fields[place])

    with ThreadPoolExecutor() as threads:
        list(threads.map(draw, range(len(keys))))
    return fields
