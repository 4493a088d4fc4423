"""Memory for weights."""

from __future__ import annotations

import ctypes
import gc
import mmap
import sys

import ml_dtypes
import numpy as np
import pytest

from grokdist_runtime.host_buffer import HUGE_PAGE, empty

SHAPES = [(3,), (5, 7, 64), (1 << 20, 3), (0, 4), (), (1 << 12, 7)]


@pytest.mark.parametrize("dtype", [np.int8, np.float32, ml_dtypes.bfloat16])
def test_they_are_aligned_zero_apart_and_may_be_written(dtype: type) -> None:
    arrays = empty((shape, dtype) for shape in SHAPES)
    assert [(array.shape, array.dtype) for array in arrays] == [
        (shape, np.dtype(dtype)) for shape in SHAPES
    ]
    assert all(array.ctypes.data % mmap.PAGESIZE == 0 for array in arrays)
    for count, array in enumerate(arrays):
        assert not array.any()
        array[...] = count + 1
    assert all(np.all(array == count + 1) for count, array in enumerate(arrays))


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
def test_a_large_piece_begins_on_a_huge_page(dtype: type) -> None:
    first, second = empty([((HUGE_PAGE, 2), dtype), ((3,), dtype)])
    assert first.ctypes.data % HUGE_PAGE == 0
    assert second.ctypes.data == first.ctypes.data + first.nbytes


def test_none_are_none() -> None:
    assert empty([]) == []


def test_one_outlives_the_others() -> None:
    array = empty([((HUGE_PAGE,), np.int8), ((5,), np.int8)])[1]
    gc.collect()
    array[...] = 1
    assert array.all()


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel by mincore")
def test_no_more_is_resident_than_is_used() -> None:
    pages = 5 * mmap.PAGESIZE
    first, second = empty([((HUGE_PAGE + pages,), np.int8), ((HUGE_PAGE,), np.int8)])
    assert resident(first) == resident(second) == 0
    second[-1] = 1  # behind the last whole huge page, so one small page
    assert resident(first) + resident(second) == mmap.PAGESIZE


def resident(array: np.ndarray) -> int:
    """Bytes of the array that are in main memory, in whole pages."""
    nbytes = -(-array.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    pages = (ctypes.c_ubyte * (nbytes // mmap.PAGESIZE))()
    address = ctypes.c_void_p(array.ctypes.data)
    assert ctypes.CDLL(None).mincore(address, ctypes.c_size_t(nbytes), pages) == 0
    return sum(page & 1 for page in pages) * mmap.PAGESIZE
