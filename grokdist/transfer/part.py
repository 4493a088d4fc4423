"""One file on its way in: bytes kept under ``.grokdist/parts`` until their digest is right.

Several sources may bring one file at once. Each works on a segment, a byte range that nobody else
works on, and writes it where it belongs; the digest is taken from the first byte on, of each
byte once: from memory by whoever brings the file's front, and from the page cache, by
``catch_up`` on a thread of its own, where another source was ahead. What is here, who brought it,
and the state of the hash are noted in a state file, so that another process goes on at that byte
and hashes nothing twice.

Nothing is trusted that was not hashed: the digest of the whole decides.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from grokdist.catalog.manifest import FileEntry
from grokdist.errors import DigestMismatchError, GrokdistError, StoreError
from grokdist.transfer.boot import boot_id
from grokdist.transfer.front_to_back import fits_the_cache, let_go
from grokdist.transfer.part_files import (
    COPY,
    LINK,
    copy_range,
    expected_digest,
    of_swarm,
    part_name,
    state_name,
    within,
)
from grokdist.transfer.part_state import PartState, StateFile, Written
from grokdist.transfer.ranges import Range, RangeMap, gaps
from grokdist.transfer.read_buffer import MIB_BUFFERS
from grokdist.transfer.tree import ModelTree, StatMark, refusal
from grokdist.transfer.writeback import begin_writeback
from grokdist.trust.digest import Algorithm, StreamHasher

SAVE_EVERY = 4 << 20
"""Bytes of a part after which its state is written down; what a killed process loses at most."""

WRITE_BACK_EVERY = 8 << 20
"""Bytes of a segment after which the disk is to begin with them."""

WRITE_BACK_LEAST = 1 << 20
"""Bytes at the end of a segment with which it is to begin; less is left to the ``fsync``."""


class Segment:
    """A byte range of one file that one source brings, from its start to its end.

    Made by ``Part.claim``. One thread writes; any thread may take the back of it away.

    Attributes:
        entry: the file.
        source: name of the source that brings it.
        start: the first byte.
    """

    def __init__(self, part: Part, start: int, end: int, source: str) -> None:
        self.entry = part.entry
        self.source = source
        self.start = start
        self.on_bytes: Callable[[int], None] = _ignore
        """Told of every byte that arrives; may wait, to hold a rate. With 0, a sign of life."""
        self._part = part
        self._offset = start
        self._begun = start
        self._end = end
        self._held = start

    @property
    def offset(self) -> int:
        """The next byte to bring."""
        return self._offset

    @property
    def end(self) -> int:
        """Where to stop. It may be lowered meanwhile: a helper took the rest."""
        return self._end

    @property
    def remaining(self) -> int:
        """Bytes still to bring."""
        return max(0, self._end - self._offset)

    @property
    def path(self) -> Path:
        """The file that is written to, for a source that has it written by somebody else."""
        return self._part.path

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Write the next bytes, and hash them if they are the file's front.

        What lies behind ``end`` is dropped: somebody else brings it.

        Raises:
            ResourceError: the disk is full; what was written before stays valid.
            StoreError: the disk refused for another reason.
        """
        self.place(data)
        self.on_bytes(len(data))

    def place(self, data: bytes | bytearray | memoryview) -> None:
        """Write the next bytes, as ``append`` does; ``arrived`` counted them already."""
        self._part.write(self, memoryview(data))

    def begin_writeback(self, upto: int) -> None:
        """Have the disk begin with bytes up to ``upto`` that somebody else wrote to ``path``.

        The sync before the file gets its name then finds little to do.
        """
        self._part.begin_writeback(self._offset, upto - self._offset)

    def adopt(self, upto: int) -> None:
        """Count bytes up to ``upto`` that somebody else wrote to ``path``, and hash them.

        The caller has made sure that they are there: libtorrent's word that a piece is finished
        comes before its last write, so a flush must have been waited for.
        """
        self._part.wrote(self, min(upto, self._end))

    def arrived(self, count: int) -> None:
        """Say that ``count`` bytes came that are not written yet; with 0, a sign of life."""
        self.on_bytes(count)

    def share(self, other: Path) -> bool:
        """Gather the file in ``other``, to which somebody else writes, by a hard link.

        Returns:
            False where bytes are here already, somebody else works on the file, or links are not
            to be had; the caller then copies with ``append``.
        """
        return self._part.share(other)

    def part_ways(self) -> None:
        """Count the file as one that somebody else may still write to, late.

        Whoever goes on with it first gives the part a file of its own, with what is here; unless
        it is the same one, who shares it again.
        """
        self._part.shared = True

    def when_named(self, call: Callable[[], None]) -> None:
        """Have ``call`` called once the file has its final name, before its mark is taken.

        For a source that goes on giving the file away, and has its own link to it to change.
        """
        self._part.on_named = call

    def give_up(self, end: int) -> int:
        """Take the bytes from ``end`` on away from this segment; returns where it ends now."""
        return self._part.shorten(self, end)

    def write_back(self, written: int) -> None:
        """Have the disk begin with what came, in stretches; for ``Part`` alone."""
        upto = self._offset + written
        least = WRITE_BACK_LEAST if upto >= self._end else WRITE_BACK_EVERY
        if upto - self._begun >= least:
            self._part.on_stretch(self._begun, upto - self._begun)
            self._begun = upto

    def move(self, offset: int) -> None:
        """Set the next byte to bring; for ``Part`` alone."""
        self._offset = offset

    def hold(self, count: int) -> int:
        """Begin to write up to ``count`` bytes, which nobody takes away; for ``Part`` alone."""
        count = min(count, self.remaining)
        self._held = self._offset + count
        return count

    def cut(self, end: int) -> None:
        """Set where to stop, behind what is held; for ``Part`` alone."""
        self._end = min(self._end, max(end, self._offset, self._held))

    def end_here(self) -> None:
        """Stop at the next byte to bring; for ``Part`` alone, and when nothing is written."""
        self._end = self._offset


class Part:
    """The part of one file; used from several threads.

    Args:
        tree: the model directory.
        entry: the file.

    Raises:
        ManifestError: the entry names no digest of its content.
        UnsafePathError: a link or special file stands where the part belongs.
        OSError: the disk refused.
    """

    def __init__(self, tree: ModelTree, entry: FileEntry) -> None:
        self.entry = entry
        self.expected = expected_digest(entry)
        self.on_named: Callable[[], None] = _nothing
        """Called by whoever commits, once the file has its final name."""
        self.on_behind: Callable[[], None] = _nothing
        """Called when bytes came that are not hashed at once: they lie behind others."""
        self.on_stretch: Callable[[int, int], None] = self.begin_writeback
        """Called with the start and length of a stretch that the disk is to begin with."""
        self.shared = False
        """True where somebody else, who does not work on it now, has a hold of the same file."""
        self._tree = tree
        self._lock = threading.Lock()
        self._at_rest = threading.Condition(self._lock)
        self._users = 0
        self._moving = False
        self._claims: list[Segment] = []
        self._hashing = False
        self._lost: OSError | None = None
        self._fresh = False
        self._named = False
        self._unsaved = 0
        self._unsynced = 0
        self._stays = fits_the_cache(entry.size)
        self._gone = 0
        self._state = StateFile(tree, state_name(entry.path))
        self._fd = self._open()
        try:
            written, self._synced = self._load()
            self._filled = written.ranges
            self._start_hash(written)
            if entry.size > SAVE_EVERY:
                self._state.reserve()
        except BaseException:
            self.close()
            raise
        self.began = self._filled.size
        """Bytes that were here when the part was opened."""

    @property
    def path(self) -> Path:
        """The file that is written to."""
        return self._tree.path(part_name(self.entry.path))

    @property
    def have(self) -> int:
        """Bytes that are here."""
        with self._lock:
            return self._filled.size

    @property
    def filled(self) -> RangeMap:
        """What is here, by source."""
        with self._lock:
            return self._filled.copy()

    @property
    def hashed(self) -> int:
        """Bytes from the start that are hashed."""
        return self._hashed

    @property
    def whole(self) -> bool:
        """True where every byte is here and hashed."""
        return self._hashed == self.entry.size and not self._hashing

    @property
    def sources(self) -> dict[str, int]:
        """Bytes by the source that brought them, also in earlier processes."""
        with self._lock:
            return self._filled.labels()

    @property
    def unsynced(self) -> int:
        """Bytes written since the last ``sync``."""
        return self._unsynced

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes hashed so far."""
        if self._right and self.expected.algorithm is Algorithm.SHA256:
            return self.expected.hex
        return self._hasher.sha256

    def gaps(self) -> list[Range]:
        """The ranges that are neither here nor being brought, in order."""
        with self._lock:
            if self._filled.contiguous(0) == self.entry.size:
                return []
            return gaps(
                self.entry.size,
                ((start, end) for start, end, _ in self._filled),
                ((claim.offset, claim.end) for claim in self._claims),
            )

    def claim(self, start: int, end: int, source: str) -> Segment:
        """Let ``source`` bring the bytes from ``start`` to ``end``, which lie in a gap."""
        segment = Segment(self, start, end, source)
        with self._lock:
            self._claims.append(segment)
        return segment

    def release(self, segment: Segment) -> None:
        """End a segment; what it did not bring is a gap again."""
        with self._lock:
            segment.end_here()
            if segment in self._claims:
                self._claims.remove(segment)

    def shorten(self, segment: Segment, end: int) -> int:
        """Have ``segment`` stop at ``end``, or behind what it has if that is further."""
        with self._lock:
            segment.cut(end)
            return segment.end

    def write(self, segment: Segment, data: memoryview) -> None:
        """Write the next bytes of a segment, up to its end.

        Until they are written they stay its own. Were they taken away meanwhile, a slow write
        could put a wrong source's bytes over the ones that another brought and that were hashed.
        """
        if self.shared:
            self.part_ways()
        with self._lock:
            data = data[: segment.hold(len(data))]
        while data:
            fd = self._take_file()
            try:
                written = os.pwrite(fd, data, segment.offset)
            except OSError as error:
                raise refusal(self.entry.path, error) from error
            finally:
                self._give_file()
            segment.write_back(written)
            self.wrote(segment, segment.offset + written, data[:written])
            data = data[written:]

    def begin_writeback(self, start: int, count: int) -> None:
        """Have the disk begin with what was written; waits where its queue is full."""
        fd = self._take_file()
        try:
            if fd >= 0:
                begin_writeback(fd, start, count)
        finally:
            self._give_file()

    def wrote(self, segment: Segment, upto: int, data: memoryview | None = None) -> None:
        """Count the bytes of a segment up to ``upto``; ``data`` are these bytes, if at hand."""
        with self._lock:
            start = segment.offset
            if upto <= start:
                return
            self._filled.add(start, upto, segment.source)
            segment.move(upto)
            self._unsynced += upto - start
            self._unsaved += upto - start
            at_front = self._hashed == start
            mine = at_front and not self._hashing
            self._hashing = self._hashing or mine
        if mine:
            self._hash_on(data, start)
        elif not at_front:
            self.on_behind()
        if self._unsaved >= SAVE_EVERY:
            self.save()

    @property
    def behind(self) -> bool:
        """True where bytes wait to be hashed that nobody hashes."""
        with self._lock:
            return self._waits_for_hash()

    def catch_up(self, stop: threading.Event | None = None) -> None:
        """Hash what is here behind the hashed beginning; returns early when ``stop`` is set."""
        with self._lock:
            if not self._waits_for_hash():
                return
            self._hashing = True
        self._hash_on(None, 0, stop)

    def save(self) -> None:
        """Write the state down, for a process that comes after this one was killed.

        A small file is not worth one: it comes again.

        Raises:
            ResourceError: the disk is full.
        """
        with self._lock:
            if not self._unsaved or self._fd < 0 or self._named:
                return
            if self.entry.size > SAVE_EVERY:
                self._unsaved = 0
                self._save()

    def sync(self) -> None:
        """Have all that is here on the disk, and write that down."""
        with self._lock:
            if not self._unsynced or self._fd < 0 or self._named:
                return
            self._unsynced = 0
            if not self._hashing:
                self._save_hash()
            now = Written(ranges=self._filled.copy(), state=self._saved_hash)
            hashed = self._saved_at
            fd = os.dup(self._fd)
        try:
            os.fdatasync(fd) if hasattr(os, "fdatasync") else os.fsync(fd)
            if not self._stays and hashed > self._gone:
                # What is hashed and on the disk is not read before the tree, which begins at
                # the front when that has long left a cache that the file does not fit.
                let_go(fd, self._gone, hashed - self._gone)
                self._gone = hashed
        except OSError as error:
            # The kernel says it once; the sync before the file gets its name would find nothing.
            self._lost = error
            raise
        finally:
            os.close(fd)
        with self._lock:
            self._synced = now
            if self._fd >= 0 and not self._named:
                self._save(durable=True)

    def forget(self, ranges: Iterable[Range]) -> dict[str, int]:
        """Forget byte ranges, which are wrong, and hash anew.

        Returns:
            who brought them, and how many bytes.
        """
        with self._lock:
            before = self._filled.labels()
            for start, end in ranges:
                self._filled.remove(start, end)
            after = self._filled.labels()
            self._hash_anew()
        lost = {name: count - after.get(name, 0) for name, count in before.items()}
        return {name: count for name, count in lost.items() if count}

    def drop(self, source: str) -> None:
        """Forget what ``source`` brought, and hash anew: it is to come from somebody else."""
        with self._lock:
            self._filled.remove_label(source)
            self._hash_anew()

    def check(self) -> None:
        """Compare the digest of the whole file with the manifest's.

        Raises:
            DigestMismatchError: the bytes are not the ones that the manifest names.
        """
        got = self._hasher.digest()
        if not self.whole or got != self.expected:
            raise DigestMismatchError(
                f"{self.entry.path} is not what its manifest names;"
                f" expected {self.expected}, got {got}",
                path=self.entry.path,
                expected=str(self.expected),
                got=str(got),
            )
        self._right = True

    def fileno(self) -> int:
        """The open file."""
        return self._fd

    def rename(self) -> None:
        """Give the file, checked and synced by the caller, its final name.

        The folders it leaves and enters are the caller's to sync. ``let_go`` is to follow.

        Raises:
            UnsafePathError: something stands in its place that is not a file.
        """
        with self._lock:
            if self._lost is not None:
                raise self._lost
            if not self._fresh:
                os.ftruncate(self._fd, self.entry.size)
            self._tree.rename(part_name(self.entry.path), self.entry.path)
            self._named = True
            self._state.remove()

    def let_go(self) -> StatMark:
        """Close the file, which has its final name; returns what the file system says of it."""
        with self._at_rest:
            self._at_rest.wait_for(lambda: not self._users)
            mark = StatMark.of(os.fstat(self._fd))
            os.close(self._fd)
            self._fd = -1
            return mark

    def discard(self) -> None:
        """Throw the bytes away and close."""
        self.close()
        self._tree.remove(part_name(self.entry.path))
        self._state.remove()

    def share(self, other: Path) -> bool:
        """Gather the bytes in the file ``other`` from now on; see ``Segment.share``."""
        with self._at_rest:
            if len(self._claims) == 1 and self.shared and _same_file(self._fd, other):
                self.shared = False
                return True
            if self._filled.size or len(self._claims) > 1 or self._claims[0].start:
                return False
            if self._is_lent_as(other):
                return True
            link = self.path.with_name(f"{self.path.name}{LINK}")
            try:
                link.unlink(missing_ok=True)
                os.link(other, link)
                link.replace(self.path)
                self._replace_file()
            except OSError:
                return False
            return True

    def part_ways(self) -> None:
        """Copy what is here into a file of its own; see ``Segment.part_ways``.

        Raises:
            OSError: the disk refused.
        """
        name = f"{part_name(self.entry.path)}{COPY}"
        with self._at_rest:
            self._at_rest.wait_for(lambda: not self._moving)
            if not self.shared:
                return
            if os.fstat(self._fd).st_nlink == 1:
                self.shared = False
                return
            self._moving = True
            self._at_rest.wait_for(lambda: not self._users)
            try:
                self._tree.remove(name)
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
                own = self._tree.open(name, flags)
                try:
                    for start, end, _ in self._filled:
                        copy_range(self._fd, own, start, end)
                finally:
                    os.close(own)
                self._tree.rename(name, part_name(self.entry.path))
                self._replace_file()
                self._synced = Written()
                self.shared = False
            finally:
                self._moving = False
                self._at_rest.notify_all()

    def close(self, *, keep: bool = False) -> None:
        """Let go of the file.

        Args:
            keep: write the state down first, for another process to go on.
        """
        with self._at_rest:
            # A number that is closed may be another file's at once.
            self._at_rest.wait_for(lambda: not self._users)
            if self._fd < 0:
                return
            if keep and self._filled.size and not self._named:
                with contextlib.suppress(OSError, GrokdistError):
                    self._save()
            os.close(self._fd)
            self._fd = -1
            self._state.close()

    def _waits_for_hash(self) -> bool:
        return not self._hashing and self._filled.contiguous(self._hashed) > self._hashed

    def _take_file(self) -> int:
        """The open file, which is neither replaced nor closed until ``_give_file``."""
        with self._at_rest:
            while self._moving:
                self._at_rest.wait()
            self._users += 1
            return self._fd

    def _give_file(self) -> None:
        with self._at_rest:
            self._users -= 1
            if not self._users:
                self._at_rest.notify_all()

    def _is_lent_as(self, other: Path) -> bool:
        """Give the part's own file the name ``other``, if nothing has that name yet.

        The other way round an empty file would be removed for every one that is shared, and ext4
        steps over the numbers of files just removed, one by one, whenever it makes one.
        """
        try:
            os.link(f"{self._tree.directory}/{part_name(self.entry.path)}", other)
        except OSError:
            return False
        if not _same_file(self._fd, other):
            other.unlink()
            return False
        self._fresh = False
        return True

    def _replace_file(self) -> None:
        """Open the part by its name again: another file stands there now."""
        fd = self._tree.open(part_name(self.entry.path), os.O_RDWR)
        os.close(self._fd)
        self._fd = fd
        self._fresh = False

    def _open(self) -> int:
        name = part_name(self.entry.path)
        with contextlib.suppress(FileExistsError):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
            fd = self._tree.open(name, flags, create_folders=True)
            self._fresh = True
            return fd
        status = self._tree.stat(name)
        if (
            status is not None
            and stat.S_ISREG(status.st_mode)
            and status.st_nlink > 1
            and not of_swarm(self._tree, status)
        ):
            # Another name for the same file may lie outside the directory.
            self._tree.remove(name)
            status = None
        self.shared = status is not None and status.st_nlink > 1
        return self._tree.open(name, os.O_RDWR | os.O_CREAT)

    def _load(self) -> tuple[Written, Written]:
        """What an earlier process left that is of use, and what of it is on the disk."""
        if self._fresh:
            # What is noted of a part that is gone tells nothing of this one.
            self._state.forget()
            return Written(), Written()
        state = self._state.load()
        size = os.fstat(self._fd).st_size
        if state is None or state.digest != str(self.expected) or state.size != self.entry.size:
            return Written(), Written()
        return _cut(state.usable, size), _cut(state.synced, size)

    def _start_hash(self, written: Written) -> None:
        """Begin the hash where a state of it was kept, or at the first byte."""
        state = written.state
        if state is None or not StreamHasher.goes_on_from(self.expected.algorithm):
            state = None
        self._hasher = StreamHasher(
            self.expected.algorithm, self.entry.size, keeps_state=True, state=state
        )
        self._right = False
        self._hashed = self._saved_at = 0 if state is None else state.offset
        self._saved_hash = state

    def _hash_anew(self) -> None:
        """Begin the hash at the first byte, now that bytes of it are gone; write that down."""
        self._synced = Written()
        self._start_hash(Written(ranges=self._filled))
        self._save()

    def _save_hash(self) -> None:
        """Take the state of the hash, while nobody hashes."""
        self._saved_hash = self._hasher.state()
        self._saved_at = self._hashed

    def _hash_on(
        self, data: memoryview | None, at: int, stop: threading.Event | None = None
    ) -> None:
        """Hash the front, from memory where it is ``data``; for the one that took the turn."""
        turn = True
        try:
            while stop is None or not stop.is_set():
                with self._lock:
                    if self._hashed - self._saved_at >= SAVE_EVERY:
                        self._save_hash()
                    upto = self._filled.contiguous(self._hashed)
                    if upto == self._hashed:
                        # Given up in the same breath as nothing was found: what comes now is
                        # seen by whoever brings it, and the turn may be another's at once.
                        self._hashing = turn = False
                        return
                if data is not None and self._hashed == at:
                    self._hasher.update(data)
                    self._hashed += len(data)
                    data = None
                    continue
                if data is not None and self._hashed < at:
                    upto = min(upto, at)
                with MIB_BUFFERS.lent() as buffer:
                    self._hash_from_disk(buffer[: upto - self._hashed])
        finally:
            if turn:
                with self._lock:
                    self._hashing = False

    def _hash_from_disk(self, buffer: memoryview) -> None:
        fd = self._take_file()
        try:
            count = os.preadv(fd, [buffer], self._hashed)
        except OSError as error:
            raise refusal(self.entry.path, error) from error
        finally:
            self._give_file()
        if count == 0:
            raise StoreError(f"{self.entry.path} ends early on disk at byte {self._hashed}")
        self._hasher.update(buffer[:count])
        self._hashed += count

    def _save(self, *, durable: bool = False) -> None:
        if not self._hashing:
            self._save_hash()
        state = PartState(
            digest=str(self.expected),
            size=self.entry.size,
            written=Written(ranges=self._filled, state=self._saved_hash),
            synced=self._synced,
            boot=boot_id(),
        )
        try:
            self._state.save(state, durable=durable)
        except OSError as error:
            raise refusal(self.entry.path, error) from error


def _same_file(fd: int, path: Path) -> bool:
    """True where ``path`` is another name of an open file."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(fd), path.stat())
    return False


def _cut(written: Written, size: int) -> Written:
    """What was written, as far as a file of ``size`` bytes can hold it."""
    kept, state = within(written.ranges, size), written.state
    if state is not None and state.offset > kept.contiguous(0):
        state = None
    return Written(ranges=kept, state=state)


def _ignore(_: int) -> None:
    """No one listens."""


def _nothing() -> None:
    """No one asked."""
