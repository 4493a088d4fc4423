"""Who reads a model directory: any number at once, and none while it is taken away.

``lock`` has one writer at a time; readers do not mind it, since files are replaced whole and what
is open or mapped stays. A removal is another matter: a model that is being loaded would lose the
files that were not opened yet. So whoever loads a model shares a second lock for as long as it is
in use, and a removal asks for that lock alone. The kernel lets go of it when a process dies.

Between machines it holds where the file system shares its locks; elsewhere, and in a directory
that cannot be written to and was never locked, readers go unnoticed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from grokdist.errors import GrokdistError, StoreError
from grokdist.transfer.tree import STATE, ModelTree

USE = f"{STATE}/use"

_RECORD = 20
"""Bytes at the beginning of that file: a process that uses the directory, for words alone."""


class Use:
    """A directory in use by this process, until it is closed or the process ends.

    Raises:
        StoreError: it is being removed, or was.
    """

    def __init__(self, tree: ModelTree) -> None:
        self._fd = _open(tree)
        self._mine = str(os.getpid()).encode().ljust(_RECORD)
        self._before = b""
        if self._fd < 0:
            return
        try:
            fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise StoreError(
                f"{tree.directory} is being removed by another process",
                hint="fetch the model again once that has ended",
            ) from None
        except OSError:
            self.close()  # a file system without locks
            return
        with contextlib.suppress(OSError):
            self._before = os.pread(self._fd, _RECORD, 0)
            os.pwrite(self._fd, self._mine, 0)
        try:
            _require_in_place(tree)
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the directory; who was named as its user before is so again."""
        if self._fd < 0:
            return
        with contextlib.suppress(OSError):
            if os.pread(self._fd, _RECORD, 0) == self._mine:
                os.pwrite(self._fd, self._before.ljust(_RECORD), 0)
        os.close(self._fd)
        self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def using(directory: Path) -> Iterator[None]:
    """Use a directory inside the ``with``.

    Raises:
        StoreError: it cannot be opened, is being removed, or was.
    """
    with ModelTree(directory) as tree, Use(tree):
        yield


@contextlib.contextmanager
def unused(tree: ModelTree) -> Iterator[None]:
    """Make sure that nobody begins or goes on to use the directory inside the ``with``.

    Raises:
        StoreError: a process uses it; the message names one.
    """
    fd = _open(tree)
    try:
        if fd >= 0:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreError(
                    f"{tree.directory} is in use by {_reader(fd)}",
                    hint="wait for it to end, then run the same command again",
                ) from None
            except OSError:
                pass  # a file system without locks
        yield
    finally:
        if fd >= 0:
            os.close(fd)


def _require_in_place(tree: ModelTree) -> None:
    """Make sure that an open directory still is the one that its path names.

    Raises:
        StoreError: it was moved or removed since it was opened.
    """
    if not tree.in_place:
        raise StoreError(
            f"{tree.directory} was removed meanwhile",
            hint="run the same command again",
        )


def _open(tree: ModelTree) -> int:
    """The lock's file; -1 where there is none and none can be made."""
    with contextlib.suppress(OSError, GrokdistError):
        if tree.stat(STATE) is None:
            return -1
        with contextlib.suppress(OSError):
            return tree.open(USE, os.O_RDWR | os.O_CREAT)
        return tree.open(USE, os.O_RDONLY)
    return -1


def _reader(fd: int) -> str:
    """One of the processes that use a directory: the last that began, if it is still there."""
    recorded = os.pread(fd, _RECORD, 0).decode("ascii", "replace").strip()
    if recorded.isdecimal():
        with contextlib.suppress(OSError, OverflowError):
            os.kill(int(recorded), 0)
            return f"process {int(recorded)}"
    return "another process"
