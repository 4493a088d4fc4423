"""Memory that files are read into."""

from __future__ import annotations

import ctypes
import mmap
import os
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


def test_each_thread_keeps_one_of_its_own() -> None:
    buffers = ReadBuffers(5000)
    buffers.own[:] = bytes(range(250)) * 20
    with ThreadPoolExecutor(1) as pool:
        theirs = pool.submit(lambda: buffers.own).result()
        assert pool.submit(lambda: buffers.own).result() is theirs
    assert bytes(theirs) == bytes(5000)
    assert bytes(buffers.own) == bytes(range(250)) * 20
