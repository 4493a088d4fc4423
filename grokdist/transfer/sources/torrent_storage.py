"""The files that libtorrent writes, and how a part comes to share one of them.

libtorrent's file of a torrent's file number N is ``.grokdist/swarm/N``. It is one of four things:

- its own, while pieces come that no part counts on;
- shared with a part by a hard link, while the part follows it from its first byte. libtorrent
  never writes again to a piece whose hash was right, so what was hashed stays as it is;
- a symbolic link to the finished file, from which it is then given to other peers;
- left over, when another source brought the file or the bytes proved wrong.

Nothing here outlives the run.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection
from pathlib import Path

from grokdist.transfer.tree import STATE, ModelTree

STORAGE = (STATE, "swarm")


class SwarmStorage:
    """The folder that libtorrent writes to.

    Args:
        directory: the model directory.

    Raises:
        UnsafePathError: a link stands where the folder belongs.
        OSError: it cannot be made.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        with ModelTree.create(directory) as tree, tree.folder(STORAGE, create=True):
            self.folder = self._directory.joinpath(*STORAGE)
        self.clear()

    def path_of(self, index: int) -> Path:
        """Libtorrent's file for the torrent's file number ``index``."""
        return self.folder / f"{index}"

    def point(self, index: int, path: str) -> None:
        """Have libtorrent read the finished file ``path``; all its pieces are here.

        With the hard link left in place, its removal at the end would change the file's ctime.
        """
        link = self.path_of(index)
        temporary = link.with_name(f"{link.name}-final")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(self._directory / path)
        temporary.replace(link)

    def left_over(self, active: Collection[int]) -> int:
        """Bytes on disk of files that are not shared, finished, or one of ``active``."""
        busy = {f"{index}" for index in active}
        total = 0
        for path in self.folder.iterdir():
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue  # another thread has just given it its final name
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and path.name not in busy:
                total += status.st_blocks * 512
        return total

    def clear(self) -> None:
        """Remove what libtorrent wrote, in this run or in one that died."""
        with (
            ModelTree(self._directory) as tree,
            contextlib.suppress(FileNotFoundError),
            tree.folder(STORAGE) as handle,
        ):
            for name in os.listdir(handle):  # noqa: PTH208 (a handle is not a path)
                os.unlink(name, dir_fd=handle)
