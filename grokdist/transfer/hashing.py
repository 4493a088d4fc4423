"""Hashing of files that are on disk: several at once, bounded memory, no file read twice.

Hashing lets go of the interpreter lock, so threads use all cores; each has a buffer of a MiB at a
time, which stays in its core's cache. Files are read through the page cache, from front to back.
Direct reads are slower; a memory map is no faster, and would let whoever cuts a file short end
this process.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from grokdist.catalog.manifest import FileEntry
from grokdist.errors import GrokdistError, UnsafePathError
from grokdist.transfer.front_to_back import fits_the_cache, read_on
from grokdist.transfer.part_files import expected_digest
from grokdist.transfer.read_buffer import MIB_BUFFERS
from grokdist.transfer.stop import HashingStoppedError
from grokdist.transfer.tree import ModelTree, StatMark
from grokdist.transfer.tree_writer import TreeWriter
from grokdist.transfer.trees import LARGEST
from grokdist.trust.digest import StreamHasher
from grokdist.trust.merkle import hash_blocks

_T = TypeVar("_T")

_LOOK_EVERY_S = 0.02
"""Seconds between looks at what is ready: to be woken for each small file, and to take the
interpreter from who hashes the next, costs a tenth of the time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileCheck:
    """How one file compares with its entry.

    Attributes:
        entry: the file.
        expected: what it should be: a digest, or a size where that differs already.
        got: what it is; ``expected == got`` means that it is right.
        mark: what the file system says of it; None where it could not be hashed.
        sha256: its SHA-256; empty where it was not hashed.
        pieces_root: root of the tree that was built beside; None where none was.
    """

    entry: FileEntry
    expected: str
    got: str
    mark: StatMark | None = None
    sha256: str = ""
    pieces_root: str | None = None

    @property
    def ok(self) -> bool:
        """True where the bytes are the ones that the manifest names."""
        return self.expected == self.got


def cores() -> int:
    """Cores that this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return usable or 1


def default_jobs() -> int:
    """Threads that hashing uses unless told.

    Two a core on small machines, so that one hashes while another waits for the disk; that many
    wait for any disk together on large ones.
    """
    return min(2 * cores(), max(cores(), 32))


def check_file(
    tree: ModelTree,
    entry: FileEntry,
    *,
    stop: threading.Event,
    on_bytes: Callable[[str, int], None],
    keep: bool = True,
    keep_tree: bool = False,
) -> FileCheck | None:
    """Hash one file and compare it with its entry.

    Checks size, digest, and that the file did not change meanwhile. Does not follow links.

    Args:
        tree: the model directory.
        entry: what the file should be.
        stop: ends the hashing when it is set.
        on_bytes: told path and bytes, as it goes on.
        keep: leave the file in the page cache.
        keep_tree: build the file's tree from the same bytes, a second hash beside the first, and
            keep it where the file is right.

    Returns:
        the comparison, or None where nothing stands at the path.

    Raises:
        ManifestError: the entry names no digest of its content.
        HashingStoppedError: ``stop`` was set.
    """
    expected = expected_digest(entry)
    try:
        fd = tree.open(entry.path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except UnsafePathError:
        return FileCheck(entry=entry, expected="a regular file", got="a link or special file")
    except OSError as error:
        return FileCheck(entry=entry, expected="a readable file", got=str(error.strerror))
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, fd)
        before = os.fstat(fd)
        if before.st_size != entry.size:
            return FileCheck(
                entry=entry, expected=f"{entry.size} bytes", got=f"{before.st_size} bytes"
            )
        hasher = StreamHasher(expected.algorithm, entry.size)
        keeper = stack.enter_context(_TreeKeeper(tree, entry)) if keep_tree else None
        buffer = stack.enter_context(MIB_BUFFERS.lent())
        pieces = read_on(fd, 0, entry.size, buffer, keep=keep)
        while True:
            if stop.is_set():
                raise HashingStoppedError(f"hashing of {entry.path} was interrupted")
            try:
                data = next(pieces, None)
            except OSError as error:
                return FileCheck(entry=entry, expected="a readable file", got=str(error.strerror))
            if data is None:
                break
            hasher.update(data)
            if keeper is not None:
                keeper.append(data)
            on_bytes(entry.path, len(data))
        mark = StatMark.of(os.fstat(fd))
        if mark != StatMark.of(before):
            return FileCheck(entry=entry, expected="a file at rest", got="one changed while read")
        got = hasher.digest()
        return FileCheck(
            entry=entry,
            expected=str(expected),
            got=str(got),
            mark=mark,
            sha256=hasher.sha256,
            pieces_root=keeper.finish() if keeper is not None and got == expected else None,
        )


def check_files(
    tree: ModelTree,
    entries: Sequence[FileEntry],
    *,
    jobs: int,
    on_bytes: Callable[[str, int], None],
    keep_trees: bool = False,
) -> Generator[tuple[FileEntry, FileCheck | None], None, None]:
    """Check many files, ``jobs`` at a time, in their order, yielding each as it is ready.

    Close the generator (``contextlib.closing``) to end the threads early.

    Raises:
        ManifestError: an entry names no digest of its content.
    """

    def task(entry: FileEntry) -> Task[tuple[FileEntry, FileCheck | None]]:
        return lambda worker: (
            entry,
            check_file(
                tree,
                entry,
                stop=worker.stop,
                on_bytes=on_bytes,
                keep=worker.keep,
                keep_tree=keep_trees,
            ),
        )

    size = sum(entry.size for entry in entries)
    return in_parallel((task(entry) for entry in entries), jobs=jobs, nbytes=size)


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """What a thread brings to each of its tasks.

    Attributes:
        stop: set when the results are no longer wanted.
        keep: what the tasks read can stay in the page cache.
    """

    stop: threading.Event
    keep: bool = True


Task = Callable[[Worker], _T]


@dataclass(frozen=True, slots=True)
class _Result(Generic[_T]):
    value: _T


def in_parallel(
    tasks: Iterable[Task[_T]], *, jobs: int, nbytes: int = 0
) -> Generator[_T, None, None]:
    """Run tasks on ``jobs`` threads, begun in their order, yielding each result once it is ready.

    Close the generator to end the threads early: they are told to stop, and waited for.

    Args:
        tasks: what is to be done.
        jobs: threads.
        nbytes: what they will read in all.

    Raises:
        Exception: the first error of a task; the others are stopped.
    """
    stop = threading.Event()
    keep = fits_the_cache(nbytes)
    source = iter(tasks)
    lock = threading.Lock()
    results: queue.SimpleQueue[_Result[_T] | BaseException | None] = queue.SimpleQueue()
    over = threading.Event()

    def run() -> None:
        worker = Worker(stop=stop, keep=keep)
        try:
            while not stop.is_set():
                with lock:
                    task = next(source, None)
                if task is None:
                    break
                results.put(_Result(task(worker)))
        except BaseException as error:  # It is raised again by the thread that asked.
            results.put(error)
        results.put(None)
        over.set()

    threads = [
        threading.Thread(target=run, name=f"grokdist-hash-{number}")
        for number in range(max(jobs, 1))
    ]
    try:
        for thread in threads:
            thread.start()
        ended = 0
        while ended < len(threads):
            if results.empty():
                over.wait(_LOOK_EVERY_S)
                over.clear()
                continue
            result = results.get()
            if result is None:
                ended += 1
            elif isinstance(result, _Result):
                yield result.value
            else:
                raise result
    finally:
        stop.set()
        for thread in threads:
            # An interrupt may have come before all were started.
            if thread.is_alive():
                thread.join()


class _TreeKeeper:
    """Builds a tree beside a digest; what hinders it never hinders the digest."""

    def __init__(self, tree: ModelTree, entry: FileEntry) -> None:
        self._writer: TreeWriter | None = None
        if 0 < entry.size <= LARGEST:
            with contextlib.suppress(OSError, GrokdistError):
                self._writer = TreeWriter(tree, entry.path, entry.size)

    def __enter__(self) -> _TreeKeeper:
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.__exit__(*error)

    def append(self, data: memoryview) -> None:
        """Hash the next bytes, whole blocks but for the last."""
        if self._writer is not None:
            try:
                self._writer.append(hash_blocks(data))
            except OSError:
                self._writer.__exit__()
                self._writer = None

    def finish(self) -> str | None:
        """The root, or None where the tree could not be kept."""
        with contextlib.suppress(OSError, GrokdistError):
            return None if self._writer is None else self._writer.finish()
        return None
