"""Files of another folder under a second name: no copy, no room, and one file for both.

A hard link is the user's choice (``--link``), never a default: whoever writes to the file in the
other folder later writes to the model too. That is found, as every change is, by ``verify`` and by
the next fetch, but it is not prevented. Sharing of blocks (``reflink``) has no such price and is
what happens where it can, without being asked for.

The link is made first, inside grokdist's own folder, then the file is hashed by it, and only what
is right gets its final name. Nothing is ever written through it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from grokdist.catalog.manifest import FileEntry
from grokdist.errors import GrokdistError
from grokdist.transfer.hashing import Task, Worker, check_file, default_jobs, in_parallel
from grokdist.transfer.index import Hashed
from grokdist.transfer.part_files import ADOPTED, PARTS
from grokdist.transfer.progress import DISK, Progress
from grokdist.transfer.sources.base import Source
from grokdist.transfer.sources.folder import Place
from grokdist.transfer.sources.local import LocalSource
from grokdist.transfer.temporary import temporary
from grokdist.transfer.tree import ModelTree, StatMark, split

_BATCH = 64
_BATCH_BYTES = 1 << 30
_AT_REST_NS = 2_000_000_000
"""A file that changed less than this ago might change again within the same tick of its times, and
nobody could tell: it is waited for."""


def link_files(
    tree: ModelTree,
    wanted: Sequence[FileEntry],
    sources: Iterable[Source],
    progress: Progress,
    *,
    on_linked: Callable[[FileEntry, Hashed, str], None],
) -> list[FileEntry]:
    """Give the files that local sources have, whole and right, a second name in ``tree``.

    Args:
        tree: the model directory, held by this process.
        wanted: the files to look for.
        sources: those that are not folders are passed over.
        progress: who listens.
        on_linked: told of each file that has its final name: what is known of it, and the source.

    Returns:
        the files that were not linked: not there, not right, or on another file system.
    """
    found = []
    for entry in wanted:
        for source in sources:
            place = source.place(entry) if isinstance(source, LocalSource) else None
            if place is not None and place.size == entry.size > 0:
                found.append((entry, source.name, place))
                break
    if not found:
        return list(wanted)
    size = sum(entry.size for entry, _, _ in found)
    progress.begin("check", files=len(found), size=size, have=0)
    linked = set()
    batch: list[tuple[FileEntry, str, Hashed]] = []
    clock = _Clock(tree)

    def settle() -> None:
        _sync_folders(tree, [entry.path for entry, _, _ in batch])
        for entry, name, row in batch:
            linked.add(entry.path)
            on_linked(entry, row, name)
            progress.file_done(entry.path, entry.size, name)
        batch.clear()

    try:
        results = in_parallel(
            (_task(tree, entry, name, place, clock, progress) for entry, name, place in found),
            jobs=default_jobs(),
            nbytes=size,
        )
        with contextlib.closing(results):
            for entry, name, row in results:
                if row is not None:
                    batch.append((entry, name, row))
                if len(batch) >= _BATCH or sum(each.size for each, _, _ in batch) >= _BATCH_BYTES:
                    settle()
    finally:
        settle()
        progress.end()
    return [entry for entry in wanted if entry.path not in linked]


def _task(
    tree: ModelTree,
    entry: FileEntry,
    name: str,
    place: Place,
    clock: _Clock,
    progress: Progress,
) -> Task[tuple[FileEntry, str, Hashed | None]]:
    def run(worker: Worker) -> tuple[FileEntry, str, Hashed | None]:
        try:
            return entry, name, _link(tree, entry, place, clock, worker, progress)
        except (OSError, GrokdistError) as error:
            # Whatever hinders a link, the source may still be copied from.
            progress.note(f"{name}: {entry.path}: not linked: {error}")
            return entry, name, None

    return run


def _link(
    tree: ModelTree,
    entry: FileEntry,
    place: Place,
    clock: _Clock,
    worker: Worker,
    progress: Progress,
) -> Hashed | None:
    temporary = f"{PARTS}/{entry.path}{ADOPTED}"
    tree.remove(temporary)
    try:
        if not _linked(tree, place, temporary, clock, worker):
            return None
        found = check_file(
            tree,
            replace(entry, path=temporary),
            stop=worker.stop,
            on_bytes=lambda _, count: progress.advance(DISK, entry.path, count),
            keep=worker.keep,
        )
        if found is None or not found.ok or found.mark is None:
            got = "nothing" if found is None else found.got
            progress.note(f"{place.root / place.relative} is not {entry.path}; got {got}")
            return None
        fd = tree.open(temporary, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        tree.rename(temporary, entry.path)
        status = tree.stat(entry.path)
        if status is None:
            return None
        mark = StatMark.of(status)
        # The new name touches the change time; anything else was somebody's writing.
        if replace(mark, ctime_ns=found.mark.ctime_ns) != found.mark:
            tree.remove(entry.path)
            return None
        return Hashed(mark=mark, digest=found.expected, sha256=found.sha256)
    finally:
        tree.remove(temporary)


def _linked(tree: ModelTree, place: Place, name: str, clock: _Clock, worker: Worker) -> bool:
    """Link a file under ``name``, once it has been at rest for long enough; False when stopped.

    Raises:
        OSError: the file system has no links, or it is another one.
    """
    *folders, base = split(place.relative)
    *own, own_base = split(name)
    with (
        ModelTree(place.root) as other,
        other.folder(tuple(folders)) as source,
        tree.folder(tuple(own), create=True) as target,
    ):
        changed = os.stat(base, dir_fd=source, follow_symlinks=False).st_ctime_ns
        fresh = clock.late(changed + _AT_REST_NS)
        if fresh and worker.stop.wait(_AT_REST_NS / 1e9):
            return False
        os.link(base, own_base, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    return True


def _sync_folders(tree: ModelTree, paths: Iterable[str]) -> None:
    """Have new names on the disk before anybody is told of them; each folder once."""
    folders = {split(path)[:-1] for path in paths}
    for folder in folders | {(*split(PARTS), *names) for names in folders}:
        with tree.folder(folder) as handle:
            os.fsync(handle)


class _Clock:
    """The time by which the file system marks its files, asked for only when it matters."""

    def __init__(self, tree: ModelTree) -> None:
        self._tree = tree
        self._seen = 0

    def late(self, moment: int) -> bool:
        """True where a moment, in nanoseconds, has not come yet."""
        if moment > self._seen:
            self._seen = max(self._seen, self._now())
        return moment > self._seen

    def _now(self) -> int:
        name = temporary("now")
        fd = self._tree.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, create_folders=True)
        try:
            return os.fstat(fd).st_mtime_ns
        finally:
            os.close(fd)
            self._tree.remove(name)
