"""The order in which files are hashed, so that no core stands idle at the end.

A file's SHA-256 is one chain, and so one thread's work: the last large file of a model would keep
one core busy while the others wait. Large files therefore go first, largest first, so that the
small ones fill the gaps; and where that is not enough, the files that would be left over are
checked by ranges instead, if a tree allows it. Pure: sizes in, order out.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import TypeVar

_T = TypeVar("_T")

LARGE = 64 << 20
"""Bytes from which a file counts as large: some 50 ms of one core."""

_UNEVEN = 1.05
_MANY = 64


def in_order(
    files: Sequence[_T], size: Callable[[_T], int], place: Callable[[_T], int]
) -> list[_T]:
    """Large files by size, the largest first, then the others by their place on disk.

    Args:
        files: what to order.
        size: bytes of one.
        place: a number that grows with the place on disk, like the inode's; it also decides
            between large files of one size, so that a model of equal shards is read in order.
    """
    large = [file for file in files if size(file) >= LARGE]
    small = [file for file in files if size(file) < LARGE]
    return sorted(large, key=lambda file: (-size(file), place(file))) + sorted(small, key=place)


def left_over(sizes: Sequence[int], jobs: int, divisible: Callable[[int], bool]) -> set[int]:
    """Which files to check by ranges so that ``jobs`` threads end at about the same time.

    Hands the large files out in their order to whichever thread is free first, as the threads
    will do, and takes the last file off the thread that ends last until all end within 5 %.

    Args:
        sizes: bytes of each file.
        jobs: threads.
        divisible: whether the file at an index can be checked by ranges; asked only where needed.

    Returns:
        indices into ``sizes``.
    """
    large = sorted(
        (place for place, size in enumerate(sizes) if size >= LARGE), key=lambda at: -sizes[at]
    )
    # With many files a thread the last one hardly counts.
    if jobs < 2 or not large or len(large) > _MANY * jobs:
        return set()
    even = sum(sizes) / jobs
    divided: set[int] = set()
    refused: set[int] = set()
    while True:
        ends, last = _handed_out([at for at in large if at not in divided], sizes, jobs)
        if ends <= _UNEVEN * even or last is None or last in refused:
            return divided
        if divisible(last):
            divided.add(last)
        else:
            refused.add(last)


def _handed_out(large: Sequence[int], sizes: Sequence[int], jobs: int) -> tuple[int, int | None]:
    """When the busiest thread ends, in bytes, and the last file it has."""
    threads = [(0, number) for number in range(jobs)]
    last: dict[int, int] = {}
    for at in large:
        end, number = heapq.heappop(threads)
        heapq.heappush(threads, (end + sizes[at], number))
        last[number] = at
    end, number = max(threads)
    return end, last.get(number)
