"""Writing a file that a person asked for: whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from grokdist.errors import StoreError


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under its name in one step; until then the name leads to what it led to.

    What a process left that was killed while it wrote the same file is taken away.

    Raises:
        StoreError: it cannot be written there.
    """
    try:
        with _partial(path, mode=0o666) as (partial, file):
            file.write(data)
            file.flush()
            os.replace(partial, path)  # noqa: PTH105  (named by the house rules)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StoreError(
            f"{path} cannot be written: {reason}", hint="give a file in a folder that exists"
        ) from error


def write_new(path: Path, data: bytes, *, mode: int) -> None:
    """Write a file that is not there yet, whole or not at all; it is on the disk afterwards.

    Args:
        path: its name, in a folder that exists.
        data: what it holds.
        mode: who may read it from its first byte on; the umask takes away from it.

    Raises:
        FileExistsError: something has that name.
        OSError: it cannot be written there.
    """
    with _partial(path, mode=mode) as (partial, file):
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        with _alone(path.parent) as folder:
            # A rename takes what has the name away; a link, which does not, is a second step.
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            partial.rename(path)
            os.fsync(folder)


@contextlib.contextmanager
def _partial(path: Path, *, mode: int) -> Iterator[tuple[Path, BinaryIO]]:
    """A file under another name in the same folder, gone again where the block fails."""
    stem = f".{path.name[:80]}."
    _sweep(path.parent, stem)
    partial, file = _opened(path.parent, stem, mode)
    try:
        with file:
            yield partial, file
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """One writer of new files in a folder at a time; yields the folder's descriptor."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # where the file system has no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _opened(folder: Path, stem: str, mode: int) -> tuple[Path, BinaryIO]:
    """A new file to write to, locked for as long as it is open: so its writer is seen to live."""
    while True:
        partial = folder / f"{stem}{secrets.token_hex(4)}.part"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        file = os.fdopen(descriptor, "wb")
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file.fileno()).st_nlink:
            return partial, file
        # Somebody swept it away in the moment before it was locked.
        file.close()


def _sweep(folder: Path, stem: str) -> None:
    """Remove what nobody writes to any more."""
    for each in folder.glob(f"{glob.escape(stem)}????????.part"):
        with contextlib.suppress(OSError), each.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            each.unlink()
