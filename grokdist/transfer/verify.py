"""Proves that a model directory holds the manifest's bytes and nothing else.

Checked: every expected file is there, is a regular file, and has the size and digest that the
manifest names; nothing lies in the directory that the manifest does not list. Not checked: who
vouches for the manifest (``grokdist.catalog`` does), and what is in ``.grokdist/``, which no
loader reads weights from. With ``quick`` a file that the index recorded as right, and whose size,
times and inode are still the same, is not read again: that finds accidents, not adversaries.
"""

from __future__ import annotations

import contextlib
import fnmatch
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from grokdist.catalog.manifest import FileEntry, Manifest
from grokdist.errors import GrokdistError
from grokdist.transfer.hashing import FileCheck, check_files, default_jobs
from grokdist.transfer.index import Hashed, Index
from grokdist.transfer.plan import check_entry, select
from grokdist.transfer.progress import DISK, NoProgress, Progress
from grokdist.transfer.tree import STATE, ModelTree, StatMark
from grokdist.trust.receipt import Receipt


@dataclass(frozen=True, kw_only=True, slots=True)
class Mismatch:
    """A file that is there and is not what the manifest names.

    Attributes:
        path: the file.
        expected: its digest or size by the manifest.
        got: what was found.
    """

    path: str
    expected: str
    got: str


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyReport:
    """What a verification found.

    Attributes:
        files: files that are right.
        bytes: their bytes.
        seconds: wall time.
        missing: expected paths with nothing there.
        mismatched: files that are not what the manifest names.
        extra: paths that the manifest does not list.
    """

    files: int
    bytes: int
    seconds: float
    missing: tuple[str, ...]
    mismatched: tuple[Mismatch, ...]
    extra: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True where nothing is missing, wrong or extra, and at least one file was checked."""
        return self.files > 0 and not (self.missing or self.mismatched or self.extra)


def verify(
    directory: Path,
    manifest: Manifest,
    *,
    receipt: Receipt | None = None,
    include: Sequence[str] = (),
    quick: bool = False,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> VerifyReport:
    """Check a directory against a manifest.

    Args:
        directory: the model directory.
        manifest: what should be there; the caller has checked its signature.
        receipt: where it covers a part of the model only, files that it does not list may be
            absent; without one every file of the manifest is expected. Nothing else in it is
            believed.
        include: glob patterns that restrict the check; what they do not match is not looked at.
        quick: trust the index where the file system says that nothing changed.
        jobs: files hashed at once; None for the number of cores.
        progress: who listens.

    Raises:
        StoreError: the directory cannot be opened.
        UsageError: a glob pattern matches no file of the manifest.
        ManifestError: a file of the manifest has no digest of its content.
    """
    begun = time.monotonic()
    progress = progress or NoProgress()
    chosen = select(manifest.files, include)
    fetched = {file.path for file in receipt.files} if receipt is not None else None
    with ModelTree(directory) as tree:
        index = _index(tree)
        expected = []
        present: set[str] = set()
        for path, _ in tree.walk():
            present.add(path)
        for entry in chosen:
            # Not fetched is not missing; but what is here is checked, fetched or not.
            if fetched is None or entry.path in fetched or entry.path in present:
                expected.append(entry)
        tally = _Tally()
        to_hash = []
        for entry in expected:
            if quick and (row := _unchanged(tree, index, entry)) is not None:
                tally.right(entry, row)
            else:
                to_hash.append(entry)
        _hash(tree, to_hash, jobs or default_jobs(), tally, progress)
        _remember(tree, index, tally)
    listed = {entry.path for entry in manifest.files}
    extra = sorted(path for path in present - listed if not include or _matches(path, include))
    return VerifyReport(
        files=len(tally.rows),
        bytes=tally.size,
        seconds=time.monotonic() - begun,
        missing=tuple(sorted(tally.missing)),
        mismatched=tuple(sorted(tally.mismatched, key=lambda each: each.path)),
        extra=tuple(extra),
    )


class _Tally:
    """What was found so far."""

    def __init__(self) -> None:
        self.rows: dict[str, Hashed] = {}
        self.size = 0
        self.missing: list[str] = []
        self.mismatched: list[Mismatch] = []

    def right(self, entry: FileEntry, row: Hashed) -> None:
        self.rows[entry.path] = row
        self.size += entry.size

    def add(self, entry: FileEntry, found: FileCheck | None) -> None:
        if found is None:
            self.missing.append(entry.path)
        elif found.ok and found.mark is not None:
            row = Hashed(mark=found.mark, digest=found.expected, sha256=found.sha256)
            self.right(entry, row)
        else:
            self.mismatched.append(
                Mismatch(path=entry.path, expected=found.expected, got=found.got)
            )


def _hash(
    tree: ModelTree, entries: list[FileEntry], jobs: int, tally: _Tally, progress: Progress
) -> None:
    """Hash files in the order of their inodes, which on most disks is near that of the data."""
    places = {}
    for entry in entries:
        with contextlib.suppress(GrokdistError):
            status = tree.stat(entry.path)
            places[entry.path] = 0 if status is None else status.st_ino
    ordered = sorted(entries, key=lambda entry: places.get(entry.path, 0))
    progress.begin("verify", files=len(ordered), size=sum(entry.size for entry in ordered), have=0)
    checks = check_files(
        tree,
        ordered,
        jobs=jobs,
        on_bytes=lambda path, count: progress.advance(DISK, path, count),
    )
    with contextlib.closing(checks):
        for entry, found in checks:
            tally.add(entry, found)
            if found is not None and found.ok:
                progress.file_done(entry.path, entry.size, DISK)
    progress.end()


def _unchanged(tree: ModelTree, index: Index, entry: FileEntry) -> Hashed | None:
    with contextlib.suppress(GrokdistError):
        status = tree.stat(entry.path)
        if status is not None:
            return index.unchanged(entry.path, str(check_entry(entry)), StatMark.of(status))
    return None


def _index(tree: ModelTree) -> Index:
    try:
        return Index.load(tree)
    except GrokdistError:
        return Index(tree, {})


def _remember(tree: ModelTree, index: Index, tally: _Tally) -> None:
    """Keep what was hashed for a quick check; a directory that cannot be written has none."""
    wrong = {each.path for each in tally.mismatched} | set(tally.missing)
    with contextlib.suppress(OSError, GrokdistError):
        if tree.stat(STATE) is None:
            return
        rows = {path: row for path, row in index.rows.items() if path not in wrong}
        rows.update(tally.rows)
        if rows != index.rows:
            index.keep(rows)


def _matches(path: str, include: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in include)
