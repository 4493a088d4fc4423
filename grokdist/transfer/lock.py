"""One writer a model directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from grokdist.errors import StoreError
from grokdist.transfer.tree import STATE, ModelTree

LOCK = f"{STATE}/lock"


@contextlib.contextmanager
def exclusive(tree: ModelTree) -> Iterator[None]:
    """Hold the directory's lock inside the ``with``; the system frees it if we die.

    Raises:
        StoreError: another process holds it; the message names its id.
    """
    fd = tree.open(LOCK, os.O_RDWR | os.O_CREAT, create_folders=True)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
            who = f"process {holder}" if holder.isdigit() else "another process"
            raise StoreError(
                f"{tree.directory} is in use by {who}",
                hint="wait for it to end, or choose another --dir",
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)
