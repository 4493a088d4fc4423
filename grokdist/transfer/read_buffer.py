"""Memory to read files and streams into, on a page boundary.

The C library begins a large block 16 bytes behind one. Bytes that are copied to so little behind
their own place in a page take AMD's processors about twice as long (their ``rep movsb`` takes the
two for overlapping), and so does all that comes out of whole pages: the page cache, or what a
server sent out of its own. Verifying cached files took 14 % longer, fetching over loopback as much.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator

# Private, where the platform has a choice: shared memory is a file's, and has that file's costs.
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}


def read_buffer(size: int) -> memoryview:
    """Zeroed memory of ``size`` bytes that begins where a page does; it goes with its last view."""
    return memoryview(mmap.mmap(-1, max(size, 1), **_PRIVATE))[:size]


class ReadBuffers:
    """Read buffers that threads share, each with one thread at a time.

    The system finds and clears the pages of a new one as they are touched, which for every small
    file took half as long as hashing it. The one that was given back last is lent first: it is
    still in a processor's cache, and there are no more of them than were in use at once.

    Args:
        size: bytes of each.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free: list[memoryview] = []

    @contextlib.contextmanager
    def lent(self) -> Iterator[memoryview]:
        """A buffer of one's own, to be used no more after the ``with``."""
        try:
            buffer = self._free.pop()
        except IndexError:
            buffer = read_buffer(self._size)
        try:
            yield buffer
        finally:
            self._free.append(buffer)


MIB_BUFFERS = ReadBuffers(5 << 18)
"""For all of this process that reads files a MiB at a time: so much and a quarter, so that a file
of a little more comes in one read."""
