"""Proves that a model directory holds the manifest's bytes and nothing else.

Checked: every expected file is there, is a regular file, and has the size and digest that the
manifest names; nothing lies in the directory that the manifest does not list. Not checked: who
vouches for the manifest (``grokdist.catalog`` does), and what is in ``.grokdist/``, which no
loader reads weights from. With ``quick`` a file that the index recorded as right, and whose size,
times and inode are still the same, is not read again: that finds accidents, not adversaries.

A file's digest is one thread's work. Where that would leave one large file to one core at the end,
and the manifest itself names the root of its tree, the file is checked by ranges on all cores: a
root together with the size names the content as its SHA-256 does, and the same signature vouches
for both. A root that only the receipt names never replaces the digest. Whatever a range leaves in
doubt is hashed as a whole, so the digest has the last word; a tree says where a wrong file is
damaged, whichever of the two knows its root. Only part of the bytes: ``spot_check``.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from grokdist.catalog.manifest import FileEntry, Manifest
from grokdist.errors import GrokdistError, UsageError
from grokdist.transfer.findings import Mismatch, VerifyReport
from grokdist.transfer.front_to_back import ask_for, let_go
from grokdist.transfer.hashing import (
    FileCheck,
    Task,
    Worker,
    check_file,
    cores,
    default_jobs,
    in_parallel,
)
from grokdist.transfer.index import Hashed, Index
from grokdist.transfer.lock import exclusive
from grokdist.transfer.plan import check_entry
from grokdist.transfer.progress import DISK, NoProgress, Progress
from grokdist.transfer.record import RECEIPT, read_receipt
from grokdist.transfer.scope import look, roots_of
from grokdist.transfer.tail import in_order, left_over
from grokdist.transfer.tree import STATE, ModelTree, StatMark
from grokdist.transfer.trees import FileTree, Range, load_tree
from grokdist.transfer.use import Use
from grokdist.trust.receipt import Receipt
from grokdist.trust.sha256_build import prepare

_PORTION = 16 << 20
"""Bytes that a thread checks of a divided file at a time."""


def verify(
    directory: Path,
    manifest: Manifest,
    *,
    receipt: Receipt | None = None,
    include: Sequence[str] = (),
    quick: bool = False,
    trees: bool = False,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> VerifyReport:
    """Check a directory against a manifest.

    Args:
        directory: the model directory.
        manifest: what should be there; the caller has checked its signature.
        receipt: where it covers a part of the model only, files that it does not list may be
            absent; without one every file of the manifest is expected. Its tree roots help to
            say where a wrong file is damaged. Nothing else in it is believed.
        include: glob patterns that restrict the check; what they do not match is not looked at.
        quick: trust the index where the file system says that nothing changed.
        trees: build the tree of each file that has none from the bytes that are read anyway, a
            second hash beside the first, and note the roots in the directory's receipt. Without
            this none is built.
        jobs: files hashed at once; None for what suits the cores.
        progress: who listens.

    Raises:
        StoreError: the directory cannot be opened, is being removed, or is in use where trees are
            to be built.
        UsageError: a glob pattern matches no file of the manifest; trees are to be built where
            no receipt could note their roots.
        ManifestError: a file of the manifest has no digest of its content.
    """
    begun = time.monotonic()
    with ModelTree(directory) as tree, contextlib.ExitStack() as stack:
        if trees:
            if read_receipt(tree) is None:
                raise UsageError(
                    f"{directory} has no receipt that could note the roots of its trees;"
                    " expected a fetched model",
                    hint="fetch into it with --source local: files that are right stay",
                )
            stack.enter_context(exclusive(tree))
        stack.enter_context(Use(tree))
        scope = look(tree, manifest, receipt=receipt, include=include)
        run = _Run(tree, progress or NoProgress(), roots=roots_of(receipt), keep_trees=trees)
        index = _index(tree)
        to_hash = []
        for entry in scope.expected:
            if quick and (row := _unchanged(index, entry, scope.present)) is not None:
                run.right(entry, row)
            else:
                to_hash.append(entry)
        run.hash(to_hash, scope.present, jobs)
        _remember(tree, index, run)
        if trees:
            _note_roots(tree, run)
    return VerifyReport(
        files=len(run.rows),
        bytes=run.size,
        seconds=time.monotonic() - begun,
        missing=tuple(sorted(run.missing)),
        mismatched=tuple(sorted(run.mismatched, key=lambda each: each.path)),
        extra=scope.extra,
        trees=len(run.built),
        treeless=tuple(sorted(run.treeless)),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Outcome:
    """What one task found: of a file, or of a portion of one."""

    entry: FileEntry
    check: FileCheck | None = None
    ranges: tuple[Range, ...] = ()
    portion: bool = False
    marks: frozenset[StatMark | None] = frozenset()


@dataclass(kw_only=True, slots=True)
class _Divided:
    """A file that is checked by portions, and what they found so far."""

    tree: FileTree
    left: int
    doubtful: bool = False
    marks: set[StatMark | None] = field(default_factory=set)


class _Run:
    """One verification: its tasks and what they found."""

    def __init__(
        self, tree: ModelTree, progress: Progress, *, roots: Mapping[str, str], keep_trees: bool
    ) -> None:
        self._tree = tree
        self._progress = progress
        self._roots = roots
        self._keep_trees = keep_trees
        self._divided: dict[str, _Divided] = {}
        self.rows: dict[str, Hashed] = {}
        self.size = 0
        self.missing: list[str] = []
        self.mismatched: list[Mismatch] = []
        self.built: dict[str, str] = {}
        self.treeless: list[str] = []

    def right(self, entry: FileEntry, row: Hashed) -> None:
        """Count a file that is right."""
        self.rows[entry.path] = row
        self.size += entry.size

    def hash(
        self, entries: Sequence[FileEntry], present: Mapping[str, os.stat_result], jobs: int | None
    ) -> None:
        """Hash files on all cores, in an order that keeps them busy to the end."""
        size = sum(entry.size for entry in entries)
        self._progress.begin("verify", files=len(entries), size=size, have=0)
        if self._keep_trees:
            prepare(size)
        whole, divided = self._divide(entries, jobs or cores())
        ordered = in_order(
            whole,
            size=lambda entry: entry.size,
            # On most file systems inodes are numbered near the order of the data.
            place=lambda entry: present[entry.path].st_ino if entry.path in present else 0,
        )
        tasks: list[Task[_Outcome]] = [self._whole(entry) for entry in ordered]
        for entry in divided:
            tasks += self._portions(entry)
        threads = min(jobs or default_jobs(), max(len(tasks), 1))
        outcomes = in_parallel(tasks, jobs=threads, nbytes=size)
        with contextlib.closing(outcomes):
            for outcome in outcomes:
                self._take(outcome)
        self._progress.end()

    def _divide(
        self, entries: Sequence[FileEntry], jobs: int
    ) -> tuple[list[FileEntry], list[FileEntry]]:
        """Tell the files that one thread each hashes from those that all threads share."""

        def divisible(at: int) -> bool:
            entry = entries[at]
            # Without a SHA-256 in the manifest there is none to record as that of the file.
            if entry.pieces_root is None or entry.sha256 is None or self._keep_trees:
                return False
            kept = load_tree(self._tree, entry.path, entry.size, entry.pieces_root)
            if kept is not None:
                self._divided[entry.path] = _Divided(tree=kept, left=0)
            return kept is not None

        shared = left_over([entry.size for entry in entries], jobs, divisible)
        return (
            [entry for at, entry in enumerate(entries) if at not in shared],
            [entries[at] for at in sorted(shared)],
        )

    def _whole(self, entry: FileEntry) -> Task[_Outcome]:
        def task(worker: Worker) -> _Outcome:
            self._progress.file_begun(entry.path, size=entry.size, have=0)
            return self._examined(entry, worker.stop, self._read, keep=worker.keep)

        return task

    def _examined(
        self,
        entry: FileEntry,
        stop: threading.Event,
        on_bytes: Callable[[str, int], None],
        *,
        keep: bool = True,
    ) -> _Outcome:
        """Hash a file; where it is wrong, find out where."""
        check = check_file(
            self._tree,
            entry,
            stop=stop,
            on_bytes=on_bytes,
            keep=keep,
            keep_tree=self._lacks_tree(entry),
        )
        ranges: tuple[Range, ...] = ()
        if check is not None and not check.ok:
            ranges = tuple(located(self._tree, entry, self._roots.get(entry.path), stop))
        return _Outcome(entry=entry, check=check, ranges=ranges)

    def _lacks_tree(self, entry: FileEntry) -> bool:
        root = entry.pieces_root or self._roots.get(entry.path)
        return self._keep_trees and (
            root is None or load_tree(self._tree, entry.path, entry.size, root) is None
        )

    def _portions(self, entry: FileEntry) -> Iterable[Task[_Outcome]]:
        self._progress.file_begun(entry.path, size=entry.size, have=0)
        divided = self._divided[entry.path]

        def portion(start: int) -> Task[_Outcome]:
            end = min(start + _PORTION, entry.size)

            def task(worker: Worker) -> _Outcome:
                found, marks = self._damaged(entry, divided.tree, start, end, worker)
                return _Outcome(entry=entry, ranges=found, portion=True, marks=marks)

            return task

        starts = range(0, entry.size, _PORTION)
        divided.left = len(starts)
        return [portion(start) for start in starts]

    def _damaged(
        self, entry: FileEntry, kept: FileTree, start: int, end: int, worker: Worker
    ) -> tuple[tuple[Range, ...], frozenset[StatMark | None]]:
        """What of a portion is damaged, and the file's marks before and after it was read."""
        try:
            fd = self._tree.open(entry.path, os.O_RDONLY)
        except (OSError, GrokdistError):
            return ((start, end),), frozenset({None})
        try:
            before = StatMark.of(os.fstat(fd))
            ask_for(fd, start, end - start)
            found = kept.damaged(
                fd,
                start=start,
                end=end,
                on_bytes=lambda count: self._read(entry.path, count),
                stop=worker.stop,
            )
            if not worker.keep:
                let_go(fd, start, end - start)
            return tuple(found), frozenset({before, StatMark.of(os.fstat(fd))})
        finally:
            os.close(fd)

    def _read(self, path: str, count: int) -> None:
        self._progress.advance(DISK, path, count)

    def _take(self, outcome: _Outcome) -> None:
        """Sort what a task found."""
        entry = outcome.entry
        if outcome.portion:
            divided = self._divided[entry.path]
            divided.left -= 1
            divided.doubtful |= bool(outcome.ranges)
            divided.marks |= outcome.marks
            if divided.left:
                return
            mark = divided.marks.pop() if len(divided.marks) == 1 else None
            if mark is not None and mark.size == entry.size and not divided.doubtful:
                digest = str(check_entry(entry))
                self.right(entry, Hashed(mark=mark, digest=digest, sha256=entry.sha256 or ""))
                self._progress.file_done(entry.path, entry.size, DISK)
                return
            self._progress.lost(entry.path, entry.size)
            outcome = self._examined(entry, threading.Event(), self._read)
        check = outcome.check
        if check is None:
            self.missing.append(entry.path)
        elif check.ok and check.mark is not None:
            self._found_right(entry, check, check.mark)
        else:
            self.mismatched.append(
                Mismatch(
                    path=entry.path, expected=check.expected, got=check.got, ranges=outcome.ranges
                )
            )
        if entry.path in self.rows:
            self._progress.file_done(entry.path, entry.size, DISK)
        else:
            self._progress.release(DISK, entry.path)

    def _found_right(self, entry: FileEntry, check: FileCheck, mark: StatMark) -> None:
        root = check.pieces_root
        if root is not None and entry.pieces_root not in (None, root):
            # The manifest names one content by its digest and another by its root.
            expected = f"tree root {entry.pieces_root}"
            self.mismatched.append(
                Mismatch(path=entry.path, expected=expected, got=f"tree root {root}")
            )
            return
        self.right(entry, Hashed(mark=mark, digest=check.expected, sha256=check.sha256))
        if root is not None:
            self.built[entry.path] = root
        elif entry.size and self._lacks_tree(entry):
            self.treeless.append(entry.path)


def located(
    tree: ModelTree, entry: FileEntry, receipt_root: str | None, stop: threading.Event | None = None
) -> list[Range]:
    """Where a wrong file is damaged, by its kept tree; empty where that cannot be said."""
    root = entry.pieces_root or receipt_root
    kept = None if root is None else load_tree(tree, entry.path, entry.size, root)
    if kept is None:
        return []
    try:
        fd = tree.open(entry.path, os.O_RDONLY)
    except (OSError, GrokdistError):
        return []
    try:
        return kept.damaged(fd, stop=stop)
    finally:
        os.close(fd)


def _unchanged(
    index: Index, entry: FileEntry, present: Mapping[str, os.stat_result]
) -> Hashed | None:
    status = present.get(entry.path)
    if status is None:
        return None
    return index.unchanged(entry.path, str(check_entry(entry)), StatMark.of(status))


def _index(tree: ModelTree) -> Index:
    try:
        return Index.load(tree)
    except GrokdistError:
        return Index(tree, {})


def _remember(tree: ModelTree, index: Index, run: _Run) -> None:
    """Keep what was hashed for a quick check; a directory that cannot be written has none."""
    wrong = {each.path for each in run.mismatched} | set(run.missing)
    with contextlib.suppress(OSError, GrokdistError):
        if tree.stat(STATE) is None:
            return
        rows = {path: row for path, row in index.rows.items() if path not in wrong}
        rows.update(run.rows)
        if rows != index.rows:
            index.keep(rows)


def _note_roots(tree: ModelTree, run: _Run) -> None:
    """Add the roots of new trees to the receipt, for files of which it says the same."""
    receipt = read_receipt(tree)
    if receipt is None:
        return
    known = {file.path: file.sha256 for file in receipt.files}
    roots = {
        path: root for path, root in run.built.items() if known.get(path) == run.rows[path].sha256
    }
    if roots:
        tree.write_small(RECEIPT, receipt.with_roots(roots).to_json())
