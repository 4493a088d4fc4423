"""Boxes of stored tensors into main memory, by several threads and with no copy in between.

Runs of bytes are read straight to where they belong, and converted on the way where the array has
another dtype. Columns that are cut out of rows are copied out of a memory map, which touches only
their pages; reading whole rows and dropping the rest was measured to be slower. JAX is not needed
here.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from grokdist_runtime.checkpoint.parts import Box
from grokdist_runtime.checkpoint.refusal import path_text
from grokdist_runtime.checkpoint.shard import NUMPY_DTYPES
from grokdist_runtime.checkpoint.shard_file import open_again
from grokdist_runtime.checkpoint.stored_tensor import FileRange, Piece, StoredTensor
from grokdist_runtime.checkpoint.tensor_table import ITEM_SIZE
from grokdist_runtime.errors import CheckpointError

Array = np.ndarray[Any, Any]
Job = Callable[[], int]
"""Reads a little; says how many bytes."""

_CHUNK = 16 << 20  # whole huge pages, and so large that Python's share is small
_CONVERTED = 1 << 20  # bytes of another dtype at once, so that they stay in the cache meanwhile
_SMALL = 1 << 20  # jobs that read less go together
_SHORTEST_RUN = 256 << 10
_MIN_THREADS, _MAX_THREADS = 4, 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Fill:
    """Some of a tensor, and where it goes.

    Attributes:
        stored: the tensor.
        box: what of it to read.
        out: of the box's shape; another dtype is converted to.
        groups: where ``out`` has another number of rows, on the last axis but one: the row of the
            box that each of its rows repeats.
    """

    stored: StoredTensor
    box: Box
    out: Array
    groups: np.ndarray[Any, np.dtype[np.intp]] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that will be read."""
        return _count(self.box) * ITEM_SIZE[self.stored.dtype]


def read_all(fills: Iterable[Fill], *, on_bytes: Callable[[int], None]) -> None:
    """Fill every array; ``on_bytes`` is told in this thread of bytes as they are read.

    The largest come first. What is small is Python's work more than the kernel's: this thread does
    it, while the others, which need Python but once in a large read, go on with theirs.

    Raises:
        CheckpointError: A part is not here, or a file changed, ended early or cannot be read.
    """
    largest_first = sorted(fills, key=lambda fill: fill.nbytes, reverse=True)
    threads = min(_MAX_THREADS, max(_MIN_THREADS, os.cpu_count() or 1))
    pool = ThreadPoolExecutor(threads, thread_name_prefix="load")
    running: deque[Future[int]] = deque()
    try:
        for small, job in _batches(itertools.chain.from_iterable(map(_jobs, largest_first))):
            while running and (running[0].done() or len(running) >= 4 * threads):
                on_bytes(running.popleft().result())
            if small and len(running) >= threads:
                on_bytes(job())
            else:
                running.append(pool.submit(job))
        while running:
            on_bytes(running.popleft().result())
    finally:
        pool.shutdown(cancel_futures=True)


def _batches(jobs: Iterable[tuple[int, Job]]) -> Iterator[tuple[bool, Job]]:
    """Large jobs as they are, small ones together; and whether a job is of small ones."""
    small: list[Job] = []
    size = 0
    for nbytes, job in jobs:
        if nbytes >= _SMALL:
            yield False, job
            continue
        small.append(job)
        size += nbytes
        if size >= _SMALL:
            yield True, functools.partial(_one_by_one, small)
            small, size = [], 0
    if small:
        yield True, functools.partial(_one_by_one, small)


def _one_by_one(jobs: Sequence[Job]) -> int:
    return sum(job() for job in jobs)


def _jobs(fill: Fill) -> Iterator[tuple[int, Job]]:
    """What is to be done, and how many bytes each part of it reads."""
    if fill.groups is not None:
        yield fill.nbytes, functools.partial(_repeat, fill)
        return
    for piece in fill.stored.pieces(fill.box):
        yield from _piece_jobs(piece, fill.out[piece.target])


def _piece_jobs(piece: Piece, out: Array) -> Iterator[tuple[int, Job]]:
    dtype = NUMPY_DTYPES[piece.view.dtype]
    nbytes = out.size * dtype.itemsize
    if out.flags.c_contiguous and next(piece.ranges()).nbytes >= min(_SHORTEST_RUN, nbytes):
        flat, done = out.reshape(-1), 0
        for run in piece.ranges():
            for start in range(0, run.nbytes, _CHUNK):
                count = min(_CHUNK, run.nbytes - start)
                part = FileRange(file=run.file, offset=run.offset + start, nbytes=count)
                place, done = done, done + count // dtype.itemsize
                yield count, functools.partial(_read, part, dtype, flat[place:done])
        return
    mapped = functools.cache(lambda: piece.view.array()[piece.source])  # by whoever is first
    for box in _blocks(out.shape, dtype.itemsize):
        yield _count(box) * dtype.itemsize, _copying(mapped, box, out[box])


def _read(part: FileRange, dtype: np.dtype[Any], out: Array) -> int:
    """Read a run of elements to where they belong, by way of the cache if they are converted."""
    if out.dtype == dtype:
        _read_bytes(part, out.view(np.uint8).data)
        return part.nbytes
    stored = np.empty(min(out.size, _CONVERTED // dtype.itemsize), dtype)
    for start in range(0, out.size, stored.size):
        block = stored[: out.size - start]
        offset = part.offset + start * dtype.itemsize
        _read_bytes(
            FileRange(file=part.file, offset=offset, nbytes=block.nbytes), block.view(np.uint8).data
        )
        out[start : start + block.size] = block
    return part.nbytes


def _read_bytes(part: FileRange, out: memoryview) -> None:
    done = 0
    with open_again(part.file) as descriptor:
        while done < part.nbytes:
            try:
                count = os.preadv(descriptor, [out[done:]], part.offset + done)
            except OSError as error:
                raise CheckpointError(
                    f"cannot read {path_text(part.file.path)}: {error.strerror}"
                ) from error
            if count == 0:
                raise CheckpointError(
                    f"{path_text(part.file.path)} ended early; expected the same file"
                )
            done += count


def _copying(mapped: Callable[[], Array], box: Box, out: Array) -> Job:
    def copy() -> int:
        source = mapped()[box]
        out[...] = source
        return source.nbytes

    return copy


def _repeat(fill: Fill) -> int:
    """Read scales, which are small, and give each row the one of its group."""
    shape = tuple(side.stop - side.start for side in fill.box)
    scales = np.empty(shape, NUMPY_DTYPES[fill.stored.dtype])
    for piece in fill.stored.pieces(fill.box):
        scales[piece.target] = piece.view.array()[piece.source]
    fill.out[...] = scales[..., fill.groups, :]
    return scales.nbytes


def _blocks(shape: tuple[int, ...], item: int) -> Iterator[Box]:
    """Boxes of at most a chunk, or one row, that make up an array."""
    *lead, rows = shape[:-1] or (1,)
    step = max(1, _CHUNK // (shape[-1] * item))
    if len(shape) == 1:
        yield (slice(0, shape[0]),)
        return
    for corner in itertools.product(*map(range, lead)):
        for row in range(0, rows, step):
            rest = slice(row, min(rows, row + step)), slice(0, shape[-1])
            yield (*(slice(at, at + 1) for at in corner), *rest)


def _count(box: Box) -> int:
    count = 1
    for side in box:
        count *= side.stop - side.start
    return count
