"""Writing a file that a person asked for: whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import secrets
from pathlib import Path
from typing import BinaryIO

from grokdist.errors import StoreError


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under its name in one step; until then the name leads to what it led to.

    What a process left that was killed while it wrote the same file is taken away.

    Raises:
        StoreError: it cannot be written there.
    """
    stem = f".{path.name[:80]}."
    try:
        _sweep(path.parent, stem)
        partial, file = _opened(path.parent, stem)
        try:
            with file:
                file.write(data)
                file.flush()
                os.replace(partial, path)  # noqa: PTH105  (named by the house rules)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
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
    stem = f".{path.name[:80]}."
    _sweep(path.parent, stem)
    partial, file = _opened(path.parent, stem, mode)
    try:
        with file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            _name(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _name(partial: Path, path: Path) -> None:
    """Give a file its name, and take nobody's place as a rename would."""
    try:
        path.hardlink_to(partial)
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        # A file system without links, as of a memory stick.
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        partial.rename(path)


def _opened(folder: Path, stem: str, mode: int = 0o666) -> tuple[Path, BinaryIO]:
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
