"""The read ceiling: how fast threads can read int8 weights that no cache holds."""

from __future__ import annotations

import numpy as np

from grokdist_runtime import bandwidth

SIZE = 2_000_000_000


def read_rates(threads: int, *, size: int = SIZE, passes: int = 3) -> list[float]:
    """Bytes a second of each pass over ``size`` bytes, after one that is not counted."""
    data = np.zeros(size, np.int8)
    data += 1  # so that every page is there
    return list(bandwidth.read_rates(data, threads, passes=passes))
