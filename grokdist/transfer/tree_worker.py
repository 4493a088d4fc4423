"""The child process that builds tree files; ``tree_builder`` starts it and talks to it.

One job a line on stdin, one answer a line on stdout, JSON both ways, one job at a time:
``{"path", "size", "mark", "keep", "library"}`` gets ``{"root"}`` or ``{"failed"}``. The end of
stdin is the end of the process, also in the middle of a file, so it never outlives its parent; what
it had not finished it takes away. Imports little, since it starts while a fetch is under way.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from grokdist.errors import GrokdistError
from grokdist.transfer.front_to_back import read_on
from grokdist.transfer.read_buffer import MIB_BUFFERS
from grokdist.transfer.tree import ModelTree, StatMark
from grokdist.transfer.tree_writer import TreeWriter
from grokdist.trust.merkle import hash_blocks
from grokdist.trust.sha256_of_many import Sha256OfMany, in_use, use


class BuildFailedError(GrokdistError):
    """One tree was not built; the message says why."""


class ParentGoneError(GrokdistError):
    """Nobody waits for an answer any more."""


def serve(directory: Path, jobs: BinaryIO, answers: BinaryIO) -> None:
    """Build trees until ``jobs`` ends.

    Args:
        directory: the model directory.
        jobs: a pipe.
        answers: where each answer goes.
    """
    poll = select.poll()
    # Nothing is sent while a job is under way: what can be read then is the end.
    poll.register(jobs, select.POLLIN)

    def gone() -> bool:
        return bool(poll.poll(0))

    with ModelTree(directory) as tree, contextlib.suppress(ParentGoneError, BrokenPipeError):
        while line := jobs.readline():
            job = json.loads(line)
            _use_too(job["library"])
            mark = None if job["mark"] is None else StatMark(**job["mark"])
            answer: dict[str, Any]
            try:
                answer = {
                    "root": build(tree, job["path"], job["size"], mark, gone, keep=job["keep"])
                }
            except (BuildFailedError, GrokdistError, OSError, ValueError) as error:
                if isinstance(error, ParentGoneError):
                    raise
                answer = {"failed": str(error)}
            answers.write(json.dumps(answer).encode() + b"\n")
            answers.flush()


def build(
    tree: ModelTree,
    path: str,
    size: int,
    mark: StatMark | None,
    gone: Callable[[], bool],
    *,
    keep: bool = True,
) -> str:
    """Build the tree of one file from what is on disk, which is mostly still in memory.

    Args:
        tree: the model directory.
        path: the file.
        size: its bytes.
        mark: what the file system said of it when its digest was found right.
        gone: True when nobody waits any more.
        keep: leave it in memory; see ``front_to_back.fits_the_cache``.

    Returns:
        the root, 64 hex digits.

    Raises:
        BuildFailedError: the file is another by now, or changed meanwhile.
        ParentGoneError: nobody waits any more.
        OSError, GrokdistError: the file cannot be read, or the tree file not written.
        ValueError: the file is too large for a tree.
    """
    fd = tree.open(path, os.O_RDONLY)
    try:
        before = _content_mark(StatMark.of(os.fstat(fd)))
        if before.size != size or (mark is not None and _content_mark(mark) != before):
            raise BuildFailedError(f"{path} is not the file that was hashed")
        with TreeWriter(tree, path, size) as writer, MIB_BUFFERS.lent() as buffer:
            done = 0
            for data in read_on(fd, 0, size, buffer, keep=keep):
                if gone():
                    raise ParentGoneError("the parent is gone")
                writer.append(hash_blocks(data))
                done += len(data)
            if done != size:
                raise BuildFailedError(f"{path} was cut short while its tree was built")
            if _content_mark(StatMark.of(os.fstat(fd))) != before:
                raise BuildFailedError(f"{path} changed while its tree was built")
            return writer.finish()
    finally:
        os.close(fd)


def _use_too(library: str | None) -> None:
    """Hash with what the parent hashes with."""
    if library is not None and in_use() is None:
        with contextlib.suppress(OSError, ValueError):
            use(Sha256OfMany(Path(library)))


def _content_mark(mark: StatMark) -> StatMark:
    """The mark without the change time, which a hard link made by a swarm moves too."""
    return dataclasses.replace(mark, ctime_ns=0)


def _step_back() -> None:
    """Take the lowest share of the processor, and with it of the disk."""
    with contextlib.suppress(OSError):
        os.nice(19)
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):
            # Linux then takes a core that does nothing else for idle, and wakes the fetch there.
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def main() -> None:
    """Serve on stdin and stdout; the model directory is the last argument."""
    # Ctrl-C goes to everyone at the terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _step_back()
    serve(Path(sys.argv[-1]), sys.stdin.buffer, sys.stdout.buffer)
