"""Writing a file that a person asked for: whole or not at all."""

from __future__ import annotations

import contextlib
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


def _opened(folder: Path, stem: str) -> tuple[Path, BinaryIO]:
    """A new file to write to, locked for as long as it is open: so its writer is seen to live."""
    while True:
        partial = folder / f"{stem}{secrets.token_hex(4)}.part"
        file = partial.open("xb")
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
