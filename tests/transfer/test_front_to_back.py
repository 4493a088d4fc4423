"""What is read of a file, what the kernel is asked for, and what it is told to let go of."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from grokdist.catalog.manifest import FileEntry
from grokdist.transfer import hashing
from grokdist.transfer.front_to_back import fits_the_cache, read_on
from grokdist.transfer.hashing import check_files
from grokdist.transfer.tree import ModelTree
from grokdist.transfer.tree_worker import build

MIB = 1 << 20
BLOCK = 4 * MIB
SIZE = 9 * MIB + 5

Advice = list[tuple[int, int, int]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def advice(monkeypatch: pytest.MonkeyPatch) -> Advice:
    """What is said to the kernel: offset, length, advice."""
    said: Advice = []
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, *what: said.append(what))
    return said


def read(path: Path, start: int, end: int, *, keep: bool = True) -> list[bytes]:
    with path.open("rb") as stream:
        buffer = memoryview(bytearray(MIB))
        return [bytes(data) for data in read_on(stream.fileno(), start, end, buffer, keep=keep)]


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, SIZE), (0, 0), (7, 8), (MIB - 1, 6 * MIB), (0, 2 * BLOCK), (BLOCK, BLOCK + 1)],
)
def test_every_byte_of_a_range_once_a_mib_at_a_time(file: Path, start: int, end: int) -> None:
    pieces = read(file, start, end)
    assert b"".join(pieces) == file.read_bytes()[start:end]
    assert all(len(piece) == MIB for piece in pieces[:-1])


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + MIB // 4])
def test_what_fits_the_buffer_comes_at_once(file: Path, size: int, advice: Advice) -> None:
    buffer = memoryview(bytearray(MIB + MIB // 4))
    with file.open("rb") as stream:
        reads = read_on(stream.fileno(), 7, 7 + size, buffer, keep=False)
        pieces = [bytes(data) for data in reads]
        assert pieces == ([file.read_bytes()[7 : 7 + size]] if size else [])
        assert advice == [(7, size, os.POSIX_FADV_DONTNEED)]
        advice.clear()
        more = read_on(stream.fileno(), 0, len(buffer) + 1, buffer)
        assert [len(data) for data in more] == [MIB, MIB // 4 + 1]


@pytest.mark.parametrize("size", [0, 1, 3 * MIB, SIZE - 1])
def test_a_file_that_ends_early_ends_the_reading(file: Path, size: int) -> None:
    data = file.read_bytes()[:size]
    os.truncate(file, size)
    assert b"".join(read(file, 0, SIZE)) == data


@pytest.mark.parametrize("why", [errno.EAGAIN, errno.EOPNOTSUPP])
def test_the_next_mibs_are_asked_for_before_these_are_read(
    why: int, file: Path, advice: Advice, monkeypatch: pytest.MonkeyPatch
) -> None:
    preadv = os.preadv

    def waits(fd: int, into: list[memoryview], offset: int, flags: int = 0) -> int:
        if flags:
            raise OSError(why, "not without waiting")
        return preadv(fd, into, offset)

    monkeypatch.setattr(os, "preadv", waits)
    with file.open("rb") as stream:
        reads = read_on(stream.fileno(), 0, SIZE, memoryview(bytearray(MIB)))
        next(reads)
        wanted = [what[:2] for what in advice if what[2] == os.POSIX_FADV_WILLNEED]
        assert wanted == [(0, BLOCK), (BLOCK, BLOCK)]
        list(reads)
    wanted = [what[:2] for what in advice if what[2] == os.POSIX_FADV_WILLNEED]
    assert wanted == [(0, BLOCK), (BLOCK, BLOCK), (2 * BLOCK, SIZE - 2 * BLOCK)]


def test_what_is_cached_is_not_asked_for(
    file: Path, advice: Advice, monkeypatch: pytest.MonkeyPatch
) -> None:
    preadv = os.preadv
    probed: list[tuple[int, int]] = []

    def has_the_second(fd: int, into: list[memoryview], offset: int, flags: int = 0) -> int:
        if flags:
            probed.append((offset, flags))
            if offset != BLOCK:
                raise BlockingIOError(errno.EAGAIN, "not without waiting")
        return preadv(fd, into, offset)

    monkeypatch.setattr(os, "preadv", has_the_second)
    read(file, 0, SIZE)
    assert probed == [(offset, os.RWF_NOWAIT) for offset in (0, BLOCK, 2 * BLOCK)]
    wanted = [what[:2] for what in advice if what[2] == os.POSIX_FADV_WILLNEED]
    assert wanted == [(0, BLOCK), (2 * BLOCK, SIZE - 2 * BLOCK)]


@pytest.mark.parametrize(
    ("keep", "gone"),
    [(True, []), (False, [(0, BLOCK), (BLOCK, BLOCK), (2 * BLOCK, SIZE - 2 * BLOCK)])],
)
def test_what_shall_not_stay_is_let_go_of(
    keep: bool, gone: list[tuple[int, int]], file: Path, advice: Advice
) -> None:
    read(file, 0, SIZE, keep=keep)
    assert [what[:2] for what in advice if what[2] == os.POSIX_FADV_DONTNEED] == gone


def test_half_of_the_memory_may_stay() -> None:
    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    assert fits_the_cache(half)
    assert not fits_the_cache(half + 1)


@pytest.mark.parametrize("fits", [True, False])
def test_files_that_are_too_many_for_the_memory_are_let_go_of(
    fits: bool, file: Path, advice: Advice, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(hashing, "fits_the_cache", lambda nbytes: asked.append(nbytes) or fits)
    entry = FileEntry(path="file", size=SIZE, sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    with ModelTree(file.parent) as tree:
        ((_, found),) = check_files(tree, [entry], jobs=1, on_bytes=lambda path, count: None)
    assert found is not None
    assert found.ok
    assert asked == [SIZE]
    assert any(what[2] == os.POSIX_FADV_DONTNEED for what in advice) is not fits


@pytest.mark.parametrize("keep", [True, False])
def test_the_tree_of_one_of_too_many_files_lets_go_of_it(
    keep: bool, file: Path, advice: Advice
) -> None:
    with ModelTree(file.parent) as tree:
        build(tree, file.name, SIZE, None, lambda: False, keep=keep)
    assert any(what[2] == os.POSIX_FADV_DONTNEED for what in advice) is not keep
