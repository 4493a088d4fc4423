"""The files that libtorrent writes, and how a part comes to share one of them.

libtorrent's file of a torrent's file number N is ``.grokdist/swarm/N``. It is one of four things:

- its own, while pieces come that no part counts on;
- shared with a part by a hard link, while the part follows it from its first byte. libtorrent
  never writes again to a piece whose hash was right, so what was hashed stays as it is;
- a symbolic link to the finished file, from which it is then given to other peers;
- left over, when another source brought the file or the bytes proved wrong.

What outlives the run are the pieces of files that are not finished. The next run takes them up
into files that are libtorrent's own again: it shares nothing with a process that is gone, and
never writes to a byte that one hashed.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from grokdist.transfer.part_files import copy_range, part_name, state_name
from grokdist.transfer.part_state import read_state
from grokdist.transfer.sources.torrent_metainfo import TorrentFile, TorrentFiles
from grokdist.transfer.sources.torrent_resume import BLOCK, RESUME, Pieces
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

    def path_of(self, index: int) -> Path:
        """Libtorrent's file for the torrent's file number ``index``."""
        return self.folder / f"{index}"

    def point(self, index: int, path: str) -> None:
        """Have libtorrent read the finished file ``path``; all its pieces are here.

        With the hard link left in place, its removal at the end would change the file's ctime.
        """
        link = self.path_of(index)
        temporary, target = self.folder / f"{index}-final", self._directory / path
        try:
            temporary.symlink_to(target)
        except FileExistsError:
            temporary.unlink()
            temporary.symlink_to(target)
        temporary.replace(link)

    def take_up(self, files: TorrentFiles, names: Mapping[int, str], pieces: Pieces) -> Pieces:
        """Make the files that an earlier process left libtorrent's own.

        A file that a part shares, or that is finished, is replaced by one that holds only what
        neither of them has: the pieces that came out of order or are under way.

        Args:
            files: the torrent.
            names: path in the model directory by the number of a file.
            pieces: what that process noted.

        Returns:
            the pieces that are in the files now.

        Raises:
            OSError: the disk refused.
        """
        layout = _Layout(files)
        lacking: dict[int, list[tuple[int, int]]] = {}
        with ModelTree(self._directory) as tree:
            here = pieces.all
            for file in files.files:
                low = bisect.bisect_left(here, layout.pieces_of(file).start)
                high = bisect.bisect_left(here, layout.pieces_of(file).stop)
                if low == high:
                    self.path_of(file.index).unlink(missing_ok=True)
                    continue
                name = names.get(file.index)
                for piece in self._take_up_file(tree, layout, file, name, here[low:high]):
                    begin = file.offset - piece * files.piece_size
                    lacking.setdefault(piece, []).append(
                        tuple(begin + each for each in layout.span(file, piece))  # type: ignore[arg-type]
                    )
        kept = {
            index: _without(blocks, lacking.get(index, ()))
            for index, blocks in pieces.unfinished.items()
        }
        return Pieces(
            have=bytes(bit and index not in lacking for index, bit in enumerate(pieces.have)),
            unfinished={index: blocks for index, blocks in kept.items() if any(blocks)},
        )

    def tidy(self, names: Mapping[int, str]) -> None:
        """Remove what no later run can use; everything, where no file is under way."""
        with ModelTree(self._directory) as tree:
            under_way = {
                index
                for index, name in names.items()
                if tree.stat(part_name(name)) is not None and tree.stat(name) is None
            }
        regular = [index for index in under_way if self.path_of(index).is_file()]
        if not regular:
            self.clear()
            return
        with ModelTree(self._directory) as tree:
            for index, name in names.items():
                if tree.stat(name) is not None:
                    self.path_of(index).unlink(missing_ok=True)

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
            tree.remove(RESUME)
            for name in os.listdir(handle):  # noqa: PTH208 (a handle is not a path)
                os.unlink(name, dir_fd=handle)

    def _take_up_file(
        self,
        tree: ModelTree,
        layout: _Layout,
        file: TorrentFile,
        name: str | None,
        touching: list[int],
    ) -> set[int]:
        """Make one file libtorrent's own; returns the pieces that it lacks then."""
        path = self.path_of(file.index)
        try:
            status = path.lstat()
        except FileNotFoundError:
            return set(touching)
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
            return {piece for piece in touching if layout.span(file, piece)[0] >= status.st_size}
        if name is None or not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
            path.unlink(missing_ok=True)
            return set(touching)
        final = stat.S_ISLNK(status.st_mode)
        source_name = name if final else f"{'/'.join(STORAGE)}/{file.index}"
        with contextlib.ExitStack() as stack:
            try:
                source = tree.open(source_name, os.O_RDONLY)
            except FileNotFoundError:
                path.unlink(missing_ok=True)
                return set(touching)
            stack.callback(os.close, source)
            end = os.fstat(source).st_size
            whole = _hashed_upto(tree, name) if not final else file.size
            new = path.with_name(f"{path.name}-own")
            new.unlink(missing_ok=True)
            target = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
            stack.callback(os.close, target)
            lacking = set()
            for piece in touching:
                low, high = layout.span(file, piece)
                alone = layout.files_of(piece) == 1
                if (high <= whole and alone) or low >= end:
                    lacking.add(piece)
                    continue
                copy_range(source, target, low, min(high, end))
            new.replace(path)
        return lacking


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which bytes of which file a piece holds."""

    files: TorrentFiles

    def pieces_of(self, file: TorrentFile) -> range:
        if not file.size:
            return range(0)
        size = self.files.piece_size
        return range(file.offset // size, (file.offset + file.size - 1) // size + 1)

    def span(self, file: TorrentFile, piece: int) -> tuple[int, int]:
        """The bytes of ``file`` that ``piece`` holds."""
        size = self.files.piece_size
        low = piece * size - file.offset
        return max(0, low), min(file.size, low + size)

    def files_of(self, piece: int) -> int:
        """How many files have bytes in ``piece``; padding is none."""
        return sum(1 for _ in self._touching(piece))

    def _touching(self, piece: int) -> Iterator[TorrentFile]:
        files, size = self.files.files, self.files.piece_size
        at = bisect.bisect_right(files, piece * size, key=lambda file: file.offset + file.size)
        for file in files[at:]:
            if file.offset >= (piece + 1) * size:
                return
            if file.size:
                yield file


def _without(blocks: bytes, lacking: Iterable[tuple[int, int]]) -> bytes:
    """The blocks of a piece that lie outside byte ranges of it."""
    return bytes(
        bit and not any(low < (place + 1) * BLOCK and place * BLOCK < high for low, high in lacking)
        for place, bit in enumerate(blocks)
    )


def _hashed_upto(tree: ModelTree, name: str) -> int:
    """Bytes from the start of a file that its part counts as here."""
    state = read_state(tree, state_name(name))
    return 0 if state is None else state.usable.ranges.contiguous(0)
