"""Has the disk begin with what was written, without waiting for it.

Left to itself the system writes after many seconds, and whoever then syncs a file waits for all of
it. Begun at once, it happens beside the download; whoever begins it may wait for the disk's queue,
and is better none that brings bytes.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable

_WRITE = 2


def begin_writeback(fd: int, start: int, count: int) -> None:
    """Begin to write a byte range of an open file to the disk.

    Returns once the disk has been asked, and so waits where it has been asked for much already.

    Errors are not told here: they come with the ``fsync`` that follows in any case.
    """
    function = _sync_file_range()
    if function is not None:
        function(fd, start, count, _WRITE)


@functools.cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        function = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong, ctypes.c_uint)
    function.restype = ctypes.c_int
    return lambda fd, start, count, flags: int(function(fd, start, count, flags))
