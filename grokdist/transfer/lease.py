"""A sign of life in a directory that several machines share.

A lock of one machine's kernel may mean nothing on another that has the same file system mounted.
Beside it a directory in use holds a lease: a small file that says who holds it and that is touched
every few seconds. Who finds one that is not its own machine's watches it: one that is not touched
for half a minute, by the watcher's own clock, is a dead machine's and is taken over. No two clocks
are ever compared to decide that; the file system's own time only tells a lease that was touched
just now, so that its holder can be named without waiting.

A holder that was asleep for longer finds its lease taken when it wakes, and must stop: ``lost``.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from grokdist.errors import GrokdistError, StoreError
from grokdist.transfer.boot import boot_id
from grokdist.transfer.temporary import temporary
from grokdist.transfer.tree import STATE, ModelTree

LEASE = f"{STATE}/lease"

TOUCH_EVERY = 5.0
"""Seconds between two signs of life."""
DEAD_AFTER = 30.0
"""Seconds without one, as watched, after which a holder counts as dead."""

_RIGHT = ".over"
_POLL = 0.25
_LIMIT = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """Who holds a directory.

    Attributes:
        host: its machine's name.
        pid: its process there.
        boot: which run of the machine; empty where that is not known.
        token: unlike that of any other lease.
    """

    host: str
    pid: int
    boot: str
    token: str

    @classmethod
    def this_process(cls) -> Holder:
        """A new holder: the process that calls."""
        return cls(
            host=socket.gethostname(), pid=os.getpid(), boot=boot_id(), token=secrets.token_hex(16)
        )

    @property
    def here(self) -> bool:
        """True where it is a process of this run of this machine, dead or alive."""
        return bool(self.boot) and self.boot == boot_id()

    def __str__(self) -> str:
        """For people: ``process 4711``, ``process 4711 on node7``."""
        return f"process {self.pid}" + ("" if self.here else f" on {self.host}")


class Lease:
    """A lease that this process holds; made by ``take``."""

    def __init__(self, tree: ModelTree, holder: Holder, fd: int) -> None:
        self.holder = holder
        self._tree = tree
        self._fd = fd
        self._lost = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._touch, name="grokdist-lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Make sure that the directory is still ours.

        Raises:
            StoreError: another machine took it, since no sign of life of ours was seen for long.
        """
        if self._lost.is_set():
            found = read_lease(self._tree)
            who = "nobody" if found is None else str(found[0])
            raise StoreError(
                f"{self._tree.directory} was taken over by {who} while this process was asleep",
                hint="wait for it to end, then run the same command again",
            )

    def release(self) -> None:
        """Give the directory back."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError, GrokdistError):
            if self._ours():
                self._tree.remove(LEASE)
        os.close(self._fd)

    def _touch(self) -> None:
        while not self._ended.wait(TOUCH_EVERY):
            try:
                if not self._ours():
                    self._lost.set()
                    return
                os.utime(self._fd)
            except OSError:
                # A server that is away for a moment; if it lasts, others may take over.
                continue
            except GrokdistError:
                self._lost.set()
                return

    def _ours(self) -> bool:
        found = read_lease(self._tree)
        return found is not None and found[0].token == self.holder.token


def take(
    tree: ModelTree,
    *,
    kernel_vouches: bool,
    wait: Callable[[Holder], bool],
) -> Lease:
    """Take the lease of a directory.

    Args:
        tree: the directory.
        kernel_vouches: a lock of this machine's kernel is held, so that a lease of this run of
            this machine is a dead process's.
        wait: asked whether to go on waiting for a holder that is alive.

    Raises:
        StoreError: somebody else holds it and ``wait`` said no.
    """
    holder = Holder.this_process()
    while True:
        fd = _make(tree, holder)
        if fd is not None:
            return Lease(tree, holder, fd)
        found = read_lease(tree)
        if found is None:
            continue
        other, mark = found
        # Without a lock even a process of this machine may be one that we cannot see.
        dead = other.here and kernel_vouches
        if not dead and (_just_touched(tree, mark) or not _stays_untouched(tree, other, mark)):
            if wait(other):
                time.sleep(_POLL)
                continue
            raise in_use(tree, other)
        if (fd := _take_over(tree, other, mark, holder, kernel_vouches)) is not None:
            return Lease(tree, holder, fd)


def in_use(tree: ModelTree, holder: Holder | None) -> StoreError:
    """The error for a directory that somebody else holds."""
    return StoreError(
        f"{tree.directory} is in use by {holder or 'another process'}",
        hint="wait for it to end (--wait), or choose another --dir",
    )


def read_lease(tree: ModelTree) -> tuple[Holder, int] | None:
    """Who holds a directory, and when it was last touched, in nanoseconds of the file system.

    Opening the file makes a network file system ask its server rather than its memory.

    Raises:
        StoreError: what stands there is not a lease.
    """
    try:
        fd = tree.open(LEASE, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        data = os.read(fd, _LIMIT)
        mark = os.fstat(fd).st_mtime_ns
    finally:
        os.close(fd)
    return _parse(data), mark


def holder_now(tree: ModelTree) -> Holder | None:
    """Who holds a directory at this moment, as its lease and two clocks tell; for words alone.

    Takes nothing and waits for nothing, so it may be wrong about a process that just ended.
    """
    try:
        found = read_lease(tree)
    except (OSError, GrokdistError):
        return None
    if found is None:
        return None
    holder, mark = found
    if not holder.here:
        return holder if abs(time.time_ns() - mark) < DEAD_AFTER * 1e9 else None
    try:
        os.kill(holder.pid, 0)
    except PermissionError:
        return holder
    except (OSError, OverflowError):
        return None
    return holder


def _parse(data: bytes) -> Holder:
    """A lease's holder; a lease that is being written, or is damaged, has one without a name."""
    with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
        document = json.loads(data)
        host, boot, token = (document[key] for key in ("host", "boot", "token"))
        pid = document["pid"]
        texts = (host, boot, token)
        if type(pid) is int and all(isinstance(text, str) and text.isprintable() for text in texts):
            return Holder(host=host[:255], pid=pid, boot=boot, token=token)
    return Holder(host="an unknown machine", pid=0, boot="", token="")


def _make(tree: ModelTree, holder: Holder) -> int | None:
    """Make the lease; None where there is one."""
    # Written under another name first: nobody ever sees half a lease.
    name = temporary("lease")
    fd = _written(tree, holder, name)
    try:
        _link(tree, name, LEASE)
    except FileExistsError:
        os.close(fd)
        return None
    except OSError:
        # A file system without hard links: exclusive creation is the next best.
        os.close(fd)
        try:
            return _written(tree, holder, LEASE)
        except FileExistsError:
            return None
    finally:
        tree.remove(name)
    return fd


def _link(tree: ModelTree, name: str, other: str) -> None:
    with tree.folder((STATE,)) as handle:
        base, new = PurePosixPath(name).name, PurePosixPath(other).name
        os.link(base, new, src_dir_fd=handle, dst_dir_fd=handle)


def _written(tree: ModelTree, holder: Holder, name: str) -> int:
    fd = tree.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, create_folders=True)
    document = {
        "host": holder.host,
        "pid": holder.pid,
        "boot": holder.boot,
        "token": holder.token,
    }
    os.write(fd, json.dumps(document).encode() + b"\n")
    return fd


def _take_over(
    tree: ModelTree, other: Holder, mark: int, holder: Holder, kernel_vouches: bool
) -> int | None:
    """Put our lease in the place of a dead one; None where somebody else was faster.

    Only one watcher gets the right to replace this very lease: it is a file named by its token,
    and a second name of the lease that is to come.
    """
    right = f"{LEASE}.{other.token or 'damaged'}{_RIGHT}"
    name = temporary("lease")
    fd = _written(tree, holder, name)
    taken = False
    try:
        try:
            _link(tree, name, right)
        except FileExistsError:
            raise
        except OSError:
            # A file system without hard links.
            os.close(tree.open(right, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        try:
            if read_lease(tree) == (other, mark):
                tree.rename(name, LEASE)
                taken = True
        finally:
            tree.remove(right)
    except FileExistsError:
        status = tree.stat(right)
        # Whoever had the right may have died with it.
        dead = kernel_vouches and _of_here(tree, right)
        if status is None or dead or _stays(tree, right, status.st_mtime_ns):
            tree.remove(right)
    finally:
        if not taken:
            os.close(fd)
            tree.remove(name)
    return fd if taken else None


def sweep_rights(tree: ModelTree) -> None:
    """Take away what a process of this machine left that died as it took a lease over.

    Only with the lock of this machine's kernel: nobody else here takes one over then.
    """
    with tree.listing((STATE,)) as entries:
        names = [each.name for each in entries if each.name.endswith(_RIGHT)]
    for name in names:
        with contextlib.suppress(OSError, GrokdistError):
            if _of_here(tree, f"{STATE}/{name}"):
                tree.remove(f"{STATE}/{name}")


def _of_here(tree: ModelTree, name: str) -> bool:
    """True where a file was written by a process of this run of this machine."""
    data = tree.read_small(name, _LIMIT)
    return data is not None and _parse(data).here


def _just_touched(tree: ModelTree, mark: int) -> bool:
    """True where a lease was touched just now, by the clock that marks the files."""
    name = temporary("now")
    fd = tree.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        now = os.fstat(fd).st_mtime_ns
    finally:
        os.close(fd)
        tree.remove(name)
    return abs(now - mark) < 2 * TOUCH_EVERY * 1e9


def _stays_untouched(tree: ModelTree, other: Holder, mark: int) -> bool:
    """Watch a lease; True where it gave no sign of life for as long as it takes."""
    until = time.monotonic() + DEAD_AFTER
    while time.monotonic() < until:
        if read_lease(tree) != (other, mark):
            return False
        time.sleep(_POLL)
    return read_lease(tree) == (other, mark)


def _stays(tree: ModelTree, name: str, mark: int) -> bool:
    until = time.monotonic() + DEAD_AFTER
    while time.monotonic() < until:
        status = tree.stat(name)
        if status is None or status.st_mtime_ns != mark:
            return False
        time.sleep(_POLL)
    return True
