"""Main memory for weights: aligned, in huge pages where the platform has them, touched by nobody.

The first touch of a page costs more than filling it: the kernel finds, clears and maps it. In pages
of 2 MiB rather than 4 KiB filling fresh memory is about three times as fast, and reading it later
misses the address cache less. Arrays that are filled together lie in one piece, since each of its
own would have up to 2 MiB in small pages at its end.
"""

from __future__ import annotations

import itertools
import math
import mmap
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

Array = np.ndarray[Any, Any]

HUGE_PAGE = 2 << 20
"""Bytes; of x86 and of most ARM machines. Elsewhere the advice does nothing."""


def empty(wanted: Iterable[tuple[tuple[int, ...], DTypeLike]]) -> list[Array]:
    """Arrays of zeros, of the shapes and dtypes wanted, that take no memory until they are written.

    Each begins on a page. They lie in one piece, which begins on a huge page; only what is behind
    its last huge page stays in small ones, so that what is resident is what is used. The piece
    goes back when the last view of the last array is gone.
    """
    sizes = [(shape, np.dtype(dtype)) for shape, dtype in wanted]
    ends = list(itertools.accumulate(_in_pages(shape, dtype) for shape, dtype in sizes))
    nbytes = ends[-1] if ends else 0
    whole = nbytes // HUGE_PAGE * HUGE_PAGE
    # Private, where the platform has a choice: shared memory has no huge pages by default.
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if _UNIX else {}
    memory = mmap.mmap(-1, max(1, nbytes) + (HUGE_PAGE if whole else 0), **private)
    raw = np.frombuffer(memory, np.uint8)
    start = -raw.ctypes.data % HUGE_PAGE if whole else 0
    if whole and hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE, start, whole)
    return [
        np.ndarray(shape, dtype, raw, start + begin)
        for (shape, dtype), begin in zip(sizes, [0, *ends], strict=False)
    ]


def _in_pages(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Bytes of an array, and of what is left of its last page."""
    return -(-math.prod(shape) * dtype.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE


_UNIX = hasattr(mmap, "MAP_PRIVATE")
