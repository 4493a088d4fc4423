"""The files of a fetch that are here and right, with how that is known."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from grokdist.catalog.manifest import FileEntry
from grokdist.errors import DigestMismatchError, GrokdistError
from grokdist.transfer.hashing import FileCheck, check_files, default_jobs
from grokdist.transfer.index import Hashed, Index
from grokdist.transfer.part_files import write_part
from grokdist.transfer.plan import FileState, PlannedFile, check_entry
from grokdist.transfer.progress import DISK, Progress
from grokdist.transfer.ranges import Range, RangeMap, gaps
from grokdist.transfer.tree import STATE, ModelTree, StatMark
from grokdist.transfer.trees import load_tree

_BAD = f"{STATE}/bad"
HERE = "here before"
"""Stands for the source of bytes that were on the disk already."""


class Holdings:
    """What one run holds; files are added from several threads.

    Args:
        tree: the model directory.
        index: its index, in which every file is recorded as it is added.
        progress: who listens.
        roots: tree roots by path, of the bytes that the manifest names.
    """

    def __init__(
        self, tree: ModelTree, index: Index, progress: Progress, roots: Mapping[str, str]
    ) -> None:
        self._tree = tree
        self._index = index
        self._progress = progress
        self._roots = roots
        self._rows: dict[str, Hashed] = {}
        self._set_aside = True
        self._lock = threading.Lock()

    @property
    def rows(self) -> Mapping[str, Hashed]:
        """The files that are right, by path."""
        with self._lock:
            return dict(self._rows)

    def add(self, entry: FileEntry, row: Hashed) -> None:
        """Add a file whose digest was found right; the index is the caller's to flush."""
        self._index.record(entry.path, row)
        with self._lock:
            self._rows[entry.path] = row

    def take_stock(self, files: Sequence[PlannedFile]) -> list[FileEntry]:
        """Hash what is here and not known to be right; wrong files make way.

        One whose tree is kept becomes a part that lacks only what is damaged.

        Returns:
            the files that are to be fetched.
        """
        check: list[FileEntry] = []
        wanted: list[FileEntry] = []
        self._set_aside = self._tree.stat(_BAD) is not None
        for file in files:
            entry = file.entry
            status = self._tree.stat(entry.path)
            if file.state is FileState.VERIFIED and status is not None:
                mark = StatMark.of(status)
                row = self._index.unchanged(entry.path, str(check_entry(entry)), mark)
                if row is not None:
                    self._rows[entry.path] = row
                    continue
            # Another process may have brought it since the plan was made.
            (wanted if status is None else check).append(entry)
        if check:
            size = sum(entry.size for entry in check)
            self._progress.begin("check", files=len(check), size=size, have=0)
            wanted += [entry for entry, _ in self._hash(check)]
            self._progress.end()
        return wanted

    def settle(self, fresh: Iterable[FileEntry]) -> None:
        """Take the marks of new files again, now that no swarm holds them.

        A swarm shares a finished file with libtorrent by a hard link; letting go of it touches
        the change time and nothing else. What changed in any other way is hashed again.

        Raises:
            DigestMismatchError: something wrote to a file after it was found right.
        """
        again = []
        for entry in fresh:
            old, status = self._rows[entry.path].mark, self._tree.stat(entry.path)
            mark = None if status is None else StatMark.of(status)
            if mark == old:
                continue
            if mark is not None and replace(mark, ctime_ns=old.ctime_ns) == old:
                self.add(entry, replace(self._rows[entry.path], mark=mark))
            else:
                again.append(entry)
        for entry, got in self._hash(again):
            raise DigestMismatchError(
                f"{entry.path} was changed after it was fetched",
                path=entry.path,
                expected=str(check_entry(entry)),
                got=got,
                hint="run the same command again",
            )

    def forget_bad(self, entry: FileEntry) -> None:
        """Remove the wrong file that ``entry`` has replaced."""
        if not self._set_aside:
            return
        with contextlib.suppress(OSError):
            # A folder that stood in its place stays for the user to look at.
            self._tree.remove(f"{_BAD}/{entry.path}")

    def _hash(self, entries: Iterable[FileEntry]) -> list[tuple[FileEntry, str]]:
        """Hash files and add those that are right; returns the others, and what they are."""
        checks = check_files(
            self._tree,
            list(entries),
            jobs=default_jobs(),
            on_bytes=lambda path, count: self._progress.advance(DISK, path, count),
        )
        with contextlib.closing(checks):
            return [
                (entry, found.got if found is not None else "nothing")
                for entry, found in checks
                if not self._keep(entry, found)
            ]

    def _keep(self, entry: FileEntry, found: FileCheck | None) -> bool:
        """Keep a file that proved right; move a wrong one out of the way of its successor."""
        if found is None:
            return False
        if found.ok and found.mark is not None:
            row = Hashed(mark=found.mark, digest=found.expected, sha256=found.sha256)
            self.add(entry, row)
            self._index.flush()
            self._progress.file_done(entry.path, entry.size, DISK)
            return True
        what = f"{entry.path} is wrong; expected {found.expected}, got {found.got}"
        damaged = self._salvage(entry)
        if damaged is not None:
            bad = sum(end - start for start, end in damaged)
            places = f" in {len(damaged)} places" if len(damaged) > 1 else ""
            self._progress.note(f"{what}: fetching {bad} bytes of it again{places}")
            return False
        self._progress.note(f"{what}: fetching it again")
        self._set_aside = True
        self._tree.rename(entry.path, f"{_BAD}/{entry.path}")
        return False

    def _salvage(self, entry: FileEntry) -> list[Range] | None:
        """Make a damaged file a part with what is right of it; returns what is not.

        None where no tree tells, or nothing of it is right.
        """
        root = self._roots.get(entry.path)
        known = load_tree(self._tree, entry.path, entry.size, root) if root else None
        if known is None:
            return None
        try:
            fd = self._tree.open(entry.path, os.O_RDONLY)
        except (OSError, GrokdistError):
            return None
        with os.fdopen(fd, "rb"):
            longer = os.fstat(fd).st_size > entry.size
            damaged = known.damaged(fd)
        good = RangeMap((start, end, HERE) for start, end in gaps(entry.size, damaged))
        if not good.size or not (damaged or longer):
            return None
        write_part(self._tree, entry, good)
        return damaged
