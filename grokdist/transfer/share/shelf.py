"""What this machine can give: the files that proved right, and bytes it took from the origin.

Bytes that came from another member are given on only once their whole file has proved right.
So whoever receives wrong bytes knows who brought them into the cluster, and nobody passes on a
lie. Bytes of a part that came from the origin are given before the file is proved: whoever
takes them proves them.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from grokdist.catalog.manifest import FileEntry
from grokdist.errors import StoreError, UnsafePathError
from grokdist.transfer.part_files import expected_digest, part_name, state_name
from grokdist.transfer.part_state import read_state
from grokdist.transfer.ranges import Range, RangeMap
from grokdist.transfer.share.content import Content
from grokdist.transfer.share.status import Taken
from grokdist.transfer.tree import ModelTree

GRAIN = 256 << 10
"""Bytes of progress that are worth telling."""
_SAMPLE = 0.05


class Advancing(Protocol):
    """A claimed range that is being brought (``Segment``): only its place is looked at."""

    @property
    def start(self) -> int:
        """The first byte."""

    @property
    def offset(self) -> int:
        """The next byte to come."""

    @property
    def end(self) -> int:
        """The byte after the last."""


class Shelf:
    """What can be given, and what changed since when; used from several threads.

    Args:
        content: the files of the share.
        directory: the model directory; it need not exist yet.
    """

    def __init__(self, content: Content, directory: Path) -> None:
        self._content = content
        self._directory = directory
        self._tree: ModelTree | None = None
        self._changed = threading.Condition()
        # Zero as a cursor asks for everything.
        self._version = 1
        self._since: OrderedDict[int, int] = OrderedDict()
        self._parts: dict[int, RangeMap] = {}
        self._whole: dict[int, str] = {}
        self._takings: dict[int, tuple[int, Advancing, int]] = {}
        self._offsets: dict[int, int] = {}
        self._moved = 0.0
        self._sampled = 0.0

    def add(self, number: int, ranges: Iterable[Range]) -> None:
        """Bytes of a part are here that came from the origin."""
        with self._changed:
            for start, end in ranges:
                self._parts.setdefault(number, RangeMap()).add(start, end, "")
            self._touch(number)

    def finish(self, path: str) -> None:
        """A file has its final name and proved right."""
        number = self._content.by_path.get(path)
        if number is None:
            return
        with self._changed:
            self._whole[number] = path
            self._parts.pop(number, None)
            self._touch(number)

    def lose(self, path: str) -> None:
        """The bytes of a part are not here after all: some proved wrong."""
        number = self._content.by_path.get(path)
        if number is not None and self._content.files[number].paths[0] == path:
            with self._changed:
                if self._parts.pop(number, None) is not None:
                    self._touch(number)

    @contextlib.contextmanager
    def taking(self, number: int, segment: Advancing) -> Iterator[None]:
        """Inside the ``with``, a range is being brought from the origin."""
        key = id(segment)
        with self._changed:
            self._takings[key] = (number, segment, segment.start)
            self._touch(None)
        try:
            yield
        finally:
            with self._changed:
                del self._takings[key]
                self._parts.setdefault(number, RangeMap()).add(segment.start, segment.offset, "")
                self._touch(number)

    @property
    def takings(self) -> list[Taken]:
        """What is being brought from the origin: number, next byte, byte after the last.

        The next byte is the one after those that were told to be here: nothing lies between.
        """
        with self._changed:
            return [
                (number, told, segment.end)
                for number, segment, told in self._takings.values()
                if told < segment.end
            ]

    @property
    def moved(self) -> float:
        """Monotonic time at which bytes were last seen to come from the origin; 0 for never."""
        with self._changed:
            offsets = {key: segment.offset for key, (_, segment, _) in self._takings.items()}
            if offsets != self._offsets:
                self._offsets = offsets
                self._moved = time.monotonic()
            return self._moved

    def ranges(self, number: int) -> tuple[Range, ...]:
        """What can be given of a file now."""
        with self._changed:
            return self._ranges(number)

    def has(self, number: int) -> bool:
        """True where the whole file is here and proved right."""
        with self._changed:
            return number in self._whole

    def changes(self, cursor: int) -> tuple[int, bool, Mapping[int, tuple[Range, ...]]]:
        """What changed since ``cursor``.

        Returns:
            the next cursor, whether the list is whole, and the ranges by number.
        """
        with self._changed:
            self._sample()
            whole = not 0 < cursor <= self._version
            found = {}
            for number in reversed(self._since):
                if not whole and self._since[number] <= cursor:
                    break
                found[number] = self._ranges(number)
            return self._version, whole, found

    def wait(self, cursor: int, seconds: float, stop: threading.Event) -> None:
        """Return when something changed since ``cursor``, or after ``seconds``."""
        deadline = time.monotonic() + seconds
        while not stop.is_set():
            with self._changed:
                self._sample()
                left = deadline - time.monotonic()
                if self._version > cursor or left <= 0:
                    return
                self._changed.wait(min(left, 0.2))

    def nudge(self) -> None:
        """Something else that members want to know has changed."""
        with self._changed:
            self._touch(None)

    def open(self, number: int, start: int, end: int) -> int | None:
        """A file descriptor to read ``start`` to ``end`` from; None where they are not here."""
        with self._changed:
            self._sample()
            if not any(low <= start and end <= high for low, high in self._ranges(number)):
                return None
            whole = self._whole.get(number)
            if self._tree is None:
                try:
                    self._tree = ModelTree(self._directory)
                except StoreError:
                    return None
            tree = self._tree
        path = self._content.files[number].paths[0]
        # A part may become the file while we look.
        for name in [whole] if whole is not None else [part_name(path), path]:
            try:
                fd = tree.open(name, os.O_RDONLY)
            except (OSError, UnsafePathError):
                continue
            if os.fstat(fd).st_size >= end:
                return fd
            os.close(fd)
        return None

    def close(self) -> None:
        """Let go of the directory."""
        with self._changed:
            tree, self._tree = self._tree, None
            self._whole.clear()
            self._parts.clear()
            self._changed.notify_all()
        if tree is not None:
            tree.close()

    def _ranges(self, number: int) -> tuple[Range, ...]:
        if number in self._whole:
            return ((0, self._content.files[number].size),)
        part = self._parts.get(number)
        return tuple((start, end) for start, end, _ in part) if part is not None else ()

    def _sample(self) -> None:
        """Look how far the segments have come."""
        now = time.monotonic()
        if now - self._sampled < _SAMPLE:
            return
        self._sampled = now
        for key, (number, segment, told) in list(self._takings.items()):
            offset = segment.offset
            if offset - told >= GRAIN or (offset > told and offset >= segment.end):
                self._takings[key] = (number, segment, offset)
                self._parts.setdefault(number, RangeMap()).add(segment.start, offset, "")
                self._touch(number)

    def _touch(self, number: int | None) -> None:
        self._version += 1
        if number is not None:
            self._since[number] = self._version
            self._since.move_to_end(number)
        self._changed.notify_all()


def first_hand(tree: ModelTree, entry: FileEntry, *, besides: str) -> list[Range]:
    """What an earlier process brought of a file, but for what came from ``besides``."""
    state = read_state(tree, state_name(entry.path))
    status = tree.stat(part_name(entry.path))
    if state is None or status is None or state.size != entry.size:
        return []
    if state.digest != str(expected_digest(entry)):
        return []
    return [
        (start, end)
        for start, end, source in state.usable.ranges
        if source != besides and end <= status.st_size
    ]
