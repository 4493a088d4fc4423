"""Checks a part of a model's bytes against the kept trees: a sample of all files, or one range.

Checked: the blocks that are read, each against a tree whose nodes hash to a known root, and the
size of the file; of a sample also, as ``verify`` does, that no file is missing or extra and that
each has its kind and size. Not checked: every byte that is not read. A root from the manifest is
vouched for by its signature; one from the receipt is not, since whoever may write the directory
may write the receipt, and then only accidents are found. The reports say which it was.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from grokdist.catalog.manifest import FileEntry, Manifest
from grokdist.errors import GrokdistError, UsageError
from grokdist.transfer.findings import CheckedRange, Mismatch, Sampled, VerifyReport
from grokdist.transfer.front_to_back import read_ahead
from grokdist.transfer.hashing import Task, Worker, default_jobs, in_parallel
from grokdist.transfer.progress import DISK, NoProgress, Progress
from grokdist.transfer.sampling import SampleSize, draw
from grokdist.transfer.scope import Scope, look, roots_of
from grokdist.transfer.tree import ModelTree, StatMark
from grokdist.transfer.trees import SPAN, FileTree, Range, joined, load_tree
from grokdist.trust.receipt import Receipt
from grokdist.trust.sha256_build import prepare

_TOGETHER = 32
"""Ranges of one file that a thread takes at a time."""


def verify_range(
    directory: Path,
    manifest: Manifest,
    path: str,
    start: int,
    end: int | None = None,
    *,
    receipt: Receipt | None = None,
    progress: Progress | None = None,
) -> VerifyReport:
    """Check bytes ``start`` to ``end`` of one file, and nothing else but its size.

    Args:
        directory: the model directory.
        manifest: what should be there; the caller has checked its signature.
        path: a file of the manifest.
        start: first byte.
        end: the byte after the last; None for the end of the file.
        receipt: names the root where the manifest does not.
        progress: who listens.

    Raises:
        StoreError: the directory cannot be opened.
        UsageError: no such file, no such range, or no tree of the file.
    """
    begun = time.monotonic()
    progress = progress or NoProgress()
    entry = next((each for each in manifest.files if each.path == path), None)
    if entry is None:
        raise UsageError(f"{path!r} is not one of the {len(manifest.files)} files of the model")
    end = entry.size if end is None else end
    if not 0 <= start < end <= entry.size:
        raise UsageError(
            f"range {start}-{end} does not lie in {path}; expected START-END with"
            f" START below END, and END at most {entry.size}"
        )
    missing: list[str] = []
    mismatched: list[Mismatch] = []
    counted: list[int] = []
    with ModelTree(directory) as tree:
        kept = _kept(tree, entry, roots_of(receipt))
        if kept is None:
            raise UsageError(
                f"no tree of {path} is kept that a range could be held against",
                hint=f"grokdist verify {directory} --trees",
            )

        def on_bytes(count: int) -> None:
            counted.append(count)
            progress.advance(DISK, path, count)

        progress.begin("verify", files=1, size=end - start, have=0)
        status = _status(tree, entry.path)
        if status is None:
            missing.append(path)
        elif (wrong := _kind_and_size(entry, status)) is not None:
            mismatched.append(wrong)
        else:
            wrong = _held_against(tree, kept, [(start, end)], on_bytes)
            if wrong is None:
                progress.file_done(path, entry.size, DISK)
            else:
                mismatched.append(wrong)
        progress.end()
    return VerifyReport(
        files=0 if missing or mismatched else 1,
        bytes=sum(counted),
        seconds=time.monotonic() - begun,
        missing=tuple(missing),
        mismatched=tuple(mismatched),
        extra=(),
        range=CheckedRange(
            path=path, start=start, end=end, root=kept.root, signed=_signed(entry, kept)
        ),
    )


def verify_sample(
    directory: Path,
    manifest: Manifest,
    size: SampleSize,
    *,
    seed: int | None = None,
    receipt: Receipt | None = None,
    include: Sequence[str] = (),
    jobs: int | None = None,
    progress: Progress | None = None,
) -> VerifyReport:
    """Check blocks drawn at random over all files that have a tree.

    Of a file without a tree only kind and size are checked, and the report names it.

    Args:
        directory: the model directory.
        manifest: what should be there; the caller has checked its signature.
        size: how much to read.
        seed: None to draw one that nobody can know beforehand.
        receipt: as for ``verify``; it names roots where the manifest does not.
        include: glob patterns that restrict the check.
        jobs: ranges checked at once; None for what suits the cores.
        progress: who listens.

    Raises:
        StoreError: the directory cannot be opened.
        UsageError: a glob pattern matches no file of the manifest; no file has a tree.
    """
    begun = time.monotonic()
    progress = progress or NoProgress()
    seed = secrets.randbits(64) if seed is None else seed
    with ModelTree(directory) as tree:
        scope = look(tree, manifest, receipt=receipt, include=include)
        seen = _see(tree, scope, roots_of(receipt))
        if not (seen.entries or seen.wrong or seen.missing):
            raise UsageError(
                f"no trees are kept in {directory} to sample against",
                hint=f"grokdist verify {directory} --trees",
            )
        sample = draw([entry.size for entry in seen.entries], size, seed)
        # In disk order, as far as inodes tell.
        drawn = sorted(
            ((seen.entries[at], seen.trees[at], ranges) for at, ranges in sample.ranges.items()),
            key=lambda file: scope.present[file[0].path].st_ino,
        )
        bytes_ = sum(end - start for *_, ranges in drawn for start, end in ranges)
        progress.begin("verify", files=len(drawn), size=bytes_, have=0)
        _read(tree, drawn, seen.wrong, jobs or default_jobs(), progress)
        progress.end()
    return VerifyReport(
        files=sum(entry.path not in seen.wrong for entry, *_ in drawn),
        bytes=bytes_,
        seconds=time.monotonic() - begun,
        missing=tuple(sorted(seen.missing)),
        mismatched=tuple(seen.wrong[path] for path in sorted(seen.wrong)),
        extra=scope.extra,
        sampled=Sampled(
            seed=seed,
            blocks=sample.blocks,
            of_blocks=sample.of_blocks,
            ranges=sample.units,
            missed_at_1_percent=sample.missed(0.01) if sample.units else 1.0,
            files=len(seen.entries),
            unsigned=sum(not _signed(*pair) for pair in zip(seen.entries, seen.trees, strict=True)),
            without_tree=tuple(seen.without_tree),
        ),
    )


@dataclass(kw_only=True, slots=True)
class _Seen:
    """What can be sampled, and what is wrong before anything is read."""

    entries: list[FileEntry] = field(default_factory=list)
    trees: list[FileTree] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    wrong: dict[str, Mismatch] = field(default_factory=dict)
    without_tree: list[str] = field(default_factory=list)


def _see(tree: ModelTree, scope: Scope, roots: Mapping[str, str]) -> _Seen:
    seen = _Seen()
    for entry in scope.expected:
        status = scope.present.get(entry.path)
        if status is None:
            seen.missing.append(entry.path)
        elif (mismatch := _kind_and_size(entry, status)) is not None:
            seen.wrong[entry.path] = mismatch
        elif (kept := _kept(tree, entry, roots)) is not None:
            seen.entries.append(entry)
            seen.trees.append(kept)
        elif entry.size:
            seen.without_tree.append(entry.path)
    return seen


def _read(
    tree: ModelTree,
    drawn: Sequence[tuple[FileEntry, FileTree, list[Range]]],
    wrong: dict[str, Mismatch],
    jobs: int,
    progress: Progress,
) -> None:
    """Hold the ranges drawn against their trees; what is wrong is added to ``wrong``."""

    def task(file: FileTree, ranges: Sequence[Range]) -> Task[tuple[str, Mismatch | None]]:
        def on_bytes(count: int) -> None:
            progress.advance(DISK, file.path, count)

        return lambda worker: (file.path, _held_against(tree, file, ranges, on_bytes, worker))

    left = {entry.path: -(-len(ranges) // _TOGETHER) for entry, _, ranges in drawn}
    tasks = [
        task(kept, ranges[at : at + _TOGETHER])
        for _, kept, ranges in drawn
        for at in range(0, len(ranges), _TOGETHER)
    ]
    sizes = {entry.path: entry.size for entry, *_ in drawn}
    prepare(sum(end - start for *_, ranges in drawn for start, end in ranges))
    found = in_parallel(tasks, jobs=min(jobs, max(len(tasks), 1)))
    with contextlib.closing(found):
        for path, mismatch in found:
            if mismatch is not None:
                before = wrong[path].ranges if path in wrong else ()
                both = tuple(joined((*before, *mismatch.ranges)))
                wrong[path] = replace(mismatch, ranges=both)
            left[path] -= 1
            if left[path] == 0 and path not in wrong:
                progress.file_done(path, sizes[path], DISK)


def _kept(tree: ModelTree, entry: FileEntry, roots: Mapping[str, str]) -> FileTree | None:
    """The kept tree of a file, by the manifest's root or else by the receipt's."""
    root = entry.pieces_root or roots.get(entry.path)
    return None if root is None else load_tree(tree, entry.path, entry.size, root)


def _signed(entry: FileEntry, kept: FileTree) -> bool:
    return kept.root == entry.pieces_root


def _status(tree: ModelTree, path: str) -> os.stat_result | None:
    try:
        return tree.stat(path)
    except (OSError, GrokdistError):
        # A link stands in the place of a folder on the way.
        return None


def _kind_and_size(entry: FileEntry, status: os.stat_result) -> Mismatch | None:
    if not stat.S_ISREG(status.st_mode):
        return Mismatch(path=entry.path, expected="a regular file", got="a link or special file")
    if status.st_size != entry.size:
        return Mismatch(
            path=entry.path, expected=f"{entry.size} bytes", got=f"{status.st_size} bytes"
        )
    return None


def _held_against(
    tree: ModelTree,
    kept: FileTree,
    ranges: Sequence[Range],
    on_bytes: Callable[[int], None],
    worker: Worker | None = None,
) -> Mismatch | None:
    """Check ranges of one file; None where they are right."""
    expected = f"tree root {kept.root}"
    try:
        fd = tree.open(kept.path, os.O_RDONLY)
    except (OSError, GrokdistError):
        return Mismatch(path=kept.path, expected="a readable file", got="one that cannot be opened")
    try:
        if sum(end - start for start, end in ranges) > _TOGETHER * SPAN:
            read_ahead(fd, 0, kept.size)
        elif hasattr(os, "posix_fadvise"):
            # What the kernel would read ahead is not wanted.
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        before = StatMark.of(os.fstat(fd))
        bad = [
            each
            for start, end in ranges
            for each in kept.damaged(
                fd,
                start=start,
                end=end,
                on_bytes=on_bytes,
                stop=None if worker is None else worker.stop,
            )
        ]
        changed = StatMark.of(os.fstat(fd)) != before
    finally:
        os.close(fd)
    if changed:
        return Mismatch(path=kept.path, expected="a file at rest", got="one changed while read")
    if bad:
        return Mismatch(
            path=kept.path, expected=expected, got="other bytes", ranges=tuple(joined(bad))
        )
    return None
