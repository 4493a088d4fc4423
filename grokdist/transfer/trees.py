"""Tree files: the BEP 52 tree of one file, kept beside the model to find damage in it.

``.grokdist/trees/<path>.tree`` holds a header, one node for every MiB and one leaf for every
16 KiB of the file. Whoever may write the directory may write a tree file, so nothing in one is
believed: the nodes must hash to a root that comes from elsewhere (the manifest or the receipt),
and the leaves of a MiB to its node, before anything is compared with them. A tree file that does
not is as good as none. Only the nodes are held in memory, 32 KiB for a GiB; leaves are read where
they are needed.

A tree says of a range whether it is right. Together with a root and a size from a signed manifest
that is proof; with a root from the receipt it only finds accidents.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections.abc import Callable, Iterable, Iterator

from grokdist.errors import GrokdistError
from grokdist.transfer.read_buffer import read_buffer
from grokdist.transfer.stop import HashingStoppedError
from grokdist.transfer.tree import STATE, ModelTree
from grokdist.trust import merkle
from grokdist.trust.merkle import BLOCK, DIGEST

TREES = f"{STATE}/trees"
SPAN = 1 << 20
"""Bytes that a node of the kept layer covers."""

LARGEST = 1 << 40
"""Size of the largest file that gets a tree; its nodes take 32 MiB of memory."""

# A tree file: this header (magic, size, root), the nodes, the leaves.
MAGIC = b"grokdist tree 1\n"
HEADER = struct.Struct("<16sQ32s8x")

GROUP = SPAN // BLOCK * DIGEST
"""Bytes of the leaves below one node."""

Range = tuple[int, int]


def tree_path(path: str) -> str:
    """Where the tree of the file ``path`` is kept, relative to the model directory."""
    return f"{TREES}/{path}.tree"


def load_tree(tree: ModelTree, path: str, size: int, root: str) -> FileTree | None:
    """The kept tree of a file, if there is one and it hashes to ``root``.

    Args:
        tree: the model directory.
        path: the file that the tree is of.
        size: bytes that the file should have.
        root: 64 hex digits, from the manifest or the receipt.
    """
    if not 0 < size <= LARGEST:
        return None
    layer = DIGEST * merkle.count(size, SPAN)
    try:
        fd = tree.open(tree_path(path), os.O_RDONLY)
    except (OSError, GrokdistError):
        return None
    try:
        if os.fstat(fd).st_size != file_size(size):
            return None
        data = os.pread(fd, HEADER.size + layer, 0)
    except OSError:
        return None
    finally:
        os.close(fd)
    if len(data) != HEADER.size + layer:
        return None
    nodes = data[HEADER.size :]
    if HEADER.unpack_from(data) != (MAGIC, size, bytes.fromhex(root)):
        return None
    if merkle.root(nodes, SPAN).hex() != root:
        return None
    return FileTree(tree, path, size=size, root=root, nodes=nodes)


class FileTree:
    """The tree of one file, its nodes checked against the root; safe to use from several threads.

    Made by ``load_tree``.

    Attributes:
        path: the file that the tree is of.
        size: bytes that the file should have.
        root: 64 hex digits.
    """

    def __init__(self, tree: ModelTree, path: str, *, size: int, root: str, nodes: bytes) -> None:
        self.path = path
        self.size = size
        self.root = root
        self._tree = tree
        self._nodes = nodes

    def damaged(
        self,
        fd: int,
        *,
        start: int = 0,
        end: int | None = None,
        on_bytes: Callable[[int], None] | None = None,
        stop: threading.Event | None = None,
    ) -> list[Range]:
        """Find what differs from the tree in bytes ``start`` to ``end`` of an open file.

        Reads each MiB once and compares it with its node; where that fails, block by block. Bytes
        that are not there or cannot be read count as damaged; bytes past ``size`` are not looked
        at, so compare the file's size first.

        Args:
            fd: the file, open for reading; its position is not used.
            start: first byte; the check widens to whole blocks.
            end: byte to stop before; None for the end of the file.
            on_bytes: told how many bytes were checked, as it goes on.
            stop: ends the check when it is set.

        Returns:
            byte ranges of whole blocks (the last one ends with the file), joined and in order;
            of whole MiBs where the tree's own leaves are damaged.

        Raises:
            HashingStoppedError: ``stop`` was set.
            ValueError: the range does not lie in the file.
        """
        end = self.size if end is None else end
        if not 0 <= start <= end <= self.size:
            raise ValueError(f"range {start} to {end}; expected it within 0 to {self.size}")
        start -= start % BLOCK
        buffer = read_buffer(min(SPAN, self.size))
        return joined(self._differing(fd, start, end, buffer, on_bytes, stop))

    def check(self, start: int, data: bytes | bytearray | memoryview) -> bool:
        """Whether ``data`` is what the file has from byte ``start`` on.

        False also where the tree's own leaves are damaged and ``data`` covers a part of a MiB.

        Args:
            start: a multiple of 16 KiB.
            data: whole blocks, or all up to the end of the file.

        Raises:
            ValueError: ``start`` or the length is not at a block's boundary.
        """
        view = memoryview(data)
        end = start + len(view)
        if start % BLOCK or (end % BLOCK and end != self.size) or not 0 <= start <= end:
            raise ValueError(f"range {start} to {end} is not one of whole blocks")
        if end > self.size:
            return False
        for group, low, high in self._groups(start, end):
            leaves = merkle.hash_blocks(view[low - start : high - start])
            if (low, high) == self._bounds(group):
                right = node_over(leaves, self.size) == self._node(group)
            else:
                known = self._leaves(group)
                first = (low - group * SPAN) // BLOCK * DIGEST
                right = known is not None and known[first : first + len(leaves)] == leaves
            if not right:
                return False
        return True

    def layer(self, span: int) -> bytes:
        """The nodes that each cover ``span`` bytes: what a v2 torrent of that piece size holds.

        No byte of the file is read: they are those of the file that has ``root``. A file of at
        most ``span`` bytes has one, its root.

        Args:
            span: a power of two of at least 1 MiB.

        Raises:
            ValueError: ``span`` is not one.
        """
        return merkle.layer(self._nodes, span, base=SPAN)

    def _differing(
        self,
        fd: int,
        start: int,
        end: int,
        buffer: memoryview,
        on_bytes: Callable[[int], None] | None,
        stop: threading.Event | None,
    ) -> Iterator[Range]:
        for group, low, high in self._groups(start, min(end + -end % BLOCK, self.size)):
            if stop is not None and stop.is_set():
                raise HashingStoppedError(f"hashing of {self.path} was interrupted")
            yield from self._differing_in(fd, group, low, high, buffer)
            if on_bytes is not None:
                on_bytes(high - low)

    def _differing_in(
        self, fd: int, group: int, low: int, high: int, buffer: memoryview
    ) -> Iterator[Range]:
        whole = self._bounds(group)
        known = None
        if (low, high) != whole:
            known = self._leaves(group)
            if known is None:
                low, high = whole
        leaves = _hash_range(fd, low, high, buffer)
        if (low, high) == whole:
            if None not in leaves and node_over(_flat(leaves), self.size) == self._node(group):
                return
            known = self._leaves(group)
            if known is None:
                yield whole
                return
        for at, leaf in zip(range(low, high, BLOCK), leaves, strict=True):
            first = (at - whole[0]) // BLOCK * DIGEST
            if known is None or leaf != known[first : first + DIGEST]:
                yield at, min(at + BLOCK, self.size)

    def _groups(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The MiBs that a range touches, each with the part of the range that lies in it."""
        for group in range(start // SPAN, merkle.count(end, SPAN)):
            low, high = self._bounds(group)
            yield group, max(low, start), min(high, end)

    def _bounds(self, group: int) -> Range:
        return group * SPAN, min((group + 1) * SPAN, self.size)

    def _node(self, group: int) -> bytes:
        return self._nodes[group * DIGEST : (group + 1) * DIGEST]

    def _leaves(self, group: int) -> bytes | None:
        """The leaves of one MiB, if they hash to its node."""
        low, high = self._bounds(group)
        offset = HEADER.size + len(self._nodes) + low // BLOCK * DIGEST
        length = merkle.count(high - low) * DIGEST
        with contextlib.suppress(OSError, GrokdistError):
            fd = self._tree.open(tree_path(self.path), os.O_RDONLY)
            try:
                leaves = os.pread(fd, length, offset)
            finally:
                os.close(fd)
            if len(leaves) == length and node_over(leaves, self.size) == self._node(group):
                return leaves
        return None


def joined(ranges: Iterable[Range]) -> list[Range]:
    """Ranges in order, with those that touch made one."""
    result: list[Range] = []
    for start, end in sorted(ranges):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def read_full(fd: int, buffer: memoryview, offset: int) -> int:
    """Read until ``buffer`` is full or the file ends; returns the bytes read.

    Raises:
        OSError: the disk cannot read them.
    """
    filled = 0
    while filled < len(buffer):
        count = os.preadv(fd, [buffer[filled:]], offset + filled)
        if count == 0:
            break
        filled += count
    return filled


def _hash_range(fd: int, low: int, high: int, buffer: memoryview) -> list[bytes | None]:
    """The leaves of one range; None for each block that is not there or cannot be read."""
    data = buffer[: high - low]
    with contextlib.suppress(OSError):
        if read_full(fd, data, low) == len(data):
            leaves = merkle.hash_blocks(data)
            return [leaves[at : at + DIGEST] for at in range(0, len(leaves), DIGEST)]
    found: list[bytes | None] = []
    for at in range(low, high, BLOCK):
        block = data[: min(BLOCK, high - at)]
        leaf = None
        with contextlib.suppress(OSError):
            if read_full(fd, block, at) == len(block):
                leaf = merkle.hash_blocks(block)
        found.append(leaf)
    return found


def _flat(leaves: list[bytes | None]) -> bytes:
    return b"".join(leaf for leaf in leaves if leaf is not None)


def node_over(leaves: bytes, size: int) -> bytes:
    """The node over the leaves of one MiB of a file of ``size`` bytes."""
    return merkle.root(leaves) if size <= SPAN else merkle.node(leaves, SPAN)


def file_size(size: int) -> int:
    """Bytes of the tree file of a file of ``size`` bytes."""
    return HEADER.size + DIGEST * (merkle.count(size, SPAN) + merkle.count(size))
