"""Copies of whole files that share their blocks: made in no time, written apart on the first write.

XFS, Btrfs, bcachefs, OCFS2, ZFS and NFS 4.2 servers on top of them can do it, within one file
system. The copy is a file of its own: what is written to the one is not seen in the other.
"""

from __future__ import annotations

import contextlib
import fcntl
import platform
import sys

# _IOW(0x94, 9, int) of linux/fs.h; where an ioctl's "write" is another bit, another number.
_FICLONE = (
    0x80049409
    if platform.machine().startswith(("alpha", "mips", "parisc", "ppc", "sparc"))
    else 0x40049409
)


def reflink(source: int, target: int) -> bool:
    """Make the open file ``target`` share all blocks of the open file ``source``.

    Args:
        source: a descriptor open for reading.
        target: a descriptor open for writing, on the same file system.

    Returns:
        False where the file system or the system cannot do that; ``target`` is then unchanged.
    """
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            fcntl.ioctl(target, _FICLONE, source)
            return True
    return False
