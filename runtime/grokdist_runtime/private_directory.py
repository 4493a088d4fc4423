"""Directories whose contents are run: this user's alone, or refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from grokdist_runtime.errors import DeviceError


def private_directory(directory: Path) -> None:
    """Makes a directory with mode 0700, or checks that the one there is this user's alone.

    Raises:
        DeviceError: It cannot be made, or others could write there.
    """
    try:
        # Its mode is that of the last one alone if Python makes them all in one call.
        for each in (*reversed(directory.parents), directory):
            if not each.is_dir():
                each.mkdir(mode=0o700, exist_ok=True)
        status = directory.stat(follow_symlinks=False)
    except OSError as error:
        raise DeviceError(f"cannot use compile cache {directory}: {error.strerror}") from error
    private = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077
    if not private or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
        raise DeviceError(
            f"compile cache {directory} has mode {stat.filemode(status.st_mode)}; "
            "expected a directory that only you can enter",
            hint=f"chmod 700 {directory}",
        )
