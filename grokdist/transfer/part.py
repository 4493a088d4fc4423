"""One file on its way in: bytes kept under ``.grokdist/parts`` until their digest is right.

A part is in one of two modes. In stream mode (``<path>.part``) bytes are appended and hashed as
they arrive. In swarm mode (``<path>.swarm``) libtorrent writes at random offsets and the swarm
source has the finished prefix hashed from the file. Leaving swarm mode cuts the file at the end
of the hashed prefix, so that any other source goes on at that byte. Nothing is trusted that was
not hashed by this process: what an earlier one left is hashed again on opening.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from grokdist.catalog.manifest import FileEntry
from grokdist.errors import DigestMismatchError, StoreError, UnsafePathError
from grokdist.transfer.tree import STATE, ModelTree, StatMark, refusal
from grokdist.trust.digest import ContentDigest, StreamHasher

PARTS = f"{STATE}/parts"
_BLOCK = 1 << 20
_FROM_LIMIT = 1 << 16


class RehashStoppedError(StoreError):
    """Opening a part was interrupted while its bytes were hashed again; nothing is lost."""


def part_name(path: str) -> str:
    """Where the part of ``path`` is in stream mode, relative to the model directory."""
    return f"{PARTS}/{path}.part"


def swarm_name(path: str) -> str:
    """Where the part of ``path`` is in swarm mode, relative to the model directory."""
    return f"{PARTS}/{path}.swarm"


def _upto_name(path: str) -> str:
    return f"{PARTS}/{path}.upto"


def _from_name(path: str) -> str:
    return f"{PARTS}/{path}.from"


def swarm_prefix(tree: ModelTree, path: str) -> int:
    """Bytes of ``<path>.swarm`` that an earlier process had seen finished from its start."""
    status = tree.stat(swarm_name(path))
    recorded = _hint(tree, _upto_name(path), 32)
    if status is None or not recorded.isdigit():
        return 0
    return min(int(recorded), status.st_size)


def part_bytes(tree: ModelTree, entry: FileEntry) -> int:
    """Bytes of ``entry`` that are here already, by what the file system says (not hashed)."""
    status = tree.stat(part_name(entry.path))
    if status is not None:
        return min(status.st_size, entry.size)
    return min(swarm_prefix(tree, entry.path), entry.size)


class PartFile:
    """The part of one file, owned by one thread at a time.

    Opening hashes what is on disk; ``offset`` is then the number of bytes that are here and
    hashed.

    Args:
        tree: the model directory.
        entry: the file.
        stop: ends a long re-hash early.

    Raises:
        ManifestError: the entry names no digest of its content.
        RehashStoppedError: ``stop`` was set meanwhile; the bytes on disk stay as they are.
        UnsafePathError: a link or special file stands where the part belongs.
    """

    def __init__(
        self, tree: ModelTree, entry: FileEntry, *, stop: threading.Event | None = None
    ) -> None:
        self.entry = entry
        self.expected = ContentDigest.choose(
            path=entry.path, sha256=entry.sha256, git_blob=entry.git_blob, lfs=entry.lfs
        )
        self.offset = 0
        """Bytes from the start that are on disk and hashed."""
        self.on_bytes: Callable[[int], None] = _ignore
        """Told of every byte that arrives over a source; may wait, to hold a rate. Told of 0
        bytes it takes a sign of life."""
        self.on_commit: Callable[[], None] = _nothing
        """Called once the file has its final name, before what the file system says of it is
        noted: a swarm that still gives the file away changes its own link to it here."""
        self._tree = tree
        self._hasher = StreamHasher(self.expected.algorithm, entry.size)
        self._swarm = False
        self._fd = self._open()
        try:
            self._rehash(stop or threading.Event())
        except BaseException:
            self.close()
            raise
        self.began = self.offset
        """Bytes that were here when the part was opened."""

    @property
    def remaining(self) -> int:
        """Bytes that are still to come."""
        return self.entry.size - self.offset

    @property
    def in_swarm(self) -> bool:
        """True in swarm mode."""
        return self._swarm

    @property
    def swarm_path(self) -> Path:
        """The file that libtorrent writes to in swarm mode."""
        return self._tree.path(swarm_name(self.entry.path))

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources that worked on this part, also in earlier processes."""
        recorded = _hint(self._tree, _from_name(self.entry.path), _FROM_LIMIT)
        return tuple(dict.fromkeys(recorded.decode("utf-8", "replace").splitlines()))

    def note_source(self, name: str) -> None:
        """Write down that ``name`` works on this part, before its first byte."""
        names = self.sources if self.began else ()
        if name not in names:
            text = "".join(f"{each}\n" for each in (*names, name))
            data = text.encode()[:_FROM_LIMIT]
            self._tree.write_small(_from_name(self.entry.path), data, durable=False)

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Write and hash the next bytes of the stream.

        Raises:
            DigestMismatchError: they would make the file longer than the manifest says.
            ResourceError: the disk is full; what was written before stays valid.
            StoreError: the disk refused for another reason, or the part is in swarm mode.
        """
        if self._swarm:
            raise StoreError(f"{self.entry.path} is being written by a swarm")
        if len(data) > self.remaining:
            raise DigestMismatchError(
                f"{self.entry.path} is longer than its manifest says;"
                f" expected {self.entry.size} bytes, got more",
                path=self.entry.path,
                expected=f"{self.entry.size} bytes",
                got="more bytes",
            )
        view = memoryview(data)
        while view:
            try:
                written = os.pwrite(self._fd, view, self.offset)
            except OSError as error:
                raise refusal(self.entry.path, error) from error
            self._hasher.update(view[:written])
            self.offset += written
            view = view[written:]
        self.on_bytes(len(data))

    def begin_swarm(self) -> Path:
        """Enter swarm mode, keeping what is here as the file's first bytes.

        Returns:
            ``swarm_path``, for libtorrent to write to (and, first, to check).
        """
        if not self._swarm:
            self._tree.rename(part_name(self.entry.path), swarm_name(self.entry.path))
            self._swarm = True
            self._record_prefix()
        return self.swarm_path

    def arrived(self, count: int) -> None:
        """Say that ``count`` payload bytes reached the swarm file, for progress and rate.

        With 0 it is a sign of life, e.g. while libtorrent checks what is on disk, and keeps the
        engine from taking the file back.
        """
        self.on_bytes(count)

    def hash_swarm(self, upto: int) -> None:
        """Hash the swarm file from ``offset`` to ``upto``.

        The caller has made sure that these bytes are on disk: libtorrent's word that a piece is
        finished comes before its last write, so a flush must have been waited for.

        Raises:
            StoreError: not in swarm mode, or the file ends before ``upto``.
        """
        if not self._swarm:
            raise StoreError(f"{self.entry.path} is not being written by a swarm")
        self._hash_to(min(upto, self.entry.size), threading.Event())
        self._record_prefix()

    def adopt_swarm(self) -> None:
        """Leave swarm mode: cut the file at ``offset`` and make it the ordinary part.

        With ``offset == entry.size`` the file is ready to be committed; with less, a stream goes
        on there. libtorrent must have let go of the file. Does nothing in stream mode.
        """
        if not self._swarm:
            return
        self._reopen_swarm()
        os.ftruncate(self._fd, self.offset)
        self._tree.rename(swarm_name(self.entry.path), part_name(self.entry.path))
        self._tree.remove(_upto_name(self.entry.path))
        self._swarm = False

    def commit(self) -> StatMark:
        """Check size and digest, then give the file its final name, durably.

        Returns:
            what the file system says of the finished file.

        Raises:
            DigestMismatchError: the bytes are not the ones the manifest names; the part is gone,
                so that the next attempt starts clean.
        """
        self.adopt_swarm()
        size = os.fstat(self._fd).st_size
        got = self._hasher.digest()
        if size != self.entry.size or self.offset != size or got != self.expected:
            self.discard()
            right_size = size == self.entry.size == self.offset
            expected = str(self.expected) if right_size else f"{self.entry.size} bytes"
            found = str(got) if right_size else f"{size} bytes"
            raise DigestMismatchError(
                f"{self.entry.path} is not what its manifest names;"
                f" expected {expected}, got {found}",
                path=self.entry.path,
                expected=expected,
                got=found,
            )
        os.fsync(self._fd)
        self._tree.rename(part_name(self.entry.path), self.entry.path, durable=True)
        self.on_commit()
        mark = StatMark.of(os.fstat(self._fd))
        self._tree.remove(_from_name(self.entry.path))
        self.close()
        return mark

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes so far."""
        return self._hasher.sha256

    def discard(self) -> None:
        """Throw the bytes away and close."""
        self.close()
        for name in (part_name, swarm_name, _upto_name, _from_name):
            self._tree.remove(name(self.entry.path))

    def close(self) -> None:
        """Let go of the file; the bytes stay for the next process or source."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> int:
        """Open what is here: a stream part first, else a swarm file, else a new stream part."""
        path = self.entry.path
        name = part_name(path)
        status = self._tree.stat(name)
        if status is None and self._tree.stat(swarm_name(path)) is not None:
            self._swarm = True
            return self._tree.open(swarm_name(path), os.O_RDWR)
        if status is not None and status.st_nlink > 1:
            # Another name for the same file may lie outside the directory.
            self._tree.remove(name)
        return self._tree.open(name, os.O_RDWR | os.O_CREAT, create_folders=True)

    def _reopen_swarm(self) -> None:
        """Open the swarm file by name again: libtorrent may have made it anew."""
        fd = self._tree.open(swarm_name(self.entry.path), os.O_RDWR | os.O_CREAT)
        os.close(self._fd)
        self._fd = fd

    def _rehash(self, stop: threading.Event) -> None:
        if self._swarm:
            prefix = swarm_prefix(self._tree, self.entry.path)
            self._hash_to(min(prefix, self.entry.size), stop)
            return
        size = os.fstat(self._fd).st_size
        if size > self.entry.size:
            # Left by something else: no prefix of it can be told from the rest.
            os.ftruncate(self._fd, 0)
            size = 0
        self._hash_to(size, stop)
        os.ftruncate(self._fd, self.offset)

    def _hash_to(self, upto: int, stop: threading.Event) -> None:
        if self._swarm and upto > self.offset:
            self._reopen_swarm()
        buffer = memoryview(bytearray(min(_BLOCK, max(upto - self.offset, 1))))
        while self.offset < upto and not stop.is_set():
            block = buffer[: min(len(buffer), upto - self.offset)]
            count = os.preadv(self._fd, [block], self.offset)
            if count == 0:
                raise StoreError(
                    f"{self.entry.path} ends early on disk;"
                    f" expected {upto} bytes, got {self.offset}"
                )
            self._hasher.update(block[:count])
            self.offset += count
        if self.offset < upto:
            raise RehashStoppedError(f"{self.entry.path} was not hashed to its end")

    def _record_prefix(self) -> None:
        """Note how far the swarm file is finished, for a process that comes after a crash.

        Only a hint where to go on: the next process hashes these bytes itself.
        """
        self._tree.write_small(
            _upto_name(self.entry.path), str(self.offset).encode(), durable=False
        )


def _hint(tree: ModelTree, name: str, limit: int) -> bytes:
    """A small file that only helps: one that is not there, or not sane, is as good as empty."""
    try:
        return tree.read_small(name, limit) or b""
    except (StoreError, UnsafePathError):
        return b""


def _ignore(_: int) -> None:
    """No one listens."""


def _nothing() -> None:
    """No one asked."""
