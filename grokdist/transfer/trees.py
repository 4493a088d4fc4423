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
from typing import Self

from grokdist.errors import GrokdistError
from grokdist.transfer.stop import HashingStoppedError
from grokdist.transfer.tree import STATE, ModelTree
from grokdist.trust import merkle
from grokdist.trust.merkle import BLOCK, DIGEST

TREES = f"{STATE}/trees"
SPAN = 1 << 20
"""Bytes that a node of the kept layer covers."""

LARGEST = 1 << 40
"""Size of the largest file that gets a tree; its nodes take 32 MiB of memory."""

_MAGIC = b"grokdist tree 1\n"
_HEADER = struct.Struct("<16sQ32s8x")
_GROUP = SPAN // BLOCK * DIGEST

Range = tuple[int, int]


def tree_path(path: str) -> str:
    """Where the tree of the file ``path`` is kept, relative to the model directory."""
    return f"{TREES}/{path}.tree"


class TreeWriter:
    """Writes one tree file from its leaves in order; the file appears when it is complete.

    Args:
        tree: the model directory.
        path: the file that the tree is of.
        size: its bytes; not 0.

    Raises:
        StoreError: the tree file cannot be written.
        ValueError: the file is empty or larger than ``LARGEST``.
    """

    def __init__(self, tree: ModelTree, path: str, size: int) -> None:
        if not 0 < size <= LARGEST:
            raise ValueError(f"{path} has {size} bytes; expected 1 to {LARGEST}")
        self._tree = tree
        self._size = size
        self._name = tree_path(path)
        self._nodes: list[bytes] = []
        self._carry = b""
        self._at = _HEADER.size + DIGEST * merkle.count(size, SPAN)
        tree.remove(self._temporary)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        self._fd = tree.open(self._temporary, flags, create_folders=True)

    @property
    def _temporary(self) -> str:
        return f"{self._name}.new"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Throw away what is not finished."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            with contextlib.suppress(OSError, GrokdistError):
                self._tree.remove(self._temporary)

    def append(self, leaves: bytes) -> None:
        """Add the next leaves.

        Raises:
            OSError: the disk is full, or the like.
        """
        _write(self._fd, leaves, self._at)
        self._at += len(leaves)
        leaves = self._carry + leaves
        whole = len(leaves) - len(leaves) % _GROUP
        for at in range(0, whole, _GROUP):
            self._nodes.append(_node(leaves[at : at + _GROUP], self._size))
        self._carry = leaves[whole:]

    def finish(self) -> str:
        """Give the tree file its name.

        Returns:
            the root, 64 hex digits.

        Raises:
            OSError: the disk is full, or the like.
            ValueError: fewer or more leaves came than the file has.
        """
        if self._carry:
            self._nodes.append(_node(self._carry, self._size))
        if self._at != _file_size(self._size):
            raise ValueError(f"leaves for {self._name} do not cover {self._size} bytes")
        nodes = b"".join(self._nodes)
        root = merkle.root(nodes, SPAN)
        _write(self._fd, _HEADER.pack(_MAGIC, self._size, root) + nodes, 0)
        os.close(self._fd)
        self._fd = -1
        # Not synced: what a power cut leaves of it does not hash to the root, and is no tree.
        self._tree.rename(self._temporary, self._name)
        return root.hex()


def save_tree(tree: ModelTree, path: str, size: int, leaves: bytes) -> str:
    """Keep the tree of a file whose leaves are at hand.

    Returns:
        the root, 64 hex digits.

    Raises:
        OSError, StoreError: the tree file cannot be written.
        ValueError: the leaves are not those of ``size`` bytes.
    """
    with TreeWriter(tree, path, size) as writer:
        writer.append(leaves)
        return writer.finish()


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
        if os.fstat(fd).st_size != _file_size(size):
            return None
        data = os.pread(fd, _HEADER.size + layer, 0)
    except OSError:
        return None
    finally:
        os.close(fd)
    if len(data) != _HEADER.size + layer:
        return None
    nodes = data[_HEADER.size :]
    if _HEADER.unpack_from(data) != (_MAGIC, size, bytes.fromhex(root)):
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
        buffer = memoryview(bytearray(min(SPAN, self.size)))
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
                right = _node(leaves, self.size) == self._node(group)
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
            if None not in leaves and _node(_flat(leaves), self.size) == self._node(group):
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
        offset = _HEADER.size + len(self._nodes) + low // BLOCK * DIGEST
        length = merkle.count(high - low) * DIGEST
        with contextlib.suppress(OSError, GrokdistError):
            fd = self._tree.open(tree_path(self.path), os.O_RDONLY)
            try:
                leaves = os.pread(fd, length, offset)
            finally:
                os.close(fd)
            if len(leaves) == length and _node(leaves, self.size) == self._node(group):
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


def _node(leaves: bytes, size: int) -> bytes:
    """The node over the leaves of one MiB of a file of ``size`` bytes."""
    return merkle.root(leaves) if size <= SPAN else merkle.node(leaves, SPAN)


def _file_size(size: int) -> int:
    return _HEADER.size + DIGEST * (merkle.count(size, SPAN) + merkle.count(size))


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written
