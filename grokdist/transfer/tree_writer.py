"""Writes the tree file of one file; ``trees`` has its form, and reads it."""

from __future__ import annotations

import contextlib
import os
from typing import Self

from grokdist.errors import GrokdistError
from grokdist.transfer.tree import ModelTree
from grokdist.transfer.trees import (
    GROUP,
    HEADER,
    LARGEST,
    MAGIC,
    SPAN,
    file_size,
    node_over,
    tree_path,
)
from grokdist.trust import merkle
from grokdist.trust.merkle import DIGEST


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
        self._at = HEADER.size + DIGEST * merkle.count(size, SPAN)
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
        whole = len(leaves) - len(leaves) % GROUP
        for at in range(0, whole, GROUP):
            self._nodes.append(node_over(leaves[at : at + GROUP], self._size))
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
            self._nodes.append(node_over(self._carry, self._size))
        if self._at != file_size(self._size):
            raise ValueError(f"leaves for {self._name} do not cover {self._size} bytes")
        nodes = b"".join(self._nodes)
        root = merkle.root(nodes, SPAN)
        _write(self._fd, HEADER.pack(MAGIC, self._size, root) + nodes, 0)
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


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written
