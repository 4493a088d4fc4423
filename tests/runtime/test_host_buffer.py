"""Memory for weights."""

from __future__ import annotations

import ctypes
import mmap
import sys

import ml_dtypes
import numpy as np
import pytest

from grokdist_runtime.host_buffer import HUGE_PAGE, empty


@pytest.mark.parametrize("shape", [(3,), (5, 7, 64), (1 << 20, 3), (0, 4)])
@pytest.mark.parametrize("dtype", [np.int8, np.float32, ml_dtypes.bfloat16])
def test_it_is_aligned_zero_and_may_be_written(shape: tuple[int, ...], dtype: type) -> None:
    array = empty(shape, dtype)
    assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
    assert array.ctypes.data % (HUGE_PAGE if array.nbytes >= HUGE_PAGE else mmap.PAGESIZE) == 0
    assert not array.any()
    array[...] = 1
    assert array.all()


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel by mincore")
def test_no_more_is_resident_than_is_used() -> None:
    pages = 5 * mmap.PAGESIZE
    array = empty((2 * HUGE_PAGE + pages,), np.int8)
    assert resident(array) == 0
    array[-pages : -pages + 1] = 1  # behind the last whole huge page, so one small page
    assert resident(array) == mmap.PAGESIZE


def resident(array: np.ndarray) -> int:
    """Bytes of the array that are in main memory, in whole pages."""
    nbytes = -(-array.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    pages = (ctypes.c_ubyte * (nbytes // mmap.PAGESIZE))()
    address = ctypes.c_void_p(array.ctypes.data)
    assert ctypes.CDLL(None).mincore(address, ctypes.c_size_t(nbytes), pages) == 0
    return sum(page & 1 for page in pages) * mmap.PAGESIZE
