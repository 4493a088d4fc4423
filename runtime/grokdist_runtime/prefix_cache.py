"""Texts whose keys and values are kept, so that one that begins alike need not be computed again.

Bounded by bytes; the one unused for longest goes first. Knows tokens and sizes, not what is kept.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Generic, TypeVar

import numpy as np

T = TypeVar("T")

IntArray = np.ndarray[Any, np.dtype[np.int32]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Entry(Generic[T]):
    tokens: IntArray
    kept: T
    size: int


class PrefixCache(Generic[T]):
    """What is kept.

    Attributes:
        max_bytes: No more than this is kept in all; 0 keeps nothing.
        bytes: Kept now.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._entries: list[_Entry[T]] = []  # the longest unused first

    def __len__(self) -> int:
        return len(self._entries)

    def fits(self, size: int) -> bool:
        """Whether so many bytes could be kept at all."""
        return size <= self.max_bytes

    def add(self, tokens: IntArray, kept: T, size: int) -> None:
        """Keeps a text; others that it begins with are of no more use, as it is under a longer."""
        if self.covers(tokens):
            return
        for entry in [entry for entry in self._entries if _starts_with(tokens, entry.tokens)]:
            self._remove(entry)
        while self._entries and self.bytes + size > self.max_bytes:
            self._remove(self._entries[0])
        if self.fits(size):
            self._entries.append(_Entry(tokens=tokens, kept=kept, size=size))
            self.bytes += size

    def covers(self, tokens: IntArray) -> bool:
        """Whether all of this is the beginning of something kept."""
        return any(_starts_with(entry.tokens, tokens) for entry in self._entries)

    def longest(self, tokens: IntArray) -> tuple[T | None, int]:
        """The text that has most tokens in common from the start on, and how many."""
        best, length = None, 0
        for entry in self._entries:
            common = common_prefix(entry.tokens, tokens)
            if common > length:
                best, length = entry, common
        if best is None:
            return None, 0
        self._entries = [entry for entry in self._entries if entry is not best] + [best]
        return best.kept, length

    def _remove(self, entry: _Entry[T]) -> None:
        self._entries = [other for other in self._entries if other is not entry]
        self.bytes -= entry.size


def common_prefix(first: IntArray, second: IntArray) -> int:
    """How many tokens two texts have in common from the start on."""
    size = min(len(first), len(second))
    different = np.flatnonzero(first[:size] != second[:size])
    return int(different[0]) if different.size else size


def _starts_with(tokens: IntArray, beginning: IntArray) -> bool:
    return common_prefix(tokens, beginning) == len(beginning)
