"""Files in one range of addresses: the same bytes, nothing copied, nothing left behind."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from grokdist_runtime.checkpoint.file_map import map_ranges
from grokdist_runtime.checkpoint.shard_file import open_shard_file
from grokdist_runtime.checkpoint.stored_tensor import FileRange
from grokdist_runtime.errors import CheckpointError

PAGE = mmap.PAGESIZE


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Four files of four pages, all bytes random."""
    paths = [tmp_path / f"{name}" for name in "abcd"]
    for path in paths:
        path.write_bytes(os.urandom(4 * PAGE))
    return paths


def file_range(path: Path, offset: int, nbytes: int) -> FileRange:
    with open_shard_file(path) as (_, file):
        return FileRange(file=file, offset=offset, nbytes=nbytes)


def test_pages_of_several_files_are_one_array(files: list[Path]) -> None:
    places = [(0, PAGE, 3 * PAGE), (1, 0, PAGE), (2, 2 * PAGE, PAGE), (3, PAGE, 100)]
    mapped = map_ranges(file_range(files[at], *place) for at, *place in places)
    assert mapped is not None
    expected = b"".join(files[at].read_bytes()[o : o + n] for at, o, n in places)
    assert mapped.tobytes() == expected
    assert mapped.ctypes.data % 64 == 0
    assert not mapped.flags.writeable


def test_ranges_that_follow_each_other_need_no_page(files: list[Path]) -> None:
    with open_shard_file(files[0]) as (_, file):
        ranges = [FileRange(file=file, offset=64 + 100 * k, nbytes=100) for k in range(40)]
    mapped = map_ranges(ranges)
    assert mapped is not None
    assert mapped.tobytes() == files[0].read_bytes()[64:4064]


@pytest.mark.parametrize(
    "places",
    [
        [(0, 3, PAGE)],  # not aligned
        [(0, 0, 100), (1, 0, PAGE)],  # the first does not fill its page
        [(0, 0, PAGE), (1, 64, PAGE)],  # the second does not begin one
        [(0, 64, PAGE), (1, 0, PAGE)],  # what follows would begin within a page
        [],
    ],
)
def test_what_pages_do_not_allow_is_not_mapped(
    files: list[Path], places: list[tuple[int, int, int]]
) -> None:
    assert map_ranges(file_range(files[at], *place) for at, *place in places) is None


def test_it_is_the_page_cache_and_not_a_copy(files: list[Path]) -> None:
    mapped = map_ranges(file_range(path, 0, PAGE) for path in files)
    assert mapped is not None
    before = mapped[PAGE : PAGE + 4].tobytes()
    with files[1].open("r+b") as file:
        file.write(bytes(255 - byte for byte in before))
    assert mapped[PAGE : PAGE + 4].tobytes() == bytes(255 - byte for byte in before)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's list of mappings")
def test_nothing_is_left_when_the_array_is_gone(files: list[Path]) -> None:
    def count() -> int:
        return Path("/proc/self/maps").read_text().count(str(files[0].parent))

    mapped = map_ranges(file_range(path, 0, PAGE) for path in files)
    assert mapped is not None
    last = mapped.view(np.int8).reshape(4, -1)[2:]
    del mapped
    assert count() == len(files)
    del last
    assert count() == 0


def test_a_file_that_was_replaced_is_noticed(files: list[Path]) -> None:
    ranges = [file_range(path, 0, PAGE) for path in files]
    files[2].rename(files[2].with_name("old"))
    files[2].write_bytes(bytes(4 * PAGE))
    with pytest.raises(CheckpointError, match="changed since its structure was read"):
        map_ranges(ranges)
