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
from pathlib import Path

from grokdist.catalog.manifest import FileEntry, Manifest
from grokdist.errors import GrokdistError, UsageError
from grokdist.transfer.findings import CheckedRange, Mismatch, Sampled, VerifyReport
from grokdist.transfer.hashing import Task, Worker, default_jobs, in_parallel, read_ahead
from grokdist.transfer.progress import DISK, NoProgress, Progress
from grokdist.transfer.sampling import SampleSize, draw
from grokdist.transfer.scope import look, roots_of
from grokdist.transfer.tree import ModelTree, StatMark
from grokdist.transfer.trees import SPAN, FileTree, Range, joined, load_tree
from grokdist.trust.receipt import Receipt

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
        jobs: ranges checked at once; None for the number of cores.
        progress: who listens.

    Raises:
        StoreError: the directory cannot be opened.
        UsageError: a glob pattern matches no file of the manifest; no file has a tree.
    """
    begun = time.monotonic()
    progress = progress or NoProgress()
    seed = secrets.randbits(64) if seed is None else seed
    roots = roots_of(receipt)
    wrong: dict[str, Mismatch] = {}
    with ModelTree(directory) as tree:
        scope = look(tree, manifest, receipt=receipt, include=include)
        missing, whole, kept = [], [], []
        without_tree = []
        for entry in scope.expected:
            status = scope.present.get(entry.path)
            if status is None:
                missing.append(entry.path)
                continue
            if (mismatch := _kind_and_size(entry, status)) is not None:
                wrong[entry.path] = mismatch
                continue
            file_tree = _kept(tree, entry, roots)
            if file_tree is not None:
                whole.append(entry)
                kept.append(file_tree)
            elif entry.size:
                without_tree.append(entry.path)
        if not kept and not wrong and not missing:
            raise UsageError(
                f"no trees are kept in {directory} to sample against",
                hint=f"grokdist verify {directory} --trees",
            )
        sample = draw([entry.size for entry in whole], size, seed)
        bytes_ = sum(high - low for ranges in sample.ranges.values() for low, high in ranges)
        progress.begin("verify", files=len(sample.ranges), size=bytes_, have=0)

        def task(file: FileTree, ranges: Sequence[Range]) -> Task[tuple[str, Mismatch | None]]:
            def on_bytes(count: int) -> None:
                progress.advance(DISK, file.path, count)

            def run(worker: Worker) -> tuple[str, Mismatch | None]:
                return file.path, _held_against(tree, file, ranges, on_bytes, worker)

            return run

        by_place = sorted(sample.ranges, key=lambda file: scope.present[whole[file].path].st_ino)
        tasks = [
            task(kept[file], sample.ranges[file][at : at + _TOGETHER])
            for file in by_place
            for at in range(0, len(sample.ranges[file]), _TOGETHER)
        ]
        left = {
            whole[file].path: -(-len(ranges) // _TOGETHER) for file, ranges in sample.ranges.items()
        }
        sizes = {entry.path: entry.size for entry in whole}
        found = in_parallel(tasks, jobs=min(jobs or default_jobs(), max(len(tasks), 1)))
        with contextlib.closing(found):
            for path, mismatch in found:
                if mismatch is not None:
                    before = wrong[path].ranges if path in wrong else ()
                    wrong[path] = Mismatch(
                        path=path,
                        expected=mismatch.expected,
                        got=mismatch.got,
                        ranges=tuple(joined((*before, *mismatch.ranges))),
                    )
                left[path] -= 1
                if left[path] == 0 and path not in wrong:
                    progress.file_done(path, sizes[path], DISK)
        progress.end()
    return VerifyReport(
        files=sum(whole[file].path not in wrong for file in sample.ranges),
        bytes=bytes_,
        seconds=time.monotonic() - begun,
        missing=tuple(sorted(missing)),
        mismatched=tuple(wrong[path] for path in sorted(wrong)),
        extra=scope.extra,
        sampled=Sampled(
            seed=seed,
            blocks=sample.blocks,
            of_blocks=sample.of_blocks,
            ranges=sample.units,
            missed_at_1_percent=sample.missed(0.01) if sample.units else 1.0,
            files=len(kept),
            unsigned=sum(not _signed(entry, file) for entry, file in zip(whole, kept, strict=True)),
            without_tree=tuple(without_tree),
        ),
    )


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
            read_ahead(fd, kept.size)
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
