"""Files mapped one after the other into one range of addresses: an array without a copy.

The layers of a model are used as one stacked array, and stand in several files. Where every range
begins and ends on a page, or follows the one before in the same file, the operating system can
show them as one piece of memory; where that does not hold, there is nothing to map and the caller
copies. What is mapped is read-only and shared with the page cache.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from grokdist_runtime.checkpoint.safetensors_layout import ALIGNMENT
from grokdist_runtime.checkpoint.shard_file import open_again
from grokdist_runtime.checkpoint.stored_tensor import FileRange
from grokdist_runtime.errors import CheckpointError

MAX_MAPPINGS = 1024
"""Of one array; a process may have 65,530 on Linux."""

_MAP_FIXED = 0x10  # the same on Linux and macOS; Python's mmap does not offer it
_PAGE = mmap.PAGESIZE


def map_ranges(ranges: Iterable[FileRange]) -> np.ndarray[Any, np.dtype[np.uint8]] | None:
    """Map ranges of files so that their bytes follow each other.

    A file that shrinks while it is mapped ends the process with SIGBUS: do not truncate a
    checkpoint in use.

    Returns:
        The bytes, read-only and aligned to 64, or None where they cannot be mapped so. The
        mapping lasts as long as the array or a view of it.

    Raises:
        CheckpointError: a file is gone or changed, or the operating system refuses.
    """
    joined = _joined(ranges)
    if joined is None or not hasattr(mmap, "MAP_ANONYMOUS"):
        return None
    lead = joined[0].offset % _PAGE
    nbytes = sum(part.nbytes for part in joined)
    # Python owns these addresses and gives them back, with all that was mapped over them.
    reserved = mmap.mmap(-1, lead + nbytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ)
    base = np.frombuffer(reserved, np.uint8)
    place = base.ctypes.data
    for part in joined:
        before = part.offset % _PAGE  # of the first only
        _map_over(place, part, before)
        place += before + part.nbytes
    mapped = base[lead : lead + nbytes]
    mapped.flags.writeable = False
    return mapped


def _joined(ranges: Iterable[FileRange]) -> list[FileRange] | None:
    """Ranges that follow each other in a file as one; None where pages do not allow it."""
    joined: list[FileRange] = []
    for part in ranges:
        last = joined[-1] if joined else None
        if last is None and part.offset % ALIGNMENT:
            return None
        if last and last.file is part.file and last.offset + last.nbytes == part.offset:
            nbytes = last.nbytes + part.nbytes
            joined[-1] = FileRange(file=last.file, offset=last.offset, nbytes=nbytes)
            continue
        if last and (part.offset % _PAGE or (last.offset + last.nbytes) % _PAGE):
            return None
        joined.append(part)
        if len(joined) > MAX_MAPPINGS:
            return None
    return joined or None


def _map_over(address: int, part: FileRange, before: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    call = library.mmap
    call.restype = ctypes.c_void_p
    call.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    ]
    with open_again(part.file) as descriptor:
        got = call(
            address,
            before + part.nbytes,
            mmap.PROT_READ,
            mmap.MAP_SHARED | _MAP_FIXED,
            descriptor,
            part.offset - before,
        )
    if got != address:
        reason = os.strerror(ctypes.get_errno())
        raise CheckpointError(f"cannot map {part.file.path}: {reason}")
