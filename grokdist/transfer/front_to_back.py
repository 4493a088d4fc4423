"""Reading a file from front to back: asked for ahead of its hashing, and let go of behind it.

The kernel is told that a file is read in sequence, and asked for the next MiBs while these are
hashed: so the disk is kept busy, and one that seeks does so every 4 MiB and not at each of its
readaheads, mostly 128 KiB. What is in the kernel's cache already is not asked for.

What was read stays in the page cache for whoever runs the model next, unless all that is read
together is more than half of the memory: then the first of it would be gone before the last came,
with all that other programs have there. Letting go of each part once it is hashed also has the
kernel use the same memory again, where a virtual machine gets other memory from its host only
slowly.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Iterator

from grokdist.transfer.trees import SPAN, read_full

_AHEAD = 4 << 20


def read_on(
    fd: int, start: int, end: int, buffer: memoryview, *, keep: bool = True
) -> Iterator[memoryview]:
    """Read a range of a file a MiB at a time, one that fits the buffer at once.

    Ends early where the file does.

    Args:
        fd: the file.
        start: offset of the first byte.
        end: offset behind the last.
        buffer: a MiB or more; each piece is in it until the next.
        keep: leave what was read in the page cache; see ``fits_the_cache``.

    Raises:
        OSError: the disk cannot read them.
    """
    if end - start <= len(buffer):
        count = read_full(fd, buffer[: end - start], start)
        if count:
            yield buffer[:count]
        if not keep:
            let_go(fd, start, end - start)
        return
    read_ahead(fd, start, end)
    for block in range(start, end, _AHEAD):
        after = min(block + _AHEAD, end)
        if after < end:
            ask_for(fd, after, min(_AHEAD, end - after))
        for offset in range(block, after, SPAN):
            data = buffer[: min(SPAN, after - offset)]
            count = read_full(fd, data, offset)
            if count:
                yield data[:count]
            if count < len(data):
                return
        if not keep:
            let_go(fd, block, after - block)


def read_ahead(fd: int, start: int, end: int) -> None:
    """Tell the kernel that a range of a file will be read from front to back."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(fd, start, end - start, os.POSIX_FADV_SEQUENTIAL)
        ask_for(fd, start, min(_AHEAD, end - start))


def ask_for(fd: int, offset: int, length: int) -> None:
    """Have the kernel read bytes into its cache that will be wanted soon; it does not wait."""
    if hasattr(os, "posix_fadvise") and not _is_cached(fd, offset):
        with contextlib.suppress(OSError):
            os.posix_fadvise(fd, offset, length, os.POSIX_FADV_WILLNEED)


def let_go(fd: int, offset: int, length: int) -> None:
    """Take whole pages out of the kernel's cache; those that a program has mapped stay."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(fd, offset, length, os.POSIX_FADV_DONTNEED)


def _is_cached(fd: int, offset: int) -> bool:
    """Whether a byte can be read without waiting for the disk, and so, very likely, the next MiBs.

    One call; to be asked for what it has, the kernel looks at every page of it.
    """
    if not hasattr(os, "RWF_NOWAIT"):
        return False
    try:
        return os.preadv(fd, [bytearray(1)], offset, os.RWF_NOWAIT) == 1
    except OSError:  # it would have to wait, or the file system cannot tell
        return False


def fits_the_cache(nbytes: int) -> bool:
    """Whether so many bytes can stay in the page cache together: half of the memory's."""
    return nbytes <= _half_of_memory()


@functools.cache
def _half_of_memory() -> float:
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names:
        return math.inf
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
