"""A shard on disk: opened once and safely, read a little at a time, mapped in place.

Only regular files are opened (a link to one is fine, caches are made of them); a pipe, a device
or a directory is refused without blocking. Nothing here knows the pickle format.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from grokdist_runtime.checkpoint.refusal import Refusal, path_text, unsafe_shard
from grokdist_runtime.errors import CheckpointError

MAX_STRUCTURE_BYTES = 4096
"""Bytes of a shard that are ever interpreted; the release's own layout has fewer than 400."""

_WINDOW = 512

Runs = tuple[tuple[int, bytes], ...]
"""Bytes of a file, each run with its offset."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardFile:
    """One regular file, as it was when it was opened.

    Attributes:
        path: where it is.
        size: its length in bytes.
        identity: device, inode and time of last change, to notice that it was replaced.
    """

    path: Path
    size: int
    identity: tuple[int, int, int]


@contextmanager
def open_shard_file(path: Path) -> Iterator[tuple[int, ShardFile]]:
    """Open a regular file for reading; yields its descriptor and what it was.

    Raises:
        CheckpointError: there is no such file, or it may not be read.
        UnsafeShardError: it is not a regular file.
    """
    try:
        # Looked at before it is opened, since opening a device can already do something.
        _refuse_irregular(path, path.stat().st_mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise CheckpointError(f"cannot read {path_text(path)}: {error.strerror}") from error
    except ValueError as error:  # a NUL in the path
        raise CheckpointError(f"cannot read {path_text(path)}: {error}") from error
    try:
        status = os.fstat(descriptor)
        _refuse_irregular(path, status.st_mode)
        identity = (status.st_dev, status.st_ino, status.st_mtime_ns)
        yield descriptor, ShardFile(path=path, size=status.st_size, identity=identity)
    finally:
        os.close(descriptor)


@contextmanager
def open_again(file: ShardFile) -> Iterator[int]:
    """Open a file whose structure was read before; yields its descriptor.

    Raises:
        CheckpointError: the file is gone or is not the one whose structure was read.
    """
    with open_shard_file(file.path) as (descriptor, now):
        if (now.size, now.identity) != (file.size, file.identity):
            raise CheckpointError(
                f"{path_text(file.path)} changed since its structure was read; "
                "expected the same file"
            )
        yield descriptor


class StructureReader:
    """Reads the bytes around the payloads, in order, within a budget; payloads are stepped over.

    Attributes:
        position: offset of the next byte.
        size: the file's length in bytes.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._window = b""
        self._window_start = 0
        self._budget = MAX_STRUCTURE_BYTES
        self._runs: list[tuple[int, bytearray]] = []
        self._in_run = False
        self.position = 0
        self.size = size

    def take(self, count: int) -> bytes:
        """Read exactly ``count`` bytes of structure.

        Raises:
            Refusal: the file ends before them, or they go beyond the budget.
        """
        if count > self.size - self.position:
            raise Refusal(
                f"the file ends at byte {self.size}", f"{count} more bytes from {self.position}"
            )
        self._budget -= count
        if self._budget < 0:
            raise Refusal(
                f"more than {MAX_STRUCTURE_BYTES} bytes around the payloads",
                f"at most {MAX_STRUCTURE_BYTES}",
            )
        start = self.position - self._window_start
        if not 0 <= start <= len(self._window) - count:
            self._window = os.pread(self._descriptor, max(_WINDOW, count), self.position)
            self._window_start = self.position
            start = 0
            if len(self._window) < count:
                raise Refusal(f"only {len(self._window)} bytes could be read", f"{count} bytes")
        taken = self._window[start : start + count]
        if self._in_run:
            self._runs[-1][1].extend(taken)
        else:
            self._runs.append((self.position, bytearray(taken)))
            self._in_run = True
        self.position += count
        return taken

    def skip(self, count: int) -> int:
        """Step over a payload without reading it; returns its offset.

        Raises:
            Refusal: it would reach beyond the end of the file.
        """
        left = self.size - self.position
        if count > left:
            raise Refusal(f"a payload of {count} bytes", f"at most the {left} left in the file")
        offset = self.position
        self.position += count
        self._in_run = False
        return offset

    def runs(self) -> Runs:
        """All that has been taken, as contiguous runs between the payloads."""
        return tuple((offset, bytes(run)) for offset, run in self._runs)


def has_runs(descriptor: int, runs: Runs) -> bool:
    """Whether an open file has these bytes at these places."""
    return all(os.pread(descriptor, len(run), offset) == run for offset, run in runs)


def _refuse_irregular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kinds = {
            stat.S_IFDIR: "a directory",
            stat.S_IFIFO: "a pipe",
            stat.S_IFSOCK: "a socket",
            stat.S_IFCHR: "a device",
            stat.S_IFBLK: "a device",
        }
        kind = kinds.get(stat.S_IFMT(mode), "something special")
        raise unsafe_shard(path, None, Refusal(kind, "a regular file"))
