"""Short-lived names in a model directory, told apart from those that the dead left.

Each says which run of which machine made it, and which process there, so that the next one to use
the directory takes away what a process left that was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets

from grokdist.errors import UnsafePathError
from grokdist.transfer.boot import boot_id
from grokdist.transfer.tree import NEW_SUFFIX, STATE, ModelTree, split

STEMS = ("lease", "now", "probe")
_WRITTEN = (STATE, f"{STATE}/attestations")
"""Folders of small files that are written again and again, and not each by every command."""
_NAME = re.compile(
    rf"(?:{'|'.join(STEMS)})\.(?P<boot>[0-9A-Za-z-]+)\.(?P<pid>\d{{1,9}})\.[0-9a-f]{{16}}"
)


def temporary(stem: str) -> str:
    """A new name in the state folder of a directory; ``stem`` is one of ``STEMS``."""
    return f"{STATE}/{stem}.{boot_id() or 'unknown'}.{os.getpid()}.{secrets.token_hex(8)}"


def sweep(tree: ModelTree) -> None:
    """Take away what killed processes left: under such names, and of small files.

    By name only what a process of this run of this machine made; a small file that is being
    written is locked by its writer.
    """
    for folder in _WRITTEN:
        with contextlib.suppress(FileNotFoundError, UnsafePathError):
            _sweep_unlocked(tree, folder)
    with tree.listing((STATE,)) as entries:
        found = [each.name for each in entries]
    for name in found:
        match = _NAME.fullmatch(name)
        if match and match["boot"] == boot_id() and not alive(int(match["pid"])):
            with contextlib.suppress(OSError, UnsafePathError):
                _remove(tree, f"{STATE}/{name}")


def _sweep_unlocked(tree: ModelTree, folder: str) -> None:
    with tree.listing(split(folder)) as entries:
        found = [each.name for each in entries if each.name.endswith(NEW_SUFFIX)]
    for name in found:
        path = f"{folder}/{name}"
        with contextlib.suppress(OSError, UnsafePathError):
            fd = tree.open(path, os.O_RDONLY)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                tree.remove(path)
            finally:
                os.close(fd)


def alive(pid: int) -> bool:
    """True where a process of this machine has that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # somebody else's
    return True


def _remove(tree: ModelTree, path: str) -> None:
    """Remove a file, or a folder with files in it."""
    try:
        tree.remove(path)
        return
    except (IsADirectoryError, PermissionError):
        # Linux says the first of a folder, others the second.
        with tree.listing(split(path)) as entries:
            inside = [each.name for each in entries]
    for name in inside:
        _remove(tree, f"{path}/{name}")
    with tree.folder(split(path)[:-1]) as handle:
        os.rmdir(split(path)[-1], dir_fd=handle)
