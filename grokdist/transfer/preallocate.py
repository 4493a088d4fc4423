"""Room on the disk, asked for in one piece where the file system can give it."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import functools
import os
import sys
from collections.abc import Callable

SMALLEST = 16 << 20
"""Bytes below which a file is not worth the call."""

_KEEP_SIZE = 1


def allocate(fd: int, size: int) -> None:
    """Reserve ``size`` bytes for an open file, without changing its length.

    Files then lie in few extents also where several streams write them, and a disk that is too
    small says so before the first byte. On ext4 it made nothing faster, so it is for who asks. A
    file system that cannot do it in an instant (NFS, FAT) is left to grow the file: the C
    library's ``posix_fallocate`` would write every block there.

    Raises:
        OSError: the disk is full.
    """
    allocate = _fallocate()
    if size < SMALLEST or allocate is None or os.fstat(fd).st_blocks * 512 >= size:
        return
    if allocate(fd, _KEEP_SIZE, 0, size) != 0 and ctypes.get_errno() in (
        errno.ENOSPC,
        errno.EDQUOT,
    ):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@functools.cache
def _fallocate() -> Callable[[int, int, int, int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        function = ctypes.CDLL(None, use_errno=True).fallocate
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong)
    function.restype = ctypes.c_int
    return lambda fd, mode, offset, length: int(function(fd, mode, offset, length))
