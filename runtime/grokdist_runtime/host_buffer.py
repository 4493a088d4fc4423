"""Main memory for weights: aligned, in huge pages where the platform has them, touched by nobody.

The first touch of a page costs more than filling it: the kernel finds, clears and maps it. In pages
of 2 MiB rather than 4 KiB filling fresh memory is about three times as fast, and reading it later
misses the address cache less.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

HUGE_PAGE = 2 << 20
"""Bytes; of x86 and of most ARM machines. Elsewhere the advice does nothing."""


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray[Any, Any]:
    """An array of zeros that takes no memory until it is written.

    It begins on a huge page. The part of a huge page at its end stays in small ones, so that what
    is resident is what is used. The memory goes back when the last view of it is gone.
    """
    dtype = np.dtype(dtype)
    nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    whole = nbytes // HUGE_PAGE * HUGE_PAGE
    # Private, where the platform has a choice: shared memory has no huge pages by default.
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if _UNIX else {}
    memory = mmap.mmap(-1, max(1, nbytes) + (HUGE_PAGE if whole else 0), **private)
    raw = np.frombuffer(memory, np.uint8)
    start = -raw.ctypes.data % HUGE_PAGE if whole else 0
    if whole and hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE, start, whole)
    return raw[start : start + nbytes].view(dtype).reshape(shape)


_UNIX = hasattr(mmap, "MAP_PRIVATE")
