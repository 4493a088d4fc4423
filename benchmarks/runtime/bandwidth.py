"""The read ceiling: how fast threads can read int8 weights that no cache holds.

Each thread takes the least of its own part, in pieces that stay in the first cache, with NumPy's
vector instructions and outside Python's lock: a sum too small to count beside the read.
"""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

SIZE = 2_000_000_000
_PIECE = 1 << 20


def read_rates(threads: int, *, size: int = SIZE, passes: int = 3) -> list[float]:
    """Bytes a second of each pass over ``size`` bytes, after one that is not counted."""
    data = np.zeros(size, np.int8)
    data += 1  # so that every page is there
    parts = np.array_split(data, threads)
    rates = []
    with ThreadPoolExecutor(threads) as pool:
        for number in range(passes + 1):
            start = time.perf_counter()
            found = list(pool.map(_read, parts))
            if found != [1] * threads:
                raise RuntimeError(f"read {found}; expected ones")
            if number:
                rates.append(size / (time.perf_counter() - start))
    return rates


def _read(part: np.ndarray[Any, np.dtype[np.int8]]) -> int:
    edges = itertools.pairwise([*range(0, len(part), _PIECE), len(part)])
    return min(int(part[low:high].min()) for low, high in edges)
