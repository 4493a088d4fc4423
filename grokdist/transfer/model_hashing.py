"""Hashing of the resources of a model signature: whole files, or shards of them.

Several threads hash at once, a resource each, with a buffer of a MiB; nothing is kept of what is
read. That a file stays as it is while it is read can be told by the marks of its resources.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from grokdist.errors import UnsafePathError
from grokdist.transfer.front_to_back import read_on
from grokdist.transfer.hashing import Task, Worker, default_jobs, in_parallel
from grokdist.transfer.model_files import Listing, ModelFiles
from grokdist.transfer.progress import DISK, Progress
from grokdist.transfer.read_buffer import MIB_BUFFERS
from grokdist.transfer.stop import HashingStoppedError
from grokdist.transfer.tail import in_order
from grokdist.transfer.tree import StatMark
from grokdist.trust.oms.algorithms import HashAlgorithm
from grokdist.trust.oms.names import Span


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What hashing one resource gave.

    Attributes:
        span: the file or shard.
        size: its bytes.
        digest: its raw digest; None where it could not be hashed.
        mark: what the file system said of the file, before and after; None where that differed.
        problem: why it could not be hashed.
    """

    span: Span
    size: int = 0
    digest: bytes | None = None
    mark: StatMark | None = None
    problem: str = ""


class ModelHashing:
    """The hashing of resources of one model, told to a listener as ``task``."""

    def __init__(
        self,
        files: ModelFiles,
        listing: Listing,
        algorithm: HashAlgorithm,
        progress: Progress,
        task: str,
    ) -> None:
        self.algorithm = algorithm
        self._files = files
        self._listing = listing
        self._progress = progress
        self._task = task
        self._begun: set[str] = set()
        self._lock = threading.Lock()

    def size(self, spans: Iterable[Span]) -> int:
        """Bytes of resources."""
        return sum(self._size(span) for span in spans)

    def _size(self, span: Span) -> int:
        return (self._listing.files[span.path].st_size if span.end is None else span.end) - (
            span.start
        )

    def hash(self, spans: Sequence[Span], jobs: int | None) -> Iterable[Outcome]:
        """Hash resources on all cores, yielding each as it is ready."""
        paths = {span.path for span in spans}
        size = self.size(spans)
        self._progress.begin(self._task, files=len(paths), size=size, have=0)
        ordered = in_order(
            spans,
            size=self._size,
            # On most file systems inodes are numbered near the order of the data.
            place=lambda span: self._listing.files[span.path].st_ino,
        )
        outcomes = in_parallel(
            (self._task_of(span) for span in ordered),
            jobs=min(jobs or default_jobs(), max(len(spans), 1)),
            nbytes=size,
        )
        with contextlib.closing(outcomes):
            yield from outcomes
        self._progress.end()

    def done(self, path: str) -> None:
        """A file is right."""
        self._progress.file_done(path, self._listing.files[path].st_size, DISK)

    def release(self, path: str) -> None:
        """A file is not."""
        self._progress.release(DISK, path)

    def _task_of(self, span: Span) -> Task[Outcome]:
        def task(worker: Worker) -> Outcome:
            with self._lock:
                first = span.path not in self._begun
                self._begun.add(span.path)
            if first:
                size = self._listing.files[span.path].st_size
                self._progress.file_begun(span.path, size=size, have=0)
            return self._hash_one(span, worker)

        return task

    def _hash_one(self, span: Span, worker: Worker) -> Outcome:
        try:
            fd = self._files.open(span.path)
        except FileNotFoundError:
            return Outcome(span=span, problem="nothing there any more")
        except UnsafePathError:
            return Outcome(span=span, problem="a link or special file")
        except OSError as error:
            return Outcome(span=span, problem=str(error.strerror))
        try:
            before = os.fstat(fd)
            end = before.st_size if span.end is None else span.end
            digest, reached = _digest(
                fd,
                span,
                end,
                self.algorithm,
                worker,
                lambda count: self._progress.advance(DISK, span.path, count),
            )
            mark = StatMark.of(os.fstat(fd))
        except OSError as error:
            return Outcome(span=span, problem=str(error.strerror))
        finally:
            os.close(fd)
        if mark != StatMark.of(before):
            return Outcome(span=span, problem="a file changed while read")
        if reached < end:
            return Outcome(span=span, mark=mark, problem=f"{reached} bytes")
        return Outcome(span=span, size=end - span.start, digest=digest, mark=mark)


def _digest(
    fd: int,
    span: Span,
    end: int,
    algorithm: HashAlgorithm,
    worker: Worker,
    on_bytes: Callable[[int], None],
) -> tuple[bytes, int]:
    """The digest of a byte range of an open file, and how far it could be read."""
    hasher = algorithm.new()
    at = span.start
    with MIB_BUFFERS.lent() as buffer:
        for data in read_on(fd, span.start, end, buffer, keep=worker.keep):
            if worker.stop.is_set():
                raise HashingStoppedError(f"hashing of {span.path} was interrupted")
            hasher.update(data)
            on_bytes(len(data))
            at += len(data)
    return hasher.digest(), at
