"""Memory that files are read into."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from grokdist.transfer.read_buffer import ReadBuffers, read_buffer


@pytest.mark.parametrize("size", [0, 1, mmap.PAGESIZE, (1 << 20) + 7])
def test_it_begins_where_a_page_does(size: int) -> None:
    buffer = read_buffer(size)
    assert len(buffer) == size
    assert bytes(buffer) == bytes(size)
    if size:
        assert ctypes.addressof(ctypes.c_char.from_buffer(buffer)) % mmap.PAGESIZE == 0


def test_a_file_is_read_into_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(5000))
    buffer = read_buffer(5000)
    with path.open("rb", buffering=0) as file:
        assert file.readinto(buffer) == 5000
    assert buffer == path.read_bytes()


def test_what_was_given_back_last_is_lent_first() -> None:
    buffers = ReadBuffers(5000)
    with buffers.lent() as first, buffers.lent() as second:
        assert first is not second
        assert len(first) == len(second) == 5000
        first[:] = bytes(range(250)) * 20
        assert bytes(second) == bytes(5000)
    with buffers.lent() as again:
        assert again is first
        with buffers.lent() as other:
            assert other is second


def test_no_two_threads_have_one_at_once() -> None:
    buffers = ReadBuffers(64)

    def use(number: int) -> bool:
        with buffers.lent() as buffer:
            for _ in range(200):
                buffer[:] = bytes([number]) * 64
                time.sleep(0)
                if bytes(buffer) != bytes([number]) * 64:
                    return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, range(64)))


def test_one_that_was_in_use_when_something_went_wrong_comes_back() -> None:
    buffers = ReadBuffers(64)
    with pytest.raises(OSError, match="gone"), buffers.lent() as first:
        raise OSError("gone")
    with buffers.lent() as again:
        assert again is first
