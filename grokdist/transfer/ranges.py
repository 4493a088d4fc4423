"""Which bytes of a file are here, and who brought them. Pure."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator

Range = tuple[int, int]
"""First byte, and the one after the last."""


class RangeMap:
    """Disjoint byte ranges, each with a label; neighbours with one label are one range."""

    def __init__(self, ranges: Iterable[tuple[int, int, str]] = ()) -> None:
        self._starts: list[int] = []
        self._rest: list[tuple[int, str]] = []
        for start, end, label in ranges:
            self.add(start, end, label)

    def __iter__(self) -> Iterator[tuple[int, int, str]]:
        """The ranges in order: start, end, label."""
        for start, (end, label) in zip(self._starts, self._rest, strict=True):
            yield start, end, label

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def size(self) -> int:
        """Bytes in all ranges."""
        return sum(end - start for start, end, _ in self)

    @property
    def end(self) -> int:
        """The byte after the last range; 0 where there is none."""
        return self._rest[-1][0] if self._rest else 0

    def add(self, start: int, end: int, label: str) -> None:
        """Add a range; what it covers takes the new label."""
        if start >= end:
            return
        # The common case by far: a stream grows at its end.
        place = bisect.bisect_right(self._starts, start) - 1
        if place >= 0 and self._rest[place] == (start, label):
            following = place + 1
            if following == len(self._starts) or self._starts[following] > end:
                self._rest[place] = (end, label)
                return
        self.remove(start, end)
        place = bisect.bisect_left(self._starts, start)
        if place and self._rest[place - 1] == (start, label):
            place -= 1
            start = self._starts[place]
            del self._starts[place], self._rest[place]
        if place < len(self._starts) and self._starts[place] == end:
            after, label_after = self._rest[place]
            if label_after == label:
                end = after
                del self._starts[place], self._rest[place]
        self._starts.insert(place, start)
        self._rest.insert(place, (end, label))

    def remove(self, start: int, end: int) -> None:
        """Forget the bytes from ``start`` to ``end``."""
        if start >= end:
            return
        place = max(bisect.bisect_right(self._starts, start) - 1, 0)
        while place < len(self._starts) and self._starts[place] < end:
            first, (last, label) = self._starts[place], self._rest[place]
            if last <= start:
                place += 1
                continue
            del self._starts[place], self._rest[place]
            if first < start:
                self._starts.insert(place, first)
                self._rest.insert(place, (start, label))
                place += 1
            if last > end:
                self._starts.insert(place, end)
                self._rest.insert(place, (last, label))
                place += 1

    def remove_label(self, label: str) -> None:
        """Forget the bytes that ``label`` brought."""
        kept = [each for each in self if each[2] != label]
        self._starts = [start for start, _, _ in kept]
        self._rest = [(end, name) for _, end, name in kept]

    def cut(self, size: int) -> None:
        """Forget the bytes from ``size`` on."""
        if self.end > size:
            self.remove(size, self.end)

    def contiguous(self, start: int) -> int:
        """How far the bytes are here without a gap from ``start`` on."""
        place = bisect.bisect_right(self._starts, start) - 1
        if place < 0:
            return start
        while place < len(self._starts) and self._starts[place] <= start:
            start = max(start, self._rest[place][0])
            place += 1
        return start

    def labels(self) -> dict[str, int]:
        """Bytes by label, in the order of their first range."""
        totals: dict[str, int] = {}
        for start, end, label in self:
            totals[label] = totals.get(label, 0) + end - start
        return totals

    def copy(self) -> RangeMap:
        """A copy that changes on its own."""
        other = RangeMap()
        other._starts = list(self._starts)
        other._rest = list(self._rest)
        return other


def brought_alone(filled: RangeMap, ranges: Iterable[Range], unit: int) -> set[str]:
    """The labels that have at least one whole unit of the ranges to themselves.

    Args:
        filled: who brought what.
        ranges: whole units each, but for one that ends with the file.
        unit: bytes of a unit; units begin at its multiples.
    """
    found: set[str] = set()
    wanted = list(ranges)
    for start, end, label in filled:
        for first, last in () if label in found else wanted:
            low = -(-max(start, first) // unit) * unit
            high = last if end >= last else end // unit * unit
            if low < high:
                found.add(label)
                break
    return found


def gaps(size: int, *covered: Iterable[tuple[int, int]]) -> list[Range]:
    """The ranges of a file of ``size`` bytes that none of the ``covered`` ones touches."""
    found: list[Range] = []
    at = 0
    for start, end in sorted(each for ranges in covered for each in ranges):
        if start >= end:
            # A claim that has come to its end: it must not part one gap in two.
            continue
        if start > at:
            found.append((at, min(start, size)))
        at = max(at, end)
        if at >= size:
            break
    if at < size:
        found.append((at, size))
    return found
