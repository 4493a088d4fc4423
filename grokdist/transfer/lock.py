"""One writer a model directory, also where several machines share it.

On one machine its kernel excludes others and frees the lock the moment its holder dies. Between
machines that share a file system a lease does it (``lease``), which outlives its holder for half a
minute.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator

from grokdist.errors import GrokdistError, StoreError
from grokdist.transfer.lease import Holder, Lease, in_use, read_lease, sweep_rights, take
from grokdist.transfer.part_files import sweep_parts
from grokdist.transfer.temporary import sweep
from grokdist.transfer.tree import STATE, ModelTree

LOCK = f"{STATE}/lock"
_POLL = 0.25


@contextlib.contextmanager
def exclusive(
    tree: ModelTree,
    *,
    wait: bool = False,
    on_wait: Callable[[str], None] = lambda _: None,
) -> Iterator[Lease]:
    """Hold the directory inside the ``with``.

    Gives a lease, whose ``check`` tells a holder that was asleep for long whether the directory
    is still its own: call it every now and then.

    Args:
        tree: the model directory.
        wait: wait for whoever holds it rather than fail.
        on_wait: told once, for people, who is waited for.

    Raises:
        StoreError: another process holds it; the message names it, and its machine where that is
            not this one. Or it was removed meanwhile.
    """
    told = False

    def keep_waiting(holder: Holder | None) -> bool:
        nonlocal told
        if wait and not told:
            told = True
            on_wait(f"waiting for {holder or 'another process'}, which uses {tree.directory}")
        return wait

    fd = tree.open(LOCK, os.O_RDWR | os.O_CREAT, create_folders=True)
    try:
        locked = _lock(tree, fd, keep_waiting)
        if not tree.in_place:
            # Whoever was waited for removed the model: what we write would go with it.
            raise StoreError(
                f"{tree.directory} was removed meanwhile", hint="run the same command again"
            )
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        lease = take(tree, kernel_vouches=locked, wait=keep_waiting)
        try:
            sweep(tree)
            sweep_parts(tree)
            if locked:
                sweep_rights(tree)
            yield lease
        finally:
            lease.release()
    finally:
        # Closing alone would leave it locked while a child of ours, forked for whatever else,
        # has not let go of its copy.
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


def _lock(tree: ModelTree, fd: int, keep_waiting: Callable[[Holder | None], bool]) -> bool:
    """Take the kernel's lock; False where this file system has none."""
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(tree, fd)
            if not keep_waiting(holder):
                raise in_use(tree, holder) from None
            time.sleep(_POLL)
        except OSError:
            # ENOLCK, EOPNOTSUPP and others: the lease alone has to do.
            return False
        else:
            return True


def _holder(tree: ModelTree, fd: int) -> Holder | None:
    """Who holds the kernel's lock, as far as it said."""
    with contextlib.suppress(OSError, GrokdistError):
        found = read_lease(tree)
        if found is not None and found[0].token:
            return found[0]
    recorded = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
    if not recorded.isdecimal():
        return None
    # It has the lock and not yet the lease. A kernel's lock that we met is that of this machine
    # or of one that shares its locks with us; its process is all that it said.
    here = Holder.this_process()
    return Holder(host=here.host, pid=int(recorded), boot=here.boot, token="")
