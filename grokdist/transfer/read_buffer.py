"""Memory to read files and streams into, on a page boundary.

The C library begins a large block 16 bytes behind one. Bytes that are copied to so little behind
their own place in a page take AMD's processors about twice as long (their ``rep movsb`` takes the
two for overlapping), and so does all that comes out of whole pages: the page cache, or what a
server sent out of its own. Verifying cached files took 14 % longer, fetching over loopback as much.
"""

from __future__ import annotations

import mmap
import threading

# Private, where the platform has a choice: shared memory is a file's, and has that file's costs.
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}


def read_buffer(size: int) -> memoryview:
    """Zeroed memory of ``size`` bytes that begins where a page does; it goes with its last view."""
    return memoryview(mmap.mmap(-1, max(size, 1), **_PRIVATE))[:size]


class ReadBuffers(threading.local):
    """A read buffer for each thread, kept from one file to the next.

    The system finds and clears the pages of a new one as they are touched, which for every small
    file took half as long as hashing it.

    Args:
        size: bytes of each.
    """

    def __init__(self, size: int) -> None:
        self.own = read_buffer(size)
        """That of this thread."""
