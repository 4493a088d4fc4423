"""Hashing of files that are on disk: several at once, bounded memory, no file read twice.

hashlib lets go of the interpreter lock, so threads use all cores; each holds one block.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from grokdist.catalog.manifest import FileEntry
from grokdist.errors import UnsafePathError
from grokdist.transfer.stop import HashingStoppedError
from grokdist.transfer.tree import ModelTree, StatMark
from grokdist.trust.digest import ContentDigest, StreamHasher

_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class FileCheck:
    """How one file compares with its entry.

    Attributes:
        entry: the file.
        expected: what it should be: a digest, or a size where that differs already.
        got: what it is; ``expected == got`` means that it is right.
        mark: what the file system says of it; None where it could not be hashed.
        sha256: its SHA-256; empty where it was not hashed.
    """

    entry: FileEntry
    expected: str
    got: str
    mark: StatMark | None = None
    sha256: str = ""

    @property
    def ok(self) -> bool:
        """True where the bytes are the ones that the manifest names."""
        return self.expected == self.got


def default_jobs() -> int:
    """Threads that hashing uses unless told: the cores, as far as disks follow."""
    return min(os.cpu_count() or 1, 16)


def check_file(
    tree: ModelTree,
    entry: FileEntry,
    *,
    stop: threading.Event,
    on_bytes: Callable[[str, int], None],
) -> FileCheck | None:
    """Hash one file and compare it with its entry.

    Checks size, digest, and that the file did not change meanwhile. Does not follow links.

    Returns:
        the comparison, or None where nothing stands at the path.

    Raises:
        ManifestError: the entry names no digest of its content.
        HashingStoppedError: ``stop`` was set.
    """
    expected = ContentDigest.choose(
        path=entry.path, sha256=entry.sha256, git_blob=entry.git_blob, lfs=entry.lfs
    )
    try:
        fd = tree.open(entry.path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except UnsafePathError:
        return FileCheck(entry=entry, expected="a regular file", got="a link or special file")
    except OSError as error:
        return FileCheck(entry=entry, expected="a readable file", got=str(error.strerror))
    try:
        before = os.fstat(fd)
        if before.st_size != entry.size:
            return FileCheck(
                entry=entry, expected=f"{entry.size} bytes", got=f"{before.st_size} bytes"
            )
        hasher = StreamHasher(expected.algorithm, entry.size)
        buffer = memoryview(bytearray(min(_BLOCK, max(entry.size, 1))))
        try:
            while count := os.readv(fd, [buffer]):
                if stop.is_set():
                    raise HashingStoppedError(f"hashing of {entry.path} was interrupted")
                hasher.update(buffer[:count])
                on_bytes(entry.path, count)
        except OSError as error:
            return FileCheck(entry=entry, expected="a readable file", got=str(error.strerror))
        mark = StatMark.of(os.fstat(fd))
    finally:
        os.close(fd)
    if mark != StatMark.of(before):
        return FileCheck(entry=entry, expected="a file at rest", got="one changed while read")
    return FileCheck(
        entry=entry,
        expected=str(expected),
        got=str(hasher.digest()),
        mark=mark,
        sha256=hasher.sha256,
    )


def check_files(
    tree: ModelTree,
    entries: Iterable[FileEntry],
    *,
    jobs: int,
    on_bytes: Callable[[str, int], None],
) -> Generator[tuple[FileEntry, FileCheck | None], None, None]:
    """Check many files, ``jobs`` at a time, yielding each as it is ready.

    Close the generator (``contextlib.closing``) to end the threads early.

    Raises:
        ManifestError: an entry names no digest of its content.
    """
    pending: dict[Future[FileCheck | None], FileEntry] = {}
    remaining = iter(entries)
    stop = threading.Event()
    with ThreadPoolExecutor(max(jobs, 1), thread_name_prefix="grokdist-hash") as pool:
        try:
            while True:
                for entry in remaining:
                    future = pool.submit(check_file, tree, entry, stop=stop, on_bytes=on_bytes)
                    pending[future] = entry
                    if len(pending) >= 2 * jobs:
                        break
                if not pending:
                    return
                ready, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in ready:
                    yield pending.pop(future), future.result()
        finally:
            stop.set()
            for future in pending:
                future.cancel()
