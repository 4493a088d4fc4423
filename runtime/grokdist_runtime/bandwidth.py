"""How fast this machine's threads read memory: the ceiling of decoding, which is reading weights.

Each thread takes the least of its own part, in pieces that stay in the first cache, with NumPy's
vector instructions and outside Python's lock: a minimum costs too little to count beside the read.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

MIN_BYTES = 256 << 20
"""Less may be held by caches, and would tell nothing about the memory."""

_PIECE = 1 << 20

Bytes = np.ndarray[Any, np.dtype[np.int8]]


def read_rates(data: Bytes, threads: int, *, passes: int = 3) -> Iterator[float]:
    """Bytes a second of each pass over ``data [n]``, after one that is not counted."""
    parts = np.array_split(data, threads)
    with ThreadPoolExecutor(threads) as pool:
        for number in range(passes + 1):
            start = time.perf_counter()
            list(pool.map(_read, parts))
            if number:
                yield data.nbytes / (time.perf_counter() - start)


def _read(part: Bytes) -> int:
    edges = itertools.pairwise([*range(0, len(part), _PIECE), len(part)])
    return min((int(part[low:high].min()) for low, high in edges), default=0)
